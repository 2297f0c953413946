"""A running organisation for tests: servers, users with known passwords, what happened to a message, faults.

async with Organisation(topology, folder) as organisation:
    alice, bob = organisation.users("alice@a.example", "bob@b.example")
    sent = await alice.send(bob)
    await bob.wait_for(sent)
"""

from __future__ import annotations

import signal
import smtplib
import ssl
from collections.abc import Collection, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

from config.model import Endpoint, Topology
from config.writer import write_topology
from foundation.directory.changes import DirectoryChanges
from foundation.interfaces.control import Control, QueueEntry, ServerStatus
from foundation.interfaces.tracking import TrackingEvent
from foundation.passwords import hash_password
from tests.harness.mail import User, on_the_wire
from tests.harness.patience import patient, until
from tests.harness.servers import InlineServers, ProcessServers
from waypost.bootstrap import demo_users_file, prepare, read_users
from waypost.cli.control import Servers as Controls
from waypost.cli.trace import collect
from waypost.logs import readable
from waypost.servers import servers_of
from waypost.trace import Trace, build_trace
from waypost.world import real_world

Mode = Literal["inline", "processes"]


class Organisation:
    def __init__(self, topology: Topology, mode: Mode = "processes") -> None:
        """`inline`: all daemons in this event loop. `processes`: each a process, which can be killed."""
        self.topology = topology
        self.names = tuple(server.name for server in servers_of(topology))
        self.log: list[dict[str, Any]] = []
        self._config = topology.data / "topology.toml"
        self.servers: InlineServers | ProcessServers = (
            InlineServers(topology)
            if mode == "inline"
            else ProcessServers(topology, self._config, self.log.append)
        )
        self._users: dict[str, User] = {}

    async def __aenter__(self) -> Organisation:
        world = real_world()
        prepare(self.topology, world)
        self._config.write_text(write_topology(self.topology))
        self.directory = DirectoryChanges(self.topology.directory_database, world.clock, world.entropy)
        self._trust = ssl.create_default_context(cafile=str(self.ca_file))
        for user in read_users(demo_users_file(self.topology)):
            self._users[user.address] = self._user(user.address, user.password)
        try:
            await self.servers.start(*self.names)
        except BaseException:
            await self.servers.stop(*self.names)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.servers.stop(*self.names)
        self.directory.close()

    # --- places ---

    @property
    def config(self) -> Path:
        """The topology as a file, for commands."""
        return self._config

    @property
    def ca_file(self) -> Path:
        return self.topology.data / "ca.pem"

    def endpoint(self, name: str, protocol: str) -> Endpoint:
        server = next(server for server in servers_of(self.topology) if server.name == name)
        return server.endpoints()[protocol.replace("-", "_")]

    # --- people ---

    def users(self, *addresses: str) -> Sequence[User]:
        return [self._users[address] for address in addresses]

    def user(self, address: str) -> User:
        return self._users[address]

    def add_user(self, address: str, password: str = "correct horse battery", store: str = "") -> User:
        """Adds a user to the directory while the servers run."""
        stores = {each.name: each.database for each in self.topology.stores}
        self.directory.add_user(address, hash_password(password), store=store, stores=stores)
        self._users[address] = self._user(address, password)
        return self._users[address]

    def _user(self, address: str, password: str) -> User:
        access = self.topology.access[0]
        assert access.submission is not None
        assert access.imaps is not None
        return User(address, password, access.submission, access.imaps, self._trust)

    # --- mail from outside ---

    def send_from_outside(
        self,
        hub: str,
        sender: str,
        to: Sequence[str],
        message: EmailMessage | bytes,
        options: Sequence[str] = (),
    ) -> dict[str, tuple[int, bytes]]:
        """Blocking: hands a message to a hub as a stranger would. Raises smtplib.SMTPException."""
        endpoint = self.endpoint(hub, "smtp")
        content = message if isinstance(message, bytes) else on_the_wire(message)
        with smtplib.SMTP(endpoint.host, endpoint.port, timeout=patient(30)) as connection:
            return connection.sendmail(sender, list(to), content, options)

    # --- faults ---

    async def kill(self, name: str) -> None:
        await self.servers.kill(name)

    async def stop(self, name: str) -> None:
        await self.servers.stop(name)

    def suspend(self, name: str) -> None:
        """The server is there, and answers nothing, until `resume`."""
        self._process_servers().signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._process_servers().signal(name, signal.SIGCONT)

    def _process_servers(self) -> ProcessServers:
        assert isinstance(self.servers, ProcessServers), "run the servers as processes for this"
        return self.servers

    async def start(self, name: str) -> None:
        await self.servers.start(name)

    # --- what happened ---

    async def trace(self, message_id: str) -> Trace:
        events, gaps = await collect(Controls(self.topology), message_id)
        assert not gaps, gaps
        return build_trace(events, self.names)

    async def events(self, message_id: str) -> list[TrackingEvent]:
        """Of the message and its reports, from the servers that run, each server's in its own order."""
        found, _ = await collect(Controls(self.topology), message_id)
        return found

    async def wait_for_event(
        self, message_id: str, server: str, *names: str, seconds: float = 10
    ) -> TrackingEvent:
        """The server's first event of this message that has one of these names, once it is there."""

        async def look() -> TrackingEvent | None:
            found = await self.events(message_id)
            return next((event for event in found if event.server == server and event.event in names), None)

        found = await until(look, f"{'/'.join(names)} of {message_id} on {server}", seconds)
        assert found is not None
        return found

    async def statuses(self) -> dict[str, ServerStatus]:
        """Of the servers that answer."""
        async with Controls(self.topology) as controls:
            answers = await controls.ask(lambda control: control.status())
        return {answer.server.name: answer.value for answer in answers if answer.value is not None}

    async def queued(self, *servers: str) -> list[tuple[str, QueueEntry]]:
        """Everything that waits on these servers (none named: all), with the server's name."""

        async def everything(control: Control) -> list[QueueEntry]:
            return [entry async for batch in control.queue() for entry in batch]

        async with Controls(self.topology, roles=("hub", "store")) as controls:
            answers = await controls.ask(everything)
        wanted = [answer for answer in answers if not servers or answer.server.name in servers]
        assert all(answer.value is not None for answer in wanted), wanted
        return [(answer.server.name, entry) for answer in wanted for entry in answer.value or ()]

    async def wait_until_queued(self, server: str, message_ids: Collection[str]) -> list[QueueEntry]:
        """The entries of a server once all of these messages wait there."""

        async def look() -> list[QueueEntry]:
            entries = [entry for _, entry in await self.queued(server)]
            return entries if set(message_ids) <= {entry.message_id for entry in entries} else []

        return await until(look, f"{len(message_ids)} messages wait on {server}")

    async def wait_until_idle(self, seconds: float = 20) -> None:
        """Nothing waits in any queue or Outbox: what was sent has arrived or was given up."""

        async def look() -> bool:
            return not await self.queued()

        await until(look, "all queues empty", seconds)

    def shown_log(self) -> str:
        """What the servers said, for people."""
        return "\n".join(readable(entry, colours=False) for entry in self.log[-400:])
