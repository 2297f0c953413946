"""Python's libraries that read: imaplib, IMAPClient and aioimaplib."""

from __future__ import annotations

import asyncio
import imaplib
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from aioimaplib import aioimaplib
from imapclient import IMAPClient

from tests.harness.mail import User
from tests.harness.patience import patient
from tests.programs.conftest import Pair, Place
from tests.programs.letters import content_of, letter, whole

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

FOLDER = "Reisepläne/Köln & Umgebung"
RECENT = {rb"\Recent"}
AT = datetime(2024, 2, 29, 23, 30, tzinfo=timezone(timedelta(hours=-8)))


@pytest.fixture
def trust(place: Place) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(place.ca_file))


def octets(user: User, subject: str) -> bytes:
    return letter("someone@example.net", user.address, subject=subject).as_bytes()


def found(answer: tuple[Any, list[Any]]) -> list[bytes]:
    status, data = answer
    assert status in ("OK", "EXPUNGE"), data
    return [part[1] if isinstance(part, tuple) else part for part in data if part not in (b")", None)]


def numbers(answer: tuple[Any, list[Any]]) -> list[int]:
    return [int(each) for each in re.findall(rb"\d+", b" ".join(found(answer)))]


@pytest.mark.program("imaplib")
async def test_imaplib_day(place: Place, pair: Pair, trust: ssl.SSLContext) -> None:
    """STARTTLS; appends, flags, searches, copies, moves and removes messages; makes, renames and removes
    folders"""
    await asyncio.to_thread(_imaplib_day, place, pair.reader, trust)


def _imaplib_day(place: Place, user: User, trust: ssl.SSLContext) -> None:
    with imaplib.IMAP4(place.imap.host, place.imap.port, timeout=patient(30)) as connection:
        assert "LOGINDISABLED" in connection.capabilities
        connection.starttls(trust)
        connection.login(user.address, user.password)
        for number in range(1, 6):
            message = octets(user, f"imaplib {number}")
            assert connection.append("INBOX", r"(\Seen $Label1)", AT, message)[0] == "OK"
        assert found(connection.select()) == [b"5"]
        assert numbers(connection.search(None, "KEYWORD", "$Label1", "SEEN")) == [1, 2, 3, 4, 5]
        assert numbers(connection.search("UTF-8", 'SUBJECT "imaplib 3"')) == [3]
        connection.literal = "für ein Stück".encode()
        assert numbers(connection.search("UTF-8", "BODY")) == [1, 2, 3, 4, 5]
        assert b'"29-Feb-2024 23:30:00 -0800"' in found(connection.fetch("1", "(INTERNALDATE)"))[0]
        # The date of the client's own zone (RFC 3501 6.4.4).
        assert numbers(connection.search(None, "ON", "29-Feb-2024")) == [1, 2, 3, 4, 5]
        fetched = next(part[1] for part in connection.fetch("2", "(BODY[])")[1] if isinstance(part, tuple))
        assert content_of(fetched) == whole("imaplib 2")
        told = found(connection.store("2:3", "+FLAGS", r"(\Flagged)"))
        assert [set(imaplib.ParseFlags(each)) - RECENT for each in told] == [
            {rb"\Flagged", rb"\Seen", b"$Label1"}
        ] * 2
        assert numbers(connection.search(None, "FLAGGED")) == [2, 3]
        assert connection.create("Work/2024")[0] == "OK"
        assert connection.copy("1:2", "Work/2024")[0] == "OK"
        assert connection.uid("MOVE", "3", "Work/2024")[0] == "OK"
        assert numbers(connection.response("EXPUNGE")) == [3]
        assert found(connection.store("1", "+FLAGS", r"(\Deleted)"))
        assert numbers(connection.expunge()) == [1]
        assert numbers(connection.uid("SEARCH", None, "ALL")) == [2, 4, 5]  # type: ignore[arg-type]
        assert found(connection.status("Work/2024", "(MESSAGES UNSEEN UIDNEXT)")) == [
            b"Work/2024 (MESSAGES 3 UNSEEN 0 UIDNEXT 4)"
        ]
        assert connection.rename("Work", "Play")[0] == "OK"
        assert {line.rpartition(b" ")[2] for line in found(connection.list('""', "Play*"))} == {
            b"Play",
            b"Play/2024",
        }
        assert connection.subscribe("Play/2024")[0] == "OK"
        assert found(connection.lsub('""', "Play*"))
        assert connection.close()[0] == "OK"
        assert connection.delete("Play/2024")[0] == "OK"
        assert connection.select("Play/2024")[0] == "NO"
        assert found(connection.namespace()) == [b'(("" "/")) NIL NIL']


@contextmanager
def imapclient(place: Place, user: User, trust: ssl.SSLContext) -> Iterator[IMAPClient]:
    with IMAPClient(place.imaps.host, place.imaps.port, ssl_context=trust, timeout=patient(30)) as client:
        client.login(user.address, user.password)
        yield client


@pytest.mark.program("IMAPClient")
async def test_imapclient_day(place: Place, pair: Pair, trust: ssl.SSLContext) -> None:
    """appends, flags, searches, copies, moves and removes; folders beyond ASCII; envelopes and structures;
    CONDSTORE"""
    await asyncio.to_thread(_imapclient_day, place, pair.reader, trust)


