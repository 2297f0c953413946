"""One mailbox's text index, in a SQLite file of its own (FTS5): trigrams with their positions, so that it
finds substrings exactly, and words, which answer sooner (words.py). Blocking: all calls come from one thread.

Everything in it is derived: a file that can't be read is thrown away, and one that lost its last commits in a
crash knows how far it goes. Messages are named by their emails' numbers, which are never given twice.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from foundation.recent import Recent
from mailboxstore.search import words
from mailboxstore.search.words import Words

NEEDLE_CHARACTERS = (3, 200)
"""Shorter text has no trigram, longer text too many."""
TEXT_CHARACTERS_MAX = 512 * 1024
"""A message with more text is read at every search."""
BETWEEN_PARTS = "\x01"

_FORMAT = 3
_UNFIT = re.compile("[\0\ud800-\udfff\ufffe\uffff]")
"""FTS5 ends at NUL, and takes the others for one and the same character."""
_CACHE_KIB = 4096
_PAGE_BYTES = 16384
_LEAF_BYTES = 16000
"""Long lists in large pieces, each within a page: a third less to make, a tenth less to ask."""
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE VIRTUAL TABLE texts USING fts5(
    header, body, content='', columnsize=0, tokenize='trigram case_sensitive 1'
);
CREATE TABLE unfit (email INTEGER PRIMARY KEY);
CREATE TABLE progress (last_email INTEGER NOT NULL, last_email_id TEXT NOT NULL, indexed INTEGER NOT NULL);
INSERT INTO progress VALUES (0, '', 0);
INSERT INTO texts(texts, rank) VALUES ('pgsz', {_LEAF_BYTES});
{words.SCHEMA}
INSERT INTO words(words, rank) VALUES ('pgsz', {_LEAF_BYTES});
PRAGMA user_version={_FORMAT};
COMMIT;
"""

Place = Literal["anywhere", "body"]

FOUND_BYTES_MAX = 256 * 1024
"""Of what was found last, some 40,000 emails: a program that shows a search by the page asks again."""
FOUND_BYTES = 512
"""What an answer takes besides its numbers, its text of at most 200 characters among it."""

_numbers = msgspec.json.Decoder(list[int])


class Text(NamedTuple):
    """One email as it is searched."""

    email: int
    email_id: str
    header: str
    body: str


def can_find(needle: str) -> bool:
    """Whether the index answers for this folded text."""
    shortest, longest = NEEDLE_CHARACTERS
    return shortest <= len(needle) <= longest and BETWEEN_PARTS not in needle and not _UNFIT.search(needle)


def can_hold(text: Text) -> bool:
    return (
        len(text.header) + len(text.body) <= TEXT_CHARACTERS_MAX
        and not _UNFIT.search(text.header)
        and not _UNFIT.search(text.body)
    )


class MailboxIndex:
    """Raises sqlite3.Error, OSError."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._found: Recent[tuple[str, Place], str] = Recent(FOUND_BYTES_MAX)
        _make_private(file)
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._words = Words(self._connection)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        run(f"PRAGMA page_size={_PAGE_BYTES}")
        run("PRAGMA journal_mode=WAL")
        # What a power cut takes is indexed again; the file stays whole.
        run("PRAGMA synchronous=NORMAL")
        run(f"PRAGMA cache_size=-{_CACHE_KIB}")
        (found,) = run("PRAGMA user_version").fetchone()
        if not found:
            self._connection.executescript(_SCHEMA)
        elif found != _FORMAT:
            raise sqlite3.DatabaseError(f"an index of format {found}")
        self.last_email: int
        """Every email of the mailbox up to this one was looked at."""
        self.last_email_id: str
        self.indexed: int
        self.last_email, self.last_email_id, self.indexed = run("SELECT * FROM progress").fetchone()
        self.unfit: frozenset[int] = frozenset(email for (email,) in run("SELECT email FROM unfit"))
        """Those of them that are not in the index."""

    def add(self, texts: Sequence[Text], last_email: int) -> None:
        """Emails in rising order, of the mailbox's emails up to `last_email`; those left out are gone."""
        fit = [(text.email, text.header, text.body) for text in texts if can_hold(text)]
        unfit = frozenset(text.email for text in texts).difference(email for email, _, _ in fit)
        identifier = texts[-1].email_id if texts and texts[-1].email == last_email else ""
        connection = self._connection
        self._found.clear()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("INSERT INTO texts(rowid, header, body) VALUES (?, ?, ?)", fit)
            self._words.add(fit)
            connection.executemany("INSERT INTO unfit VALUES (?)", [(email,) for email in sorted(unfit)])
            connection.execute(
                "UPDATE progress SET last_email = ?, last_email_id = ?, indexed = indexed + ?",
                (last_email, identifier, len(fit)),
            )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.last_email, self.last_email_id = last_email, identifier
        self.indexed += len(fit)
        self.unfit |= unfit

    def find(self, needle: str, place: Place) -> list[int]:
        """Emails that have it, each once; only what `can_find` allows."""
        listed = self._found.get((needle, place))
        if listed is None:
            listed = self._look_up(needle, place)
            self._found.keep((needle, place), listed, len(listed) + FOUND_BYTES)
        return _numbers.decode(f"[{listed}]")

    def _look_up(self, needle: str, place: Place) -> str:
        within = self._words.containing(needle) if words.is_part_of_word(needle) else None
        if within is None:
            return self._match("texts", '"' + needle.replace('"', '""') + '"', place)
        return self._match("words", " OR ".join(map(str, within)), place) if within else ""

    def _match(self, table: Literal["texts", "words"], query: str, place: Place) -> str:
        # As one text, read in one go: a row for each email costs half as much again as finding it.
        found: tuple[str | None] = self._connection.execute(
            f"SELECT group_concat(rowid) FROM {table} WHERE {table} MATCH ?",
            (query if place == "anywhere" else f"body : ({query})",),
        ).fetchone()
        return found[0] or ""

    def size_bytes(self) -> int:
        return size_of(self.file)

    def close(self) -> None:
        self._connection.close()


def size_of(file: Path) -> int:
    return sum(one.stat().st_size for one in _files(file) if one.exists())


def remove(file: Path) -> None:
    for one in _files(file):
        one.unlink(missing_ok=True)


def _files(file: Path) -> list[Path]:
    return [file, file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")]


def _make_private(file: Path) -> None:
    """Mail is in it."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
