"""The writer: nothing is answered before its commit, and nobody is taken along by another's failure."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import IntegrityError

from foundation.database.engine import open_engine, sqlite_url
from foundation.database.writer import UNITS_A_COMMIT, Writer
from foundation.mail.errors import MailError
from tests.unit.foundation.database.notes import Notes


class Gate:
    """A unit that holds the writer until it is opened, so that others wait for the next commit."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()

    def __call__(self, connection: Connection) -> None:
        self._loop.call_soon_threadsafe(self.entered.set)
        assert self._open.wait(20)

    def open(self) -> None:
        self._open.set()


class Commits:
    def __init__(self, engine: Engine) -> None:
        self.count = 0
        event.listen(engine, "commit", self._commit)

    def _commit(self, connection: Connection) -> None:
        self.count += 1


async def group(
    notes: Notes, writer: Writer, units: list[Callable[[Connection], object]]
) -> list[object | BaseException]:
    """Has the units committed as one group."""
    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await gate.entered.wait()
    tasks = [asyncio.create_task(writer.run(unit)) for unit in units]
    await asyncio.sleep(0)
    assert writer.waiting == len(units)
    gate.open()
    await first
    return list(await asyncio.gather(*tasks, return_exceptions=True))


async def test_committed_when_answered(notes: Notes, writer: Writer) -> None:
    assert await writer.run(lambda connection: notes.add(connection, "a")) == "a"
    assert notes.seen() == ["a"]


