from __future__ import annotations

import sqlite3
import stat
import sys
from pathlib import Path

import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, Integer, MetaData, Table, event, inspect
from sqlalchemy.exc import InvalidRequestError, OperationalError

from foundation.database.dialects import is_full, space
from foundation.database.engine import (
    SchemaError,
    SchemaTooNew,
    open_engine,
    prepare_schema,
    revision_name,
    shown_url,
    sqlite_url,
    version_table,
    writing,
)


def metadata(*columns: str) -> MetaData:
    made = MetaData()
    Table(
        "things", made, Column("id", Integer, primary_key=True), *(Column(name, Integer) for name in columns)
    )
    return made


def test_settings_of_a_sqlite_connection(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "a folder?" / ".." / "a.sqlite"))
    assert engine.url.database is not None
    (tmp_path / "a folder?").mkdir()
    with engine.connect() as connection, connection.begin():
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "temp_store")
        }
    engine.dispose()
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "temp_store": 2,
    }
    assert (tmp_path / "a.sqlite").exists()


@pytest.mark.parametrize(
    ("url", "problem"),
    [("nonsense", "no database URL"), ("oracle+thing://a/b", "not known"), ("oracle://a/b", "not installed")],
)
def test_a_url_that_can_not_be_used_is_a_clear_error(url: str, problem: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        open_engine(url)


def test_the_password_is_read_from_its_file_at_each_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords: list[object] = []

    def connect(*_: object, **options: object) -> None:
        passwords.append(options.get("password"))
        raise sqlite3.OperationalError("not here")

    monkeypatch.setattr(sqlite3.dbapi2, "connect", connect)
    file = tmp_path / "a password"
    engine = open_engine(f"sqlite:///{tmp_path}/a.sqlite?password_file={tmp_path}/a%20password")
    for password in ("first\n", "second"):
        file.write_text(password)
        with pytest.raises(OperationalError):
            engine.connect()
    file.unlink()
    with pytest.raises(InvalidRequestError, match="a password can't be read"):
        engine.connect()
    assert passwords == ["first", "second"]


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SchemaError) as caught:
        open_engine("postgresql://waypost:secret@db.example/waypost")
    assert "secret" not in str(caught.value)
    assert "pip install psycopg[binary]" in caught.value.mend


def test_a_fresh_database_is_made_and_stamped_for_alembic(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "a.sqlite"))
    prepare_schema(engine, metadata("size"), "things", 7)
    with engine.connect() as connection, connection.begin():
        assert [column["name"] for column in inspect(connection).get_columns("things")] == ["id", "size"]
        context = MigrationContext.configure(connection, opts={"version_table": version_table("things")})
        assert context.get_current_revision() == revision_name(7) == "0007"
    prepare_schema(engine, metadata("size"), "things", 7)
    engine.dispose()


def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "mail.db"))
    prepare_schema(engine, metadata(), "mailboxstore", 1)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    engine.dispose()
    assert modes and set(modes.values()) == {0o600}


def test_two_components_share_a_database(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "a.sqlite"))
    prepare_schema(engine, metadata(), "things", 1)
    other = MetaData()
    Table("others", other, Column("id", Integer, primary_key=True))
    prepare_schema(engine, other, "others", 4)
    with engine.connect() as connection, connection.begin():
        assert {"things", "others"} <= set(inspect(connection).get_table_names())
    engine.dispose()


