"""States, logon, outcomes, selecting (RFC 3501 6.1 to 6.3)."""

from __future__ import annotations

import asyncio
import base64
import imaplib

import pytest

from clientaccess.imap.responses import SYSTEM_FLAGS
from config.model import Limits
from foundation.interfaces.mailbox_store import SEEN
from foundation.mail.errors import MailError, Unavailable
from foundation.rpc.errors import ConnectionLost
from tests.unit.clientaccess.imap.conftest import SIMPLE
from tests.unit.clientaccess.imap.rig import MemoryStore, Talk, a_server


def plain(*fields: str) -> bytes:
    return base64.b64encode("\0".join(fields).encode())


async def test_before_logon(port: int) -> None:
    talk = await Talk.open(port, logon=False)
    capability, done = await talk.ask("CAPABILITY")
    assert b"IMAP4rev1" in capability
    assert b"AUTH=PLAIN" in capability
    assert done == b"t1 OK Told"
    assert await talk.ask("NOOP") == [b"t2 OK Done"]
    for command in ("SELECT INBOX", 'LIST "" *', "IDLE"):
        assert (await talk.ask(command))[-1].split(b" ")[1] == b"BAD"
    assert (await talk.ask('ID ("name" "x")'))[0] == b'* ID ("name" "Waypost" "version" "1")'


async def test_logon_by_each_way(port: int) -> None:
    for way in (
        b"LOGIN alice secret",
        b"LOGIN {5+}\r\nalice {6+}\r\nsecret",
        b"AUTHENTICATE PLAIN " + plain("", "alice", "secret"),
        b"AUTHENTICATE PLAIN " + plain("alice", "alice", "secret"),
    ):
        talk = await Talk.open(port, logon=False)
        done = (await talk.ask(way))[-1]
        assert done.startswith(b"t1 OK [CAPABILITY IMAP4rev1")
        assert b"AUTH=PLAIN" not in done
        assert (await talk.ask("LOGIN alice secret"))[-1].startswith(b"t2 BAD")
        talk.close()


async def test_authenticate_in_two_steps(port: int) -> None:
    talk = await Talk.open(port, logon=False)
    talk.send(b"a AUTHENTICATE PLAIN\r\n")
    assert await talk.response() == b"+ "
    talk.send(b"*\r\n")
    assert (await talk.response()).startswith(b"a BAD")
    talk.send(b"b AUTHENTICATE PLAIN\r\n")
    assert await talk.response() == b"+ "
    talk.send(plain("", "alice", "secret") + b"\r\n")
    assert (await talk.response()).startswith(b"b OK")


async def test_authenticate_with_nonsense(port: int) -> None:
    talk = await Talk.open(port, logon=False)
    assert (await talk.ask("AUTHENTICATE PLAIN !!!"))[-1].startswith(b"t1 BAD")
    assert (await talk.ask(b"AUTHENTICATE PLAIN " + plain("alice")))[-1].startswith(b"t2 BAD")
    assert (await talk.ask("AUTHENTICATE SCRAM-SHA-1 x"))[-1].startswith(b"t3 NO [CANNOT]")
    bob = b"AUTHENTICATE PLAIN " + plain("bob", "alice", "secret")
    assert (await talk.ask(bob))[-1].startswith(b"t4 NO [AUTHORIZATIONFAILED]")


async def test_wrong_passwords_end_the_connection(port: int) -> None:
    talk = await Talk.open(port, logon=False)
    for count in (1, 2):
        assert (await talk.ask("LOGIN alice wrong"))[-1].startswith(b"t%d NO [AUTHENTICATIONFAILED]" % count)
    responses = await talk.ask("LOGIN alice wrong")
    assert responses[0].startswith(b"* BYE")
    assert responses[1].startswith(b"t3 NO [AUTHENTICATIONFAILED]")
    assert await talk.response() == b""


async def test_authentication_that_is_away(port: int) -> None:
    talk = await Talk.open(port, logon=False)
    assert (await talk.ask("LOGIN away x"))[-1].startswith(b"t1 NO [UNAVAILABLE]")


async def test_logout(talk: Talk) -> None:
    responses = await talk.ask("LOGOUT")
    assert responses[0].startswith(b"* BYE")
    assert responses[1] == b"t2 OK Logged out"
    assert await talk.response() == b""


async def test_bad_commands_in_a_row_end_the_connection(port: int) -> None:
    talk = await Talk.open(port, logon=False)
    tolerated = Limits().protocol_errors - 1
    for _ in range(tolerated):
        await talk.ask("NOSUCH")
    await talk.ask("NOOP")
    for _ in range(tolerated):
        await talk.ask("NOSUCH")
    talk.send(b"\r\n")
    assert (await talk.response()).startswith(b"* BAD")
    assert (await talk.response()).startswith(b"* BYE Too many bad commands")
    assert await talk.response() == b""


