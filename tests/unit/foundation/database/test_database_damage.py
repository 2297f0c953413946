"""What SQLite's log (WAL) bears."""

import os
import shutil
from pathlib import Path

from foundation.database.dialects import WAL_LIMIT_BYTES
from foundation.database.readers import Readers
from foundation.database.writer import Writer
from tests.unit.foundation.database.notes import Notes


def crashed_copy(file: Path, to: Path, garbage: bytes) -> None:
    """What a killed process leaves, its log not yet in the database file; then `garbage`."""
    shutil.copy(file, to)
    log = Path(f"{file}-wal").read_bytes()
    assert log
    Path(f"{to}-wal").write_bytes(log + garbage)


def log_bytes(file: Path) -> int:
    return Path(f"{file}-wal").stat().st_size


async def test_garbage_after_the_last_commit_loses_nothing(
    notes: Notes, writer: Writer, tmp_path: Path
) -> None:
    texts = [f"note {number}" for number in range(20)]
    for text in texts:
        await writer.run(lambda connection, text=text: notes.add(connection, text))  # type: ignore[misc]
    crashed = Notes(tmp_path / "crashed.sqlite", notes.engine, notes.table, notes.executor)
    crashed_copy(notes.file, crashed.file, os.urandom(50_000))
    assert crashed.seen() == texts


async def test_the_log_is_reset_while_readers_come_and_go(notes: Notes, writer: Writer) -> None:
    """Reads end before their answer is waited for, so no read holds up the reset."""
    readers = Readers(notes.engine, notes.executor)
    for number in range(60):
        large = f"{number} " + "x" * 1_000_000
        await writer.run(lambda connection, text=large: notes.add(connection, text))  # type: ignore[misc]
        await readers.run(lambda connection: connection.execute(notes.table.select().limit(1)).all())
    assert log_bytes(notes.file) < 40_000_000 < WAL_LIMIT_BYTES
