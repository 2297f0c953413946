"""Logs that a simulated power cut left: SQLite finds every transaction that was surely on the disk, and the
last one only whole."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from waypost.simulator.wal import read_log, torn

ROWS_A_COMMIT = 40


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "live.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE letters (commit_number INTEGER, text TEXT)")
    yield connection
    connection.close()


def commit(database: sqlite3.Connection, number: int) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO letters VALUES (?, ?)", [(number, "x" * 900)] * ROWS_A_COMMIT)
    database.execute("COMMIT")


def after_the_cut(folder: Path, pending: bool, random: Random) -> tuple[list[tuple[int, int]], str]:
    """What a new start finds in each commit, and what the cut did."""
    left = folder / "left.db"
    log, index = (folder / f"live.db{ending}" for ending in ("-wal", "-shm"))
    data, what = torn(log.read_bytes(), index.read_bytes(), pending, random)
    shutil.copy(folder / "live.db", left)
    (folder / "left.db-wal").write_bytes(data)
    (folder / "left.db-shm").unlink(missing_ok=True)
    connection = sqlite3.connect(left)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        query = "SELECT commit_number, count(*) FROM letters GROUP BY commit_number ORDER BY commit_number"
        return connection.execute(query).fetchall(), what
    finally:
        connection.close()


@pytest.mark.parametrize("seed", range(25))
def test_a_commit_that_was_not_answered_is_lost_whole(
    tmp_path: Path, database: sqlite3.Connection, seed: int
) -> None:
    for number in range(4):
        commit(database, number)
    found, what = after_the_cut(tmp_path, True, Random(seed))
    assert (found, what) == ([(number, ROWS_A_COMMIT) for number in range(3)], "torn commit")


@pytest.mark.parametrize("seed", range(10))
def test_an_answered_commit_stays(tmp_path: Path, database: sqlite3.Connection, seed: int) -> None:
    for number in range(4):
        commit(database, number)
    found, what = after_the_cut(tmp_path, False, Random(seed))
    assert (found, what) == ([(number, ROWS_A_COMMIT) for number in range(4)], "torn tail")


def test_what_a_checkpoint_has_copied_was_on_the_disk(tmp_path: Path, database: sqlite3.Connection) -> None:
    for number in range(4):
        commit(database, number)
    database.execute("PRAGMA wal_checkpoint(PASSIVE)")
    found, what = after_the_cut(tmp_path, True, Random(1))
    assert (len(found), what) == (4, "torn tail")


@pytest.mark.parametrize("seed", range(10))
def test_the_first_commit_of_a_new_round(tmp_path: Path, database: sqlite3.Connection, seed: int) -> None:
    """The log was begun anew: frames of the round before are behind, and its header may be torn, too."""
    for number in range(4):
        commit(database, number)
    database.execute("PRAGMA wal_checkpoint(RESTART)")
    commit(database, 4)
    log = read_log((tmp_path / "live.db-wal").read_bytes())
    assert log is not None and len(log.ends) == 1
    found, what = after_the_cut(tmp_path, True, Random(seed))
    assert (found, what) == ([(number, ROWS_A_COMMIT) for number in range(4)], "torn commit")