async def test_what_waits_is_committed_together(notes: Notes, writer: Writer) -> None:
    commits = Commits(notes.engine)
    count = UNITS_A_COMMIT + 5
    units = [lambda connection, n=n: notes.add(connection, f"{n:03}") for n in range(count)]
    await group(notes, writer, units)
    assert notes.seen() == [f"{n:03}" for n in range(count)]
    assert commits.count == 3
    assert writer.waiting == 0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time alone commits nothing."""
    monkeypatch.setattr("foundation.database.writer.LAZY_SECONDS", 1000)


async def lazy(notes: Notes, writer: Writer, *texts: str) -> list[asyncio.Task[str]]:
    """Units that nobody waits for, handed in."""
    tasks = [
        asyncio.create_task(writer.run(lambda connection, text=text: notes.add(connection, text), lazy=True))
        for text in texts
    ]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.usefixtures("patient")
async def test_a_lazy_unit_goes_with_the_next_commit(notes: Notes, writer: Writer) -> None:
    commits = Commits(notes.engine)
    tasks = await lazy(notes, writer, "a", "b")
    assert writer.waiting == 2
    await writer.run(lambda connection: notes.add(connection, "c"))
    assert [await task for task in tasks] == ["a", "b"]
    assert notes.seen() == ["a", "b", "c"]
    assert commits.count == 1


@pytest.mark.usefixtures("patient")
async def test_a_lazy_unit_that_comes_during_a_commit_begins_none(notes: Notes, writer: Writer) -> None:
    commits = Commits(notes.engine)
    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await gate.entered.wait()
    (task,) = await lazy(notes, writer, "a")
    gate.open()
    await first
    assert (writer.waiting, commits.count) == (1, 1)
    await writer.close()
    assert task.done()
    assert notes.seen() == ["a"]


async def test_a_lazy_unit_is_committed_after_a_while_by_itself(notes: Notes, writer: Writer) -> None:
    for text in ("a", "b"):
        (task,) = await lazy(notes, writer, text)
        async with asyncio.timeout(20):
            assert await task == text
    assert notes.seen() == ["a", "b"]


async def test_time_that_was_for_others_hurries_no_lazy_unit(notes: Notes, writer: Writer) -> None:
    (task,) = await lazy(notes, writer, "a")
    await writer.run(lambda connection: notes.add(connection, "b"))
    await task
    assert writer._timer is not None
    writer._timer.cancel()
    writer._time_is_over()
    (late,) = await lazy(notes, writer, "c")
    assert writer._task is None
    assert await late == "c"


@pytest.mark.usefixtures("patient")
async def test_a_whole_group_of_lazy_units_does_not_wait(notes: Notes, writer: Writer) -> None:
    texts = [f"{number:03}" for number in range(UNITS_A_COMMIT)]
    tasks = await lazy(notes, writer, *texts)
    assert [await task for task in tasks] == texts
    assert notes.seen() == texts


async def test_a_failing_unit_takes_nobody_along(notes: Notes, writer: Writer) -> None:
    def refuse(connection: Connection) -> None:
        notes.add(connection, "gone")
        raise MailError(552, "5.2.2", "The mailbox is full", "OVERQUOTA")

    def twice(connection: Connection) -> None:
        notes.add(connection, "gone too")
        notes.add(connection, "a")

    def broken(connection: Connection) -> None:
        notes.add(connection, "gone as well")
        raise ValueError("a mistake in a unit")

    outcomes = await group(
        notes,
        writer,
        [
            lambda connection: notes.add(connection, "a"),
            refuse,
            twice,
            broken,
            lambda connection: notes.add(connection, "b"),
        ],
    )
    assert [outcomes[0], outcomes[4]] == ["a", "b"]
    assert isinstance(outcomes[1], MailError)
    assert outcomes[1].reason == "OVERQUOTA"
    assert isinstance(outcomes[2], MailError)
    assert (outcomes[2].code, outcomes[2].status) == (451, "4.3.0")
    assert isinstance(outcomes[2].__cause__, IntegrityError)
    assert isinstance(outcomes[3], ValueError)
    assert notes.seen() == ["a", "b"]


async def test_savepoints_are_for_groups_in_which_a_unit_failed(notes: Notes, writer: Writer) -> None:
    statements: list[str] = []
    runs: list[str] = []

    def listen(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        driver.set_trace_callback(statements.append)

    def add(connection: Connection, text: str) -> str:
        runs.append(text)
        return notes.add(connection, text)

    def refuse(connection: Connection) -> None:
        add(connection, "gone")
        raise MailError(552, "5.2.2", "The mailbox is full", "OVERQUOTA")

    await writer.run(listen)
    await group(notes, writer, [lambda connection, text=text: add(connection, text) for text in "abc"])
    assert runs == ["a", "b", "c"]
    assert not any("SAVEPOINT" in statement for statement in statements)
    await group(notes, writer, [lambda c: add(c, "d"), refuse, lambda c: add(c, "e")])
    assert runs == ["a", "b", "c", "d", "gone", "d", "gone", "e"]
    assert sum(statement.startswith("SAVEPOINT") for statement in statements) == 3
    assert notes.seen() == ["a", "b", "c", "d", "e"]


async def test_a_failing_unit_alone(notes: Notes, writer: Writer) -> None:
    def refuse(connection: Connection) -> None:
        notes.add(connection, "gone")
        raise MailError(550, "5.1.1", "No such mailbox")

    with pytest.raises(MailError, match="No such mailbox"):
        await writer.run(refuse)
    assert await writer.run(lambda connection: notes.add(connection, "a")) == "a"
    assert notes.seen() == ["a"]


async def test_callbacks_come_in_commit_order_before_the_answers(notes: Notes, writer: Writer) -> None:
    said: list[str] = []

    def faulty(text: str) -> None:
        said.append(f"committed {text}")
        raise RuntimeError("a mistake in a callback")

    async def run(text: str) -> None:
        await writer.run(lambda connection: notes.add(connection, text), faulty)
        said.append(f"answered {text}")

    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await gate.entered.wait()
    tasks = [asyncio.create_task(run(text)) for text in "abc"]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *tasks)
    assert said == [f"committed {text}" for text in "abc"] + [f"answered {text}" for text in "abc"]


async def test_no_callback_for_what_failed(notes: Notes, writer: Writer) -> None:
    def refuse(connection: Connection) -> str:
        raise MailError(550, "5.1.1", "No such mailbox")

    said: list[str] = []
    with pytest.raises(MailError):
        await writer.run(refuse, said.append)
    assert said == []


async def test_a_caller_that_goes_away_undoes_nothing(notes: Notes, writer: Writer) -> None:
    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await gate.entered.wait()
    said: list[str] = []
    gone = asyncio.create_task(writer.run(lambda connection: notes.add(connection, "a"), said.append))
    stays = asyncio.create_task(writer.run(lambda connection: notes.add(connection, "b"), said.append))
    await asyncio.sleep(0)
    gone.cancel()
    first.cancel()
    gate.open()
    assert await stays == "b"
    assert said == ["a", "b"]
    assert notes.seen() == ["a", "b"]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_close_commits_what_waits_and_takes_no_more(notes: Notes) -> None:
    writer = Writer(notes.engine, notes.executor)
    task = asyncio.create_task(writer.run(lambda connection: notes.add(connection, "a")))
    await asyncio.sleep(0)
    await writer.close()
    assert await task == "a"
    with pytest.raises(MailError) as caught:
        await writer.run(lambda connection: notes.add(connection, "b"))
    assert caught.value.code == 451
    assert notes.seen() == ["a"]


async def test_too_many_waiting_units_are_refused(
    notes: Notes, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foundation.database.writer.UNITS_WAITING", 1)
    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await gate.entered.wait()
    second = asyncio.create_task(writer.run(lambda connection: notes.add(connection, "a")))
    await asyncio.sleep(0)
    with pytest.raises(MailError) as caught:
        await writer.run(lambda connection: notes.add(connection, "b"))
    assert (caught.value.code, caught.value.status) == (452, "4.3.1")
    gate.open()
    await asyncio.gather(first, second)
    assert notes.seen() == ["a"]


def small(notes: Notes) -> None:
    """Lets the database grow by a few pages only."""

    def limit(driver: sqlite3.Connection, record: object) -> None:
        driver.execute("PRAGMA max_page_count=8")

    event.listen(notes.engine, "connect", limit)
    notes.engine.dispose()


async def test_a_full_database_fails_the_group_and_recovers(notes: Notes, writer: Writer) -> None:
    small(notes)
    outcomes = await group(
        notes,
        writer,
        [
            lambda connection: notes.add(connection, "before"),
            lambda connection: notes.add(connection, "x" * 100_000),
            lambda connection: notes.add(connection, "after"),
        ],
    )
    for outcome in outcomes:
        assert isinstance(outcome, MailError)
        assert (outcome.code, outcome.status) == (452, "4.3.1")
    assert notes.seen() == []
    assert await writer.run(lambda connection: notes.add(connection, "small")) == "small"
    assert notes.seen() == ["small"]


async def test_a_unit_that_hides_a_full_database_is_not_answered_as_done(
    notes: Notes, writer: Writer
) -> None:
    small(notes)

    def hides(connection: Connection) -> None:
        try:
            notes.add(connection, "x" * 100_000)
        except Exception:
            return

    with pytest.raises(MailError) as caught:
        await writer.run(hides)
    assert caught.value.code == 451


async def test_a_database_that_stays_locked_is_451(notes: Notes, writer: Writer) -> None:
    def impatient(driver: sqlite3.Connection, record: object) -> None:
        driver.execute("PRAGMA busy_timeout=1")

    event.listen(notes.engine, "connect", impatient)
    notes.engine.dispose()
    other = sqlite3.connect(notes.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(MailError) as caught:
        await writer.run(lambda connection: notes.add(connection, "a"))
    assert (caught.value.code, caught.value.status) == (451, "4.3.0")
    other.execute("ROLLBACK")
    other.close()
    assert await writer.run(lambda connection: notes.add(connection, "b")) == "b"


async def test_an_input_output_error_in_the_commit_stops_the_writer(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[BaseException] = []
    writer = Writer(notes.engine, notes.executor, failed=failures.append)

    def fail(driver: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    await writer.run(lambda connection: notes.add(connection, "a"))
    with monkeypatch.context() as patch:
        patch.setattr(notes.engine.dialect, "do_commit", fail)
        with pytest.raises(asyncio.CancelledError):  # it may be durable: neither yes nor no is true
            await writer.run(lambda connection: notes.add(connection, "b"))
    assert len(failures) == 1
    with pytest.raises(MailError):
        await writer.run(lambda connection: notes.add(connection, "c"))
    assert notes.seen() == ["a"]
    assert len(failures) == 1
    await writer.close()


async def test_a_closed_executor_answers_everybody(notes: Notes) -> None:
    writer = Writer(notes.engine, notes.executor)
    notes.executor.close()
    with pytest.raises(MailError) as caught:
        await writer.run(lambda connection: notes.add(connection, "a"))
    assert caught.value.code == 451


class InlineExecutor:
    async def run(self, function: Callable[..., object], *arguments: object) -> object:
        return function(*arguments)


async def test_runs_inline(notes: Notes) -> None:
    writer = Writer(notes.engine, InlineExecutor())  # type: ignore[arg-type]
    texts = await asyncio.gather(
        *(writer.run(lambda connection, text=text: notes.add(connection, text)) for text in "abc")
    )
    assert texts == ["a", "b", "c"]
    await writer.close()
    assert notes.seen() == ["a", "b", "c"]


_KILLED = """
import asyncio, os, sys
from pathlib import Path
from sqlalchemy import MetaData
from foundation.database.content import Contents, content_tables
from foundation.database.engine import open_engine, prepare_schema, sqlite_url
from foundation.database.spool import Spool
from foundation.database.writer import Writer
from foundation.world.executor import ThreadExecutor

async def main():
    metadata = MetaData()
    contents = Contents(content_tables(metadata))
    engine = open_engine(sqlite_url(Path(sys.argv[1])))
    prepare_schema(engine, metadata, "test", 1)
    writer = Writer(engine, ThreadExecutor("writer", 1))
    async def write(number):
        spool = Spool.of(b"%d" % number * 1000)
        content_id = await writer.run(lambda connection: contents.write(connection, spool))
        os.write(1, b"%d\\n" % content_id)
    await asyncio.gather(*(write(number) for number in range(10_000)))

asyncio.run(main())
"""


async def test_a_killed_process_keeps_all_it_answered(tmp_path: Path) -> None:
    file = tmp_path / "killed.sqlite"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, str(file), stdout=asyncio.subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None
    answered = [int(await process.stdout.readline()) for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    answered += [int(line) for line in (await process.stdout.read()).split(b"\n")[:-1]]
    await process.wait()
    engine = open_engine(sqlite_url(file))
    with engine.connect() as connection:
        kept = set(connection.exec_driver_sql("SELECT id FROM contents").scalars())
    engine.dispose()
    assert set(answered) <= kept
