"""Compares what the people outside know with what the organisation holds. Each finding is one sentence that
begins with the attempt or the person it is about.

Promised for each recipient of a message that was answered 250: in the one mailbox where it belongs, once,
or in one report to the sender, never both; nothing for a message that was refused; all or nothing where
the client does not know. Of a user who moved meanwhile, one of both mailboxes has it. Outside, a double only
where the answer to the final dot can have been lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from waypost.simulator.ledger import Attempt, Ledger, Taken, attempt_of
from waypost.simulator.organisation import People
from waypost.simulator.outside import NOBODY
from waypost.simulator.people import Reader
from waypost.simulator.truth import Held, Report, Truth, report_of

TRACE_FIELDS = (b"return-path", b"received")
"""What may come before a message's own bytes."""


@dataclass(frozen=True)
class Due:
    """Who gets a message."""

    surely: frozenset[str]
    perhaps: frozenset[str]
    """Members that came or went meanwhile, users that were removed."""
    outside: tuple[str, ...]


def due(attempt: Attempt, people: People, domain: str) -> Due:
    surely: dict[str, None] = {}
    perhaps: dict[str, None] = {}
    outside = []
    for recipient in attempt.accepted:
        if recipient.partition("@")[2] != domain:
            outside.append(recipient)
        else:
            _expand(recipient, True, attempt, people, surely, perhaps, 0)
    return Due(frozenset(surely), frozenset(perhaps).difference(surely), tuple(outside))


def _expand(
    address: str,
    certain: bool,
    attempt: Attempt,
    people: People,
    surely: dict[str, None],
    perhaps: dict[str, None],
    depth: int,
) -> None:
    address = people.aliases.get(address, address)
    if address in people.members and depth < 10:
        for member, since, until in people.members[address]:
            if until >= attempt.begun_at:
                stays = since < attempt.begun_at and until == float("inf")
                _expand(member, certain and stays, attempt, people, surely, perhaps, depth + 1)
    elif address in people.stores:
        (surely if certain and address not in people.removed else perhaps)[address] = None


