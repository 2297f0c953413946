"""A crowd of clients that stall in every state, hosts that answer nothing or garbage: all others are served
as ever, and no server logs an error that nobody foresaw."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from config.model import SendConnector
from foundation.tls import Identity
from tests.harness import hostile
from tests.harness.hostile import Serve, crowd, hostile_host
from tests.harness.mail import Sent, User, compose
from tests.harness.memory import MIB, own_bytes
from tests.harness.organisation import Organisation
from tests.harness.sink import SinkServer
from tests.harness.topologies import ready_topology

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

OUTSIDE: dict[str, Serve] = {
    "nothing": hostile.says_nothing,
    "garbage": hostile.says_garbage,
    "endless-line": hostile.never_ends_a_line,
    "endless-reply": hostile.never_ends_a_reply,
    "closed": hostile.closes_at_once,
    "silent-after-mail": hostile.falls_silent_after_mail,
    "garbage-after-content": hostile.answers_the_content_with_garbage,
}
TELL = ("garbage", "endless-line", "endless-reply", "closed", "garbage-after-content")
"""Where it is plain at once that something is wrong."""
GROWTH_BYTES_MAX = 64 * MIB

EHLO, MAIL = b"EHLO client.example\r\n", b"MAIL FROM:<stranger@elsewhere.example>\r\n"
RCPT = b"RCPT TO:<bob@example.test>\r\n"
HALF_A_HANDSHAKE = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half"
GARBAGE = bytes(range(1, 256)) * 8
SMTP_STALLS: dict[str, tuple[bytes, ...]] = {
    "says nothing": (),
    "half a command": (b"", b"EHL"),
    "no command": (b"", EHLO, b""),
    "after MAIL": (b"", EHLO, MAIL, b""),
    "after RCPT": (b"", EHLO, MAIL, RCPT, b""),
    "in the content": (b"", EHLO, MAIL, RCPT, b"DATA\r\n", b"Subject: half\r\n\r\nhalf a li"),
    "in a chunk": (b"", EHLO, MAIL, RCPT, b"BDAT 1000 LAST\r\nhalf"),
    "before the handshake": (b"", EHLO, b"STARTTLS\r\n", b""),
    "in the handshake": (b"", EHLO, b"STARTTLS\r\n", HALF_A_HANDSHAKE),
    "garbage": (b"", GARBAGE),
}
IMAP_STALLS: dict[str, tuple[bytes, ...]] = {
    "says nothing": (),
    "half a command": (b"", b"a CAPAB"),
    "no command": (b"", b"a CAPABILITY\r\n", b""),
    "before the handshake": (b"", b"a STARTTLS\r\n", b""),
    "in the handshake": (b"", b"a STARTTLS\r\n", HALF_A_HANDSHAKE),
    "garbage": (b"", GARBAGE),
}
TLS_STALLS: dict[str, tuple[bytes, ...]] = {
    "no handshake": (),
    "half a handshake": (HALF_A_HANDSHAKE,),
    "garbage": (GARBAGE,),
}
FRAME = b"\x00\x00\x10\x00"
"""The length of an RPC frame that does not come."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organisation(
    tmp_path_factory: pytest.TempPathFactory, sink: SinkServer
) -> AsyncIterator[Organisation]:
    async with AsyncExitStack() as stack:
        connectors = [SendConnector(name="good", smart_hosts=(sink.endpoint,), source_hubs=("hub-b",))]
        for name, serve in OUTSIDE.items():
            endpoint = await stack.enter_async_context(hostile_host(serve))
            spaces = (f"{name}.example",)
            connectors.append(
                SendConnector(
                    name=name, address_spaces=spaces, smart_hosts=(endpoint,), source_hubs=("hub-b",)
                )
            )
        data = tmp_path_factory.mktemp("hostile") / "data"
        topology = ready_topology("two-sites", data, send_connectors=tuple(connectors))
        yield await stack.enter_async_context(Organisation(topology))


@pytest.fixture
def alice(organisation: Organisation) -> User:
    return organisation.user("alice@example.test")


@pytest.fixture
def bob(organisation: Organisation) -> User:
    return organisation.user("bob@example.test")


async def all_are_served(organisation: Organisation, alice: User, bob: User) -> None:
    """Between the sites, from outside by both hubs, and every server answers `waypost status`."""
    await bob.wait_for(await alice.send(bob))
    for hub in ("hub-a", "hub-b"):
        message = compose("friend@elsewhere.example", str(alice))
        sender, to = "friend@elsewhere.example", [str(alice)]
        await asyncio.to_thread(organisation.send_from_outside, hub, sender, to, message)
        await alice.wait_for(Sent(str(message["Message-ID"]).strip("<>"), {}))
    assert set(await organisation.statuses()) == set(organisation.names)


def errors(organisation: Organisation) -> list[str]:
    return [
        f"{entry['server']}: {entry['message']} {entry.get('exception', '')}"
        for entry in organisation.log
        if entry.get("level") in ("error", "critical")
    ]


