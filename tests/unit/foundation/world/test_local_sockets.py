"""Local sockets: who is at the other end is known without TLS, and nobody else gets in."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from foundation.world.local_sockets import LMTP, LocalSockets, local_peer

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="local sockets are Linux's")


@dataclass
class Ends:
    """What each end of the connections to one listener says of the other."""

    seen: list[str] = field(default_factory=list)
    new: asyncio.Event = field(default_factory=asyncio.Event)

    def protocol(self) -> asyncio.Protocol:
        ends = self

        class End(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                ends.seen.append(local_peer(transport))
                ends.new.set()

        return End()

    async def next(self) -> str:
        async with asyncio.timeout(10):
            while not self.seen:
                self.new.clear()
                await self.new.wait()
        return self.seen.pop(0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Ends]:
    """store-a listens for LMTP in `tmp_path`."""
    bound = LocalSockets(tmp_path, "store-a").listen(LMTP)
    assert bound is not None
    ends = Ends()
    server = await asyncio.get_running_loop().create_unix_server(ends.protocol, sock=bound)
    yield ends
    server.close()


def connected(folder: Path, name: str = "hub-a") -> socket.socket:
    made = LocalSockets(folder, name).connect("store-a", LMTP)
    assert made is not None
    return made


async def _names_at_both_ends(folder: Path) -> tuple[str, str]:
    loop = asyncio.get_running_loop()
    bound = LocalSockets(folder, "store-a").listen(LMTP)
    assert bound is not None
    server_end, client_end = Ends(), Ends()
    server = await loop.create_unix_server(server_end.protocol, sock=bound)
    transport, _ = await loop.create_unix_connection(client_end.protocol, sock=connected(folder))
    names = await server_end.next(), await client_end.next()
    transport.close()
    server.close()
    return names


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_each_end_knows_the_other_by_name(tmp_path: Path, make_loop: type[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(_names_at_both_ends(tmp_path)) == ("hub-a", "store-a")


async def test_several_connections_of_one_server(tmp_path: Path, store: Ends) -> None:
    sockets = LocalSockets(tmp_path, "hub-a")
    made = [sockets.connect("store-a", LMTP) for _ in range(3)]
    assert [await store.next() for _ in made] == ["hub-a"] * 3
    for connection in made:
        assert connection is not None
        connection.close()


async def test_who_says_no_name_has_none(tmp_path: Path, store: Ends) -> None:
    _, writer = await asyncio.open_unix_connection(tmp_path / "store-a.lmtp.sock")
    assert await store.next() == ""
    writer.close()


async def test_over_the_network_there_is_no_local_peer() -> None:
    ends = Ends()
    server = await asyncio.get_running_loop().create_server(ends.protocol, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await ends.next() == ""
    writer.close()
    server.close()


def test_nobody_there_is_no_error(tmp_path: Path) -> None:
    hub = LocalSockets(tmp_path, "hub-a")
    assert hub.connect("store-a", LMTP) is None
    bound = LocalSockets(tmp_path, "store-a").listen(LMTP)
    assert bound is not None
    assert hub.connect("store-a", LMTP) is None, "it does not listen yet"
    bound.listen()
    connected(tmp_path).close()
    bound.close()
    assert (tmp_path / "store-a.lmtp.sock").exists()
    assert hub.connect("store-a", LMTP) is None, "its process is gone"


def test_a_dead_servers_socket_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        bound = LocalSockets(tmp_path, "store-a").listen(LMTP)
        assert bound is not None
        bound.listen()
        connected(tmp_path).close()
        bound.close()


def test_where_there_are_none(tmp_path: Path) -> None:
    for sockets in (LocalSockets(None, "hub-a"), LocalSockets(tmp_path / ("x" * 120), "hub-a")):
        assert sockets.listen(LMTP) is None
        assert sockets.connect("store-a", LMTP) is None


async def test_the_control_socket_is_the_one_without_a_listeners_name(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), tmp_path / "store-a.sock")
    made = LocalSockets(tmp_path, "access").connect("store-a")
    assert made is not None
    made.close()
    server.close()


def _as_nobody(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=NOBODY,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd="/",
    )


CONNECT = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.bind(b"\\0waypost/hub-a/" + sys.argv[2].encode())
try:
    connection.connect(sys.argv[1])
    connection.sendall(b"x")
    print("connected", connection.recv(1))
except PermissionError:
    print("refused")
"""


@needs_root
async def test_another_user_can_not_connect(open_path: Path) -> None:
    bound = LocalSockets(open_path, "store-a").listen(LMTP)
    assert bound is not None
    file = open_path / "store-a.lmtp.sock"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ends = Ends()
    server = await asyncio.get_running_loop().create_unix_server(ends.protocol, sock=bound)
    said, _ = await asyncio.to_thread(_as_nobody(CONNECT, str(file), "1").communicate)
    assert said == "refused\n"
    file.chmod(0o666)
    process = _as_nobody(CONNECT, str(file), "2")
    assert await ends.next() == "", "its name is not believed"
    process.kill()
    process.communicate()
    server.close()


LISTEN = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens", flush=True)
sys.stdin.read()
"""


@needs_root
def test_what_another_user_put_there_is_not_talked_to(open_path: Path) -> None:
    process = _as_nobody(LISTEN, str(open_path / "store-a.lmtp.sock"))
    assert process.stdout is not None and process.stdout.readline() == "listens\n"
    assert LocalSockets(open_path, "hub-a").connect("store-a", LMTP) is None
    process.communicate()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that everybody can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)
