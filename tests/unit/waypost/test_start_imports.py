"""What a start does not pay for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
import waypost.service
from foundation.database.engine import open_engine, prepare_schema, sqlite_url
from waypost.migrations.components import COMPONENTS
from waypost.migrations.upgrade import upgrade
for component in COMPONENTS:
    for _ in range(2):
        engine = open_engine(sqlite_url(Path(sys.argv[1]) / component.name))
        prepare_schema(engine, component.metadata, component.name, component.revision, upgrade)
        engine.dispose()
print(sorted(module for module in sys.modules if module.partition(".")[0] == "alembic"))
"""


def test_alembic_is_not_imported_for_a_database_that_needs_no_upgrade(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
