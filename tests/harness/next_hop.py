"""A next hop of a hub's queue, without a network."""

from __future__ import annotations

from collections import Counter

from foundation.smtp.reply import Reply
from hubtransport.delivery.outcome import Attempt
from hubtransport.queues.records import Unit
from tests.harness.queue_model import Person

OK = Reply.of(250, "2.0.0", "ok")


class NextHop:
    """Takes transfers; Waypost's own remember the key, and answer a repeat as before."""

    def __init__(self, *, keeps_keys: bool) -> None:
        self.got: Counter[Person] = Counter()
        self._keeps_keys = keeps_keys
        self._known: dict[str, tuple[Reply, ...]] = {}

    def take(self, unit: Unit, given: list[Reply], final: Reply) -> Attempt:
        known = self._known.get(unit.key)
        if known is not None:
            return Attempt(recipients=known, final=(OK,), remote="r", dsn=True)
        answers = tuple(given[number % len(given)] for number in range(len(unit.recipients)))
        if not any(reply.positive for reply in answers):
            return Attempt(recipients=answers, remote="r", dsn=True)
        if final.positive:
            if self._keeps_keys:
                self._known[unit.key] = answers
            taken = zip(unit.recipients, answers, strict=True)
            self.got.update((unit.message.entry_id, q.position) for q, reply in taken if reply.positive)
        return Attempt(recipients=answers, final=(final,), remote="r", dsn=True)
