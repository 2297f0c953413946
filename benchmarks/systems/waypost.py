"""Waypost as `waypost up` runs it, with a topology and a data folder of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.systems.system import DOMAIN, Door, User, client_tls, free_ports, users
from config.reader import read_topology
from foundation.directory.changes import DirectoryChanges
from foundation.interfaces.control import Control
from foundation.passwords import hash_password
from foundation.tls import Identity
from waypost.cli.control import Servers
from waypost.world import real_world

_COMMAND = (sys.executable, "-m", "waypost")
READY_SECONDS = 60
ANSWER_SECONDS = 60.0

T = TypeVar("T")


class Waypost:
    name = "Waypost"

    def __init__(
        self, folder: Path, mailboxes: int, relayed: Mapping[str, int], *, two_sites: bool = False
    ) -> None:
        """`relayed`: domains, and the port of the next hop of each."""
        self._folder = folder
        self._relayed = relayed
        self.users: Sequence[User] = users(mailboxes)
        self.two_sites = two_sites
        self._data = folder / "data"
        self._config = folder / "waypost.toml"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def version(self) -> str:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        return f"Waypost {commit}, Python {sys.version.split()[0]}"

    async def start(self) -> None:
        """Makes everything at the first call; later calls start it on what is there."""
        if not self._config.exists():
            self._folder.mkdir(parents=True)
            self._config.write_text(self._topology())
            await self._run("init")
            self._add_users()
            self._open_doors()
        log = (self._folder / "waypost.log").open("ab")
        self._process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            "up",
            "--config",
            str(self._config),
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
        )
        log.close()
        await asyncio.wait_for(self._wait_until_ready(), READY_SECONDS)

    async def _wait_until_ready(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if b"Ctrl-C stops" in line:
                return
        raise RuntimeError(f"Waypost did not start, see {self._folder / 'waypost.log'}")

    async def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()
            self._process = None

    def sibling(self, mailboxes: int) -> Waypost:
        folder = self._folder.with_name(f"{self._folder.name}-{mailboxes}")
        return Waypost(folder, mailboxes, self._relayed, two_sites=self.two_sites)

    async def waiting(self) -> int:
        return sum(
            int(status.details["queued"]) for status in await self._ask(lambda control: control.status())
        )

    async def try_now(self) -> None:
        await self._ask(lambda control: control.retry("", ()))

    async def _ask(self, question: Callable[[Control], Awaitable[T]]) -> list[T]:
        """All hubs. Raises RuntimeError."""
        found = []
        async with Servers(read_topology(self._config, {}), roles=("hub",)) as servers:
            for answer in await servers.ask(question, ANSWER_SECONDS):
                if answer.value is None:
                    raise RuntimeError(f"{answer.server.name}: {answer.reason}")
                found.append(answer.value)
        return found

    def roots(self) -> Sequence[int]:
        assert self._process is not None
        return (self._process.pid,)

    def forget_caches(self, user: User) -> None:
        """What Client Access keeps of messages is gone with the last session that had the mailbox selected,
        but for UIDs and flags, as Dovecot's index has them.
        """

    async def _run(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *_COMMAND, *arguments, "--config", str(self._config), env=_environment()
        )
        if await process.wait() != 0:
            raise RuntimeError(f"waypost {' '.join(arguments)} failed")

    def _topology(self) -> str:
        sites = ("A", "B") if self.two_sites else ("A",)
        ports = iter(free_ports(20))
        self._ports = {door: next(ports) for door in ("submissions", "imap", "imaps", "smtp", "lmtp")}
        text = f"""
[organisation]
name = "Benchmark"
default_domain = "{DOMAIN}"
data = "{self._data}"

[[domains]]
domain = "{DOMAIN}"

[servers.access]
role = "access"
site = "A"
submissions = "127.0.0.1:{self._ports["submissions"]}"
imap = "127.0.0.1:{self._ports["imap"]}"
imaps = "127.0.0.1:{self._ports["imaps"]}"
imap_plain_logon = true
rpc = "127.0.0.1:{next(ports)}"
"""
        for domain, port in self._relayed.items():
            text += f"""
[[domains]]
domain = "{domain}"
kind = "internal-relay"

[[send_connectors]]
name = "{domain.partition(".")[0]}"
address_spaces = ["{domain}"]
smart_hosts = ["127.0.0.1:{port}"]
tls = "none"
"""
        for site in sites:
            first = site == "A"
            text += f"""
[sites.{site}]

[servers.hub-{site.lower()}]
role = "hub"
site = "{site}"
smtp = "127.0.0.1:{self._ports["smtp"] if first else next(ports)}"
smtp_internal = "127.0.0.1:{next(ports)}"
rpc = "127.0.0.1:{next(ports)}"

[servers.store-{site.lower()}]
role = "store"
site = "{site}"
lmtp = "127.0.0.1:{self._ports["lmtp"] if first else next(ports)}"
rpc = "127.0.0.1:{next(ports)}"
"""
        if self.two_sites:
            text += '\n[[site_links]]\nsites = ["A", "B"]\ncost = 10\n'
        return text

    def _open_doors(self) -> None:
        tls = client_tls(self._data / "ca.pem")
        inside = Identity(self._data / "certificates", "hub-a").internal_client()
        self.submissions = Door(self._ports["submissions"], tls)
        self.imaps = Door(self._ports["imaps"], tls)
        self.imap = Door(self._ports["imap"])
        self.smtp = Door(self._ports["smtp"])
        self.lmtp = Door(self._ports["lmtp"], inside)

    def _add_users(self) -> None:
        """With two sites the users of even number, who send, are at A, the others, who receive, at B."""
        topology, world = read_topology(self._config, {}), real_world()
        stores = {store.name: store.database for store in topology.stores}
        directory = DirectoryChanges(topology.directory_database, world.clock, world.entropy)
        hashes: dict[str, str] = {}
        for number, user in enumerate(self.users):
            hashed = hashes.setdefault(user.password, hash_password(user.password))
            store = "store-b" if self.two_sites and number % 2 else "store-a"
            directory.add_user(user.address, hashed, store=store, stores=stores)
        directory.close()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST")}
