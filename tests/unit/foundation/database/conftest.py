from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text

from foundation.database.engine import open_engine, prepare_schema, sqlite_url
from foundation.database.writer import Writer
from foundation.world.executor import ThreadExecutor
from tests.unit.foundation.database.notes import Notes


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    metadata = MetaData()
    table = Table(
        "notes", metadata, Column("id", Integer, primary_key=True), Column("text", Text, unique=True)
    )
    engine = open_engine(sqlite_url(tmp_path / "notes.sqlite"))
    prepare_schema(engine, metadata, "notes", 1)
    executor = ThreadExecutor("database", 2)
    yield Notes(tmp_path / "notes.sqlite", engine, table, executor)
    executor.close()
    engine.dispose()


@pytest.fixture
async def writer(notes: Notes) -> AsyncIterator[Writer]:
    made = Writer(notes.engine, notes.executor)
    yield made
    await made.close()