async def test_a_thousand_clients_that_stall_in_every_state(
    organisation: Organisation, alice: User, bob: User
) -> None:
    public = ssl.create_default_context(cafile=str(organisation.ca_file))
    public.check_hostname = False
    async with AsyncExitStack() as stack:
        count = 0

        async def stall(
            times: int, server: str, listener: str, *said: bytes, trust: ssl.SSLContext | None = None
        ) -> None:
            nonlocal count
            await crowd(stack, times, organisation.endpoint(server, listener), *said, trust=trust)
            count += times

        for said in SMTP_STALLS.values():
            for hub in ("hub-a", "hub-b"):
                await stall(25, hub, "smtp", *said)
        for name in ("says nothing", "half a command", "no command", "before the handshake", "garbage"):
            await stall(20, "access", "submission", *SMTP_STALLS[name])
        for said in IMAP_STALLS.values():
            await stall(25, "access", "imap", *said)
        inside = (("hub-a", "smtp-internal"), ("store-a", "lmtp"), ("store-a", "rpc"), ("hub-b", "rpc"))
        for server, listener in (*inside, ("access", "imaps"), ("access", "submissions")):
            for said in TLS_STALLS.values():
                await stall(15, server, listener, *said)
        assert count >= 1000

        await stall(3, "access", "submissions", b"", EHLO, b"AUTH LOGIN\r\n", b"", trust=public)
        logon = b"a AUTHENTICATE PLAIN " + _plain(bob) + b"\r\n"
        for words in (
            (b"b AUTHENTICATE PLAIN\r\n", b""),
            (logon, b"b APPEND INBOX {1000}\r\n", b"Subject: half\r\n"),
            (logon, b"b SELECT INBOX\r\n", b"c IDLE\r\n", b""),
        ):
            await stall(3, "access", "imaps", b"", *words, trust=public)
        trusted = Identity(organisation.topology.certificates, "hub-a").internal_client()
        transaction = (MAIL, RCPT, b"DATA\r\n", b"Subject: half\r\n")
        await stall(3, "hub-a", "smtp-internal", b"", EHLO, *transaction, trust=trusted)
        await stall(3, "store-b", "lmtp", b"", b"LHLO hub-a\r\n", *transaction, trust=trusted)
        for server in organisation.names:
            for words in ((), (FRAME + b"half",), (GARBAGE,)):
                await stall(3, server, "rpc", *words, trust=trusted)
        await all_are_served(organisation, alice, bob)
    await all_are_served(organisation, alice, bob)
    assert errors(organisation) == []


async def test_hosts_outside_that_answer_nothing_or_garbage(
    organisation: Organisation, sink: SinkServer, alice: User, bob: User
) -> None:
    pid = (await organisation.statuses())["hub-b"].pid
    before = own_bytes(pid)
    sent = {name: [await alice.send(f"x@{name}.example") for _ in range(3)] for name in OUTSIDE}
    good = await alice.send("friend@elsewhere.example")
    assert good.message_id.encode() in (await sink.next()).content
    await all_are_served(organisation, alice, bob)
    for name in TELL:
        await organisation.wait_for_event(sent[name][0].message_id, "hub-b", "DEFER", seconds=30)
    await organisation.wait_until_queued(
        "hub-b", [each.message_id for some in sent.values() for each in some]
    )
    again = await alice.send("friend@elsewhere.example")
    assert again.message_id.encode() in (await sink.next()).content
    await all_are_served(organisation, alice, bob)
    assert own_bytes(pid) - before < GROWTH_BYTES_MAX
    assert errors(organisation) == []


@pytest.mark.parametrize("serve", [hostile.says_nothing, hostile.says_garbage, hostile.closes_at_once])
async def test_what_answers_in_a_stores_place_holds_up_only_what_is_for_it(
    organisation: Organisation, alice: User, bob: User, serve: Serve
) -> None:
    carol = organisation.user("carol@example.test")
    await organisation.stop("store-b")
    async with AsyncExitStack() as stack:
        for listener in ("lmtp", "rpc"):
            port = organisation.endpoint("store-b", listener).port
            await stack.enter_async_context(hostile_host(serve, port))
        waiting = await alice.send(bob)
        there, back = await alice.send(carol), await carol.send(alice)
        assert there.message_id.encode() in await carol.wait_for(there)
        assert back.message_id.encode() in await alice.wait_for(back)
        queued = await organisation.wait_until_queued("hub-b", [waiting.message_id])
        held = [entry.message_id for entry in queued if entry.next_hop == "store-b"]
        assert held == [waiting.message_id]
    await organisation.start("store-b")
    assert waiting.message_id.encode() in await bob.wait_for(waiting, seconds=60)
    assert await bob.count(waiting) == 1


def _plain(user: User) -> bytes:
    return base64.b64encode(f"\0{user.address}\0{user.password}".encode())