async def test_every_way_of_failing(store: MemoryStore, talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    store.failure = Unavailable("The store is away")
    assert await talk.ask("SELECT INBOX") == [b"t2 NO [UNAVAILABLE] The store is away"]
    store.failure = ConnectionLost("127.0.0.1:2726 can't be reached: [Errno 111]", sent=False)
    response = (await talk.ask("CREATE x"))[-1]
    assert response == b"t3 NO [UNAVAILABLE] The mailbox store can't be reached now, try again later"
    store.failure = MailError(452, "4.3.1", "Disk full")
    assert await talk.ask("CREATE x") == [b"t4 NO [UNAVAILABLE] Disk full"]
    store.failure = KeyError("a secret text")
    response = (await talk.ask("CREATE x"))[-1]
    assert response.startswith(b"t5 NO [SERVERBUG] ")
    assert b"secret" not in response
    assert caplog.records[-1].trace_id.encode() in response  # type: ignore[attr-defined]
    assert (await talk.ask("CREATE x"))[-1].startswith(b"t6 OK")


async def test_enable(talk: Talk) -> None:
    assert await talk.ask("ENABLE CONDSTORE NOSUCH") == [b"* ENABLED CONDSTORE", b"t2 OK Enabled"]
    await talk.ask("SELECT INBOX")
    assert (await talk.ask("ENABLE CONDSTORE"))[-1].startswith(b"t4 BAD")


async def test_namespace(talk: Talk) -> None:
    assert (await talk.ask("NAMESPACE"))[0] == b'* NAMESPACE (("" "/")) NIL NIL'


async def test_select_tells_the_mailbox(store: MemoryStore, talk: Talk) -> None:
    store.deliver(SIMPLE, flags=SEEN)
    store.deliver(SIMPLE, keywords=("$work",))
    box = store.boxes["INBOX"]
    assert await talk.ask("SELECT inbox") == [
        b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $work)",
        b"* 2 EXISTS",
        b"* 2 RECENT",
        b"* OK [UNSEEN 2] First unseen message",
        b"* OK [PERMANENTFLAGS (" + SYSTEM_FLAGS + b" \\*)] Flags that can be changed",
        b"* OK [UIDVALIDITY %d] UIDs are valid" % box.uid_validity,
        b"* OK [UIDNEXT 3] Predicted next UID",
        b"* OK [HIGHESTMODSEQ 3] Highest modseq",
        b"* OK [MAILBOXID (%b)] Id of the mailbox" % box.folder_id.encode(),
        b"t2 OK [READ-WRITE] Selected",
    ]
    again = await talk.ask("EXAMINE inbox")
    assert again[0].startswith(b"* OK [CLOSED]")
    assert b"* 0 RECENT" in again, "recent to the first session only"
    assert b"* OK [PERMANENTFLAGS ()] Flags that can be changed" in again
    assert again[-1] == b"t3 OK [READ-ONLY] Examined"


async def test_examine_leaves_recent(store: MemoryStore, port: int, talk: Talk) -> None:
    store.deliver(SIMPLE)
    assert b"* 1 RECENT" in await talk.ask("EXAMINE INBOX")
    other = await Talk.open(port)
    assert b"* 1 RECENT" in await other.ask("SELECT INBOX")
    other.close()


async def test_a_failed_select_leaves_nothing_selected(inbox: Talk) -> None:
    responses = await inbox.ask("SELECT nosuch")
    assert responses[0].startswith(b"* OK [CLOSED]")
    assert responses[-1].startswith(b"t3 NO [NONEXISTENT]")
    assert (await inbox.ask("FETCH 1 FLAGS"))[-1].startswith(b"t4 BAD")


async def test_close_and_unselect(store: MemoryStore, inbox: Talk) -> None:
    await inbox.ask("STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert await inbox.ask("UNSELECT") == [b"t4 OK Closed"]
    assert len(store.boxes["INBOX"].messages) == 3
    await inbox.ask("EXAMINE INBOX")
    await inbox.ask("CLOSE")
    assert len(store.boxes["INBOX"].messages) == 3
    await inbox.ask("SELECT INBOX")
    assert await inbox.ask("CLOSE") == [b"t8 OK Closed"]
    assert len(store.boxes["INBOX"].messages) == 2
    assert (await inbox.ask("CLOSE"))[-1].startswith(b"t9 BAD")


async def test_pipelined_commands_are_answered_in_order(inbox: Talk) -> None:
    inbox.send(b"a NOOP\r\nb STORE 1 +FLAGS (\\Seen)\r\nc FETCH 1 FLAGS\r\nd LOGOUT\r\ne NOOP\r\n")
    responses = await inbox.until(b"d")
    tagged = [response[:4] for response in responses if not response.startswith(b"*")]
    assert tagged == [b"a OK", b"b OK", b"c OK", b"d OK"]
    assert await inbox.response() == b""


async def test_imaplib(store: MemoryStore) -> None:
    server = a_server(store)
    port = await server.start("127.0.0.1", 0, False)

    def program() -> None:
        client = imaplib.IMAP4("127.0.0.1", port, timeout=10)
        client.login("alice", "secret")
        assert client.select()[1] == [b"0"]
        assert client.append("INBOX", "(\\Seen)", imaplib.Time2Internaldate(1_600_000_000), SIMPLE)[0] == "OK"
        assert client.recent()[1][-1] == b"1"
        (item, closing) = client.fetch("1", "(UID RFC822)")[1]
        assert isinstance(item, tuple)
        assert item[1] == SIMPLE
        assert closing == b")"
        assert client.search(None, "SUBJECT", "hello")[1] == [b"1"]
        assert client.search("UTF-8", "SUBJECT", "hello")[1] == [b"1"]
        assert client.copy("1", "Sent")[0] == "OK"
        assert client.uid("STORE", "1", "+FLAGS", "\\Deleted")[0] == "OK"
        assert client.expunge()[1] == [b"1"]
        assert client.status("Sent", "(MESSAGES)")[1] == [b"Sent (MESSAGES 1)"]
        assert client.logout()[0] == "BYE"

    await asyncio.to_thread(program)
    await server.stop()
