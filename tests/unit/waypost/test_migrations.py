"""A database upgraded through all revisions has the schema of a fresh one."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

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
