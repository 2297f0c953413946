from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.clientaccess.imap.rig import MemoryStore, Talk, a_server

SIMPLE = (
    b"From: Alice <alice@example.com>\r\nTo: bob@example.org\r\nSubject: Hello\r\n"
    b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@example.com>\r\n\r\nBody text\r\n"
)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def port(store: MemoryStore) -> AsyncIterator[int]:
    server = a_server(store)
    yield await server.start("127.0.0.1", 0, False)
    await server.stop(grace_seconds=1)


@pytest.fixture
async def talk(port: int) -> AsyncIterator[Talk]:
    """Logged on, nothing selected."""
    client = await Talk.open(port)
    yield client
    client.close()


@pytest.fixture
async def inbox(store: MemoryStore, port: int) -> AsyncIterator[Talk]:
    """INBOX with three messages, selected."""
    for number in range(3):
        store.deliver(SIMPLE.replace(b"Hello", b"Hello %d" % number))
    client = await Talk.open(port, select="INBOX")
    yield client
    client.close()
