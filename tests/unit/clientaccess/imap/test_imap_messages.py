"""Messages of the selected mailbox (RFC 3501 6.4 and 5.5; RFC 4315, 4731, 5182, 6851, 7162)."""

from __future__ import annotations

from foundation.interfaces.mailbox_store import ANSWERED, DELETED, FLAGGED, SEEN
from foundation.mail.errors import Unavailable
from tests.unit.clientaccess.imap.conftest import SIMPLE
from tests.unit.clientaccess.imap.rig import MemoryStore, Talk

NESTED = (
    b"From: a@b\r\nContent-Type: multipart/mixed; boundary=X\r\n\r\n"
    b"--X\r\nContent-Type: text/plain\r\n\r\nfirst\r\n"
    b"--X\r\nContent-Type: message/rfc822\r\n\r\n"
    b"From: inner@b\r\nSubject: inner\r\nContent-Type: multipart/alternative; boundary=Y\r\n\r\n"
    b"--Y\r\nContent-Type: text/plain\r\n\r\ninner text\r\n"
    b"--Y\r\nContent-Type: text/html\r\n\r\n<p>\r\n--Y--\r\n"
    b"--X--\r\n"
)


async def section(talk: Talk, name: str) -> bytes:
    """The value of one section of message 1."""
    response = (await talk.ask(f"FETCH 1 BODY.PEEK[{name}]"))[0]
    head = b"* 1 FETCH (BODY[" + name.partition("<")[0].encode() + b"] "
    assert response.startswith(head), response
    value = response[len(head) : -1]
    return value.split(b"\r\n", 1)[1] if value.startswith(b"{") else value


async def test_fetch_simple_items(inbox: Talk) -> None:
    fetched, done = await inbox.ask(
        "FETCH 2 (UID FLAGS INTERNALDATE RFC822.SIZE EMAILID THREADID SAVEDATE MODSEQ)"
    )
    assert fetched == (
        b'* 2 FETCH (UID 2 FLAGS (\\Recent) INTERNALDATE "14-Nov-2023 23:13:22 +0100" RFC822.SIZE %d '
        b'EMAILID (E2) THREADID (T2) SAVEDATE "14-Nov-2023 22:13:22 +0000" MODSEQ (3))' % (len(SIMPLE) + 2)
    )
    assert done == b"t3 OK Fetched"


async def test_fetch_envelope_and_structures(inbox: Talk) -> None:
    assert (await inbox.ask("FETCH 1 (ENVELOPE BODY)"))[0] == (
        b'* 1 FETCH (ENVELOPE ("Tue, 14 Nov 2023 22:13:20 +0000" "Hello 0" '
        b'(("Alice" NIL "alice" "example.com")) '
        b'(("Alice" NIL "alice" "example.com")) (("Alice" NIL "alice" "example.com")) '
        b'((NIL NIL "bob" "example.org")) NIL NIL NIL "<1@example.com>") '
        b'BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 11 1))'
    )
    assert b" NIL NIL NIL NIL))" in (await inbox.ask("FETCH 1 BODYSTRUCTURE"))[0]
    assert b"BODY (" in (await inbox.ask("FETCH 1 FULL"))[0]


