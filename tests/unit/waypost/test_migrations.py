"""A database upgraded through all revisions has the schema of a fresh one."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import Engine, inspect, text

from foundation.database.content import CHUNK_BYTES, Contents, ContentTables
from foundation.database.engine import open_engine, prepare_schema, sqlite_url, version_table
from waypost.migrations.components import COMPONENTS, Component
from waypost.migrations.upgrade import script_directory, upgrade


def schema(engine: Engine, component: Component) -> dict[str, list[str]]:
    """Every table and index as the parts of the statement that makes it, their order aside."""
    question = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> :stamp")
    with engine.connect() as connection:
        rows = connection.execute(question, {"stamp": version_table(component.name)}).all()
    return {name: sorted(_parts(sql)) for name, sql in rows}


def _parts(sql: str) -> list[str]:
    """A column that was added later stands in the same statement, with other white space."""
    return " ".join(sql.replace(")", " ").split()).replace(" ,", ",").split(", ")


each_component = pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)


@each_component
def test_the_revisions_lead_to_the_schema_in_the_code(component: Component, tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "upgraded.db"))
    with engine.connect() as connection, connection.begin():
        upgrade(connection, component.name, 0)
        options = {"compare_type": True, "version_table": version_table(component.name)}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, component.metadata) == []
    fresh = open_engine(sqlite_url(tmp_path / "fresh.db"))
    prepare_schema(fresh, component.metadata, component.name, component.revision)
    assert schema(engine, component) == schema(fresh, component)


@each_component
def test_the_last_revision_is_the_one_the_code_expects(component: Component) -> None:
    assert script_directory(component.name).get_heads() == [f"{component.revision:04d}"]


@each_component
def test_an_older_database_is_upgraded_and_stamped(component: Component, tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "old.db"))
    stamp = version_table(component.name)
    with engine.connect() as connection, connection.begin():
        connection.execute(text(f"CREATE TABLE {stamp} (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(text(f"INSERT INTO {stamp} VALUES ('0000')"))
    prepare_schema(engine, component.metadata, component.name, component.revision, upgrade)
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT version_num FROM {stamp}")).scalars().all()
    assert found == [f"{component.revision:04d}"]
    assert set(component.metadata.tables) <= set(inspect(engine).get_table_names())


@pytest.mark.parametrize(("name", "revision"), [("hub", "0001"), ("mailboxstore", "0003")])
def test_content_in_rows_stays_readable_when_files_come(name: str, revision: str, tmp_path: Path) -> None:
    component = next(each for each in COMPONENTS if each.name == name)
    engine, stamp = open_engine(sqlite_url(tmp_path / "old.db")), version_table(name)
    content = bytes(range(251)) * 3000
    with engine.connect() as connection, connection.begin():
        scripts = script_directory(name)
        with EnvironmentContext(Config(), scripts) as environment:
            environment.configure(
                connection=connection,
                fn=lambda current, context: scripts._upgrade_revs(revision, "base"),
                version_table=stamp,
            )
            environment.run_migrations()
        insert = text(
            "INSERT INTO contents (id, size_bytes, sha256, reference_count, data)"
            " VALUES (:id, :size, '', 1, :data)"
        )
        connection.execute(insert, {"id": 1, "size": len(content), "data": None})
        connection.execute(insert, {"id": 2, "size": 5, "data": b"small"})
        chunk = text("INSERT INTO content_chunks (content_id, ordinal, data) VALUES (1, :ordinal, :data)")
        for ordinal, start in enumerate(range(0, len(content), CHUNK_BYTES)):
            connection.execute(chunk, {"ordinal": ordinal, "data": content[start : start + CHUNK_BYTES]})
    prepare_schema(engine, component.metadata, name, component.revision, upgrade)
    contents = Contents(
        ContentTables(component.metadata.tables["contents"], component.metadata.tables["content_chunks"])
    )
    with engine.connect() as connection, connection.begin():
        assert contents.read(connection, 1, 0, len(content)) == content
        assert contents.read(connection, 1, 300_000, 9) == content[300_000:300_009]
        assert contents.read(connection, 2, 0, 9) == b"small"
        contents.release(connection, 1)
        assert connection.execute(text("SELECT count(*) FROM content_chunks")).scalar_one() == 0
    engine.dispose()
