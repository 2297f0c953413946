"""Whom `waypost explain` asks: the running servers, and for one that can't be asked its own code with the
configuration and the directory."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from config.model import Topology
from foundation.interfaces.explanation import Door, Explains, Explanation, Question
from waypost.cli.control import Servers
from waypost.cli.output import NOT_FOUND, PARTIAL, CommandFailed
from waypost.explain import Answered
from waypost.servers import Server, find_server, servers_of

if TYPE_CHECKING:
    from foundation.directory.lookup import DirectoryLookup

LOGON_REFUSED = "535 "


class Stations:
    """Use as `async with Stations(topology) as stations`."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._servers = Servers(topology)
        self._closing = AsyncExitStack()
        self._directory: DirectoryLookup | None = None

    async def __aenter__(self) -> Stations:
        await self._closing.enter_async_context(self._servers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._closing.aclose()

    async def ask(self, name: str, question: Question) -> Answered:
        """Raises MailError, CommandFailed when the directory can't be asked either."""
        answer = await self._servers.ask_one(name, Explains, lambda server: server.explain(question))
        if answer.value is not None:
            return Answered(answer.value)
        computed = await self._computed(answer.server)
        return Answered(await computed.explain(question), answer.reason)

    async def entrance(self, question: Question, at: str) -> tuple[str, Question]:
        """Where the message would come in, and how: users by Client Access at the site of their mailbox, all
        others by a hub that takes mail from outside. `at`: the server that was asked for. Raises
        CommandFailed, MailError."""
        if at:
            return self._chosen(question, at)
        if self._topology.access and question.sender.address:
            submitted = _through(question, "submission")
            first = self._topology.access[0].name
            told = (await self.ask(first, submitted)).explanation
            if not _logon_refused(told):
                return self._nearest_access(told, first), submitted
        for hub in self._topology.hubs:
            if hub.smtp is not None:
                return hub.name, _through(question, "smtp")
        raise CommandFailed(
            "no_entrance",
            f"{question.sender.address or '<>'} is no user, and no hub takes mail from outside",
            mend="set smtp of a hub, or name a server with --at",
        )

    def _chosen(self, question: Question, at: str) -> tuple[str, Question]:
        server = find_server(self._topology, at)
        if server is None or server.role == "store":
            names = [each.name for each in servers_of(self._topology) if each.role != "store"]
            raise CommandFailed(
                "not_found",
                f"no server of this name takes mail in: {at}",
                mend=f"there are {', '.join(names)}",
                exit_code=NOT_FOUND,
            )
        return at, _through(question, "submission" if server.role == "access" else "smtp")

    def _nearest_access(self, told: Explanation, first: str) -> str:
        store = find_server(self._topology, told.onward[0].next_hop) if told.onward else None
        near = (each.name for each in self._topology.access if store is not None and each.site == store.site)
        return next(near, first)

    async def _computed(self, server: Server) -> Explains:
        """Its code, with what is known without it."""
        directory = await self._own_directory()
        if server.role == "hub":
            from hubtransport.explain import computed as computed_hub
            from waypost.world import real_world

            return computed_hub(self._topology, server.name, directory, real_world())
        if server.role == "store":
            from mailboxstore.explain import computed as computed_store

            return computed_store(self._topology, server.name, directory)
        from clientaccess.explain import computed as computed_access

        return computed_access(self._topology, server.name, directory)

    async def _own_directory(self) -> DirectoryLookup:
        if self._directory is None:
            from foundation.directory.lookup import DirectoryLookup
            from waypost.world import real_world

            folder = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="waypost-"))
            directory = DirectoryLookup(
                self._topology.directory_database, Path(folder) / "directory.snapshot", real_world()
            )
            self._closing.push_async_callback(directory.stop)
            await directory.start()
            if not directory.reachable:
                raise CommandFailed(
                    "no_directory",
                    "not every server can be asked, nor the directory be read to compute what it would do",
                    mend="start the servers; `waypost up` or `waypost init` makes what is missing",
                    exit_code=PARTIAL,
                )
            self._directory = directory
        return self._directory


def _through(question: Question, door: Door) -> Question:
    return msgspec.structs.replace(question, door=door)


def _logon_refused(told: Explanation) -> bool:
    return bool(told.ends) and all(end.reply.startswith(LOGON_REFUSED) for end in told.ends)
