"""A mailbox store that dies at any point, against a model: whatever is delivered, submitted, handed over and
changed in whatever order, each operation is done whole or not at all, and nothing is lost or doubled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from sqlalchemy import text

from foundation.database.spool import Spool
from foundation.interfaces.mailbox_store import FlagChange
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.client import ConnectionBroken
from foundation.smtp.command import MailCommand
from foundation.smtp.reply import Reply
from foundation.smtp.sending import SendResult
from mailboxstore.database import mailboxes, units
from mailboxstore.database.units import Unit
from mailboxstore.outbox.agent import OutboxAgent
from mailboxstore.outbox.hubs import Hub
from mailboxstore.outbox.reports import Reports
from mailboxstore.outbox.retry import Backoff
from tests.harness.crash_machine import CrashMachine, crashes
from tests.harness.crashing import Crash, InlineExecutor
from tests.harness.fake_hub import FakeHub, FakeLane
from tests.harness.store_model import (
    REPORTS,
    Item,
    Model,
    Operation,
    Verdict,
    broken_rules,
    first_folders,
    observed,
)
from tests.unit.mailboxstore.bench import ALICE, BOB, Bench, message, open_bench

ME = ALICE.mailbox_id
HUBS = ("hub-a", "hub-b")
OK, LATER, NO = Reply.of(250, "2.0.0", "ok"), Reply.of(450, "4.2.0", "later"), Reply.of(550, "5.1.1", "no")
VERDICTS: dict[int, Verdict] = {250: "taken", 450: "deferred", 550: "failed"}
FOLDERS = ("INBOX", "Outbox", "Sent", "A", "C")
SENT_TO = ("bob@example.org", "carol@example.org", "friend@elsewhere.example")
TO_BOTH = (ALICE.recipient_id, ME), (BOB.recipient_id, BOB.mailbox_id)
# Of one message come two transfers with a recipient in common, as after a merge that was missed.
TRANSFERS = tuple((f"network-in-{n // 2}", TO_BOTH if n % 2 else TO_BOTH[:1]) for n in range(6))

names = st.sampled_from(FOLDERS)
which = st.sets(st.integers(0, 5), min_size=1, max_size=3)
"""Messages of a folder, counted from its first."""
answers = st.lists(st.sampled_from([OK, OK, LATER, NO]), min_size=1, max_size=3)


def verdicts_of(unit: Unit, result: SendResult) -> dict[str, Verdict]:
    final = result.final[0] if result.final else OK
    replies = [final if reply.positive else reply for reply in result.recipients]
    return dict(zip(unit.addresses, (VERDICTS[reply.code] for reply in replies), strict=True))


class StoreMachine(CrashMachine[Model]):
    def __init__(self) -> None:
        self.hubs = {name: FakeHub() for name in HUBS}
        self.memory: dict[str, Unit] = {}
        """Claimed by the process that runs."""
        self.highest: dict[tuple[str, str], int] = {}
        self.serial = 0
        self.bench: Bench
        super().__init__(Model(ME))

    def open(self) -> None:
        async def made() -> Bench:
            return open_bench(self.files.folder, executor=lambda name, threads: InlineExecutor())

        self.bench = bench = self.run(made())
        self.files.listen(bench.engine)
        bench.clock.at_ms += self.serial * 1000
        self.agent = OutboxAgent(
            bench.database,
            [Hub(name, "127.0.0.1", 1) for name in HUBS],
            self.connect,
            Reports(bench.database, "store.example.org", REPORTS),
            bench.notifications.publish,
            bench.world,
            backoff=Backoff(0.01, 0.02, lambda low, high: 1.0),
            delay_notice_ms=10**9,
        )

    async def close(self) -> None:
        await self.bench.close()

    async def recover(self) -> None:
        self.memory.clear()
        await self.bench.database.writer.run(lambda connection: units.recover(connection, HUBS))

    def observed(self) -> dict[str, Any]:
        return self.read(observed)  # type: ignore[no-any-return]

    async def connect(self, hub: Hub) -> FakeHub:
        return self.hubs[hub.name]

    def chosen(self, name: str, numbers: set[int]) -> tuple[str, set[int]]:
        """A folder that is there, and UIDs that are in it."""
        name = name if name in self.model.folders else "INBOX"
        there = sorted(self.model.folders[name].messages)
        return name, {there[number % len(there)] for number in numbers if there}

    def do(
        self, work: Callable[[], Awaitable[Any]], expect: Callable[[Model], Any], crash: Crash | None
    ) -> bool:
        self.serial += 1
        self.bench.clock.advance(1)
        return super().do(work, expect, crash)

    def read(self, query: Callable[..., Any]) -> Any:
        return self.run(self.bench.database.readers.run(query))

    @initialize()
    def begin(self) -> None:
        self.run(self.bench.store.folders(ME))
        self.model.mailboxes[ME] = first_folders()
        self.create("A", None)
        for name in ("INBOX", "INBOX", "A"):
            self.append(name, 0, None)

    # --- mail comes in and goes out ---

    @rule(number=st.integers(0, len(TRANSFERS) - 1), crash=crashes)
    def deliver(self, number: int, crash: Crash | None) -> None:
        network, to = TRANSFERS[number]
        key, name = f"transfer-{number}", f"{network}@mail.example"

        async def work() -> list[str]:
            bench = self.bench
            session = bench.delivery()
            transfer = Transfer(network_message_id=network, transfer_key=key)
            await session.mail(MailCommand(sender=Sender(address="a@example.org"), transfer=transfer))
            for recipient_id, _ in to:
                address = bench.directory.users[recipient_id].address
                await session.recipient(Recipient(address=address, recipient_id=recipient_id))
            with Spool.of(message(network, name)) as content:
                replies = await session.message(content)
            return [str(reply.code) for reply in replies]  # type: ignore[union-attr]

        self.do(work, lambda model: model.deliver(key, network, to, name), crash)

    @rule(number=st.integers(0, 5), at_once=st.booleans(), crash=crashes)
    def submit(self, number: int, at_once: bool, crash: Crash | None) -> None:
        """Also again under a key that came before."""
        key, turns = f"key-{number}", self.bench.turns
        turns.state = "active" if at_once else "ready"
        taken = len(turns.units)
        to = recipients_of(key)
        content = message(f"network-{key}", f"{key}@mail.example")
        recipients = tuple(Recipient(address=address) for address in to)
        alive = self.do(
            lambda: self.bench.submit(content, key, recipients=recipients),
            lambda model: model.submit(key, f"network-{key}", f"{key}@mail.example", to, turns.state),
            crash,
        )
        if alive and at_once:
            self.memory.update((unit.network_message_id, unit) for unit in turns.units[taken:])

    @rule(hub=st.sampled_from(HUBS), others_away=st.booleans(), crash=crashes)
    def claim(self, hub: str, others_away: bool, crash: Crash | None) -> None:
        found: tuple[Unit, ...] = ()
        away = [name for name in HUBS if name != hub] if others_away else []
        now_ms = self.bench.clock.now_ms() + 2000

        async def work() -> set[str]:
            nonlocal found
            found = await self.bench.database.writer.run(
                lambda connection: units.claim_due(connection, hub, away, now_ms, now_ms, 100)
            )
            return {unit.network_message_id for unit in found}

        if self.do(work, lambda model: model.claim(hub, others_away), crash):
            self.memory.update((unit.network_message_id, unit) for unit in found)

    @rule(
        replies=answers,
        final=st.sampled_from([OK, OK, LATER, NO]),
        hub=st.sampled_from(HUBS),
        crash=crashes,
    )
    def answered(self, replies: list[Reply], final: Reply, hub: str, crash: Crash | None) -> None:
        self.something_in_hand(hub)
        self.hand_over(replies, final, "", crash)

    @rule(
        replies=answers,
        cut=st.sampled_from(["before", "unread", "unread"]),
        hub=st.sampled_from(HUBS),
        crash=crashes,
    )
    def broken(self, replies: list[Reply], cut: str, hub: str, crash: Crash | None) -> None:
        self.something_in_hand(hub)
        self.hand_over(replies, OK, cut, crash)

    def something_in_hand(self, hub: str) -> None:
        if not self.memory:
            self.claim(hub, False, None)
        if not self.memory:
            fresh = next(number for number in count() if f"key-{number}" not in self.model.submitted)
            self.submit(fresh, True, None)

    def hand_over(self, replies: list[Reply], final: Reply, cut: str, crash: Crash | None) -> None:
        """`cut`: the connection breaks before the content was sent, or before its reply was read."""
        unit = self.memory.pop(min(self.memory))
        hub, network = self.hubs[unit.target], unit.network_message_id
        result = None if cut == "before" else hub.answer(unit, replies, final)
        unknown = cut == "unread" and result is not None and bool(result.final)

        def say() -> SendResult:
            if unknown or result is None:
                raise ConnectionBroken("cut", outcome_unknown=unknown)
            return result

        def expect(model: Model) -> None:
            if unknown:
                model.outcome_unknown(network)
            elif result is None:
                model.settle(network, dict.fromkeys(unit.addresses, "deferred"))
            else:
                model.settle(network, verdicts_of(unit, result))

        async def work() -> None:
            hub.next = say
            await self.agent.attempt(FakeLane(unit.target), None, unit)  # type: ignore[arg-type]
            self.agent._taken._begin()
            await asyncio.gather(*self.agent._taken._writing)

        self.do(work, expect, crash)

    # --- what the user does ---

    @rule(name=names, flags=st.integers(0, 31), crash=crashes)
    def append(self, name: str, flags: int, crash: Crash | None) -> None:
        identifier = f"append-{self.serial}@mail.example"
        self.do(
            lambda: self.bench.append(message("Appended", identifier), name, flags=flags),
            lambda model: model.append(name, Item(identifier, flags)),
            crash,
        )

    @rule(
        name=names,
        which=which,
        operation=st.sampled_from(("add", "remove", "replace")),
        flags=st.integers(0, 31),
        crash=crashes,
    )
    def flag(self, name: str, which: set[int], operation: Operation, flags: int, crash: Crash | None) -> None:
        name, uids = self.chosen(name, which)

        async def work() -> list[int]:
            change = FlagChange(operation=operation, flags=flags, keywords=())
            folder_id = await self.bench.folder_id(name)
            outcome = await self.bench.store.change_flags(ME, folder_id, ranges(uids), change)
            return [entry.uid for entry in outcome.updated]

        self.do(work, lambda model: model.change_flags(name, uids, operation, flags), crash)

    @rule(name=names, goal=names, which=which, moves=st.booleans(), crash=crashes)
    def copy_or_move(self, name: str, goal: str, which: set[int], moves: bool, crash: Crash | None) -> None:
        name, uids = self.chosen(name, which)

        async def work() -> list[int]:
            store = self.bench.store
            call = store.move if moves else store.copy
            done = await call(ME, await self.bench.folder_id(name), ranges(uids), goal)
            return list(done.target_uids)

        def expect(model: Model) -> list[int]:
            return model.move(name, uids, goal) if moves else model.copy(name, uids, goal)

        self.do(work, expect, crash)

    @rule(name=names, which=which, deleted_only=st.booleans(), crash=crashes)
    def expunge(self, name: str, which: set[int], deleted_only: bool, crash: Crash | None) -> None:
        name, uids = self.chosen(name, which)

        async def work() -> list[int]:
            folder_id = await self.bench.folder_id(name)
            return list(await self.bench.store.expunge(ME, folder_id, ranges(uids), deleted_only))

        self.do(work, lambda model: model.expunge(name, uids, deleted_only), crash)

    @rule(
        what=st.sampled_from(("create", "delete", "rename")),
        name=st.sampled_from(FOLDERS[2:]),
        new=st.sampled_from(("A", "C")),
        crash=crashes,
    )
    def folders(self, what: str, name: str, new: str, crash: Crash | None) -> None:
        store = self.bench.store
        if what == "create":
            self.create(name, crash)
        elif what == "delete":
            self.do(lambda: store.delete_folder(ME, name), lambda model: model.delete(name), crash)
        else:
            self.do(lambda: store.rename_folder(ME, name, new), lambda model: model.rename(name, new), crash)

    def create(self, name: str, crash: Crash | None) -> None:
        async def work() -> None:
            await self.bench.store.create_folder(ME, name)

        self.do(work, lambda model: model.create(name), crash)

    @rule(stopped=st.booleans(), crash=crashes)
    def upkeep(self, stopped: bool, crash: Crash | None) -> None:
        """Emails that nobody shows any more go, and nobody notices; or a stop in order, and a start."""
        database = self.bench.database

        async def work() -> None:
            await database.writer.run(lambda c: mailboxes.collect_emails(c, database.contents))

        if stopped:
            self.live_again([self.model])
        else:
            self.do(work, lambda model: None, crash)

    # --- what always holds ---

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        assert self.observed() == self.model.state()
        assert not self.read(broken_rules)

    @invariant()
    def numbers_only_rise(self) -> None:
        """Over crashes, too: what was committed was seen by clients."""
        for table, key, column in (
            ("mailboxes", "mailbox_id", "modseq"),
            ("mailboxes", "mailbox_id", "last_uid_validity"),
            ("folders", "folder_id", "uid_next"),
            ("folders", "folder_id", "highest_modseq"),
        ):
            statement = text(f"SELECT {key}, {column} FROM {table}")
            for of, value in self.read(lambda c, statement=statement: c.execute(statement).all()):
                assert value >= self.highest.get((of, column), 0)
                self.highest[of, column] = value

    @invariant()
    def no_hub_gets_twice(self) -> None:
        assert max(self.got().values(), default=0) <= 1

    def got(self) -> Counter[tuple[str, str]]:
        return sum((hub.got for hub in self.hubs.values()), Counter())

    def teardown(self) -> None:
        """Once hubs take everything, every recipient of what was submitted ended in one way."""
        try:
            self.live_again([self.model])
            for hub in HUBS * 3:  # who was deferred by a lost answer has another turn, in a new unit
                self.claim(hub, False, None)
                while self.memory:
                    self.hand_over([OK], OK, "", None)
            assert not self.model.units
            self.the_database_says_what_the_model_says()
            ways = self.got() + self.model.ended
            for key in self.model.submitted:
                for address in recipients_of(key):
                    assert ways[f"network-{key}", address] == 1, (key, address)
        finally:
            self.end()


def recipients_of(submission: str) -> tuple[str, ...]:
    return SENT_TO[: 1 + int(submission.removeprefix("key-")) % len(SENT_TO)]


def ranges(uids: set[int]) -> tuple[tuple[int, int], ...]:
    return tuple((uid, uid) for uid in sorted(uids))


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
