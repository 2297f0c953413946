"""A hub's queue that dies at any point, against a model: receiving, categorizing, delivering and sweeping in
whatever order, each commit whole or not at all, and every recipient ends once.

What the categorizer and the sweep read, they write a moment later, and others come between.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from sqlalchemy import Engine

from foundation.database.engine import open_engine, prepare_schema, sqlite_url
from foundation.database.spool import Spool
from foundation.database.writer import Writer
from foundation.interfaces.tracking import TrackingEvent
from foundation.mail.envelope import Recipient, Sender
from foundation.smtp.reply import Reply
from hubtransport.delivery.outcome import Attempt, judge, rest_of, unknown_rest
from hubtransport.queues import delivery
from hubtransport.queues.arrival import Accepted, Arrival, accept
from hubtransport.queues.delivery import Conclusion, Enqueue, Reports
from hubtransport.queues.records import QueuedMessage, QueuedRecipient, Unit
from hubtransport.queues.submission import load
from hubtransport.queues.tables import METADATA, REVISION
from tests.harness import queue_model as models
from tests.harness.crash_machine import CrashMachine, crashes
from tests.harness.crashing import Crash, InlineExecutor
from tests.harness.next_hop import NextHop
from tests.harness.queue_model import EXPIRING, OUTSIDE, Person, QueueModel, broken_rules, observed

GROUP = ("hub-1", "hub-2")
HUBS = ("hub::hub-1", "hub::hub-2")
HOPS = (*HUBS, OUTSIDE)
EXPIRED_MS, FOREVER_MS = 1000, 10**15
OK, LATER, NO = Reply.of(250, "2.0.0", "ok"), Reply.of(450, "4.2.0", "later"), Reply.of(550, "5.1.1", "no")
MOVED = Reply.of(450, "4.1.6", "moved")

replies = st.lists(st.sampled_from([OK, OK, LATER, NO, MOVED]), min_size=1, max_size=3)
finals = st.sampled_from([OK, OK, LATER, NO])
fates = st.lists(st.sampled_from([*HOPS, "fails", "is merged", "is a group"]), min_size=1, max_size=4)
at_once = st.lists(st.sampled_from([*HOPS, "is merged"]), min_size=1, max_size=4).filter(
    lambda fates: any(fate in HOPS for fate in fates)
)
hops = st.sampled_from(HOPS)


class QueueMachine(CrashMachine[QueueModel]):
    def __init__(self) -> None:
        self.next_hops = {hop: NextHop(keeps_keys=hop != OUTSIDE) for hop in HOPS}
        self.numbers = count(1)
        self.possible_doubles: Counter[Person] = Counter()
        """Outside, where the answer to a transfer was lost (RFC 1047)."""
        self.categorizing: list[QueuedMessage] = []
        self.memory: dict[str, Unit] = {}
        self.engine: Engine
        self.writer: Writer
        super().__init__(QueueModel())

    def open(self) -> None:
        self.engine = open_engine(sqlite_url(self.files.file))
        prepare_schema(self.engine, METADATA, "hub", REVISION)
        self.files.listen(self.engine)
        self.writer = Writer(self.engine, InlineExecutor())

    async def close(self) -> None:
        await self.writer.close()
        self.engine.dispose()

    async def recover(self) -> None:
        self.memory.clear()
        self.categorizing.clear()
        await self.writer.run(lambda connection: delivery.recover(connection, FOREVER_MS))

    def observed(self) -> dict[str, Any]:
        return self.read(observed)  # type: ignore[no-any-return]

    def read(self, query: Any) -> Any:
        with self.engine.connect() as connection, connection.begin():
            return query(connection)

    def name(self, kind: str) -> str:
        return f"{kind}-{next(self.numbers):06d}"

    @initialize(fates=fates)
    def begin(self, fates: list[str]) -> None:
        for number in range(4):
            self.receive(number, None)
        self.take_up()
        self.categorize(fates, True, None)
        self.categorize([HUBS[0], OUTSIDE], False, None)

    # --- in ---

    @rule(number=st.integers(0, 5), crash=crashes)
    def receive(self, number: int, crash: Crash | None) -> None:
        """Also again under a key that came before."""
        recipients, key = 1 + number % 4, f"in-{number}"
        message = new_message(f"{EXPIRING if number % 2 else 'lasting-'}{number}", recipients)

        async def work() -> bool:
            with Spool.of(b"mail") as spool:
                arrival = Arrival(message=message, key=key)
                stored = await self.writer.run(lambda connection: accept(connection, arrival, None, spool))
            return isinstance(stored, Accepted)

        self.do(work, lambda model: model.accept(key, message.entry_id, recipients), crash)

    @rule(number=st.integers(0, 5), fates=at_once, in_memory=st.booleans(), crash=crashes)
    def receive_decided(self, number: int, fates: list[str], in_memory: bool, crash: Crash | None) -> None:
        """The categorizer could say at once what becomes of it."""
        message, key = (
            new_message(f"{EXPIRING if number % 2 else 'lasting-'}{number}", len(fates)),
            f"in-{number}",
        )
        fate = dict(zip(range(len(fates)), fates, strict=True))
        going = {hop: [q for q in message.recipients if fate[q.position] == hop] for hop in HOPS}
        units = [self.unit(message, hop, tuple(queued)) for hop, queued in going.items() if queued]
        claimed = frozenset(unit.key for unit in units if in_memory)
        decided = Enqueue(
            message=msgspec.structs.replace(message, recipients=()),
            assessed="h/1",
            next_position=message.next_position,
            units=tuple(units),
            claimed=claimed,
        )
        routed: list[Unit] = []

        async def work() -> bool:
            with Spool.of(b"mail") as spool:
                arrival = Arrival(message=message, key=key)
                stored = await self.writer.run(lambda connection: accept(connection, arrival, decided, spool))
            if isinstance(stored, Accepted):
                routed.extend(stored.units)
            return isinstance(stored, Accepted)

        def expect(model: QueueModel) -> bool:
            if not model.accept(key, message.entry_id, len(fates)):
                return False
            made = {
                unit.key: models.Unit(message.entry_id, positions(unit), unit.hop, claimed=in_memory)
                for unit in units
            }
            model.enqueue(message.entry_id, made, [], [at for at, what in fate.items() if what not in HOPS])
            return True

        if self.do(work, expect, crash) and in_memory:
            self.memory.update((unit.key, unit) for unit in routed)

    # --- the categorizer ---

    def take_up(self) -> None:
        known = {message.id for message in self.categorizing}
        found = self.read(lambda connection: load(connection, 0, 100))
        self.categorizing += [message for message in found if message.id not in known]

    @rule(fates=fates, in_memory=st.booleans(), rerouted=hops, meanwhile=st.none() | hops, crash=crashes)
    def decide(
        self, fates: list[str], in_memory: bool, rerouted: str, meanwhile: str | None, crash: Crash | None
    ) -> None:
        """`meanwhile`: units of this next hop come back while the categorizer has messages in hand."""
        if not self.categorizing:
            self.take_up()
        if not self.categorizing:
            self.sweep(rerouted, False, None)
            self.take_up()
        if meanwhile is not None:
            self.sweep(meanwhile, False, None)
        if self.categorizing:
            self.categorize(fates, in_memory, crash)

    def categorize(self, fates: list[str], in_memory: bool, crash: Crash | None) -> None:
        message = self.categorizing.pop(0)
        fate = {q.position: fates[number % len(fates)] for number, q in enumerate(message.recipients)}
        groups = [at for at, what in fate.items() if what == "is a group"]
        added = [new_recipient(message.next_position + number) for number in range(len(groups))]
        going = {hop: [q for q in message.recipients if fate[q.position] == hop] for hop in HOPS}
        going[HUBS[0]] += added
        units = [self.unit(message, hop, tuple(queued)) for hop, queued in going.items() if queued]
        keys = {q.position: unit.key for unit in units for q in unit.recipients}
        ended = tuple(at for at, what in fate.items() if what not in HOPS)
        reports = self.reports(message, "fails" in fate.values())
        plan = Enqueue(
            message=msgspec.structs.replace(message, recipients=()),
            assessed="h/1",
            next_position=message.next_position + len(added),
            units=tuple(units),
            claimed=frozenset(unit.key for unit in units if in_memory),
            assigned=tuple(
                (q.position, q.recipient, keys[q.position]) for q in message.recipients if q.position in keys
            ),
            added=tuple((q, keys[q.position]) for q in added),
            ended=ended,
            reports=reports,
        )

        def expect(model: QueueModel) -> None:
            made = {
                unit.key: models.Unit(message.entry_id, positions(unit), unit.hop, claimed=in_memory)
                for unit in units
            }
            model.enqueue(message.entry_id, made, [q.position for q in added], ended)
            for report, _ in reports:
                model.add(report.entry_id, 1)

        if self.do(lambda: self.writer.run(lambda c: delivery.enqueue(c, plan)), expect, crash) and in_memory:
            self.memory.update((unit.key, unit) for unit in units)

    def unit(self, message: QueuedMessage, hop: str, recipients: tuple[QueuedRecipient, ...]) -> Unit:
        return Unit(
            key=self.name("key"),
            message=msgspec.structs.replace(message, recipients=()),
            recipients=recipients,
            hop=hop,
            group=GROUP if hop in HUBS else (),
            created_at_ms=1,
            expires_at_ms=message.expires_at_ms,
        )

    def reports(self, message: QueuedMessage, wanted: bool) -> Reports:
        """To the sender, where there is one."""
        if not wanted or not message.sender.address:
            return ()
        return ((new_message(self.name("report"), 1, sender=""), b"report"),)

    # --- delivery ---

    @rule(hop=hops, crash=crashes)
    def claim(self, hop: str, crash: Crash | None) -> None:
        found: list[Unit] = []

        async def work() -> set[str]:
            found.extend(await self.writer.run(lambda c: delivery.claim_due(c, hop, FOREVER_MS, 100)))
            return {unit.key for unit in found}

        if self.do(work, lambda model: model.claim(hop), crash):
            self.memory.update((unit.key, unit) for unit in found)

    @rule(given=replies, final=finals, hop=hops, crash=crashes)
    def answered(self, given: list[Reply], final: Reply, hop: str, crash: Crash | None) -> None:
        self.deliver(self.in_hand(hop), given, final, crash)

    @rule(given=replies, unread=st.booleans(), hop=hops, crash=crashes)
    def broken(self, given: list[Reply], unread: bool, hop: str, crash: Crash | None) -> None:
        """Before the content was sent, or before its reply was read."""
        unit = self.in_hand(hop)
        unknown = unread and bool(self.next_hops[unit.hop].take(unit, given, OK).final)
        if unknown:
            self.may_be_doubled(unit)
        pin = unknown and unit.hop != OUTSIDE
        attempt = Attempt(broken="gone", unknown=unknown)
        left = unknown_rest(unit, attempt, now_ms=2, next_ms=3, pin=unit.pinned or pin)
        self.conclude(Conclusion(unit=unit, left=left), lambda model: model.unknown(unit.key, pin=pin), crash)

    def in_hand(self, hop: str) -> Unit:
        """One that the process has in memory; one that is made for it, when nothing waits for this hop."""
        if not self.memory:
            self.claim(hop, None)
        if not self.memory:
            number = next(number for number in count() if f"in-{number}" not in self.model.keys)
            self.receive(number, None)
            self.take_up()
            self.categorizing.sort(key=lambda message: message.entry_id.endswith(f"-{number}"), reverse=True)
            self.categorize([hop], True, None)
        return self.memory.pop(min(self.memory))

    def deliver(self, unit: Unit, given: list[Reply], final: Reply, crash: Crash | None) -> None:
        attempt = self.next_hops[unit.hop].take(unit, given, final)
        if crash is not None:
            self.may_be_doubled(unit)
        results = judge(unit, attempt)
        moved = tuple(r for r in results if r.status == "4.1.6" and r.verdict == "deferred")
        rest = [result for result in results if result not in moved]
        new_key = self.name("key")
        left = rest_of(unit, rest, attempt, now_ms=2, delay_ms=lambda n: n, new_key=lambda: new_key)
        said = {
            q.position: attempt.final[0] if reply.positive else reply
            for q, reply in zip(unit.recipients, attempt.recipients, strict=True)
        }
        failed = tuple(at for at, reply in said.items() if reply == NO)
        waits = tuple(at for at, reply in said.items() if reply == LATER)
        again = tuple(at for at, reply in said.items() if reply == MOVED)
        same = len(waits) == len(said) and not attempt.final
        reports = self.reports(unit.message, bool(failed))

        def expect(model: QueueModel) -> None:
            model.conclude(
                unit.key,
                {unit.key if same else new_key: waits} if waits else {},
                failed=failed,
                moved=again,
                report=reports[0][0].entry_id if reports else "",
            )

        conclusion = Conclusion(
            unit=unit,
            ended=tuple(r.recipient.position for r in rest if r.verdict != "deferred"),
            left=left,
            resubmitted=tuple(r.recipient.position for r in moved),
            reports=reports,
        )
        self.conclude(conclusion, expect, crash)

    def conclude(self, conclusion: Conclusion, expect: Any, crash: Crash | None) -> bool:
        return self.do(lambda: self.writer.run(lambda c: delivery.conclude(c, conclusion)), expect, crash)

    def may_be_doubled(self, unit: Unit) -> None:
        if unit.hop == OUTSIDE:
            self.possible_doubles.update((unit.message.entry_id, at) for at in positions(unit))

    @rule(crash=crashes)
    def hand_back(self, crash: Crash | None) -> None:
        keys = sorted(self.memory)
        self.memory.clear()
        if not keys:
            return
        self.do(
            lambda: self.writer.run(lambda c: delivery.unclaim(c, keys)),
            lambda model: model.unclaim(keys),
            crash,
        )

    @rule(at=st.integers(0, 1), crash=crashes)
    def redirect(self, at: int, crash: Crash | None) -> None:
        """A hub is down for certain: what it surely has not taken goes to the other one."""
        from_hop, to_hop = HUBS[at], HUBS[1 - at]
        free = [unit for unit in self.memory.values() if unit.hop == from_hop and not unit.pinned]
        keys = [unit.key for unit in free]
        group = ",".join(GROUP)

        async def work() -> None:
            await self.writer.run(lambda c: delivery.redirect(c, keys, from_hop, to_hop, group, ()))

        if self.do(work, lambda model: model.redirect(keys, from_hop, to_hop), crash):
            self.memory.update((unit.key, msgspec.structs.replace(unit, hop=to_hop)) for unit in free)

    # --- the sweep ---

    @rule(hop=st.none() | hops, claimed=st.booleans(), crash=crashes)
    def sweep(self, hop: str | None, claimed: bool, crash: Crash | None) -> None:
        """What is too old goes, or what waits for a next hop is routed anew. `claimed`: it was taken into
        memory since it was looked for."""
        found = self.look(hop)
        if claimed:
            for each in HOPS if hop is None else (hop,):
                self.claim(each, None)
        for unit in found:
            if not self.swept(unit, crash, expired=hop is None):
                return

    def look(self, hop: str | None) -> list[Unit]:
        found: list[Unit]
        if hop is None:
            found = self.read(lambda c: delivery.expired(c, EXPIRED_MS, 100))
            assert {unit.key for unit in found} == self.model.expirable()
        else:
            pattern = delivery.exactly(hop)
            last = self.read(lambda c: delivery.last_stored(c, pattern))
            found = self.read(lambda c: delivery.stored_units(c, pattern, last, 100))
            assert {unit.key for unit in found} == self.model.free_units(hop)
        return found

    def swept(self, unit: Unit, crash: Crash | None, *, expired: bool) -> bool:
        if expired:
            reports = self.reports(unit.message, True)
            told = reports[0][0].entry_id if reports else ""
            conclusion = Conclusion(unit=unit, ended=positions(unit), reports=reports, stored=True)
            return self.conclude(conclusion, lambda model: model.expire(unit.key, told), crash)
        event = TrackingEvent(event="RESUBMIT", source="QUEUE", at_ms=1, server="hub")
        return self.do(
            lambda: self.writer.run(lambda c: delivery.resubmit(c, [unit], [event], stored=True)),
            lambda model: model.resubmit(unit.key),
            crash,
        )

    # --- what always holds ---

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        assert self.observed() == self.model.state()
        assert not self.read(broken_rules)

    @invariant()
    def nobody_ends_twice(self) -> None:
        for person, times in (self.got() + self.model.ended).items():
            assert times <= 1 + self.possible_doubles[person], person

    def got(self) -> Counter[Person]:
        return sum((hop.got for hop in self.next_hops.values()), Counter())

    def teardown(self) -> None:
        """Once next hops take everything, everybody has ended, and nothing is left."""
        try:
            self.live_again([self.model])
            while self.model.messages:
                self.take_up()
                while self.categorizing:
                    self.categorize([HUBS[0]], True, None)
                for hop in HOPS:
                    self.claim(hop, None)
                while self.memory:
                    self.deliver(self.memory.pop(min(self.memory)), [OK], OK, None)
            self.nobody_ends_twice()
            ends = self.got() + self.model.ended
            assert all(ends[person] for person in self.model.people)
            assert self.observed() == {**QueueModel().state(), "keys": self.model.keys}
            assert not self.read(lambda c: c.exec_driver_sql("SELECT id FROM contents").all())
        finally:
            self.end()


def new_message(entry: str, recipients: int, sender: str = "s@x.test") -> QueuedMessage:
    return QueuedMessage(
        entry_id=entry,
        network_message_id=f"network-{entry}",
        sender=Sender(address=sender),
        content_bytes=4,
        content_sha256="",
        received_at_ms=1,
        expires_at_ms=EXPIRED_MS if entry.startswith(EXPIRING) else FOREVER_MS,
        next_position=recipients,
        recipients=tuple(new_recipient(at) for at in range(recipients)),
    )


def new_recipient(at: int) -> QueuedRecipient:
    return QueuedRecipient(
        position=at, recipient=Recipient(address=f"u{at}@x.test"), original=f"u{at}@x.test"
    )


def positions(unit: Unit) -> tuple[int, ...]:
    return tuple(queued.position for queued in unit.recipients)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
