"""`python -m waypost.migrations COMPONENT "what changes"`: writes the next revision from the difference
between the schema that the revisions so far make and the tables in the code. Read it before committing it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext

from foundation.database.engine import open_engine, revision_name, sqlite_url, version_table
from waypost.migrations.components import COMPONENTS, Component
from waypost.migrations.upgrade import FOLDER, script_directory, upgrade

_TEMPLATE = '''"""{what}"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down}


def upgrade() -> None:
    {body}
'''


def write_revision(component: Component, what: str) -> Path:
    folder = FOLDER / component.name
    folder.mkdir(exist_ok=True)
    heads = script_directory(component.name).get_heads()
    last = int(heads[0]) if heads else 0
    with tempfile.TemporaryDirectory() as scratch:
        engine = open_engine(sqlite_url(Path(scratch) / "scratch.db"))
        with engine.connect() as connection, connection.begin():
            if last:
                upgrade(connection, component.name, 0)
            options = {"version_table": version_table(component.name), "compare_type": True}
            context = MigrationContext.configure(connection, opts=options)
            script = produce_migrations(context, component.metadata)
        engine.dispose()
    assert script.upgrade_ops is not None
    code = render_python_code(script.upgrade_ops, migration_context=context)
    text = _TEMPLATE.format(
        what=what,
        revision=revision_name(last + 1),
        down=repr(revision_name(last)) if last else None,
        body="\n".join(line for line in code.splitlines() if not line.strip().startswith("# ###")).strip(),
    )
    file = folder / f"{revision_name(last + 1)}_{'_'.join(what.lower().split())}.py"
    file.write_text(text)
    return file


def main(arguments: list[str]) -> int:
    components = {component.name: component for component in COMPONENTS}
    if len(arguments) != 2 or arguments[0] not in components:
        print(f"usage: python -m waypost.migrations {'|'.join(components)} 'what changes'", file=sys.stderr)
        return 2
    print(write_revision(components[arguments[0]], arguments[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
