"""Items that never change are read once, and kept within a bound while their folder is selected."""

from __future__ import annotations

import pytest

from clientaccess.imap.kept import ENTRY_BYTES, Kept
from foundation.interfaces.mailbox_store import CONTENT_IN_COLUMN_BYTES
from tests.unit.clientaccess.imap.rig import MemoryStore, Talk

ENCODED = (
    b"From: a@b.example\r\nSubject: =?utf-8?q?J=C3=BC?=\r\n again\r\nX-Odd: 1%\r\nDate: x\r\n\r\nbody\r\n"
)


async def test_what_was_shown_is_not_asked_for_again(store: MemoryStore, talk: Talk) -> None:
    for number in range(3):
        store.deliver(b"Subject: %d\r\n\r\nx\r\n" % number)
    await talk.ask("SELECT INBOX")
    command = "FETCH 1:* (UID ENVELOPE BODYSTRUCTURE RFC822.SIZE INTERNALDATE EMAILID THREADID SAVEDATE)"
    first = await talk.ask(command)
    store.deliver(b"Subject: 3\r\n\r\nx\r\n")
    await talk.ask("NOOP")
    store.calls.clear()
    again = await talk.ask(command)
    assert again[:3] == first[:3] and b'ENVELOPE (NIL "3"' in again[3]
    assert store.calls == ["columns"]
    store.calls.clear()
    assert (await talk.ask(command))[:4] == again[:4] and store.calls == []


async def test_header_fields_listed_and_not(store: MemoryStore, talk: Talk) -> None:
    store.deliver(ENCODED)
    store.deliver(b"\r\nonly a body\r\n")
    await talk.ask("SELECT INBOX")
    shown = b"".join(await talk.ask("FETCH 1:2 BODY.PEEK[HEADER.FIELDS (Date SUBJECT)]"))
    assert b"{49}\r\nSubject: =?utf-8?q?J=C3=BC?=\r\n again\r\nDate: x\r\n\r\n)" in shown
    assert b"* 2 FETCH (BODY[HEADER.FIELDS (Date SUBJECT)] {2}\r\n\r\n)" in shown
    shown = b"".join(await talk.ask('FETCH 1:2 (UID BODY.PEEK[HEADER.FIELDS (X-Odd "a%b")])'))
    assert b'* 1 FETCH (UID 1 BODY[HEADER.FIELDS (X-Odd "a%b")] {13}\r\nX-Odd: 1%\r\n\r\n)' in shown


async def test_flags_are_never_kept(store: MemoryStore, talk: Talk) -> None:
    store.deliver(b"Subject: x\r\n\r\nx\r\n", keywords=("blue",))
    store.deliver(b"Subject: y\r\n\r\nx\r\n")
    await talk.ask("SELECT INBOX")
    assert b"FLAGS (blue \\Recent)" in (await talk.ask("FETCH 1:* (FLAGS RFC822.SIZE)"))[0]
    store.mark(2, 1)
    assert b"FLAGS (\\Seen \\Recent)" in b"".join(await talk.ask("FETCH 1:* (FLAGS RFC822.SIZE)"))


async def test_messages_that_are_gone_are_left_out(store: MemoryStore, talk: Talk) -> None:
    for number in range(3):
        store.deliver(b"Subject: %d\r\n\r\nx\r\n" % number)
    await talk.ask("SELECT INBOX")
    del store.boxes["INBOX"].messages[2]
    answer = await talk.ask("FETCH 1:* RFC822.SIZE")
    assert [line.split()[1] for line in answer[:-1]] == [b"1", b"3"]
    assert b"NO [EXPUNGEISSUED]" in answer[-1]


def test_the_room_is_bounded() -> None:
    kept = Kept(bytes_max=10 * (ENTRY_BYTES + 100))
    first, second = kept.folder("a", 1), kept.folder("b", 1)
    first.add(b"x", dict.fromkeys(range(1, 6), b"." * 100))
    first.add(b"x", dict.fromkeys(range(1, 6), b"." * 100))
    assert len(first.get(b"x")) == 5 and kept.size_bytes == 5 * (ENTRY_BYTES + 100)
    first.add(b"y", {1: b"." * 100})
    assert not first.get(b"y"), "half of all room is the most for one folder"
    second.add(b"x", dict.fromkeys(range(1, 5), b"." * 100))
    third = kept.folder("c", 1)
    first.get(b"x")
    third.add(b"x", dict.fromkeys(range(1, 5), b"." * 100))
    assert first.get(b"x") and third.get(b"x") and not second.get(b"x"), "used longest ago"
    assert kept.size_bytes <= kept.bytes_max


@pytest.mark.parametrize("uid_validity", [1, 2])
def test_a_folder_is_forgotten_when_nobody_has_it_selected(uid_validity: int) -> None:
    kept = Kept()
    folder = kept.folder("a", 1)
    folder.add(b"x", {1: 7})
    assert (kept.folder("a", uid_validity) is folder) is (uid_validity == 1)
    del folder
    assert kept.size_bytes == 0 and not kept.folder("a", 1).get(b"x")


async def test_whole_messages_small_and_large(store: MemoryStore, talk: Talk) -> None:
    large = b"Subject: large\r\n\r\n" + b"x" * CONTENT_IN_COLUMN_BYTES + b"\r\n"
    store.deliver(b"Subject: a\0b\r\n\r\n")
    store.deliver(large)
    store.deliver(b"Subject: last\r\n\r\nx\r\n")
    await talk.ask("EXAMINE INBOX")
    answer = await talk.ask("FETCH 1:* (UID BODY[] RFC822.SIZE)")
    whole = b"".join(answer)
    assert b"* 1 FETCH (UID 1 BODY[] {16}\r\nSubject: a\x80b\r\n\r\n RFC822.SIZE 16)" in whole
    assert b"* 2 FETCH (UID 2 BODY[] {%d}\r\n%b RFC822.SIZE %d)" % (len(large), large, len(large)) in whole
    assert b"* 3 FETCH (UID 3 BODY[] {20}\r\nSubject: last\r\n\r\nx\r\n RFC822.SIZE 20)" in whole
    assert len(answer) == 4 and answer[-1].endswith(b"OK Fetched")
