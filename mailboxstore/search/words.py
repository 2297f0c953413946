"""The words of one mailbox, and which emails have each: what makes looking for a part of a word cheap. Each
different word is looked at once, however many messages have it.

A run of letters, digits and underscores is in a text exactly when it is within one of the text's words, so
what is found here is exact. Its tables are part of an index's file (index.py), whose transactions it takes
part in. Raises sqlite3.Error.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import count

WORDS_MAX = 50
"""What is within more words than that is asked of the texts themselves."""

_WORD = re.compile(r"\w{3,}")
"""Shorter ones have no trigram, and nothing that is looked for is within them."""

SCHEMA = """
CREATE TABLE vocabulary (number INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE word_parts USING fts5(
    word, content='', columnsize=0, tokenize='trigram case_sensitive 1'
);
CREATE VIRTUAL TABLE words USING fts5(
    header, body, content='', columnsize=0, detail=column, tokenize='ascii'
);
"""
"""`words` has the numbers of an email's words in the place of its text."""


def is_part_of_word(needle: str) -> bool:
    return _WORD.fullmatch(needle) is not None


class Words:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, texts: Iterable[tuple[int, str, str]]) -> None:
        """Email, header and body of each."""
        found = [
            (email, set(_WORD.findall(header)), set(_WORD.findall(body))) for email, header, body in texts
        ]
        numbers = self._numbers(set().union(*(header | body for _, header, body in found)))

        def listed(words: set[str]) -> str:
            return " ".join([str(numbers[word]) for word in words])

        self._connection.executemany(
            "INSERT INTO words(rowid, header, body) VALUES (?, ?, ?)",
            [(email, listed(header), listed(body)) for email, header, body in found],
        )

    def _numbers(self, words: set[str]) -> dict[str, int]:
        """Of words, which are given one when they are new."""
        connection = self._connection
        known = connection.execute(
            "SELECT word, number FROM vocabulary WHERE word IN (SELECT value FROM json_each(?))",
            (json.dumps(list(words)),),
        )
        numbers: dict[str, int] = dict(known)
        (last,) = connection.execute("SELECT ifnull(max(number), 0) FROM vocabulary").fetchone()
        new = list(zip(count(last + 1), sorted(words.difference(numbers))))
        connection.executemany("INSERT INTO vocabulary(number, word) VALUES (?, ?)", new)
        connection.executemany("INSERT INTO word_parts(rowid, word) VALUES (?, ?)", new)
        numbers.update((word, number) for number, word in new)
        return numbers

    def containing(self, needle: str) -> Sequence[int] | None:
        """Numbers of all words that contain it; None: there are too many."""
        rows = self._connection.execute(
            "SELECT rowid FROM word_parts WHERE word_parts MATCH ? LIMIT ?", (f'"{needle}"', WORDS_MAX + 1)
        )
        numbers = [number for (number,) in rows]
        return numbers if len(numbers) <= WORDS_MAX else None
