"""Sockets: TLS, IDLE, APPEND's stream, limits, time-outs, slow readers, the end."""

from __future__ import annotations

import asyncio
import mmap
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from clientaccess.imap import protocol, watching
from config.model import Limits
from foundation.certificates import issue_certificate, make_authority
from foundation.interfaces.mailbox_store import FLAGGED, Folder, Refusal
from foundation.mail.errors import Unavailable
from foundation.tls import Identity
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from tests.unit.clientaccess.imap.conftest import SIMPLE
from tests.unit.clientaccess.imap.rig import MemoryStore, Talk, a_server


async def test_idle_tells_news_at_once(store: MemoryStore, inbox: Talk) -> None:
    inbox.send(b"a IDLE\r\n")
    assert await inbox.response() == b"+ idling"
    store.deliver(SIMPLE)
    assert await inbox.response() == b"* 4 EXISTS"
    assert await inbox.response() == b"* 4 RECENT"
    store.mark(1, FLAGGED)
    assert await inbox.response() == b"* 1 FETCH (FLAGS (\\Flagged \\Recent))"
    store.remove(2)
    assert await inbox.response() == b"* 2 EXPUNGE"
    inbox.send(b"DONE\r\n")
    assert await inbox.until(b"a") == [b"a OK Idled"]


async def test_idle_with_done_in_the_same_read_and_with_nonsense(inbox: Talk) -> None:
    inbox.send(b"a IDLE\r\ndone\r\nb IDLE\r\nc NOOP\r\nd NOOP\r\n")
    responses = await inbox.until(b"d")
    assert [response[:5] for response in responses] == [b"+ idl", b"a OK ", b"+ idl", b"b BAD", b"d OK "]


async def test_idle_without_a_mailbox(talk: Talk) -> None:
    talk.send(b"a IDLE\r\nDONE\r\n")
    assert (await talk.until(b"a"))[-1] == b"a OK Idled"


async def test_a_watch_that_breaks_is_made_again(
    store: MemoryStore, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "AGAIN_SECONDS", (0.01, 0.02))
    talk = await Talk.open(port, select="INBOX")
    talk.send(b"a IDLE\r\n")
    assert await talk.response() == b"+ idling"
    store.watchers[0].put_nowait(Unavailable("The store is away"))
    store.deliver(SIMPLE)
    assert await talk.response() == b"* 1 EXISTS"
    talk.close()


async def test_sessions_of_one_mailbox_share_a_watch(store: MemoryStore, port: int) -> None:
    first = await Talk.open(port, select="INBOX")
    second = await Talk.open(port, select="INBOX")
    for talk in (first, second):
        talk.send(b"a IDLE\r\n")
        assert await talk.response() == b"+ idling"
    assert len(store.watchers) == 1
    first.close()
    store.deliver(SIMPLE)
    assert await second.response() == b"* 1 EXISTS"
    second.send(b"DONE\r\nb UNSELECT\r\n")
    await second.until(b"b")
    await second.ask("NOOP")
    assert store.watchers == []
    second.close()