async def test_fetch_sections(store: MemoryStore, talk: Talk) -> None:
    store.deliver(NESTED)
    await talk.ask("SELECT INBOX")
    inner = NESTED[NESTED.index(b"From: inner") : NESTED.index(b"\r\n--X--")]
    assert await section(talk, "") == NESTED
    assert await section(talk, "HEADER") == NESTED[: NESTED.index(b"--X")]
    assert await section(talk, "TEXT") == NESTED[NESTED.index(b"--X") :]
    assert await section(talk, "1") == b"first"
    assert await section(talk, "1.MIME") == b"Content-Type: text/plain\r\n\r\n"
    assert await section(talk, "2") == inner
    assert await section(talk, "2.HEADER") == inner[: inner.index(b"--Y")]
    assert await section(talk, "2.HEADER.FIELDS (SUBJECT)") == b"Subject: inner\r\n\r\n"
    assert await section(talk, "2.TEXT") == inner[inner.index(b"--Y") :]
    assert await section(talk, "2.1") == b"inner text"
    assert await section(talk, "2.2.MIME") == b"Content-Type: text/html\r\n\r\n"
    assert await section(talk, "HEADER.FIELDS (from x-no)") == b"From: a@b\r\n\r\n"
    assert await section(talk, "HEADER.FIELDS.NOT (content-type)") == b"From: a@b\r\n\r\n"
    for missing in ("3", "1.1", "1.HEADER", "2.3", "2.1.TEXT"):
        assert await section(talk, missing) == b"NIL"


async def test_fetch_partials(store: MemoryStore, talk: Talk) -> None:
    store.deliver(SIMPLE)
    await talk.ask("SELECT INBOX")
    for origin, length in ((0, 5), (3, 7), (len(SIMPLE) - 2, 100)):
        wanted = SIMPLE[origin : origin + length]
        assert (await talk.ask(f"FETCH 1 BODY.PEEK[]<{origin}.{length}>"))[0] == (
            b"* 1 FETCH (BODY[]<%d> {%d}\r\n%b)" % (origin, len(wanted), wanted)
        )
    beyond = (await talk.ask("FETCH 1 BODY.PEEK[HEADER]<9999.1>"))[0]
    assert beyond == b'* 1 FETCH (BODY[HEADER]<9999> "")'


async def test_fetch_of_a_large_message_is_streamed(store: MemoryStore, talk: Talk) -> None:
    large = SIMPLE + b"0123456789abcdef" * 200_000
    store.deliver(large)
    store.deliver(NESTED.replace(b"first", b"first" * 60_000))
    await talk.ask("SELECT INBOX")
    fetched, _ = await talk.ask("FETCH 1 (UID BODY.PEEK[] FLAGS)")
    assert fetched == b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b FLAGS (\\Recent))" % (len(large), large)
    part = large[1_000_000:1_000_777]
    fetched, _ = await talk.ask("FETCH 1 BODY.PEEK[]<1000000.777>")
    assert fetched == b"* 1 FETCH (BODY[]<1000000> {777}\r\n%b)" % part
    fetched, _ = await talk.ask("FETCH 2 (BODY.PEEK[2.HEADER.FIELDS (Subject)])")
    assert fetched == b"* 2 FETCH (BODY[2.HEADER.FIELDS (Subject)] {18}\r\nSubject: inner\r\n\r\n)"


async def test_fetch_sets_seen_and_tells_it(store: MemoryStore, inbox: Talk) -> None:
    fetched, _ = await inbox.ask("FETCH 1 BODY[TEXT]")
    assert fetched == b"* 1 FETCH (BODY[TEXT] {11}\r\nBody text\r\n FLAGS (\\Seen \\Recent))"
    assert store.boxes["INBOX"].messages[1].flags == SEEN
    fetched, _ = await inbox.ask("FETCH 1 RFC822.TEXT")
    assert b"FLAGS" not in fetched
    fetched, _ = await inbox.ask("FETCH 2 (FLAGS RFC822)")
    assert fetched.startswith(b"* 2 FETCH (FLAGS (\\Seen \\Recent) RFC822 {")


async def test_fetch_does_not_set_seen_by_peek_or_examine(store: MemoryStore, inbox: Talk) -> None:
    await inbox.ask("FETCH 1 (BODY.PEEK[] RFC822.HEADER)")
    await inbox.ask("EXAMINE INBOX")
    await inbox.ask("FETCH 1 BODY[]")
    assert store.boxes["INBOX"].messages[1].flags == 0


