"""Whatever next hops answer, lose or refuse, and whenever the hub dies: each recipient ends exactly once.

Real SQLite, the real units of work and outcome rules; two receivers that keep transfer keys as a hub does.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import count
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import func, select

from foundation.database.engine import open_engine, prepare_schema, sqlite_url, writing
from foundation.database.spool import Spool
from foundation.mail.envelope import Recipient, Sender
from foundation.smtp.reply import Reply
from hubtransport.delivery.outcome import Attempt, judge, rest_of, unknown_rest
from hubtransport.queues.arrival import Accepted, Arrival, accept
from hubtransport.queues.delivery import (
    Conclusion,
    Enqueue,
    claim_due,
    conclude,
    enqueue,
    recover,
    redirect,
    unclaim,
)
from hubtransport.queues.records import QueuedMessage, QueuedRecipient, Unit
from hubtransport.queues.tables import CONTENTS, MESSAGES, METADATA, RECIPIENTS, UNITS

FOREVER_MS = 10**15
GROUP = ("hub-1", "hub-2")
HOPS = ("hub::hub-1", "hub::hub-2")
OK, LATER, NO = Reply.of(250, "2.0.0", "ok"), Reply.of(450, "4.2.0", "later"), Reply.of(550, "5.1.1", "no")

Person = tuple[int, int]


class Receiver:
    """Commits content with its key and results; a repeat gets the answers of the first time."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[int, Reply]] = {}
        self.got: Counter[Person] = Counter()

    def take(self, unit: Unit, answers: list[Reply], final: Reply) -> Attempt:
        known = self.keys.get(unit.key)
        if known is not None:
            replies = tuple(known[queued.position] for queued in unit.recipients)
            return Attempt(recipients=replies, final=(OK,), remote="r", dsn=True)
        replies = tuple(answers[index % len(answers)] for index in range(len(unit.recipients)))
        accepted = [q for q, reply in zip(unit.recipients, replies, strict=True) if reply.positive]
        if not accepted:
            return Attempt(recipients=replies, remote="r", dsn=True)
        if final.positive:
            self.keys[unit.key] = {
                queued.position: reply for queued, reply in zip(unit.recipients, replies, strict=True)
            }
            self.got.update((unit.message.id, queued.position) for queued in accepted)
        return Attempt(recipients=replies, final=(final,), remote="r", dsn=True)


ANSWERS = st.lists(st.sampled_from([OK, OK, LATER, NO]), min_size=1, max_size=4)


