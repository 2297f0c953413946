"""What large messages, slow readers and idle connections cost the real processes, and what others notice of
them.

Memory is measured after everything was done once: each connection to a database keeps 8 MiB of pages.
"""

from __future__ import annotations

import asyncio
import hashlib
import imaplib
import random
import ssl
import time
from base64 import encodebytes

import pytest
import pytest_asyncio

from tests.harness.imap_client import ImapClient
from tests.harness.mail import Box, User
from tests.harness.memory import KIB, MIB, Growth, own_bytes, watched
from tests.harness.organisation import Organisation
from tests.harness.patience import patient

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

LARGE_BYTES = 30 * MIB
GROWTH_BYTES_MAX = 16 * MIB
"""Half of the large message, with what was cached before: no server ever holds one whole."""
PLAIN_CONNECTIONS = 1000
IDLE_CONNECTIONS = 100
SLOW_READERS = 8


def large(sender: User, to: User, subject: str) -> bytes:
    """A message of 30 MiB with an attachment."""
    attachment = encodebytes(random.Random(subject).randbytes(LARGE_BYTES * 57 // 78)).replace(b"\n", b"\r\n")
    header = (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@test.example>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=limit\r\n\r\n"
        "--limit\r\nContent-Type: text/plain\r\n\r\nLook\r\n"
        "--limit\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    return header.encode() + attachment + b"--limit--\r\n"


@pytest.fixture
def alice(organisation: Organisation) -> User:
    return organisation.user("alice@example.test")


@pytest.fixture
def bob(organisation: Organisation) -> User:
    return organisation.user("bob@example.test")


@pytest_asyncio.fixture(loop_scope="module")
async def pids(organisation: Organisation) -> dict[str, int]:
    return {name: status.pid for name, status in (await organisation.statuses()).items()}


@pytest.fixture(autouse=True)
def long_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaplib, "_MAXLINE", 2 * LARGE_BYTES)


def stays_small(growth: Growth, what: str) -> None:
    print(f"{what}: {growth}")
    assert max(growth.values()) < GROWTH_BYTES_MAX, f"{what}: {growth}"


async def test_a_thousand_idle_connections(
    organisation: Organisation, alice: User, bob: User, pids: dict[str, int]
) -> None:
    endpoint, access = organisation.endpoint("access", "imap"), pids["access"]
    writers = []

    async def connect(count: int) -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            assert (await reader.readline()).startswith(b"* OK")
            writers.append(writer)

    await connect(PLAIN_CONNECTIONS // 2)  # what the process had free already is used up
    before = own_bytes(access)
    await connect(PLAIN_CONNECTIONS // 2)
    each_bytes = (own_bytes(access) - before) / (PLAIN_CONNECTIONS // 2)
    print(f"an idle plain connection: {each_bytes / KIB:.1f} KiB")
    sent = await alice.send(bob, subject="beside a thousand")
    await bob.wait_for(sent, seconds=5)
    for writer in writers:
        writer.close()
    assert each_bytes < 20 * KIB


async def test_connections_in_idle_are_all_told_and_cost_little(
    organisation: Organisation, alice: User, bob: User, pids: dict[str, int]
) -> None:
    endpoint, access = organisation.endpoint("access", "imaps"), pids["access"]
    trust = ssl.create_default_context(cafile=str(organisation.ca_file))
    clients = [await ImapClient.open("first", endpoint, trust, bob)]
    await clients[0].select("INBOX")
    before = own_bytes(access)
    for number in range(IDLE_CONNECTIONS):
        client = await ImapClient.open(f"c{number}", endpoint, trust, bob)
        await client.select("INBOX")
        clients.append(client)

    async def wait_in_idle(client: ImapClient) -> None:
        belief = client.belief
        assert belief is not None
        count = len(belief.messages)
        await client.idle(lambda: len(belief.messages) > count, patient(20))
        assert len(belief.messages) == count + 1, client.told()

    waiting = [asyncio.create_task(wait_in_idle(client)) for client in clients]
    await asyncio.sleep(0)
    each_bytes = (own_bytes(access) - before) / IDLE_CONNECTIONS
    print(f"a connection in IDLE by TLS: {each_bytes / KIB:.1f} KiB")
    await alice.send(bob, subject="to all of them")
    await asyncio.gather(*waiting)
    for client in clients:
        await client.close()
    assert each_bytes < 100 * KIB


async def test_a_message_of_30_mib_passes_every_server_in_pieces(
    organisation: Organisation, alice: User, bob: User, pids: dict[str, int]
) -> None:
    def send(content: bytes) -> None:
        with alice.smtp() as connection:
            connection.sendmail(alice.address, [bob.address], content)

    async def pass_on(subject: str) -> None:
        content = large(alice, bob, subject)
        await asyncio.to_thread(send, content)
        [arrived] = await bob.wait_until("INBOX", lambda box: box.with_header("Subject", subject), 60)
        assert arrived.endswith(content)
        await organisation.wait_until_idle(60)

    await pass_on("first")  # fills the databases' caches, which are bounded by themselves
    async with watched(pids) as growth:
        await pass_on("second")
    stays_small(growth, "submission, two hubs, delivery, FETCH")


async def test_append_and_fetch_of_30_mib(alice: User, bob: User, pids: dict[str, int]) -> None:
    content = large(alice, bob, "appended")

    def append() -> None:
        with bob.imap() as connection:
            assert connection.append("Drafts", None, None, content)[0] == "OK"  # type: ignore[arg-type]

    def fetch(item: str) -> bytes:
        with bob.imap() as connection:
            return Box(connection, "Drafts").connection.fetch("1", f"({item})")[1][0][1]

    await asyncio.to_thread(append)
    async with watched(pids) as growth:
        await asyncio.to_thread(append)
    stays_small(growth, "APPEND")
    await asyncio.to_thread(fetch, "BODY.PEEK[]")
    async with watched(pids) as growth:
        assert await asyncio.to_thread(fetch, "BODY.PEEK[]") == content
    stays_small(growth, "FETCH")
    async with watched(pids) as growth:
        part = await asyncio.to_thread(fetch, "BODY.PEEK[2]")
    stays_small(growth, "FETCH of a part")
    assert part in content
    assert len(part) > LARGE_BYTES * 9 // 10


class SlowReader:
    """Asks for a message three times, and reads when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, organisation: Organisation, user: User, folder: str) -> SlowReader:
        endpoint = organisation.endpoint("access", "imaps")
        trust = ssl.create_default_context(cafile=str(organisation.ca_file))
        made = cls(*await asyncio.open_connection(endpoint.host, endpoint.port, ssl=trust, limit=64 * KIB))
        await made._reader.readline()
        for number, text in enumerate((f'LOGIN {user.address} "{user.password}"', f"EXAMINE {folder}")):
            made.writer.write(f"{number} {text}\r\n".encode())
            while not (await made._reader.readline()).startswith(b"%d OK" % number):
                pass
        made.writer.write(b"2 FETCH 1 BODY.PEEK[]\r\n3 FETCH 1 BODY.PEEK[]\r\n4 FETCH 1 BODY.PEEK[]\r\n")
        return made

    async def read(self) -> list[str]:
        """SHA-256 of what comes, each time."""
        found = []
        for tag in (b"2 OK", b"3 OK", b"4 OK"):
            begin = await self._reader.readline()
            size = int(begin[begin.rindex(b"{") + 1 : -3])
            digest = hashlib.sha256()
            while size:
                piece = await self._reader.read(min(size, 64 * KIB))
                assert piece
                digest.update(piece)
                size -= len(piece)
            found.append(digest.hexdigest())
            while not (await self._reader.readline()).startswith(tag):
                pass
        return found


async def test_slow_readers_hold_up_nobody_and_cost_little(
    organisation: Organisation, alice: User, bob: User, pids: dict[str, int]
) -> None:
    content = large(alice, bob, "slow")

    def append() -> None:
        with bob.imap() as connection:
            connection.create("Slow")
            connection.append("Slow", None, None, content)  # type: ignore[arg-type]

    await asyncio.to_thread(append)

    async def readers() -> list[SlowReader]:
        return [await SlowReader.open(organisation, bob, "Slow") for _ in range(SLOW_READERS)]

    warm = await readers()
    await bob.wait_for(await alice.send(bob, subject="while nobody reads"), seconds=5)
    await asyncio.gather(*(each.read() for each in warm))
    async with watched(pids) as growth:
        slow = await readers()
        began = time.monotonic()
        for number in range(5):
            sent = await alice.send(bob, subject=f"past the slow {number}")
            await bob.wait_for(sent, seconds=5)
        print(f"a message past {SLOW_READERS} slow readers: {(time.monotonic() - began) / 5 * 1000:.0f} ms")
        digests = await asyncio.gather(*(each.read() for each in slow))
    assert {digest for each in digests for digest in each} == {hashlib.sha256(content).hexdigest()}
    stays_small(growth, f"{SLOW_READERS} slow readers of 90 MiB")
    for each in slow:
        each.writer.close()


async def test_an_append_that_never_ends_holds_up_nobody(organisation: Organisation, bob: User) -> None:
    endpoint = organisation.endpoint("access", "imaps")
    trust = ssl.create_default_context(cafile=str(organisation.ca_file))
    client = await ImapClient.open("stalled", endpoint, trust, bob)
    client.writer.write(b"x APPEND INBOX {%d+}\r\n" % LARGE_BYTES + b"Subject: half\r\n" * 70_000)
    await client.writer.drain()
    for _ in range(3):
        sent = await bob.send(bob, subject="past the stalled")
        await bob.wait_for(sent, seconds=5)
    assert not await bob.look("INBOX", lambda box: box.with_header("Subject", "half"))
    await client.close()