class Checker:
    def __init__(
        self, ledger: Ledger, truth: Truth, people: People, readers: Iterable[Reader], domain: str
    ) -> None:
        self._ledger = ledger
        self._truth = truth
        self._people = people
        self._readers = list(readers)
        self._domain = domain
        self._copies = self._count_copies()
        self._reports = self._collect_reports()
        self.possible_doubles = 0
        """Doubles outside after a lost answer."""

    def findings(self) -> list[str]:
        found = list(self._ledger.violations)
        for place, count in self._truth.queued.items():
            found.append(f"{place}: {count} rows wait though all faults are over")
        for attempt in self._ledger.attempts.values():
            found += self._recipients(attempt)
            found += self._sent(attempt)
            found += self._outside(attempt)
        for address, mailbox in self._truth.every():
            found += [f"{each.attempt} of {address} is still in the outbox" for each in mailbox.outbox]
            found += self._contents(address, mailbox.inbox, sent=False)
            found += self._contents(address, mailbox.sent, sent=True)
        for address, mailbox in self._truth.mailboxes.items():
            found += [
                f"{address}: UID {h.uid} is not below UIDNEXT"
                for h in mailbox.inbox
                if h.uid >= mailbox.uid_next
            ]
        for reader in self._readers:
            found += self._shown(reader)
        found += self._doubled_reports()
        return list(dict.fromkeys(found))

    # --- what is where

    def _count_copies(self) -> Counter[tuple[str, str]]:
        """By attempt and user: what is in the inbox, and what its owner removed from there."""
        places: dict[tuple[str, int, int], str] = {}
        for seen in self._ledger.expunged:
            places[seen.user, seen.uid_validity, seen.uid] = seen.attempt
        for address, mailbox in self._truth.every():
            for held in mailbox.inbox:
                places[address, held.uid_validity, held.uid] = held.attempt
        return Counter((attempt, user) for (user, _, _), attempt in places.items() if attempt)

    def _collect_reports(self) -> dict[tuple[str, str], list[Report]]:
        """By attempt and failed recipient; copies of one report count once."""
        found: dict[tuple[str, str], dict[str, Report]] = {}
        contents = [held.content for _, mailbox in self._truth.every() for held in mailbox.inbox]
        contents += [taken.content for taken in self._ledger.taken if not attempt_of(taken.content)]
        for content in contents:
            report = report_of(content)
            for recipient in report.failed if report else ():
                assert report is not None
                found.setdefault((report.attempt, recipient), {})[report.message_id] = report
        return {key: list(reports.values()) for key, reports in found.items()}

    # --- promises

    def _recipients(self, attempt: Attempt) -> list[str]:
        wanted = due(attempt, self._people, self._domain)
        known = self._truth.mailboxes
        counts = {user: self._copies[attempt.name, user] for user in self._people.stores}
        found = []
        for user, count in counts.items():
            failed = len(self._reports.get((attempt.name, user), ()))
            where = f"{attempt.name} ({attempt.answer}) to {user}"
            if count > 1:
                found.append(f"{where}: {count} copies")
            if count and failed:
                found.append(f"{where}: delivered and reported as failed")
            if count and user not in wanted.surely and user not in wanted.perhaps:
                found.append(f"{where}: delivered though it was not for them")
            if count and attempt.answer == "refused":
                found.append(f"{where}: delivered though it was refused")
            if user in wanted.surely and user in known and attempt.answer == "accepted" and not count:
                found.append(f"{where}: {'reported as failed without a cause' if failed else 'lost'}")
        if attempt.answer == "unknown":
            got = [user for user in sorted(wanted.surely) if user in known and counts[user]]
            missing = [user for user in sorted(wanted.surely) if user in known and not counts[user]]
            if missing and (got or self._sent_count(attempt)):
                found.append(f"{attempt.name} (unknown): {got or 'the sender'} has it, {missing} not")
        return found

    def _sent(self, attempt: Attempt) -> list[str]:
        if not attempt.inside or attempt.sender not in self._truth.mailboxes:
            return []
        count = self._sent_count(attempt)
        wanted = {"accepted": (1,), "unknown": (0, 1)}.get(attempt.answer, (0,))
        if count not in wanted:
            return [f"{attempt.name} ({attempt.answer}): {count} copies in Sent of {attempt.sender}"]
        delivered = any(self._copies[attempt.name, user] for user in self._people.stores)
        if delivered and not count:
            return [f"{attempt.name} ({attempt.answer}): delivered, and no copy in Sent"]
        return []

    def _sent_count(self, attempt: Attempt) -> int:
        mailboxes = self._truth.all_of(attempt.sender)
        return sum(held.attempt == attempt.name for mailbox in mailboxes for held in mailbox.sent)

    def _outside(self, attempt: Attempt) -> list[str]:
        found = []
        for recipient in due(attempt, self._people, self._domain).outside:
            taken = [
                each
                for each in self._ledger.taken
                if recipient in each.recipients and attempt_of(each.content) == attempt.name
            ]
            failed = len(self._reports.get((attempt.name, recipient), ()))
            where = f"{attempt.name} ({attempt.answer}) to {recipient}"
            excused = sum(self._excused(each) for each in taken)
            reportable = not attempt.inside or attempt.sender in self._truth.mailboxes
            if attempt.answer == "accepted" and not taken and not failed and reportable:
                found.append(f"{where}: lost")
            if attempt.answer == "refused" and taken:
                found.append(f"{where}: sent though it was refused")
            if len(taken) - excused > 1 or (taken and failed and not excused):
                found.append(f"{where}: {len(taken)} copies and {failed} reports, no answer was lost")
            if taken and recipient.startswith(NOBODY):
                found.append(f"{where}: taken by nobody")
            self.possible_doubles += max(len(taken) - 1, 0)
            found += [
                f"{where}: {problem}" for each in taken for problem in altered(attempt.arriving, each.content)
            ]
        return found

    def _excused(self, taken: Taken) -> bool:
        """Its answer may not have counted: unread, or the hub forgot it in a crash or a failed commit."""
        return not taken.answered.read or self._ledger.upset_since(taken.client, taken.at)

    def _contents(self, address: str, held: list[Held], *, sent: bool) -> list[str]:
        found = []
        for each in held:
            attempt = self._ledger.attempts.get(each.attempt)
            if attempt is not None:
                original = attempt.content if sent else attempt.arriving
                found += [f"{each.attempt} at {address}: {what}" for what in altered(original, each.content)]
            elif each.attempt or report_kind(each.content) is None:
                found.append(f"{address} holds a message that nobody sent: {each.content[:200]!r}")
        return found

    def _shown(self, reader: Reader) -> list[str]:
        mailbox = self._truth.mailboxes.get(reader.user)
        if mailbox is None:
            return []
        found = []
        for held in mailbox.inbox:
            known = reader.known.get((held.uid_validity, held.uid))
            what = held.attempt or "a report"
            if known is None:
                found.append(f"{what}: {reader.user} waits in IDLE and was not told of UID {held.uid}")
            elif known != held.attempt:
                found.append(f"{what}: {reader.user} saw UID {held.uid} as {known or 'a report'} before")
        for seen in self._ledger.seen:
            attempt = self._ledger.attempts.get(seen.attempt)
            if seen.user == reader.user and attempt is not None and attempt.probe and seen.how != "told":
                found.append(f"{seen.attempt}: {reader.user} was not told of it in IDLE, and found it")
        return found

    def _doubled_reports(self) -> list[str]:
        found = []
        for (attempt, recipient), reports in self._reports.items():
            if len(reports) > 1:
                found.append(f"{attempt} to {recipient}: {len(reports)} reports of failure")
        for address, mailbox in self._truth.mailboxes.items():
            ids = Counter(r.message_id for h in mailbox.inbox if (r := report_of(h.content)) is not None)
            found += [
                f"{address} has {count} copies of the report {name}"
                for name, count in ids.items()
                if count > 1
            ]
        return found


def altered(original: bytes, arrived: bytes) -> list[str]:
    """What else than trace fields before it is different."""
    if not arrived.endswith(original):
        return ["the content was changed"]
    before = arrived[: len(arrived) - len(original)]
    names = [
        line.partition(b":")[0].lower() for line in before.split(b"\r\n") if line and line[:1] not in b" \t"
    ]
    return [f"has a field {name.decode()} before it" for name in names if name not in TRACE_FIELDS]


def report_kind(content: bytes) -> str | None:
    return "report" if b"multipart/report" in content.partition(b"\r\n\r\n")[0] else None
