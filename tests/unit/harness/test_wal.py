"""What tests do to the log of a database is what they say."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.harness.wal import damage, ends_of_commits, log_of, put_after_last_commit


def crashed(tmp_path: Path, commits: int) -> Path:
    """A database with so many rows, each in a commit of its own that is still in the log; the log has turned
    once, so older frames stand after them."""
    file, left = tmp_path / "a.db", tmp_path / "left.db"
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE things (number INTEGER, data BLOB)")
    connection.execute("INSERT INTO things VALUES (-1, zeroblob(400000))")
    connection.execute("PRAGMA wal_checkpoint(RESTART)")
    for number in range(commits):
        connection.execute("INSERT INTO things VALUES (?, zeroblob(3000))", (number,))
    shutil.copy(file, left)
    shutil.copy(log_of(file), log_of(left))
    connection.close()
    return left


def rows(file: Path) -> list[int]:
    connection = sqlite3.connect(file)
    found = [
        number
        for (number,) in connection.execute("SELECT number FROM things WHERE number >= 0 ORDER BY number")
    ]
    connection.close()
    return found


def test_each_commit_ends_where_the_log_can_be_cut(tmp_path: Path) -> None:
    left = crashed(tmp_path, 5)
    ends = ends_of_commits(log_of(left))
    assert len(ends) == 5
    assert ends[-1] < log_of(left).stat().st_size
    for kept in range(1, 6):
        cut = tmp_path / f"cut-{kept}.db"
        shutil.copy(left, cut)
        log_of(cut).write_bytes(log_of(left).read_bytes()[: ends[kept - 1]])
        assert rows(cut) == list(range(kept))


def test_garbage_after_the_last_commit_takes_nothing_away(tmp_path: Path) -> None:
    left = crashed(tmp_path, 5)
    before = ends_of_commits(log_of(left))
    put_after_last_commit(log_of(left), os.urandom(30_000))
    assert ends_of_commits(log_of(left)) == before
    assert rows(left) == list(range(5))


@pytest.mark.parametrize("commit", [0, 3])
def test_damage_within_a_commit_takes_it_and_what_follows(tmp_path: Path, commit: int) -> None:
    left = crashed(tmp_path, 5)
    ends = ends_of_commits(log_of(left))
    damage(log_of(left), ends[commit] - 100)
    assert ends_of_commits(log_of(left)) == ends[:commit]
    assert rows(left) == list(range(commit))


def test_no_log_has_no_commits(tmp_path: Path) -> None:
    assert ends_of_commits(tmp_path / "none-wal") == []