async def test_who_joins_a_watch_asks_for_what_came_before(
    store: MemoryStore, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await Talk.open(port, select="INBOX")
    await first.ask("NOOP")
    second = await Talk.open(port, select="INBOX")
    monkeypatch.setattr(store, "_notify", lambda box: None)
    store.deliver(SIMPLE)
    second.send(b"a IDLE\r\n")
    assert await second.response() == b"+ idling"
    assert await second.response() == b"* 1 EXISTS"
    for talk in (first, second):
        talk.close()


async def test_a_store_reached_by_another_way_has_a_watch_of_its_own(store: MemoryStore) -> None:
    """After a reload: the way of before may be closed, although sessions still have it."""
    server = a_server(store)
    port = await server.start("127.0.0.1", 0, False)
    before = await Talk.open(port, select="INBOX")
    elsewhere = MemoryStore()
    server.locate = lambda credentials: elsewhere
    after = await Talk.open(port, select="INBOX")
    after.send(b"a IDLE\r\n")
    assert await after.response() == b"+ idling"
    elsewhere.deliver(SIMPLE)
    assert await after.response() == b"* 1 EXISTS"
    for talk in (before, after):
        talk.close()
    await server.stop()


# --- APPEND ---


async def test_append(store: MemoryStore, inbox: Talk) -> None:
    validity = store.boxes["INBOX"].uid_validity
    inbox.send(b'a APPEND INBOX (\\Flagged work) "01-Feb-2020 03:04:05 +0130" {%d}\r\n' % len(SIMPLE))
    assert await inbox.response() == b"+ go on"
    inbox.send(SIMPLE + b"\r\n")
    responses = await inbox.until(b"a")
    assert responses[0].endswith(b"\\Draft work)")
    assert responses[1] == b"* 4 EXISTS"
    assert responses[-1] == b"a OK [APPENDUID %d 4] Appended" % validity
    assert (await inbox.ask("FETCH 4 (FLAGS INTERNALDATE)"))[0] == (
        b'* 4 FETCH (FLAGS (\\Flagged work \\Recent) INTERNALDATE " 1-Feb-2020 03:04:05 +0130")'
    )


async def test_a_large_append_is_never_held_by_the_connection(store: MemoryStore, talk: Talk) -> None:
    size = 30_000_000
    sizes: list[int] = []

    async def append(*arguments: object):  # type: ignore[no-untyped-def]
        async for piece in arguments[-1]:  # type: ignore[attr-defined]
            sizes.append(len(piece))
        raise Unavailable("away")

    store.append = append  # type: ignore[method-assign]
    talk.send(b"a APPEND INBOX {%d+}\r\n" % size)
    for _ in range(30):
        talk.send(b"m" * 1_000_000)
        await talk.writer.drain()
    talk.send(b"\r\n")
    assert await talk.until(b"a") == [b"a NO [UNAVAILABLE] away"]
    assert sum(sizes) == size
    assert max(sizes) <= 4 * protocol.INPUT_BYTES_HIGH


async def test_append_that_is_too_big(store: MemoryStore) -> None:
    server = a_server(store, limits=Limits(message_size_bytes=1000))
    talk = await Talk.open(await server.start("127.0.0.1", 0, False))
    assert (await talk.ask("APPEND INBOX {1001}")) == [b"t2 NO [TOOBIG] The message is too big"]
    assert (await talk.ask(b"APPEND INBOX {1001+}\r\n" + b"m" * 1001)) == [
        b"t3 NO [TOOBIG] The message is too big"
    ]
    assert (await talk.ask(b"APPEND INBOX {1000+}\r\n" + b"m" * 1000))[-1].startswith(b"t4 OK")
    assert store.appended_bytes == 1000
    talk.close()
    await server.stop()


async def test_append_that_fails_is_skipped(store: MemoryStore, talk: Talk) -> None:
    assert (await talk.ask(b"APPEND nosuch {16+}\r\nx DELETE INBOX\r\n"))[-1].startswith(b"t2 NO [TRYCREATE]")
    assert (await talk.ask("APPEND nosuch {99999}"))[-1].startswith(b"t3 NO [TRYCREATE]")
    assert (await talk.ask('APPEND "&" {5+}\r\nabcde'))[-1].startswith(b"t4 NO [CANNOT]")
    assert (await talk.ask(b"APPEND INBOX {5+}\r\nab\0de"))[-1].startswith(b"t5 NO [CANNOT]")
    assert (await talk.ask(b"APPEND INBOX {5+}\r\nabcde trailing"))[-1].startswith(b"t6 BAD")
    assert (await talk.ask(b"APPEND INBOX (\\Recent) {5+}\r\nabcde"))[-1].startswith(b"t7 BAD")
    assert not store.boxes["INBOX"].messages
    assert (await talk.ask("NOOP"))[-1] == b"t8 OK Done"


async def test_append_before_logon(port: int) -> None:
    talk = await Talk.open(port, logon=False)
    assert (await talk.ask(b"APPEND INBOX {5+}\r\nabcde"))[-1].startswith(b"t1 BAD")
    assert (await talk.ask("NOOP"))[-1] == b"t2 OK Done"


async def test_append_in_utf8(store: MemoryStore, talk: Talk) -> None:
    await talk.ask("ENABLE UTF8=ACCEPT")
    assert (await talk.ask(b"APPEND INBOX UTF8 (~{5+}\r\nabcde)"))[-1].startswith(b"t3 OK [APPENDUID")
    assert store.boxes["INBOX"].messages[1].content == b"abcde"


async def test_append_of_a_client_that_vanishes(store: MemoryStore, talk: Talk) -> None:
    ended = asyncio.Event()
    whole = store.append

    async def append(*arguments: object):  # type: ignore[no-untyped-def]
        try:
            return await whole(*arguments)  # type: ignore[arg-type]
        finally:
            ended.set()

    store.append = append  # type: ignore[method-assign]
    talk.send(b"a APPEND INBOX {500+}\r\nhalf a message")
    await talk.writer.drain()
    talk.writer.transport.abort()
    await asyncio.wait_for(ended.wait(), 10)
    assert not store.boxes["INBOX"].messages


# --- TLS ---


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext]]:
    """Server's and client's context."""
    folder = tmp_path_factory.mktemp("certificates")
    server, client = a_pair(folder)
    yield server, client


