"""Client Access as a daemon: submission and IMAP towards mail programs, the stores behind them.

It keeps no mail. It starts no process, sets no signal and never exits: whoever made it ends it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from clientaccess.authenticate import Authenticator
from clientaccess.explain import SubmissionExplainer
from clientaccess.imap.connection import ImapOptions, ImapServer
from clientaccess.locate import Locator
from clientaccess.one_use import OneUseCredentials
from clientaccess.submission.session import Desk, SubmissionSession
from config.model import AccessServer, Endpoint, Topology
from config.reload import ReadAgain, reload
from foundation.database.engine import Upgrade
from foundation.directory.lookup import DirectoryLookup
from foundation.interfaces.control import (
    Control,
    Listener,
    ProbeLogon,
    QueueEntry,
    ReloadOutcome,
    ServerStatus,
)
from foundation.interfaces.explanation import Explains
from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import World
from foundation.rpc.server import RpcServer
from foundation.smtp.server import SmtpServer
from foundation.smtp.session import Peer, ServerOptions
from foundation.tls import OPERATOR, CertificateError, Identity

STOP_SECONDS = 10.0

LOCAL = ""
"""Whoever may open the Unix socket."""
NAMELESS = "(a certificate without a name)"


class ClientAccess:
    def __init__(
        self,
        topology: Topology,
        name: str,
        world: World,
        identity: Identity,
        *,
        upgrade: Upgrade | None = None,
        read_again: ReadAgain | None = None,
    ) -> None:
        """`upgrade` is for servers with a database. Raises KeyError when the topology has no such server."""
        self._topology = topology
        self._settings = _settings(topology, name)
        self._world = world
        self._identity = identity
        self._read_again = read_again
        self._hostname = topology.host_name(name)
        self._state: Literal["starting", "ready", "draining"] = "starting"
        self._started_at_ms = 0
        self.listeners: tuple[Listener, ...] = ()
        self.failed = asyncio.Event()
        """Never set: nothing is committed here that a failed disk could damage."""
        self._directory: DirectoryLookup | None = None
        self._authenticator: Authenticator | None = None
        self._locator: Locator | None = None
        self._desk: Desk | None = None
        self._submission: list[SmtpServer] = []
        self._imap: ImapServer | None = None
        self._rpc: RpcServer | None = None
        self._explainer: SubmissionExplainer | None = None

    @property
    def name(self) -> str:
        return self._settings.name

    async def start(self) -> None:
        """Returns when it listens. Raises OSError, CertificateError; `stop` then cleans up."""
        self._started_at_ms = self._world.clock.now_ms()
        topology = self._topology
        folder = topology.server_folder(self.name)
        folder.mkdir(parents=True, exist_ok=True)
        topology.control_socket(self.name).parent.mkdir(parents=True, exist_ok=True)
        self._directory = DirectoryLookup(
            topology.directory_database, folder / "directory.snapshot", self._world
        )
        await self._directory.start()
        self._authenticator = Authenticator(self._directory, self._world)
        one_use = OneUseCredentials(self._directory, self._world, self._public_certificate)
        self._locator = Locator(topology, self._identity)
        if self._identity.public_server() is None:
            file = topology.certificates / f"{self.name}.pem"
            raise CertificateError(file, "is missing", "run `waypost init`, or mend the setting")
        listeners = await self._listen_submission(
            self._directory, self._authenticator, one_use, self._locator
        )
        listeners += await self._listen_imap(self._authenticator, one_use, self._locator)
        listeners += await self._listen_control(self._directory, one_use)
        self.listeners = tuple(listeners)
        self._state = "ready"

    async def stop(self) -> None:
        """Takes nothing new, ends what runs, then closes. Safe after a start that failed."""
        self._state = "draining"
        stopping = [server.stop(STOP_SECONDS) for server in self._submission]
        if self._imap is not None:
            stopping.append(self._imap.stop(STOP_SECONDS))
        if self._rpc is not None:
            stopping.append(self._rpc.stop(STOP_SECONDS))
        await asyncio.gather(*stopping)
        if self._locator is not None:
            await self._locator.close()
        if self._authenticator is not None:
            self._authenticator.close()
        if self._directory is not None:
            await self._directory.stop()
        self._submission, self._imap, self._rpc = [], None, None
        self._locator, self._authenticator, self._directory = None, None, None

    def status(self) -> ServerStatus:
        details = {"submission_connections": sum(server.connections for server in self._submission)}
        if self._imap is not None:
            details["imap_connections"] = self._imap.connections
        if self._rpc is not None:
            details["rpc_connections"] = self._rpc.connections
        return ServerStatus(
            name=self.name,
            role="access",
            site=self._settings.site,
            pid=os.getpid(),
            state=self._state,
            listeners=self.listeners,
            started_at_ms=self._started_at_ms,
            version=_version(),
            details=details,
        )

    async def reload(self) -> ReloadOutcome:
        """Settings and certificates count anew, for new connections."""
        topology, outcome = reload(self._topology, self.name, self._identity, self._read_again)
        if not outcome.problems:
            await self._take(topology)
        return outcome

    async def _take(self, topology: Topology) -> None:
        self._topology, self._settings = topology, _settings(topology, self.name)
        if self._explainer is not None:
            self._explainer.reload(self._settings, topology)
        if self._desk is not None:
            limits = self._settings.limits
            self._desk = replace(self._desk, header_bytes_max=limits.header_size_bytes, hops_max=limits.hops)
        for server in self._submission:
            server.options = self._options(server.options.listener)
        if self._imap is not None:
            self._imap.configure(self._imap_options())
        if self._locator is not None:
            await self._locator.reload(topology)

    # --- parts ---

    async def _listen_submission(
        self,
        directory: DirectoryLookup,
        authenticator: Authenticator,
        one_use: OneUseCredentials,
        locator: Locator,
    ) -> list[Listener]:
        settings, limits = self._settings, self._settings.limits
        self._desk = Desk(
            server=self.name,
            hostname=self._hostname,
            default_domain=self._topology.default_domain,
            directory=directory,
            authentication=one_use.accepting("submission", authenticator),
            store_of=locator.store_of,
            world=self._world,
            header_bytes_max=limits.header_size_bytes,
            hops_max=limits.hops,
        )

        def session(peer: Peer) -> SubmissionSession:
            assert self._desk is not None
            return SubmissionSession(self._desk, peer)

        listeners: list[Listener] = []
        choices: tuple[tuple[Literal["submission", "submissions"], Endpoint | None], ...] = (
            ("submission", settings.submission),
            ("submissions", settings.submissions),
        )
        for protocol, endpoint in choices:
            if endpoint is None:
                continue
            server = SmtpServer(self._options(protocol), session, self._world.entropy)
            self._submission.append(server)
            port = await server.start(endpoint.host, endpoint.port)
            listeners.append(Listener(protocol=protocol, host=endpoint.host, port=port))
        return listeners

    def _options(self, listener: str) -> ServerOptions:
        limits, context = self._settings.limits, self._identity.public_server()
        implicit = listener == "submissions"
        return ServerOptions(
            hostname=self._hostname,
            listener=listener,
            starttls=None if implicit else context,
            implicit_tls=context if implicit else None,
            authentication=True,
            bare_newlines="normalise",
            message_size_bytes=limits.message_size_bytes,
            recipients=limits.recipients,
            protocol_errors=limits.protocol_errors,
            logon_failures=limits.logon_failures,
            idle_seconds=limits.connection_idle_seconds,
            connections=limits.connections,
            connections_per_source=limits.connections_per_source,
        )

    def _imap_options(self) -> ImapOptions:
        context, limits = self._identity.public_server(), self._settings.limits
        return ImapOptions(
            hostname=self._hostname,
            tls=context,
            limits=limits,
            version=_version(),
            plain_logon=self._settings.imap_plain_logon,
        )

    async def _listen_imap(
        self, authenticator: Authenticator, one_use: OneUseCredentials, locator: Locator
    ) -> list[Listener]:
        settings = self._settings
        self._imap = ImapServer(
            self._imap_options(),
            one_use.accepting("imap", authenticator),
            lambda credentials: locator.store_of(credentials.user),
            self._world,
        )
        listeners = []
        if settings.imap is not None:
            port = await self._imap.start(settings.imap.host, settings.imap.port, False)
            listeners.append(Listener(protocol="imap", host=settings.imap.host, port=port))
        if settings.imaps is not None:
            port = await self._imap.start(settings.imaps.host, settings.imaps.port, True)
            listeners.append(Listener(protocol="imaps", host=settings.imaps.host, port=port))
        return listeners

    async def _listen_control(self, directory: DirectoryLookup, one_use: OneUseCredentials) -> list[Listener]:
        endpoint = self._settings.rpc
        self._explainer = SubmissionExplainer(self._settings, self._topology, directory, live=True)
        self._rpc = RpcServer(
            {Control: _AccessControl(self), Explains: self._explainer, ProbeLogon: one_use},
            authorise=_may_call,
            trace_id=self._world.entropy.identifier,
            peer_name=self._caller,
        )
        port = await self._rpc.serve_tls(endpoint.host, endpoint.port, self._identity.internal_server())
        socket = self._topology.control_socket(self.name)
        await self._rpc.serve_unix(socket)
        return [
            Listener(protocol="rpc", host=endpoint.host, port=port),
            Listener(protocol="control", host=str(socket), port=0),
        ]

    def _caller(self, transport: asyncio.BaseTransport) -> str:
        """Who calls: the owner of this machine's socket, or the name in a certificate."""
        if transport.get_extra_info("ssl_object") is None:
            return LOCAL
        return self._identity.peer_name(transport) or NAMELESS

    def _public_certificate(self) -> str:
        file = self._settings.certificate_file or self._topology.certificates / f"{self.name}.pem"
        return self._world.disk.read(Path(file)).decode()


