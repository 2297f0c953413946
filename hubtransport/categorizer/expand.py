"""Categorizer, expand and merge: a group becomes its members, and nobody gets two copies.

Promises: a group is expanded once for a message, whatever ways lead to it (loops end there); the same
recipient reached twice stays once, the direct way before the way through a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from foundation.interfaces.directory import DirectoryRecipient
from foundation.mail.address import address_key
from foundation.mail.envelope import Recipient
from foundation.mail.errors import MailError
from hubtransport.categorizer.decision import Candidate, Context, Decision
from hubtransport.dsn import keep_original, notify_of_members

MEMBERS_MAX = 100_000
"""Of one message, over all its groups."""


class Expanded(msgspec.Struct, frozen=True):
    members: tuple[Candidate, ...]
    """To be resolved in their turn."""
    decisions: tuple[Decision, ...]
    failure: MailError | None = None
    """The group can't be expanded; its members stay empty."""


async def expand(group: Candidate, context: Context, seen: dict[str, str]) -> Expanded:
    """Members of a group and of all groups inside it. `seen`: groups expanded before for this message, id ->
    address; those found here are added."""
    if group.entry is None:
        raise ValueError("expand is for groups that were resolved")
    if group.recipient.expanded_from:
        # A peer expanded before; what is a group only now came from a change in between.
        sentence = f"The group {group.recipient.address} was expanded before and is not expanded again"
        return Expanded(
            (), (_refused(group, "expanded-before", sentence),), MailError(550, "5.4.6", sentence)
        )
    members: list[Candidate] = []
    decisions: list[Decision] = []
    waiting: list[DirectoryRecipient] = [group.entry]
    while waiting:
        entry = waiting.pop(0)
        if entry.recipient_id in seen:
            decisions.append(_again(group, entry))
            continue
        seen[entry.recipient_id] = entry.address
        direct = await context.directory.members(entry.recipient_id)
        waiting += [member for member in direct if not isinstance(member, str) and member.kind == "group"]
        members += [_member(group, entry, member) for member in direct if not _is_group(member)]
        decisions.append(_expanded(entry, direct))
        if len(members) > MEMBERS_MAX:
            sentence = f"The group {group.recipient.address} has more than {MEMBERS_MAX} members"
            return Expanded(
                (), (_refused(group, "too-many-members", sentence),), MailError(550, "5.2.4", sentence)
            )
    return Expanded(tuple(members), tuple(decisions))


def merge(
    candidates: Sequence[Candidate],
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...], tuple[Decision, ...]]:
    """(kept, merged away, decisions). Order is kept."""
    best: dict[str, Candidate] = {}
    for candidate in candidates:
        key = _identity(candidate)
        rival = best.get(key)
        if rival is None or (rival.recipient.expanded_from and not candidate.recipient.expanded_from):
            best[key] = candidate
    kept: list[Candidate] = []
    gone: list[Candidate] = []
    decisions: list[Decision] = []
    for candidate in candidates:
        winner = best[_identity(candidate)]
        if winner is candidate:
            kept.append(candidate)
            continue
        gone.append(candidate)
        decisions.append(
            Decision(
                stage="merge",
                rule="duplicate",
                what=f"{candidate.recipient.address} gets one copy",
                why=f"reached as {_way(winner)} and again as {_way(candidate)}",
                recipients=(candidate.recipient.address,),
                related=candidate.brought_by or candidate.original,
                event="DUPLICATEDELIVER",
            )
        )
    return tuple(kept), tuple(gone), tuple(decisions)


def _member(group: Candidate, entry: DirectoryRecipient, member: DirectoryRecipient | str) -> Candidate:
    address = member if isinstance(member, str) else member.address
    return Candidate(
        position=None,
        recipient=Recipient(
            address=address,
            notify=notify_of_members(group.recipient.notify),
            orcpt=keep_original(group.recipient),
            recipient_id="" if isinstance(member, str) else member.recipient_id,
            expanded_from=entry.recipient_id,
        ),
        original=group.original,
        brought_by=entry.address,
    )


def _is_group(member: DirectoryRecipient | str) -> bool:
    return not isinstance(member, str) and member.kind == "group"


def _expanded(entry: DirectoryRecipient, direct: Iterable[DirectoryRecipient | str]) -> Decision:
    addresses = tuple(member if isinstance(member, str) else member.address for member in direct)
    return Decision(
        stage="expand",
        rule="group",
        what=f"the group {entry.address} has {len(addresses)} members",
        why="its members in the directory" if addresses else "the directory has no members for it",
        recipients=addresses,
        related=entry.address,
        event="EXPAND",
    )


def _again(group: Candidate, entry: DirectoryRecipient) -> Decision:
    return Decision(
        stage="expand",
        rule="expanded-once",
        what=f"the group {entry.address} is not expanded again",
        why="it was reached by another way before: a loop, or named twice",
        recipients=(),
        related=entry.address if entry.address != group.recipient.address else group.original,
        event="EXPAND",
    )


def _refused(group: Candidate, rule: str, sentence: str) -> Decision:
    return Decision(
        stage="expand",
        rule=rule,
        what=sentence,
        why="a bound of the organisation",
        recipients=(group.recipient.address,),
    )


def _identity(candidate: Candidate) -> str:
    if candidate.entry is not None:
        return f"id {candidate.entry.recipient_id}"
    return f"address {address_key(candidate.recipient.address)}"


def _way(candidate: Candidate) -> str:
    if candidate.recipient.expanded_from:
        return f"member of {candidate.brought_by}"
    return candidate.brought_by or candidate.original
