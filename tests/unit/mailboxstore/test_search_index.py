"""The text index answers as reading does, whatever it holds, and however it got lost."""

from __future__ import annotations

import asyncio
import sqlite3
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.interfaces.mailbox_store import (
    And,
    BodyContains,
    HeaderContains,
    Key,
    Not,
    Or,
    TextContains,
)
from foundation.mail.decoding import fold
from foundation.world.executor import ThreadExecutor
from mailboxstore.api import Store
from mailboxstore.search import indexes as module
from mailboxstore.search import members as members_module
from mailboxstore.search import runner
from mailboxstore.search import words as words_module
from mailboxstore.search.index import MailboxIndex, Text, can_find, can_hold, remove
from mailboxstore.search.indexes import TextIndexes
from mailboxstore.search.members import FolderMembers, Members
from tests.unit.mailboxstore.bench import ALICE, Bench, message

ME = ALICE.mailbox_id
BODIES = (
    "red apples",
    "green Äpfel",
    "a pear\r\nand apples",
    "ap",
    'say "apples" AND pears*',
    "x\x00apples y",
)


class Searched:
    """A store with indexes; `reads` counts the messages that searches read."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.folder = folder
        self.busy = False
        self.open()

    def open(self) -> None:
        bench, members = self.bench, FolderMembers(self.bench.database.readers)
        self.executor = ThreadExecutor("index", 1)
        self.indexes = TextIndexes(self.folder, bench.database, members, self.executor, lambda: self.busy)
        self.store = Store(
            bench.database,
            bench.directory,
            bench.notifications,
            bench.store._submission,
            message_size_bytes=bench.store.message_size_bytes,
            members=members,
            indexes=self.indexes,
        )

    async def close(self) -> None:
        await self.indexes.stop()
        self.executor.close()

    async def search(self, key: Key, name: str = "INBOX") -> tuple[int, ...]:
        """By the index and by reading alone, which must be the same."""
        folder_id = await self.bench.folder_id(name)
        read = await self.bench.store.search(ME, folder_id, key)
        assert await self.store.search(ME, folder_id, key) == read
        return read

    @property
    def file(self) -> Path:
        return self.folder / f"{ME}.db"


@pytest.fixture
async def searched(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Searched]:
    monkeypatch.setattr(module, "SCANNED_MIN", 1)
    monkeypatch.setattr(module, "EMAILS_A_STEP", 2)
    monkeypatch.setattr(members_module, "MESSAGES_A_TURN", 2)
    monkeypatch.setattr(members_module, "MESSAGES_A_PAGE", 3)
    made = Searched(bench, tmp_path / "search")
    for number, body in enumerate(BODIES):
        await bench.append(message(f"Fruit {number}", f"{number}@x", body))
    yield made
    await made.close()


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """UIDs that searches read while this is open, by stores that have an index."""
    found: list[int] = []
    original = runner.FolderSearch._scan

    async def scan(self: runner.FolderSearch, wanted: object, candidates: set[int]) -> set[int]:
        if self._index is not None:
            found.extend(sorted(candidates))
        return await original(self, wanted, candidates)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(runner.FolderSearch, "_scan", scan)
        yield found


APPLES = BodyContains(text="APPLES")


async def test_made_after_a_search_and_used_by_the_next(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await searched.search(APPLES) == (1, 3, 5, 6) and searched.indexes.size_bytes == 0
    await searched.indexes.settled()
    assert searched.indexes.size_bytes > 0 and searched.file.stat().st_mode & 0o077 == 0
    with reads(monkeypatch) as read:
        assert await searched.search(APPLES) == (1, 3, 5, 6)
        assert await searched.search(TextContains(text="fruit 4")) == (5,)
        assert await searched.search(BodyContains(text="fruit 4")) == ()
        assert await searched.search(BodyContains(text="äpf")) == (2,)
        assert await searched.search(BodyContains(text='"apples" and p')) == (5,)
    assert set(read) <= {6}, "only the message that the index can't hold"
    assert await searched.search(BodyContains(text="ap")) == (1, 3, 4, 5, 6), "too short for the index"


async def test_trees_of_keys(searched: Searched) -> None:
    pears, subject = TextContains(text="pear"), HeaderContains(name="subject", text="fruit 2")
    for _ in range(2):
        assert await searched.search(And(keys=(APPLES, pears))) == (3, 5)
        assert await searched.search(Or(keys=(subject, BodyContains(text="red"), Not(key=APPLES)))) == (
            1,
            2,
            3,
            4,
        )
        assert await searched.search(Not(key=Or(keys=(APPLES, BodyContains(text="ap"))))) == (2,)
        assert await searched.search(And(keys=(subject, APPLES, BodyContains(text="a ")))) == (3,)
        await searched.indexes.settled()


async def test_what_came_later_is_read_then_indexed(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await searched.search(APPLES)
    await searched.indexes.settled()
    await searched.bench.append(message("Late", "late@x", "late apples"))
    await searched.bench.store.copy(ME, await searched.bench.folder_id(), ((1, 1),), "Archive")
    with reads(monkeypatch) as read:
        assert await searched.search(APPLES) == (1, 3, 5, 6, 7)
        assert await searched.search(APPLES, "Archive") == (1,)
    assert read == [6, 7]
    await searched.indexes.settled()
    await searched.bench.store.expunge(ME, await searched.bench.folder_id(), ((3, 3),), deleted_only=False)
    with reads(monkeypatch) as read:
        assert await searched.search(APPLES) == (1, 5, 6, 7)
    assert read == [6]


async def test_an_index_is_opened_again(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    await searched.search(APPLES)
    await searched.indexes.settled()
    await searched.close()
    searched.open()
    assert searched.indexes.size_bytes > 0
    with reads(monkeypatch) as read:
        assert await searched.search(APPLES) == (1, 3, 5, 6)
    assert read == [6]


async def test_a_damaged_index_is_made_anew(searched: Searched) -> None:
    await searched.search(APPLES)
    await searched.indexes.settled()
    await searched.close()
    remove(searched.file)
    searched.file.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    searched.open()
    assert await searched.search(APPLES) == (1, 3, 5, 6)
    await searched.indexes.settled()
    assert MailboxIndex(searched.file).indexed == 5


async def test_an_index_that_breaks_while_it_is_open(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await searched.search(APPLES)
    await searched.indexes.settled()

    def broken(self: MailboxIndex, needle: str, place: str) -> set[int]:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with monkeypatch.context() as patch:
        patch.setattr(MailboxIndex, "find", broken)
        assert await searched.search(APPLES) == (1, 3, 5, 6)
        assert not searched.file.exists()
        await searched.indexes.settled()
    assert await searched.search(APPLES) == (1, 3, 5, 6)


@pytest.mark.parametrize("last_email", [3, 1000])
async def test_an_index_of_another_database_is_made_anew(searched: Searched, last_email: int) -> None:
    """As when the database was restored from an older copy."""
    other = MailboxIndex(searched.file) if searched.folder.mkdir() is None else None
    assert other is not None
    other.add([Text(number, f"id-{number}", "", "apples") for number in (1, 2, 3, 4)], last_email)
    if last_email == 3:
        other._connection.execute("UPDATE progress SET last_email_id = 'id-3'")
    other.close()
    assert await searched.search(APPLES) == (1, 3, 5, 6)


async def test_too_many_that_are_gone_make_it_anew(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GONE_MIN", 2)
    await searched.search(APPLES)
    await searched.indexes.settled()
    assert MailboxIndex(searched.file).indexed == 5
    await searched.bench.store.expunge(ME, await searched.bench.folder_id(), ((1, 4),), deleted_only=False)
    await searched.bench.append(message("Late", "late@x", "late apples"))
    assert await searched.search(APPLES) == (5, 6, 7)
    await searched.indexes.settled()
    assert MailboxIndex(searched.file).indexed == 2
    assert await searched.search(APPLES) == (5, 6, 7)


async def test_rooms_are_bounded(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAILBOX_BYTES_MAX", 1)
    await searched.search(APPLES)
    await searched.indexes.settled()
    assert not searched.file.exists() or MailboxIndex(searched.file).indexed <= 2
    assert await searched.search(APPLES) == (1, 3, 5, 6)
    monkeypatch.undo()
    monkeypatch.setattr(module, "SCANNED_MIN", 1)
    monkeypatch.setattr(module, "ALL_BYTES_MAX", 1)
    await searched.close()
    MailboxIndex(searched.folder / "old.db").close()
    searched.open()
    await searched.search(APPLES)
    await searched.indexes.settled()
    assert not (searched.folder / "old.db").exists() and searched.file.exists()


async def test_it_gives_way_and_takes_its_turn(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0)
    searched.busy = True
    await searched.search(APPLES)
    with searched.indexes.searching():
        await searched.indexes.settled()
    assert MailboxIndex(searched.file).indexed == 5


async def test_a_mailbox_that_is_gone_takes_its_index_along(searched: Searched) -> None:
    await searched.search(APPLES)
    await searched.indexes.settled()
    await searched.indexes.forget(ME)
    assert not list(searched.folder.iterdir()) and searched.indexes.size_bytes == 0


@pytest.mark.parametrize("moved", [False, True])
async def test_what_happens_while_folders_are_read_is_not_missed(
    searched: Searched, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    bench, original, told = searched.bench, FolderMembers._read, asyncio.Event()
    await bench.append(message("Before", "before@x", "apples before"), "Sent")
    await bench.append(message("Last", "last@x", "pears"))

    async def read(self: FolderMembers, folder: int) -> Members:
        members = await original(self, folder)
        if not members.uids and not told.is_set():  # Archive; Sent comes later
            told.set()
            if moved:
                await bench.store.move(ME, await bench.folder_id("Sent"), ((1, 1),), "Archive")
            else:
                await bench.append(message("Between", "between@x", "apples between"), "Archive")
                await bench.append(message("After", "after@x", "apples after"), "Sent")
        return members

    await searched.search(APPLES)
    monkeypatch.setattr(FolderMembers, "_read", read)
    await searched.indexes.settled()
    assert told.is_set() and searched.file.exists()
    assert await searched.search(APPLES, "Archive") == (1,)
    assert await searched.search(APPLES, "Sent") == (() if moved else (1, 2))


async def test_a_mailbox_that_never_rests_is_searched_without(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Members, "emails_as_of", lambda self, folder: None)
    for _ in range(2):
        assert await searched.search(APPLES) == (1, 3, 5, 6)
        await searched.indexes.settled()
    assert not searched.file.exists()


@pytest.mark.parametrize("forgotten", [False, True])
async def test_an_index_dropped_while_it_is_made(
    searched: Searched, monkeypatch: pytest.MonkeyPatch, forgotten: bool
) -> None:
    indexes, steps, original = searched.indexes, 0, TextIndexes._give_way

    async def give_way(self: TextIndexes) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            if forgotten:
                await indexes.forget(ME)
            else:
                await searched.executor.run(indexes._damaged, ME, OSError("it can't be read"))
        await original(self)

    monkeypatch.setattr(TextIndexes, "_give_way", give_way)
    await searched.search(APPLES)
    await indexes.settled()
    assert steps == 2 and not list(searched.folder.iterdir()), "no more of it is written"
    assert await searched.search(APPLES) == (1, 3, 5, 6)


async def test_a_mailbox_forgotten_before_its_index_is_begun(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TextIndexes._emails_of

    async def emails_of(self: TextIndexes, mailbox_id: str) -> array[int]:
        emails = await original(self, mailbox_id)
        await self.forget(mailbox_id)
        return emails

    monkeypatch.setattr(TextIndexes, "_emails_of", emails_of)
    await searched.search(APPLES)
    await searched.indexes.settled()
    assert not searched.file.exists()


def test_what_was_found_is_kept_until_something_comes(tmp_path: Path) -> None:
    index = MailboxIndex(tmp_path / "index.db")
    index.add([Text(1, "", "apples", "pears"), Text(2, "", "pears", "apples")], 2)
    asked: list[str] = []
    index._connection.set_trace_callback(asked.append)
    for _ in range(2):
        assert index.find("pple", "anywhere") == [1, 2]
        assert index.find("pple", "body") == [2]
        assert index.find("plum", "body") == []
    assert sum("word_parts MATCH" in statement for statement in asked) == 3
    index.add([Text(3, "", "", "plums and apples")], 3)
    assert index.find("pple", "anywhere") == [1, 2, 3]
    assert (index.find("pple", "body"), index.find("plum", "body")) == ([2, 3], [3])
    index.close()


def test_part_of_a_word_is_looked_for_among_the_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = MailboxIndex(tmp_path / "index.db")
    index.add([Text(1, "", "apples", "pine apple"), Text(2, "", "a_pple", "red grapples")], 2)
    index.add([Text(3, "", "grapples", "pine\x01apples")], 3)
    asked: list[str] = []
    index._connection.set_trace_callback(asked.append)
    assert index.find("pple", "anywhere") == [1, 2, 3] and index.find("ppl", "body") == [1, 2, 3]
    assert index.find("grapp", "body") == [2] and index.find("pplesauce", "anywhere") == []
    assert not any("texts MATCH" in statement for statement in asked)
    assert index.find("pine apple", "anywhere") == [1] and index.find("ne app", "body") == [1]
    assert sum("texts MATCH" in statement for statement in asked) == 2
    monkeypatch.setattr(words_module, "WORDS_MAX", 3)
    asked.clear()
    assert index.find("apple", "anywhere") == [1, 2, 3]  # within apple, apples, grapples
    assert index.find("grapp", "anywhere") == [2, 3]
    assert not any("texts MATCH" in statement for statement in asked)
    assert index.find("ple", "anywhere") == [1, 2, 3]  # and within a_pple: too many
    assert sum("texts MATCH" in statement for statement in asked) == 1
    index.close()


letters = st.sampled_from('ababcAÄäßİıſ_7€\u0301 "*:-\x01\ufffd\ufffe\U0001f600\r\n')
some_text = st.text(letters, max_size=12) | st.text(st.sampled_from("ab "), max_size=12)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(some_text, some_text), max_size=6), some_text, st.sampled_from([0, 1, 50]))
def test_it_finds_exactly_the_substrings(pairs: list[tuple[str, str]], sought: str, words_max: int) -> None:
    texts = [Text(number, "", fold(header), fold(body)) for number, (header, body) in enumerate(pairs, 1)]
    needle = fold(sought)
    if not can_find(needle):
        return
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(words_module, "WORDS_MAX", words_max)
        index = MailboxIndex(Path(folder) / "index.db")
        index.add(texts[:3], 3)
        index.add(texts[3:], 6)
        held = [text for text in texts if can_hold(text)]
        assert index.unfit == {text.email for text in texts} - {text.email for text in held}
        assert sorted(index.find(needle, "body")) == [t.email for t in held if needle in t.body]
        anywhere = {text.email for text in held if needle in text.body or needle in text.header}
        assert sorted(index.find(needle, "anywhere")) == sorted(anywhere)
        index.close()
