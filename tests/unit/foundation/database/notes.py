"""A small database for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, insert, select

from foundation.database.engine import open_engine, sqlite_url
from foundation.world.executor import ThreadExecutor


@dataclass
class Notes:
    """A database with one table, and what a second program would see in it."""

    file: Path
    engine: Engine
    table: Table
    executor: ThreadExecutor

    def add(self, connection: Connection, text: str) -> str:
        connection.execute(insert(self.table), {"text": text})
        return text

    def seen(self) -> list[str]:
        other = open_engine(sqlite_url(self.file))
        with other.connect() as connection, connection.begin():
            texts = list(connection.execute(select(self.table.c.text).order_by(self.table.c.id)).scalars())
        other.dispose()
        return texts