def test_a_newer_schema_is_refused_with_the_file_and_the_mend(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    engine = open_engine(sqlite_url(file))
    prepare_schema(engine, metadata(), "things", 3)
    with pytest.raises(SchemaTooNew) as caught:
        prepare_schema(engine, metadata(), "things", 2)
    engine.dispose()
    assert caught.value.place == str(file) == shown_url(engine)
    assert "revision 3" in caught.value.problem
    assert "newer release" in caught.value.mend


def test_an_older_schema_is_upgraded_in_one_transaction(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "a.sqlite"))
    prepare_schema(engine, metadata(), "things", 1)
    asked: list[tuple[str, int]] = []

    def upgrade(connection: Connection, component: str, revision: int) -> None:
        asked.append((component, revision))
        connection.exec_driver_sql("ALTER TABLE things ADD COLUMN size INTEGER")
        if len(asked) == 1:
            raise RuntimeError("the power failed")

    with pytest.raises(RuntimeError, match="the power failed"):
        prepare_schema(engine, metadata("size"), "things", 2, upgrade)
    with pytest.raises(SchemaError, match=r"revision 1, this release needs 2"):
        prepare_schema(engine, metadata("size"), "things", 2)
    prepare_schema(engine, metadata("size"), "things", 2, upgrade)
    prepare_schema(engine, metadata("size"), "things", 2, upgrade)
    engine.dispose()
    assert asked == [("things", 1), ("things", 1)]


def test_what_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    file.write_bytes(b"nothing that SQLite knows " * 100)
    engine = open_engine(sqlite_url(file))
    with pytest.raises(SchemaError, match="not a database") as caught:
        prepare_schema(engine, metadata(), "things", 1)
    engine.dispose()
    assert caught.value.place == str(file)


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "missing" / "a.sqlite"))
    with pytest.raises(SchemaError, match="can't be prepared: No such file"):
        prepare_schema(engine, metadata(), "things", 1)


def test_a_stamp_of_somebody_else_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    engine = open_engine(sqlite_url(file))
    prepare_schema(engine, metadata(), "things", 1)
    other = sqlite3.connect(file)
    other.execute("UPDATE things_schema_version SET version_num = 'ae1027a6acf'")
    other.commit()
    other.close()
    with pytest.raises(SchemaError, match="ae1027a6acf"):
        prepare_schema(engine, metadata(), "things", 1)
    engine.dispose()


def test_a_database_with_a_bound_is_full_there_and_goes_on_without_it(tmp_path: Path) -> None:
    url, bound = sqlite_url(tmp_path / "a.sqlite"), 200_000

    def fill(connection: Connection, size: int) -> None:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS things (data BLOB)")
        connection.exec_driver_sql("INSERT INTO things VALUES (zeroblob(?))", (size,))

    engine = open_engine(url, bound)
    with writing(engine).begin() as connection:
        fill(connection, 100_000)
        most, free = space(connection)
    assert bound - 4096 < most <= bound
    assert 80_000 < free < 100_000
    with pytest.raises(OperationalError) as full, writing(engine).begin() as connection:
        fill(connection, 100_000)
    assert is_full(full.value)
    with writing(engine).begin() as connection:  # what is free inside takes something new
        connection.exec_driver_sql("DELETE FROM things")
        assert space(connection)[1] > 180_000
        fill(connection, 150_000)
    engine.dispose()
    # a smaller bound takes nothing away, and lets nothing join
    smaller = open_engine(url, 1)
    with pytest.raises(OperationalError) as full, writing(smaller).begin() as connection:
        assert connection.exec_driver_sql("SELECT length(data) FROM things").scalar() == 150_000
        fill(connection, 100_000)
    assert is_full(full.value)
    smaller.dispose()
    engine = open_engine(url)
    with writing(engine).begin() as connection:
        fill(connection, 300_000)
    engine.dispose()


def test_a_writing_transaction_takes_the_lock_at_once(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "a.sqlite"))
    said: list[str] = []

    def listen(driver: sqlite3.Connection, record: object) -> None:
        driver.set_trace_callback(said.append)

    event.listen(engine, "connect", listen)
    for kind in (engine, writing(engine)):
        with kind.connect() as connection, connection.begin():
            pass
    engine.dispose()
    assert [text for text in said if text.startswith("BEGIN")] == ["BEGIN DEFERRED", "BEGIN IMMEDIATE"]