async def test_fetch_of_numbers_that_do_not_exist(inbox: Talk) -> None:
    assert (await inbox.ask("FETCH 4 FLAGS"))[-1].startswith(b"t3 BAD")
    assert await inbox.ask("UID FETCH 17 FLAGS") == [b"t4 OK Nothing to fetch"]
    assert await inbox.ask("UID FETCH 17:* FLAGS") == [
        b"* 3 FETCH (UID 3 FLAGS (\\Recent))",
        b"t5 OK Fetched",
    ]


async def test_fetch_many_in_batches(store: MemoryStore, talk: Talk) -> None:
    for _ in range(1200):
        store.deliver(SIMPLE)
    await talk.ask("SELECT INBOX")
    store.calls.clear()
    assert len(await talk.ask("FETCH 1:* (FLAGS UID)")) == 1201
    assert "records" not in store.calls, "flags are known to the session"
    responses = await talk.ask("FETCH 1:* (UID RFC822.SIZE)")
    assert [int(response.split()[1]) for response in responses[:-1]] == list(range(1, 1201))
    assert store.calls.count("columns") == 1


async def test_changes_of_others_are_told(store: MemoryStore, inbox: Talk) -> None:
    store.deliver(SIMPLE)
    store.mark(1, FLAGGED)
    store.remove(2)
    assert await inbox.ask("NOOP") == [
        b"* 2 EXPUNGE",
        b"* 3 EXISTS",
        b"* 3 RECENT",
        b"* 1 FETCH (FLAGS (\\Flagged \\Recent))",
        b"t3 OK Done",
    ]
    assert await inbox.ask("NOOP") == [b"t4 OK Done"]


async def test_no_expunge_while_numbers_are_in_use(store: MemoryStore, inbox: Talk) -> None:
    store.remove(1)
    assert (await inbox.ask("STORE 2 +FLAGS (\\Answered)"))[0] == b"* 2 FETCH (FLAGS (\\Answered \\Recent))"
    assert store.boxes["INBOX"].messages[2].flags == ANSWERED, "number 2 is still UID 2"
    assert await inbox.ask("FETCH 1:2 FLAGS") == [
        b"* 2 FETCH (FLAGS (\\Answered \\Recent))",
        b"t4 NO [EXPUNGEISSUED] Some of the messages no longer exist",
    ]
    assert (await inbox.ask("FETCH 1 RFC822.SIZE"))[-1].startswith(b"t5 NO [EXPUNGEISSUED]")
    assert await inbox.ask("SEARCH ALL") == [b"* SEARCH 2 3", b"t6 OK Searched"]
    assert await inbox.ask("UID SEARCH ALL") == [b"* SEARCH 2 3", b"* 1 EXPUNGE", b"t7 OK Searched"]
    assert await inbox.ask("SEARCH ALL") == [b"* SEARCH 1 2", b"t8 OK Searched"]


async def test_store(store: MemoryStore, inbox: Talk) -> None:
    assert await inbox.ask("STORE 1:2 FLAGS (\\Seen work)") == [
        b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft work)",
        b"* 1 FETCH (FLAGS (\\Seen work \\Recent))",
        b"* 2 FETCH (FLAGS (\\Seen work \\Recent))",
        b"t3 OK Flags changed",
    ]
    assert await inbox.ask("UID STORE 2 -FLAGS work") == [
        b"* 2 FETCH (FLAGS (\\Seen \\Recent) UID 2)",
        b"t4 OK Flags changed",
    ]
    assert await inbox.ask("STORE 1 +FLAGS.SILENT \\Deleted") == [b"t5 OK Flags changed"]
    assert await inbox.ask("NOOP") == [b"t6 OK Done"], "the own change is no news"
    assert store.boxes["INBOX"].messages[1].flags == SEEN | DELETED
    await inbox.ask("EXAMINE INBOX")
    assert (await inbox.ask("STORE 1 +FLAGS (\\Seen)"))[-1].startswith(b"t8 NO [READ-ONLY]")


