"""Prepared statements: the same results and errors as SQLAlchemy's own execution."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    CursorResult,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from foundation.database import prepared
from foundation.database.engine import open_engine, sqlite_url, writing
from foundation.database.prepared import Prepared

metadata = MetaData()
NOTES = Table(
    "notes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(20), nullable=False, unique=True),
    Column("done", Boolean),
    Column("data", LargeBinary),
)
BY_NAME = select(NOTES.c.id, NOTES.c.name, NOTES.c.done, NOTES.c.data).where(NOTES.c.name == bindparam("of"))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = writing(open_engine(sqlite_url(tmp_path / "notes.db")))
    metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_rows_are_those_that_sqlalchemy_gives(connection: Connection) -> None:
    add = Prepared(insert(NOTES))
    assert add.add(connection, {"name": "one", "done": True, "data": b"\0\xff"}) == 1
    assert add.add(connection, {"name": "two", "done": None, "data": None}) == 2
    add.run_each(connection, [{"name": "three", "done": False, "data": b""}])
    for name in ("one", "two", "three", "four"):
        plain = connection.execute(BY_NAME, {"of": name}).first()
        found = Prepared(BY_NAME).first(connection, {"of": name})
        assert found == (None if plain is None else tuple(plain))
        assert Prepared(BY_NAME).rows(connection, {"of": name}) == ([] if found is None else [found])
    one = Prepared(BY_NAME).first(connection, {"of": "one"})
    assert one is not None
    assert one[2] is True


def test_changes_are_counted_and_returned(connection: Connection) -> None:
    Prepared(insert(NOTES)).run_each(connection, [{"name": name, "done": False} for name in ("a", "b")])
    change = update(NOTES).where(NOTES.c.name == bindparam("of")).values(done=True)
    assert Prepared(change).run(connection, {"of": "a"}) == 1
    assert Prepared(change).run(connection, {"of": "c"}) == 0
    assert Prepared(change.returning(NOTES.c.id)).scalar(connection, {"of": "b"}) == 2
    assert Prepared(delete(NOTES).where(NOTES.c.done)).run(connection, {}) == 2
    Prepared(insert(NOTES)).run_each(connection, [])


def test_it_is_in_the_transaction_of_the_connection(connection: Connection) -> None:
    Prepared(insert(NOTES)).run(connection, {"name": "gone"})
    assert connection.in_transaction()
    connection.rollback()
    assert Prepared(BY_NAME).first(connection, {"of": "gone"}) is None


def test_a_constant_of_the_statement_is_kept(connection: Connection) -> None:
    Prepared(insert(NOTES)).run_each(connection, [{"name": name, "done": True} for name in ("a", "b", "c")])
    some = Prepared(select(NOTES.c.name).where(NOTES.c.name > bindparam("after")).limit(1))
    assert some.rows(connection, {"after": "a"}) == [("b",)]
    assert some.rows(connection, {"after": "b"}) == [("c",)]


def test_errors_are_those_of_sqlalchemy_and_show_no_values(connection: Connection) -> None:
    add = Prepared(insert(NOTES))
    add.run(connection, {"name": "secret"})
    with pytest.raises(IntegrityError) as caught:
        add.run(connection, {"name": "secret"})
    assert "secret" not in str(caught.value)
    with pytest.raises(IntegrityError):
        add.run_each(connection, [{"name": "new"}, {"name": "new"}])


def test_other_names_or_a_list_are_a_mistake(connection: Connection) -> None:
    add = Prepared(insert(NOTES))
    add.run(connection, {"name": "a"})
    with pytest.raises(ValueError, match="prepared for 1"):
        add.run(connection, {"name": "b", "done": True})
    several = Prepared(select(NOTES.c.id).where(NOTES.c.id.in_(bindparam("ids", expanding=True))))
    with pytest.raises(ValueError, match="a list"):
        several.rows(connection, {"ids": [1, 2]})


@pytest.mark.parametrize("by_the_driver", [True, False])
def test_an_insert_of_what_it_selects_says_whether_it_added(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, by_the_driver: bool
) -> None:
    if not by_the_driver:
        monkeypatch.setattr(prepared, "_cursor", lambda connection: None)
    name = bindparam("name", type_=String)
    there = select(NOTES.c.id).where(NOTES.c.name == name).exists()
    add = Prepared(insert(NOTES).from_select(["name"], select(name).where(~there)))
    assert [add.run(connection, {"name": given}) for given in ("one", "one", "two")] == [1, 0, 1]


def test_a_count_that_the_database_does_not_tell_is_no_answer(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "_cursor", lambda connection: None)
    monkeypatch.setattr(CursorResult, "rowcount", -1)
    with pytest.raises(RuntimeError, match="how many rows"):
        Prepared(insert(NOTES)).run(connection, {"name": "one"})


def test_nothing_stays_open_behind_the_first_row(connection: Connection, tmp_path: Path) -> None:
    add = Prepared(insert(NOTES))
    for name in ("one", "two", "three"):
        add.add(connection, {"name": name, "done": None, "data": None})
    all_of_them = Prepared(select(NOTES.c.name).where(NOTES.c.id > bindparam("after")).order_by(NOTES.c.id))
    assert all_of_them.first(connection, {"after": 0}) == ("one",)
    connection.commit()
    other = sqlite3.connect(tmp_path / "notes.db", timeout=0)
    busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    other.close()
    assert not busy, "a statement that is not at its end keeps its snapshot"
