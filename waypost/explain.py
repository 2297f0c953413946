"""The way that a message would go: each server is asked in its turn what it would do, from the first one on.

Whoever answers, a running server or its code with the configuration, is handed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from foundation.interfaces.explanation import End, Explanation, Going, Onward, Outcome, Question

HOPS_MAX = 16
"""Longer than any way between sites; beyond it the servers send a message round in circles."""


@dataclass(frozen=True)
class Answered:
    explanation: Explanation
    not_live: str = ""
    """Why the running server was not asked."""


Ask = Callable[[str, Question], Awaitable[Answered]]
"""ask(server, question). Raises MailError when nobody can say."""


@dataclass
class Hop:
    """One station, with what it would do."""

    question: Question
    answer: Answered
    next: list[tuple[Onward, Hop | None]] = field(default_factory=list)
    """Where it goes on; None: it leaves the organisation, or circles."""

    @property
    def server(self) -> str:
        return self.answer.explanation.server


@dataclass(frozen=True)
class Fate:
    """What becomes of a recipient; a group has many."""

    given: str
    """As the sender wrote it."""
    address: str
    outcome: Outcome | Literal["relayed"]
    server: str
    """Where that is decided; of a relayed one, where it leaves the organisation."""
    reply: str = ""
    why: str = ""
    waits: tuple[str, ...] = ()
    """Next hops on its way that can't be reached as things are."""

    @property
    def arrives(self) -> bool:
        return self.outcome in ("delivered", "relayed")

    @property
    def lost(self) -> bool:
        return self.outcome in ("refused", "failed", "deferred", "unreachable")


@dataclass(frozen=True)
class Way:
    first: Hop
    fates: tuple[Fate, ...]

    @property
    def arrives(self) -> bool:
        """For everybody: somebody gets it, and nobody misses it."""
        return any(fate.arrives for fate in self.fates) and not any(fate.lost for fate in self.fates)


async def follow(first: str, question: Question, ask: Ask) -> Way:
    """Raises MailError."""
    fates: list[Fate] = []
    given = {recipient.address: recipient.address for recipient in question.recipients}
    hop = await _station(first, question, ask, given, (), fates, 0)
    order = {address: position for position, address in enumerate(given)}
    return Way(hop, tuple(sorted(fates, key=lambda fate: order[fate.given])))


async def _station(
    server: str,
    question: Question,
    ask: Ask,
    given: Mapping[str, str],
    waits: tuple[str, ...],
    fates: list[Fate],
    depth: int,
) -> Hop:
    """`given`: what the sender wrote for each recipient's address of by now."""
    hop = Hop(question, await ask(server, question))
    told = hop.answer.explanation
    fates += [_fate(end, server, given, waits) for end in told.ends]
    for onward in told.onward:
        later = waits if onward.wait is None else (*waits, onward.next_hop)
        station = None
        if onward.door is None:
            fates += [_relayed(going, onward, server, given, later) for going in onward.recipients]
        elif depth >= HOPS_MAX:
            fates += [_circling(going, server, given) for going in onward.recipients]
        else:
            names = {going.recipient.address: given[going.original] for going in onward.recipients}
            following = msgspec.structs.replace(
                question,
                door=onward.door,
                recipients=tuple(going.recipient for going in onward.recipients),
                assessed=told.assessed or question.assessed,
            )
            station = await _station(onward.next_hop, following, ask, names, later, fates, depth + 1)
        hop.next.append((onward, station))
    return hop


def _fate(end: End, server: str, given: Mapping[str, str], waits: tuple[str, ...]) -> Fate:
    return Fate(
        given=given[end.original],
        address=end.address,
        outcome=end.outcome,
        server=server,
        reply=end.reply,
        why=end.why,
        waits=waits,
    )


def _relayed(
    going: Going, onward: Onward, server: str, given: Mapping[str, str], waits: tuple[str, ...]
) -> Fate:
    hosts = ", ".join(onward.choices) or onward.next_hop
    return Fate(
        given=given[going.original],
        address=going.recipient.address,
        outcome="relayed",
        server=server,
        why=f"{onward.why}; leaves the organisation for {hosts}",
        waits=waits,
    )


def _circling(going: Going, server: str, given: Mapping[str, str]) -> Fate:
    return Fate(
        given=given[going.original],
        address=going.recipient.address,
        outcome="failed",
        server=server,
        reply="554 5.4.6 The message went through too many servers: a loop",
        why=f"more than {HOPS_MAX} servers hand it on",
    )


def every_hop(way: Way) -> Iterator[Hop]:
    """All stations, each before those it leads to."""
    pending = [way.first]
    while pending:
        hop = pending.pop()
        yield hop
        pending += [station for _, station in reversed(hop.next) if station is not None]
