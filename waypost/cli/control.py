"""How commands reach the servers: each one's control interface, asked side by side.

On one machine by the Unix socket under the data folder, else by mutual TLS with the operator's certificate.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from config.model import Topology
from foundation.interfaces.control import Control
from foundation.mail.errors import MailError
from foundation.rpc.client import RpcClient, TcpTarget, UnixTarget
from foundation.tls import OPERATOR, CertificateError, Identity
from waypost.cli.output import NOT_FOUND, PARTIAL, CommandFailed
from waypost.servers import Role, Server, servers_of

T = TypeVar("T")
P = TypeVar("P")

ANSWER_SECONDS = 15


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a server said; None with a reason when it could not be reached."""

    server: Server
    value: T | None
    reason: str = ""


class Servers:
    """The servers of a topology, connected to while the block runs."""

    def __init__(self, topology: Topology, roles: Iterable[Role] = ("hub", "store", "access")) -> None:
        self._topology = topology
        self._servers = [server for server in servers_of(topology) if server.role in tuple(roles)]
        self._clients: dict[str, RpcClient] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(server.name for server in self._servers)

    def only(self, name: str) -> Servers:
        """Just this server. Raises CommandFailed."""
        chosen = [server for server in self._servers if server.name == name]
        if not chosen:
            names = ", ".join(self.names)
            raise CommandFailed(
                "not_found",
                f"there is no such server here: {name}",
                mend=f"there are {names}",
                exit_code=NOT_FOUND,
            )
        self._servers = chosen
        return self

    def leave_out(self, names: Iterable[str]) -> None:
        """Asks these no more."""
        left_out = tuple(names)
        self._servers = [server for server in self._servers if server.name not in left_out]

    async def __aenter__(self) -> Servers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    async def ask(
        self, question: Callable[[Control], Awaitable[T]], seconds: float = ANSWER_SECONDS
    ) -> tuple[Answer[T], ...]:
        """The same question to every server, in their order. `seconds`: until the whole answer is there."""
        return tuple(
            await asyncio.gather(*(self._ask(server, Control, question, seconds) for server in self._servers))
        )

    async def ask_one(
        self,
        name: str,
        interface: Callable[..., P],
        question: Callable[[P], Awaitable[T]],
        seconds: float = ANSWER_SECONDS,
    ) -> Answer[T]:
        """A question of another interface, to one server of the topology."""
        server = next(server for server in self._servers if server.name == name)
        return await self._ask(server, interface, question, seconds)

    async def _ask(
        self,
        server: Server,
        interface: Callable[..., P],
        question: Callable[[P], Awaitable[T]],
        seconds: float,
    ) -> Answer[T]:
        try:
            async with asyncio.timeout(seconds):
                return Answer(server, await question(self._client(server).interface(interface)))
        except MailError as error:
            return Answer(server, None, error.sentence)
        except TimeoutError:
            return Answer(server, None, f"no answer in {seconds:g} s")
        except CertificateError as error:
            return Answer(server, None, str(error))

    def _client(self, server: Server) -> RpcClient:
        if server.name not in self._clients:
            self._clients[server.name] = RpcClient(self._target(server), call_seconds=ANSWER_SECONDS)
        return self._clients[server.name]

    def _target(self, server: Server) -> UnixTarget | TcpTarget:
        path = self._topology.control_socket(server.name)
        if path.exists():
            return UnixTarget(path)
        if not (self._topology.certificates / f"{OPERATOR}.pem").exists():
            return UnixTarget(path)
        endpoint = server.settings.rpc
        identity = Identity(self._topology.certificates, OPERATOR)
        return TcpTarget(endpoint.host, endpoint.port, identity.internal_client())


def report_unreachable(answers: Sequence[Answer[Any]]) -> int:
    """Names on stderr who could not be asked; the exit code that follows."""
    missing = [answer for answer in answers if answer.value is None]
    for answer in missing:
        print(f"waypost: {answer.server.name} can't be reached: {answer.reason}", file=sys.stderr)
    return PARTIAL if missing else 0
