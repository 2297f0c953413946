"""Categorizer, from a message to the unit of work that moves it on: decided, planned, a place in memory kept
for each transfer unit; and what the delivery side learns after the commit.

One code for both ways: for a message that is just arriving, before its first commit, and for one of the
submission queue. Promise: at once or later, the decisions, the events and the rows are the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from foundation.interfaces.world import World
from foundation.mail.errors import MailError
from hubtransport import dsn
from hubtransport.categorizer.comply import AgentChain
from hubtransport.categorizer.decision import Candidate, Context
from hubtransport.categorizer.enqueue import Planned, plan
from hubtransport.categorizer.pipeline import Categorized, categorize
from hubtransport.dsn import Reporter
from hubtransport.queues.delivery import Enqueue
from hubtransport.queues.records import QueuedMessage, Unit
from hubtransport.queues.store import QueueStore
from hubtransport.reports import make_reports
from hubtransport.routing.hop import Hop

log = logging.getLogger("waypost.hubtransport")

RECIPIENTS_AT_ONCE = 100
"""A message with more is accepted first."""
SECONDS_AT_ONCE = 0.5
"""A directory that needs longer is asked after the message is accepted."""


class Queues:
    """What is needed of the delivery side."""

    def __init__(
        self,
        reserve: Callable[[str, int], bool],
        unreserve: Callable[[str], None],
        add: Callable[[Unit], None],
        add_stored: Callable[[str, int, int], None],
        failing: Callable[[], frozenset[str]],
    ) -> None:
        self.reserve = reserve
        self.unreserve = unreserve
        self.add = add
        self.add_stored = add_stored
        self.failing = failing


class Forwarder:
    def __init__(
        self,
        store: QueueStore,
        context: Callable[[], Context],
        chain: AgentChain,
        queues: Queues,
        reporter: Reporter,
        world: World,
    ) -> None:
        self._store = store
        self._context = context
        self._chain = chain
        self._queues = queues
        self._reporter = reporter
        self._world = world

    async def at_once(self, message: QueuedMessage) -> Enqueue | None:
        """For a message that has no row yet. None: it must be accepted first, for agents want to read it, or
        the sender gets a report about it, or the decision takes time, or none can be made now.
        """
        if len(message.recipients) > RECIPIENTS_AT_ONCE or (self._chain.agents and not message.assessed):
            return None
        try:
            async with asyncio.timeout(SECONDS_AT_ONCE):
                planned = await self.decide(message)
        except (MailError, TimeoutError):
            return None
        except Exception:
            # It is tried again as a message of the submission queue, where crashes are counted.
            log.warning("a message could not be categorized at once", exc_info=True)
            return None
        if not planned.enqueue.units or planned.failed or dsn.reports(message.sender, planned.notices):
            return None
        return self._reserved(planned.enqueue)

    async def decide(self, message: QueuedMessage) -> Planned:
        """Raises MailError (temporary) while the directory can't be asked."""
        return self._plan(message, await categorize(message, self._context(), self._chain))

    def give_up(self, message: QueuedMessage, error: MailError) -> Planned:
        """All recipients that wait have failed."""
        return self._plan(message, _all_failed(message, error))

    async def prepare(self, message: QueuedMessage, planned: Planned) -> Enqueue:
        """With its reports; its units have their places. Raises MailError while the content can't be read."""
        now_ms = self._world.clock.now_ms()
        reports, events = await make_reports(
            self._store, self._world, self._reporter, message, planned.notices, now_ms
        )
        work = planned.enqueue
        return self._reserved(msgspec.structs.replace(work, events=(*work.events, *events), reports=reports))

    def committed(self, work: Enqueue, units: Sequence[Unit]) -> None:
        """The work is committed, with these units."""
        for unit in units:
            if unit.key in work.claimed:
                self._queues.add(unit)
            elif not _unreachable(unit):
                self._queues.add_stored(unit.hop, 1, unit.next_attempt_at_ms)

    def withdraw(self, work: Enqueue) -> None:
        """The work was not committed."""
        for unit in work.units:
            if unit.key in work.claimed:
                self._queues.unreserve(unit.hop)

    def _plan(self, message: QueuedMessage, result: Categorized) -> Planned:
        return plan(
            message,
            result,
            failing=self._queues.failing(),
            new_key=self._world.entropy.identifier,
            now_ms=self._world.clock.now_ms(),
            server=self._reporter.server,
        )

    def _reserved(self, work: Enqueue) -> Enqueue:
        now_ms = self._world.clock.now_ms()
        claimed = frozenset(
            unit.key
            for unit in work.units
            if not _unreachable(unit) and self._queues.reserve(unit.hop, now_ms)
        )
        return msgspec.structs.replace(work, claimed=claimed)


def _unreachable(unit: Unit) -> bool:
    return Hop.parse(unit.hop).kind == "unreachable"


def _all_failed(message: QueuedMessage, error: MailError) -> Categorized:
    return Categorized(
        shares=(),
        failed=tuple(
            Candidate(
                position=queued.position, recipient=queued.recipient, original=queued.original, failure=error
            )
            for queued in message.recipients
        ),
        expanded=(),
        merged=(),
        assessed=message.assessed,
        decisions=(),
    )
