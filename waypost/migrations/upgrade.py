"""Upgrades of the databases by Alembic: a folder of revisions for each component, `0001_….py` and on.

A fresh database is made from the metadata instead (foundation/database/engine.py), so Alembic, slow to
import, is imported only when there is something to upgrade. A test proves that both ways lead to the same
schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from foundation.database.engine import revision_name, version_table

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

FOLDER = Path(__file__).parent


def upgrade(connection: Connection, component: str, from_revision: int) -> None:
    """Runs the component's revisions after `from_revision`, in the transaction that is open.

    Fits foundation.database.engine.prepare_schema.
    """
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    scripts = script_directory(component)

    def steps(current: Any, context: Any) -> Any:
        return scripts._upgrade_revs("head", revision_name(from_revision) if from_revision else "base")

    with EnvironmentContext(Config(), scripts) as environment:
        environment.configure(connection=connection, fn=steps, version_table=version_table(component))
        environment.run_migrations()


def script_directory(component: str) -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER / component)])