async def test_a_silent_store_tells_what_others_changed(store: MemoryStore, inbox: Talk) -> None:
    store.boxes["INBOX"].messages[1].flags = FLAGGED
    assert (await inbox.ask("STORE 1 +FLAGS.SILENT (\\Seen)"))[0] == (
        b"* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent))"
    )


async def test_conditional_store(store: MemoryStore, inbox: Talk) -> None:
    store.mark(2, FLAGGED)
    assert await inbox.ask("STORE 1,2 (UNCHANGEDSINCE 4) +FLAGS.SILENT (\\Seen)") == [
        b"* 1 FETCH (MODSEQ (6))",
        b"* 2 FETCH (FLAGS (\\Flagged \\Recent) MODSEQ (5))",
        b"t3 OK [MODIFIED 2] Some messages had changed",
    ]
    assert await inbox.ask("UID STORE 2 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)") == [
        b"t4 OK [MODIFIED 2] Some messages had changed"
    ]
    assert await inbox.ask("FETCH 1:* (FLAGS) (CHANGEDSINCE 5)") == [
        b"* 1 FETCH (FLAGS (\\Seen \\Recent) MODSEQ (6))",
        b"t5 OK Fetched",
    ]


async def test_expunge(store: MemoryStore, inbox: Talk) -> None:
    await inbox.ask("STORE 1:3 +FLAGS.SILENT (\\Deleted)")
    assert await inbox.ask("UID EXPUNGE 2,99") == [b"* 2 EXPUNGE", b"t4 OK Expunged"]
    assert await inbox.ask("UID EXPUNGE 99") == [b"t5 OK Nothing to expunge"]
    assert await inbox.ask("EXPUNGE") == [b"* 1 EXPUNGE", b"* 1 EXPUNGE", b"t6 OK Expunged"]
    assert await inbox.ask("NOOP") == [b"t7 OK Done"]
    assert not store.boxes["INBOX"].messages


async def test_copy(store: MemoryStore, inbox: Talk) -> None:
    validity = store.boxes["Sent"].uid_validity
    assert await inbox.ask("COPY 1:2 Sent") == [b"t3 OK [COPYUID %d 1:2 1:2] Copied" % validity]
    assert (await inbox.ask("UID COPY 3 nosuch"))[-1].startswith(b"t4 NO [TRYCREATE]")
    assert await inbox.ask("UID COPY 99 Sent") == [b"t5 OK Nothing to copy"]
    assert (await inbox.ask("COPY 1 INBOX"))[0] == b"* 4 EXISTS"


async def test_move(store: MemoryStore, inbox: Talk) -> None:
    validity = store.boxes["Sent"].uid_validity
    assert await inbox.ask("MOVE 1,3 Sent") == [
        b"* OK [COPYUID %d 1,3 1:2] Moved" % validity,
        b"* 1 EXPUNGE",
        b"* 2 EXPUNGE",
        b"t3 OK Moved",
    ]
    assert await inbox.ask("FETCH 1 UID") == [b"* 1 FETCH (UID 2)", b"t4 OK Fetched"]
    await inbox.ask("EXAMINE INBOX")
    assert (await inbox.ask("UID MOVE 2 Sent"))[-1].startswith(b"t6 NO [READ-ONLY]")


async def test_search(store: MemoryStore, inbox: Talk) -> None:
    store.mark(2, SEEN)
    await inbox.ask("NOOP")
    searches = {
        "ALL": b" 1 2 3",
        "SEEN": b" 2",
        "NEW": b" 1 3",
        "OLD": b"",
        "2:*": b" 2 3",
        "NOT 2": b" 1 3",
        "UID 3:9": b" 3",
        "OR 1 UID 3": b" 1 3",
        "SUBJECT {7+}\r\nhello 2": b" 3",
        "9": b"",
        "TEXT body NOT SUBJECT 0": b" 2 3",
    }
    for search, found in searches.items():
        assert (await inbox.ask("SEARCH " + search))[0] == b"* SEARCH" + found, search
    assert (await inbox.ask("SEARCH CHARSET nosuch ALL"))[-1].startswith(
        b"t%d NO [BADCHARSET (US-ASCII UTF-8)]" % inbox.count
    )
    assert (await inbox.ask("SEARCH MODSEQ 3"))[0] == b"* SEARCH 2 3 (MODSEQ 5)"


