"""The databases of a simulation: SQLite's own files, with a hook where commits can fail, a list of what a
process had open, and what its end leaves of them on the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import Pool

from foundation.database.dialects import SQLITE_FULL, SQLITE_IOERR
from waypost.simulator.journal import Journal
from waypost.simulator.loop import PROCESS
from waypost.simulator.machine import Process
from waypost.simulator.wal import torn

INDEX_HEADER_BYTES = 48
"""What all who have a database open agree on of its log (SQLite, walformat)."""


@contextmanager
def simulated_databases(journal: Journal) -> Iterator[None]:
    """While it lasts, every connection belongs to the process that opened it, and its machine's commit
    faults come true."""

    def opened(driver: Any, record: object) -> None:
        process = PROCESS.get()
        if process is not None:
            file = driver.execute("PRAGMA database_list").fetchone()[2]
            process.database_connections[driver] = Path(file)

    def committing(connection: Connection) -> None:
        process = PROCESS.get()
        if process is None:
            return
        kind = process.machine.commit_fault
        driver: Any = connection.connection.dbapi_connection
        if not kind or not connection.get_execution_options().get("waypost_begin"):
            return
        journal.fault(f"commit {kind}", process.name, "a commit fails")
        if kind == "io-kept":
            driver.commit()
        raise _error(kind)

    event.listen(Pool, "connect", opened)
    event.listen(Engine, "commit", committing)
    try:
        yield
    finally:
        event.remove(Pool, "connect", opened)
        event.remove(Engine, "commit", committing)


def _error(kind: str) -> OperationalError:
    full = kind == "full"
    cause = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
    cause.sqlite_errorcode = SQLITE_FULL if full else SQLITE_IOERR
    return OperationalError("COMMIT", {}, cause)


def leave_databases(process: Process, power_cut: Random | None, journal: Journal) -> None:
    """The end of a process: what is committed stays in the log, for the next start to find, and what was not
    is no part of it. With `power_cut` the machine's disk stops as well, perhaps within a write."""
    left = {}
    for file in dict.fromkeys(process.database_connections.values()):
        if file.parent.name != process.name:
            continue  # the directory, which others have open
        log, index = _beside(file, "-wal"), _beside(file, "-shm")
        if not log.exists():
            continue
        data, what = log.read_bytes(), ""
        if power_cut is not None:
            data, what = torn(data, index.read_bytes(), process.commit_pending, power_cut)
        if what:
            journal.fault(what, process.name, f"{file.name}: {len(data)} bytes of its log are left")
        left[file] = (file.read_bytes(), data)
    for connection in process.database_connections:
        connection.close()  # SQLite puts the log into the database here, which a killed process can't
    process.database_connections.clear()
    for file, (database, data) in left.items():
        file.write_bytes(database)
        _beside(file, "-wal").write_bytes(data)


def commits_of(process: Process) -> bytes:
    """Changes with every commit of the process that wrote something: the beginning of its log's index."""
    files = dict.fromkeys(process.database_connections.values())
    indexes = [_beside(file, "-shm") for file in files if file.parent.name == process.name]
    return b"".join(index.read_bytes()[:INDEX_HEADER_BYTES] for index in indexes if index.exists())


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name + ending)
