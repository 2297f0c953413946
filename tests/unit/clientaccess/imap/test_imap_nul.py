"""NUL comes in by SMTP, and can't be said in IMAP (RFC 3501 9: CHAR8)."""

from __future__ import annotations

import pytest

from tests.unit.clientaccess.imap.rig import MemoryStore, Talk

HEADER = b"From: a\0b@c\r\nSubject: one\0two\r\nContent-Type: multipart/mixed; boundary=X\r\n\r\n"


@pytest.mark.parametrize("size", [10, 300_000])
async def test_nul_is_never_said_and_no_length_changes(store: MemoryStore, talk: Talk, size: int) -> None:
    message = HEADER + b"--X\r\n\r\npart\0" + b"x" * size + b"\0\r\n--X--\r\n"
    store.deliver(message)
    await talk.ask("SELECT INBOX")
    shown = message.replace(b"\0", b"\x80")
    fetched, _ = await talk.ask("FETCH 1 BODY.PEEK[]")
    assert fetched == b"* 1 FETCH (BODY[] {%d}\r\n%b)" % (len(message), shown)
    part = b"part\x80" + b"x" * size + b"\x80"
    fetched, _ = await talk.ask("FETCH 1 BODY.PEEK[1]")
    assert fetched == b"* 1 FETCH (BODY[1] {%d}\r\n%b)" % (len(part), part)
    asked = (
        "FETCH 1 (RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER] BODY.PEEK[HEADER.FIELDS (Subject)])"
    )
    fetched, _ = await talk.ask(asked)
    assert b"\0" not in fetched
    assert b"RFC822.SIZE %d" % len(message) in fetched
    assert b"Subject: one\x80two" in fetched