async def test_extended_search_and_saved_result(store: MemoryStore, inbox: Talk) -> None:
    assert (await inbox.ask("UID SEARCH RETURN (MIN MAX COUNT ALL) ALL"))[0] == (
        b'* ESEARCH (TAG "t3") UID MIN 1 MAX 3 ALL 1:3 COUNT 3'
    )
    assert (await inbox.ask("SEARCH RETURN (COUNT) SEEN"))[0] == b'* ESEARCH (TAG "t4") COUNT 0'
    assert await inbox.ask("SEARCH RETURN (SAVE) 2:3") == [b"t5 OK Searched"]
    assert await inbox.ask("FETCH $ UID") == [b"* 2 FETCH (UID 2)", b"* 3 FETCH (UID 3)", b"t6 OK Fetched"]
    store.remove(2)
    await inbox.ask("NOOP")
    assert await inbox.ask("UID FETCH $ FLAGS") == [b"* 2 FETCH (UID 3 FLAGS (\\Recent))", b"t8 OK Fetched"]
    assert (await inbox.ask("SEARCH UID $"))[0] == b"* SEARCH 2"
    store.failure = Unavailable("away")
    assert (await inbox.ask("SEARCH RETURN (SAVE) ALL"))[-1].startswith(b"t10 NO")
    assert await inbox.ask("FETCH $ UID") == [b"t11 OK Nothing to fetch"]
    assert (await inbox.ask("SEARCH RETURN (MIN SAVE) ALL"))[0] == b'* ESEARCH (TAG "t12") MIN 1'
    assert await inbox.ask("FETCH $ UID") == [b"* 1 FETCH (UID 1)", b"t13 OK Fetched"]


async def test_a_mailbox_deleted_by_another_session(store: MemoryStore, port: int) -> None:
    store._make("shared")
    store.deliver(SIMPLE, "shared")
    talk = await Talk.open(port, select="shared")
    await store.delete_folder("m1", "shared")
    assert (await talk.ask("NOOP"))[0].startswith(b"* BYE [NONEXISTENT]")
    assert await talk.response() == b""


async def test_a_store_that_fails_in_the_middle_of_a_message(store: MemoryStore, talk: Talk) -> None:
    store.deliver(SIMPLE + b"x" * 500_000)
    await talk.ask("SELECT INBOX")
    whole = store.content

    async def broken(*arguments: object):  # type: ignore[no-untyped-def]
        async for chunk in whole(*arguments):  # type: ignore[arg-type]
            yield chunk
            raise Unavailable("away")

    store.content = broken  # type: ignore[method-assign]
    talk.send(b"a FETCH 1 BODY.PEEK[]\r\n")
    rest = await talk.reader.read()
    assert rest.startswith(b"* 1 FETCH (BODY[] {500")
    assert b"a OK" not in rest, "the connection ends, since the literal can't be completed"


async def test_a_failure_before_the_first_octet_is_a_no(store: MemoryStore, talk: Talk) -> None:
    store.deliver(SIMPLE + b"x" * 500_000)
    await talk.ask("SELECT INBOX")

    async def gone(*arguments: object):  # type: ignore[no-untyped-def]
        raise Unavailable("away")
        yield b""

    store.content = gone  # type: ignore[method-assign]
    assert await talk.ask("FETCH 1 BODY.PEEK[]") == [b"t3 NO [UNAVAILABLE] away"]