class Queue(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.engine = writing(open_engine(sqlite_url(Path(self.folder.name) / "queue.db")))
        prepare_schema(self.engine, METADATA, "hub", 1)
        self.receivers = {hop: Receiver() for hop in HOPS}
        self.memory: dict[str, Unit] = {}
        self.people: set[Person] = set()
        self.failed: Counter[Person] = Counter()
        self.relayed: Counter[Person] = Counter()
        self.numbers = count(1)

    def new_key(self) -> str:
        return f"key-{next(self.numbers):06d}"

    @rule(recipients=st.integers(1, 4), hop=st.sampled_from(HOPS), in_memory=st.booleans())
    def receive(self, recipients: int, hop: str, in_memory: bool) -> None:
        queued = tuple(
            QueuedRecipient(position=n, recipient=Recipient(address=f"u{n}@x.test"), original=f"u{n}@x.test")
            for n in range(recipients)
        )
        message = QueuedMessage(
            entry_id=self.new_key(),
            network_message_id=self.new_key(),
            sender=Sender(address="s@x.test"),
            content_bytes=4,
            content_sha256="",
            received_at_ms=1,
            expires_at_ms=FOREVER_MS,
            next_position=recipients,
            recipients=queued,
        )
        with self.engine.begin() as connection, Spool.of(b"mail") as spool:
            accepted = accept(connection, Arrival(message=message), None, spool)
        assert isinstance(accepted, Accepted)
        stored = accepted.message
        key = self.new_key()
        unit = Unit(
            key=key,
            message=msgspec.structs.replace(stored, recipients=()),
            recipients=queued,
            hop=hop,
            group=GROUP,
            created_at_ms=1,
            expires_at_ms=FOREVER_MS,
        )
        plan = Enqueue(
            message=unit.message,
            assessed="h/1",
            next_position=recipients,
            units=(unit,),
            claimed=frozenset({key} if in_memory else ()),
            assigned=tuple((each.position, each.recipient, key) for each in queued),
        )
        with self.engine.begin() as connection:
            enqueue(connection, plan)
        if in_memory:
            self.memory[key] = unit
        self.people.update((stored.id, each.position) for each in queued)

    @rule(hop=st.sampled_from(HOPS))
    def load(self, hop: str) -> None:
        with self.engine.begin() as connection:
            self.memory.update((unit.key, unit) for unit in claim_due(connection, hop, FOREVER_MS, 2))

    @rule(answers=ANSWERS, final=st.sampled_from([OK, OK, OK, LATER, NO]))
    def answered(self, answers: list[Reply], final: Reply) -> None:
        if self.memory:
            self.attempt(self.memory.pop(min(self.memory)), answers, final)

    @rule(answers=ANSWERS)
    def answer_is_lost(self, answers: list[Reply]) -> None:
        if self.memory:
            unit = self.memory.pop(max(self.memory))
            attempt = self.receivers[unit.hop].take(unit, answers, OK)
            self.broken(unit, unknown=bool(attempt.final))

    @rule()
    def broken_before(self) -> None:
        if self.memory:
            self.broken(self.memory.pop(min(self.memory)), unknown=False)

    @rule(answers=ANSWERS, sent=st.booleans())
    def killed(self, answers: list[Reply], sent: bool) -> None:
        """In the middle of an attempt whose outcome is not committed."""
        if sent and self.memory:
            unit = self.memory[min(self.memory)]
            self.receivers[unit.hop].take(unit, answers, OK)
        self.memory.clear()
        with self.engine.begin() as connection:
            recover(connection, FOREVER_MS)

    @rule()
    def stopped(self) -> None:
        with self.engine.begin() as connection:
            unclaim(connection, list(self.memory))
        self.memory.clear()
        with self.engine.begin() as connection:
            recover(connection, FOREVER_MS)

    @rule(hop=st.sampled_from(HOPS))
    def handed_over(self, hop: str) -> None:
        """The hop is down for certain: what it surely has not taken goes to the other."""
        other = HOPS[1 - HOPS.index(hop)]
        movable = [unit for unit in self.memory.values() if unit.hop == hop and not unit.pinned]
        with self.engine.begin() as connection:
            redirect(connection, [unit.key for unit in movable], hop, other, ",".join(GROUP), ())
        for unit in movable:
            self.memory[unit.key] = msgspec.structs.replace(unit, hop=other)

    def attempt(self, unit: Unit, answers: list[Reply], final: Reply) -> None:
        attempt = self.receivers[unit.hop].take(unit, answers, final)
        results = judge(unit, attempt)
        left = rest_of(unit, results, attempt, now_ms=2, delay_ms=lambda n: n, new_key=self.new_key)
        for result in results:
            person = (unit.message.id, result.recipient.position)
            if result.verdict == "failed":
                self.failed[person] += 1
            elif result.verdict == "relayed":
                self.relayed[person] += 1
        ended = tuple(r.recipient.position for r in results if r.verdict != "deferred")
        self.commit(Conclusion(unit=unit, ended=ended, left=left))

    def broken(self, unit: Unit, *, unknown: bool) -> None:
        attempt = Attempt(broken="gone", unknown=unknown)
        left = unknown_rest(unit, attempt, now_ms=2, next_ms=3, pin=unit.pinned or unknown)
        self.commit(Conclusion(unit=unit, left=left))

    def commit(self, conclusion: Conclusion) -> None:
        with self.engine.begin() as connection:
            assert conclude(connection, conclusion) is not None
        with self.engine.begin() as connection:
            assert conclude(connection, conclusion) is None or conclusion.left is not None

    @invariant()
    def nobody_ends_twice(self) -> None:
        for person in self.people:
            assert self.failed[person] + self.relayed[person] <= 1

    def teardown(self) -> None:
        try:
            self.memory.clear()
            with self.engine.begin() as connection:
                recover(connection, FOREVER_MS)
            while True:
                for hop in HOPS:
                    self.load(hop)
                if not self.memory:
                    break
                while self.memory:
                    self.attempt(self.memory.pop(min(self.memory)), [OK], OK)
            got = sum((receiver.got for receiver in self.receivers.values()), Counter[Person]())
            for person in self.people:
                assert (got[person], self.relayed[person], self.failed[person]) in ((1, 1, 0), (0, 0, 1))
            with self.engine.begin() as connection:
                for table in (MESSAGES, RECIPIENTS, UNITS, CONTENTS.contents):
                    assert connection.execute(select(func.count()).select_from(table)).scalar() == 0
        finally:
            self.engine.dispose()
            self.folder.cleanup()


Queue.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestQueue = Queue.TestCase
