from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import Connection, func, select

from foundation.database.readers import Readers
from foundation.mail.errors import MailError
from tests.unit.foundation.database.notes import Notes


async def test_a_query_sees_one_snapshot(notes: Notes) -> None:
    other = sqlite3.connect(notes.file, isolation_level=None)

    def query(connection: Connection) -> list[int]:
        count = select(func.count()).select_from(notes.table)
        before = connection.execute(count).scalar_one()
        other_insert()
        return [before, connection.execute(count).scalar_one()]

    def other_insert() -> None:
        writer = sqlite3.connect(notes.file, isolation_level=None)
        writer.execute("INSERT INTO notes (text) VALUES ('a')")
        writer.close()

    readers = Readers(notes.engine, notes.executor)
    assert await readers.run(query) == [0, 0]
    assert await readers.run(
        lambda connection: connection.execute(select(notes.table.c.text)).scalars().all()
    ) == ["a"]
    other.close()


async def test_no_transaction_is_left_open(notes: Notes) -> None:
    readers = Readers(notes.engine, notes.executor)

    def fails(connection: Connection) -> None:
        connection.execute(select(notes.table)).all()
        raise LookupError("nothing there")

    with pytest.raises(LookupError):
        await readers.run(fails)
    await readers.run(lambda connection: connection.execute(select(notes.table)).all())
    other = sqlite3.connect(notes.file, isolation_level=None)
    other.execute("INSERT INTO notes (text) VALUES ('a')")
    busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    other.close()
    assert busy == 0


async def test_an_error_of_the_database_is_temporary(notes: Notes) -> None:
    readers = Readers(notes.engine, notes.executor)
    with pytest.raises(MailError) as caught:
        await readers.run(lambda connection: connection.exec_driver_sql("SELECT nothing FROM nowhere"))
    assert (caught.value.code, caught.value.status) == (451, "4.3.0")
    assert "nowhere" not in caught.value.sentence