def _may_call(peer: str, service: str, method: str) -> bool:
    """Status and explanations are for every server of the organisation. Who may mint a logon reads anybody's
    mail: the operator alone, by the local socket or by certificate."""
    if service == ProbeLogon.__name__:
        return peer in (LOCAL, OPERATOR)
    return True


class _AccessControl:
    """Implements foundation.interfaces.control.Control: no mail waits here, and no events are kept here."""

    def __init__(self, daemon: ClientAccess) -> None:
        self._daemon = daemon

    async def status(self) -> ServerStatus:
        return self._daemon.status()

    async def trace(
        self, message_id: str, network_message_ids: tuple[str, ...]
    ) -> AsyncIterator[tuple[TrackingEvent, ...]]:
        nothing: tuple[tuple[TrackingEvent, ...], ...] = ()
        for events in nothing:
            yield events

    async def events(self, since_ms: int) -> AsyncIterator[tuple[TrackingEvent, ...]]:
        nothing: tuple[tuple[TrackingEvent, ...], ...] = ()
        for events in nothing:
            yield events

    async def reload(self) -> ReloadOutcome:
        return await self._daemon.reload()

    async def queue(self) -> AsyncIterator[tuple[QueueEntry, ...]]:
        nothing: tuple[tuple[QueueEntry, ...], ...] = ()
        for entries in nothing:
            yield entries

    async def retry(self, next_hop: str, entry_ids: tuple[str, ...]) -> int:
        return 0

    async def release(self, entry_ids: tuple[str, ...], reason: str) -> int:
        return 0


def _settings(topology: Topology, name: str) -> AccessServer:
    for server in topology.access:
        if server.name == name:
            return server
    raise KeyError(name)


def _version() -> str:
    try:
        return importlib.metadata.version("waypost")
    except importlib.metadata.PackageNotFoundError:
        return ""
