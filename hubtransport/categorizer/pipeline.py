"""Categorizer, the stages in order: resolve > expand > merge > comply > route.

The one decision code: the worker commits what it says, `explain` shows it and commits nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from foundation.mail.errors import MailError
from hubtransport.categorizer.comply import AgentChain, comply
from hubtransport.categorizer.decision import Candidate, Context, Decision
from hubtransport.categorizer.expand import expand, merge
from hubtransport.categorizer.resolve import resolve
from hubtransport.categorizer.route import Share, bifurcate, returns, route
from hubtransport.queues.records import QueuedMessage

ROUNDS_MAX = 8
"""How often recipients that a stage added go back to resolve."""


class Categorized(msgspec.Struct, frozen=True, kw_only=True):
    shares: tuple[Share, ...]
    failed: tuple[Candidate, ...]
    expanded: tuple[Candidate, ...]
    """Groups among the recipients: they end here, their members go on."""
    merged: tuple[Candidate, ...]
    assessed: str
    decisions: tuple[Decision, ...]


class _Run:
    """One message between the stages."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settled: list[Candidate] = []
        self.failed: list[Candidate] = []
        self.merged: list[Candidate] = []
        self.expanded: list[Candidate] = []
        self.decisions: list[Decision] = []
        self.groups: dict[str, str] = {}
        self.rounds = 0

    async def settle(self, fresh: Sequence[Candidate]) -> None:
        """Resolve and expand until nothing new comes, within the rounds."""
        waiting = list(fresh)
        while waiting and self.rounds < ROUNDS_MAX:
            self.rounds += 1
            following: list[Candidate] = []
            for candidate in waiting:
                following += await self._step(candidate)
            waiting = following
        self.settled += [_too_many_rounds(candidate) for candidate in waiting]
        self.decisions += [_rounds_decision(candidate) for candidate in waiting]

    def merge(self) -> None:
        """Sets the failed ones aside, and leaves one of each recipient."""
        self.failed += [candidate for candidate in self.settled if candidate.failure is not None]
        kept, gone, decisions = merge([candidate for candidate in self.settled if candidate.failure is None])
        self.settled = list(kept)
        self.merged += gone
        self.decisions += decisions

    async def _step(self, candidate: Candidate) -> Iterable[Candidate]:
        resolved = await resolve(candidate, self.context)
        self.decisions.append(resolved.decision)
        if resolved.state == "again":
            return (resolved.candidate,)
        if resolved.state == "final":
            self.settled.append(resolved.candidate)
            return ()
        opened = await expand(resolved.candidate, self.context, self.groups)
        self.decisions += opened.decisions
        if opened.failure is not None:
            self.settled.append(msgspec.structs.replace(resolved.candidate, failure=opened.failure))
            return ()
        self.expanded.append(resolved.candidate)
        return opened.members


async def categorize(message: QueuedMessage, context: Context, chain: AgentChain) -> Categorized:
    """Raises MailError (temporary) while the directory can't be asked.

    What would go back to the hub it came from is decided by the newest directory: hubs that go by an older
    one would send it to and fro until it is refused as a loop (RFC 5321 6.3).
    """
    result = await _categorize(message, context, chain)
    routed = (candidate for share in result.shares for candidate in share.recipients)
    if any(returns(candidate, message.source) for candidate in routed):
        await context.directory.refresh()
        result = await _categorize(message, context, chain)
    return result


async def _categorize(message: QueuedMessage, context: Context, chain: AgentChain) -> Categorized:
    run = _Run(context)
    await run.settle(
        [
            Candidate(position=queued.position, recipient=queued.recipient, original=queued.original)
            for queued in message.recipients
        ]
    )
    run.merge()
    complied = await comply(message, run.settled, chain, context.server)
    run.decisions += complied.decisions
    if complied.added:
        await run.settle(complied.added)
        run.merge()
    routed: list[Candidate] = []
    for candidate in run.settled:
        with_route, decision = route(candidate, context)
        routed.append(with_route)
        run.decisions.append(decision)
    return Categorized(
        shares=bifurcate(routed),
        failed=tuple(run.failed),
        expanded=tuple(run.expanded),
        merged=tuple(run.merged),
        assessed=complied.assessed,
        decisions=tuple(run.decisions),
    )


def _too_many_rounds(candidate: Candidate) -> Candidate:
    sentence = f"The address {candidate.recipient.address} leads on without end"
    return msgspec.structs.replace(candidate, failure=MailError(554, "5.4.6", sentence))


def _rounds_decision(candidate: Candidate) -> Decision:
    return Decision(
        stage="resolve",
        rule="rounds",
        what=f"{candidate.recipient.address} is given up",
        why=f"more than {ROUNDS_MAX} rounds of addresses that became others: a loop",
        recipients=(candidate.recipient.address,),
    )