def a_pair(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    disk, now_ms = SystemDisk(), SystemClock().now_ms()
    make_authority(folder, "test", now_ms=now_ms, disk=disk)
    issue_certificate(folder, "access", now_ms=now_ms, disk=disk)
    server = Identity(folder, "access").public_server()
    assert server is not None
    return server, ssl.create_default_context(cafile=str(folder / "ca.pem"))


async def test_starttls(store: MemoryStore, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server = a_server(store, tls=tls[0], plain_logon=False)
    talk = await Talk.open(await server.start("127.0.0.1", 0, False), logon=False)
    capability = (await talk.ask("CAPABILITY"))[0]
    assert b" STARTTLS" in capability
    assert b" LOGINDISABLED" in capability
    assert b"AUTH=" not in capability
    assert (await talk.ask("LOGIN alice secret"))[-1].startswith(b"t2 NO [PRIVACYREQUIRED]")
    assert (await talk.ask("AUTHENTICATE PLAIN"))[-1].startswith(b"t3 NO [PRIVACYREQUIRED]")
    talk.send(b"a STARTTLS\r\nb LOGIN injected x\r\n")
    assert await talk.response() == b"a OK Begin TLS now"
    await talk.writer.start_tls(tls[1], server_hostname="localhost")
    talk.send(b"c CAPABILITY\r\n")
    responses = await talk.until(b"c")
    assert len(responses) == 2, "what stood behind STARTTLS in plain text was never obeyed"
    assert b"STARTTLS" not in responses[0]
    assert b"AUTH=PLAIN" in responses[0]
    assert (await talk.ask("STARTTLS"))[-1].startswith(b"t4 BAD")
    assert (await talk.ask("LOGIN alice secret"))[-1].startswith(b"t5 OK")
    talk.close()
    await server.stop()


def test_idle_gives_the_memory_back_that_is_read_into(
    store: MemoryStore, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def idle() -> None:
        server = a_server(store, tls=tls[0])
        port = await server.start("127.0.0.1", 0, True)
        reading = await asyncio.open_connection("127.0.0.1", port, ssl=tls[1], server_hostname="localhost")
        talk = Talk(*reading)
        await talk.response()
        await talk.ask("LOGIN alice secret")
        await talk.ask(b"APPEND INBOX {100000+}\r\n" + b"x" * 100_000)
        (connection,) = server.open
        buffer = connection._transport.get_extra_info("uvloop.sslproto").get_buffer(0)
        inner = buffer[mmap.PAGESIZE : len(buffer) - mmap.PAGESIZE]
        assert any(inner), "what was sent had more than a page"
        talk.send(b"a IDLE\r\n")
        assert await talk.response() == b"+ idling"
        assert not any(inner)
        talk.send(b"DONE\r\n")
        assert await talk.response() == b"a OK Idled"
        talk.close()
        await server.stop(grace_seconds=1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(idle())


async def test_implicit_tls(store: MemoryStore, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server = a_server(store, tls=tls[0], plain_logon=False)
    port = await server.start("127.0.0.1", 0, True)
    talk = Talk(*await asyncio.open_connection("127.0.0.1", port, ssl=tls[1], server_hostname="localhost"))
    greeting = await talk.response()
    assert b"AUTH=PLAIN" in greeting
    assert b"STARTTLS" not in greeting
    assert (await talk.ask("LOGIN alice secret"))[-1].startswith(b"t1 OK")
    talk.close()
    await server.stop()


async def test_a_failed_handshake_ends_the_connection_alone(
    store: MemoryStore, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server = a_server(store, tls=tls[0])
    port = await server.start("127.0.0.1", 0, False)
    talk, other = await Talk.open(port, logon=False), await Talk.open(port)
    await talk.ask("STARTTLS")
    talk.send(b"this is no handshake\r\n" * 10)
    assert await talk.reader.read() is not None
    assert (await other.ask("NOOP"))[-1].endswith(b"OK Done")
    other.close()
    await server.stop()
    assert server.connections == 0


# --- bounds ---


async def test_too_many_connections(store: MemoryStore) -> None:
    server = a_server(store, limits=Limits(connections=1))
    port = await server.start("127.0.0.1", 0, False)
    first = await Talk.open(port)
    second = Talk(*await asyncio.open_connection("127.0.0.1", port))
    assert (await second.response()).startswith(b"* BYE [UNAVAILABLE] Too many connections")
    assert await second.response() == b""
    first.close()
    await server.stop()


async def test_idle_for_too_long(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LOGON_SECONDS_MAX", 0.05)
    server = a_server(store, limits=Limits(imap_idle_seconds=0.2))
    port = await server.start("127.0.0.1", 0, False)
    silent = Talk(*await asyncio.open_connection("127.0.0.1", port))
    await silent.response()
    assert (await silent.response()).startswith(b"* BYE Idle for too long")
    assert await silent.response() == b""
    known = await Talk.open(port)
    known.send(b"a IDLE\r\n")
    assert await known.response() == b"+ idling"
    assert (await known.response()).startswith(b"* BYE Idle for too long")
    await server.stop()


async def test_a_client_that_does_not_read_is_ended(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "STALLED_SECONDS_MAX", 0.1)
    for _ in range(40):
        store.deliver(SIMPLE + b"x" * 1_000_000)
    server = a_server(store)
    port = await server.start("127.0.0.1", 0, False)
    deaf, other = await Talk.open(port, select="INBOX"), await Talk.open(port)
    deaf.send(b"a FETCH 1:* BODY.PEEK[]\r\n")
    await deaf.writer.drain()
    deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while server.connections == 2:
            deaf.send(b"b NOOP\r\n")  # sending does not make up for it
            assert (await other.ask("NOOP"))[-1].endswith(b"OK Done")
    assert store.calls.count("content") < 40, "the rest was not even read"
    deaf.close()
    other.close()
    await server.stop()


async def test_who_idles_on_a_mailbox_that_is_gone_must_log_on_again(store: MemoryStore, inbox: Talk) -> None:
    inbox.send(b"a IDLE\r\n")
    assert await inbox.response() == b"+ idling"
    store.watchers[0].put_nowait(Refusal("NONEXISTENT", "There is no such mailbox", 550, "5.1.1"))
    assert await inbox.response() == b"* BYE The mailbox is not here any more, log on again"
    assert await inbox.response() == b""


async def test_who_asks_of_a_mailbox_that_is_gone_must_log_on_again(
    store: MemoryStore, inbox: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def folders(mailbox_id: str) -> tuple[Folder, ...]:
        raise Refusal("NONEXISTENT", "There is no such mailbox", 550, "5.1.1")

    monkeypatch.setattr(store, "folders", folders)
    inbox.send(b'a LIST "" *\r\n')
    assert await inbox.response() == b"a NO [NONEXISTENT] There is no such mailbox"
    assert (await inbox.response()).startswith(b"* BYE The mailbox is not here any more")
    assert await inbox.response() == b""


async def test_stop_says_bye(store: MemoryStore) -> None:
    server = a_server(store)
    port = await server.start("127.0.0.1", 0, False)
    talk, idle = await Talk.open(port), await Talk.open(port, select="INBOX")
    idle.send(b"a IDLE\r\n")
    assert await idle.response() == b"+ idling"
    await server.stop()
    for each in (talk, idle):
        assert (await each.response()).startswith(b"* BYE [UNAVAILABLE]")
        assert await each.response() == b""
    assert server.connections == 0
    assert not store.watchers


async def test_stop_cuts_who_does_not_end(store: MemoryStore) -> None:
    server = a_server(store)
    port = await server.start("127.0.0.1", 0, False)
    talk = await Talk.open(port)
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def folders(mailbox_id: str) -> tuple[Folder, ...]:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    store.folders = folders  # type: ignore[method-assign]
    talk.send(b'a LIST "" *\r\n')
    await asked.wait()
    await server.stop(grace_seconds=0.05)
    assert server.connections == 0
    assert cancelled.is_set()


async def test_a_flood_of_input_waits(store: MemoryStore, talk: Talk) -> None:
    for _ in range(20):
        talk.send(b"x NOOP\r\n" * 2000)
    talk.send(b"end LOGOUT\r\n")
    responses = await talk.until(b"end")
    assert responses.count(b"x OK Done") == 40_000
