"""The writer against a dict: whatever units do, what was answered is there, and nothing else is."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, Integer, MetaData, Table, select
from sqlalchemy.dialects.sqlite import insert

from foundation.database.engine import open_engine, prepare_schema, sqlite_url
from foundation.database.writer import Writer
from foundation.mail.errors import MailError
from foundation.world.executor import ThreadExecutor

METADATA = MetaData()
TABLE = Table("entries", METADATA, Column("key", Integer, primary_key=True), Column("value", Integer))

puts = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99)), max_size=3)
endings = st.sampled_from(["done", "done", "done", "refused", "mistake", "duplicate", "cancelled"])
units = st.lists(st.tuples(puts, endings, st.booleans()), max_size=30)
Units = list[tuple[list[tuple[int, int]], str, bool]]
"""What each puts, how it ends, and whether it is lazy."""


def unit(connection: Connection, changes: list[tuple[int, int]], ending: str) -> None:
    for key, value in changes:
        put = insert(TABLE).values(key=key, value=value)
        connection.execute(put.on_conflict_do_update(index_elements=["key"], set_={"value": value}))
    if ending == "refused":
        raise MailError(550, "5.1.1", "No")
    if ending == "mistake":
        raise ValueError("a mistake")
    if ending == "duplicate":
        connection.execute(insert(TABLE).values([{"key": 7, "value": 0}, {"key": 7, "value": 0}]))


async def commit_all(
    file: Path, rounds: list[Units]
) -> tuple[list[dict[int, int]], dict[int, int], dict[int, int]]:
    """What the model was after each unit that was committed, what it is in the end, and what is stored."""
    engine = open_engine(sqlite_url(file))
    prepare_schema(engine, METADATA, "entries", 1)
    executor = ThreadExecutor("writer", 1)
    writer = Writer(engine, executor)
    model: dict[int, int] = {}
    committed: list[dict[int, int]] = []

    async def run(changes: list[tuple[int, int]], ending: str, lazy: bool) -> None:
        await writer.run(
            lambda connection: unit(connection, changes, ending), lambda _: took(changes), lazy=lazy
        )

    def took(changes: list[tuple[int, int]]) -> None:
        model.update(changes)
        committed.append(dict(model))

    for entries in rounds:
        tasks = [asyncio.create_task(run(*entry)) for entry in entries]
        await asyncio.sleep(0)
        for task, (_, ending, _) in zip(tasks, entries, strict=True):
            if ending == "cancelled":
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome, (_, ending, _) in zip(outcomes, entries, strict=True):
            expected = {"refused": MailError, "duplicate": MailError, "mistake": ValueError}
            assert isinstance(outcome, expected.get(ending, asyncio.CancelledError | None))
    await writer.close()
    executor.close()
    with engine.connect() as connection, connection.begin():
        stored = dict(connection.execute(select(TABLE.c.key, TABLE.c.value)).all())
    engine.dispose()
    return committed, model, stored


@settings(max_examples=25, deadline=None)
@given(st.lists(units, max_size=3))
def test_what_was_answered_is_there_and_nothing_else(
    rounds: list[Units],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        committed, model, stored = asyncio.run(commit_all(Path(folder) / "entries.sqlite", rounds))
    answered = [ending for entries in rounds for _, ending, _ in entries if ending in ("done", "cancelled")]
    assert len(committed) == len(answered)
    assert stored == model
