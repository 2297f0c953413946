"""What is different on PostgreSQL. Runs where WAYPOST_TEST_POSTGRESQL_URL names a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError

from foundation.database.engine import SchemaError, open_engine, prepare_schema, version_table
from foundation.database.prepared import Prepared
from foundation.database.readers import Readers
from foundation.database.writer import Writer
from foundation.mail.errors import MailError
from foundation.world.executor import ThreadExecutor
from tests.harness.postgresql import VARIABLE, new_databases, server_url
from waypost.migrations.components import COMPONENTS, Component
from waypost.migrations.upgrade import upgrade

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.skipif(not server_url(), reason=f"{VARIABLE} names no server"),
]

METADATA = MetaData()
NOTES = Table("notes", METADATA, Column("id", Integer, primary_key=True), Column("text", Text, unique=True))


@pytest.fixture
def url() -> Iterator[str]:
    with new_databases(1) as urls:
        yield urls[0]


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    prepare_schema(engine, METADATA, "notes", 1)
    yield engine
    engine.dispose()


@pytest.fixture
async def executor() -> AsyncIterator[ThreadExecutor]:
    executor = ThreadExecutor("database", 2)
    yield executor
    executor.close()


@pytest.fixture
async def writer(engine: Engine, executor: ThreadExecutor) -> AsyncIterator[Writer]:
    writer = Writer(engine, executor)
    yield writer
    await writer.close()


def add(connection: Connection, note: str) -> None:
    connection.execute(insert(NOTES).values(text=note))


def notes(connection: Connection) -> list[str]:
    return list(connection.execute(select(NOTES.c.text).order_by(NOTES.c.id)).scalars())


async def test_a_unit_without_a_statement_is_done(writer: Writer) -> None:
    assert await writer.run(lambda connection: "nothing to do") == "nothing to do"


async def test_units_share_a_commit_and_fail_alone(writer: Writer) -> None:
    await writer.run(lambda connection: add(connection, "a"))
    outcomes = await asyncio.gather(
        *(writer.run(lambda connection, note=note: add(connection, note)) for note in ("b", "a", "c")),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert outcomes[0] is outcomes[2] is None
    assert isinstance(outcomes[1], MailError)
    assert isinstance(outcomes[1].__cause__, IntegrityError)
    assert await writer.run(notes) == ["a", "b", "c"]


@pytest.mark.parametrize("together", [False, True])
async def test_a_unit_that_hides_a_failed_statement_is_not_answered_as_done(
    writer: Writer, together: bool
) -> None:
    await writer.run(lambda connection: add(connection, "a"))

    def hiding(connection: Connection) -> None:
        try:
            add(connection, "a")
        except IntegrityError:
            return

    units = [hiding, lambda connection: add(connection, "b")] if together else [hiding]
    outcomes = await asyncio.gather(*(writer.run(unit) for unit in units), return_exceptions=True)
    assert isinstance(outcomes[0], Exception)
    assert await writer.run(notes) == (["a", "b"] if together else ["a"])


async def test_a_lost_connection_is_451_and_then_made_anew(writer: Writer, engine: Engine) -> None:
    pid = await writer.run(lambda connection: connection.execute(text("SELECT pg_backend_pid()")).scalar())
    with engine.connect() as other, other.begin():
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with pytest.raises(MailError) as failed:
        await writer.run(lambda connection: add(connection, "lost"))
    assert (failed.value.code, failed.value.status) == (451, "4.3.0")
    await writer.run(lambda connection: add(connection, "kept"))
    assert await writer.run(notes) == ["kept"]


async def test_an_insert_of_what_it_selects_says_whether_it_added(writer: Writer) -> None:
    given = bindparam("text", type_=Text)
    there = select(NOTES.c.id).where(NOTES.c.text == given).exists()
    new = Prepared(insert(NOTES).from_select(["text"], select(given).where(~there)))
    added = [await writer.run(lambda c, note=note: new.run(c, {"text": note})) for note in "aab"]  # type: ignore[misc]
    assert added == [1, 0, 1]
    assert await writer.run(notes) == ["a", "b"]


async def test_a_reader_sees_one_snapshot(engine: Engine, executor: ThreadExecutor) -> None:
    def twice(connection: Connection) -> tuple[int, int]:
        count = select(func.count()).select_from(NOTES)
        before = connection.execute(count).scalar_one()
        with engine.connect() as other, other.begin():
            add(other, "meanwhile")
        return before, connection.execute(count).scalar_one()

    assert await Readers(engine, executor).run(twice) == (0, 0)


def test_a_password_from_a_file(url: str, tmp_path: Path) -> None:
    """Whether the server asks for it is its affair; it must not hinder."""
    file = tmp_path / "password"
    file.write_text("never asked for\n")
    engine = open_engine(f"{url}?password_file={file}")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_two_components_with_tables_of_one_name_are_kept_apart(engine: Engine) -> None:
    with pytest.raises(SchemaError, match="has a table 'notes' already"):
        prepare_schema(engine, METADATA, "others", 1)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_revisions_lead_to_the_schema_in_the_code(component: Component, url: str) -> None:
    engine = open_engine(url)
    options = {"compare_type": True, "version_table": version_table(component.name)}
    with engine.connect() as connection, connection.begin():
        upgrade(connection, component.name, 0)
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, component.metadata) == []
    engine.dispose()