def _imapclient_day(place: Place, user: User, trust: ssl.SSLContext) -> None:
    with imapclient(place, user, trust) as client:
        assert client.create_folder(FOLDER)
        assert client.folder_exists(FOLDER)
        for number in range(1, 4):
            told = client.append(FOLDER, octets(user, f"Grüße {number}"), [rb"\Flagged", "$Wichtig"], AT)
            assert f"APPENDUID {client.folder_status(FOLDER)[b'UIDVALIDITY']} {number}".encode() in told
        selected = client.select_folder(FOLDER)
        assert selected[b"EXISTS"] == 3
        assert client.search(["SUBJECT", "Grüße 2"], charset="UTF-8") == [2]
        assert client.search(["BODY", "für ein Stück", "NOT", "SEEN"], charset="UTF-8") == [1, 2, 3]
        fetched = client.fetch([2], ["ENVELOPE", "BODYSTRUCTURE", "INTERNALDATE", "FLAGS", "BODY.PEEK[]"])[2]
        assert fetched[b"ENVELOPE"].to[0].mailbox.decode() + "@example.test" == user.address
        assert fetched[b"BODYSTRUCTURE"].is_multipart
        assert [part[1].lower() for part in fetched[b"BODYSTRUCTURE"][0]] == [b"plain", b"octet-stream"]
        assert fetched[b"INTERNALDATE"].astimezone(UTC) == AT
        assert set(fetched[b"FLAGS"]) - RECENT == {rb"\Flagged", b"$Wichtig"}
        assert content_of(fetched[b"BODY[]"]) == whole("Grüße 2")
        modseq = client.fetch([3], ["MODSEQ"])[3][b"MODSEQ"][0]
        flags = client.add_flags([1], [rb"\Seen"])[1]
        assert set(flags) - RECENT == {rb"\Flagged", rb"\Seen", b"$Wichtig"}
        assert list(client.fetch([1, 2, 3], ["FLAGS"], [f"CHANGEDSINCE {modseq}"])) == [1]
        assert set(client.remove_flags([1], ["$Wichtig"])[1]) - RECENT == {rb"\Flagged", rb"\Seen"}
        client.copy([1], "Archive")
        client.move([1], "Trash")
        client.delete_messages([2])
        client.uid_expunge([2])
        assert client.search() == [3]
        client.rename_folder(FOLDER, "Köln")
        names = [name for _, _, name in client.list_folders()]
        assert "Köln" in names
        assert FOLDER not in names
        assert client.find_special_folder(rb"\Trash") == "Trash"
        client.select_folder("Trash", readonly=True)
        assert client.search() == [1]
        client.unselect_folder()
        client.delete_folder("Köln")
        assert not client.folder_exists("Köln")


@pytest.mark.program("IMAPClient")
async def test_imapclient_waits_in_idle(place: Place, pair: Pair, trust: ssl.SSLContext) -> None:
    """waits in IDLE, and is told of a new message and of flags and removals by others"""

    def wait(told: list[tuple[object, ...]], client: IMAPClient, what: bytes) -> None:
        deadline = time.monotonic() + patient(15)
        while not any(what in each for each in told):
            assert time.monotonic() < deadline, told
            told += client.idle_check(timeout=1)

    def idle(loop: asyncio.AbstractEventLoop) -> None:
        with imapclient(place, pair.reader, trust) as waiting, imapclient(place, pair.reader, trust) as other:
            waiting.select_folder("INBOX")
            waiting.idle()
            sending = pair.sender.send(pair.reader, subject="wake up")
            asyncio.run_coroutine_threadsafe(sending, loop).result(patient(30))
            told: list[tuple[object, ...]] = []
            wait(told, waiting, b"EXISTS")
            other.select_folder("INBOX")
            other.add_flags([1], [rb"\Flagged"])
            wait(told, waiting, b"FETCH")
            other.delete_messages([1])
            other.expunge()
            wait(told, waiting, b"EXPUNGE")
            waiting.idle_done()
            assert waiting.search() == []

    await asyncio.to_thread(idle, asyncio.get_running_loop())


@pytest.mark.program("aioimaplib")
async def test_aioimaplib_day(place: Place, pair: Pair, trust: ssl.SSLContext) -> None:
    """waits in IDLE, fetches what arrives; appends, flags, searches, moves and removes"""
    user = pair.reader
    client = aioimaplib.IMAP4_SSL(place.imaps.host, place.imaps.port, timeout=patient(30), ssl_context=trust)
    await client.wait_hello_from_server()
    assert (await client.login(user.address, user.password)).result == "OK"
    assert (await client.select("INBOX")).result == "OK"
    idling = await client.idle_start(timeout=patient(30))
    await pair.sender.send(user, message=letter(pair.sender.address, user.address, subject="aioimaplib"))
    while b"1 EXISTS" not in (told := await client.wait_server_push(timeout=patient(30))):
        assert told != aioimaplib.STOP_WAIT_SERVER_PUSH
    client.idle_done()
    await asyncio.wait_for(idling, patient(30))
    answer = await client.fetch("1", "(UID BODY[])")
    assert answer.result == "OK"
    assert content_of(bytes(answer.lines[1])) == whole("aioimaplib")
    appended = await client.append(octets(user, "second"), mailbox="INBOX", flags=r"\Seen $Mark", date=AT)
    assert appended.result == "OK"
    assert (await client.search("KEYWORD $Mark", charset=None)).lines[0] == b"2"
    assert (await client.uid("store", "1", r"+FLAGS (\Flagged)")).result == "OK"
    assert (await client.search("FLAGGED", charset=None)).lines[0] == b"1"
    assert (await client.create("Projekte")).result == "OK"
    assert (await client.move("2", "Projekte")).result == "OK"
    assert (await client.store("1", r"+FLAGS.SILENT (\Deleted)")).result == "OK"
    assert (await client.expunge()).lines[0] == b"1 EXPUNGE"
    assert (await client.status("Projekte", "(MESSAGES UIDNEXT)")).lines[
        0
    ] == b"Projekte (MESSAGES 1 UIDNEXT 2)"
    assert (await client.logout()).result == "OK"
