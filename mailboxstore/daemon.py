"""The mailbox store as a daemon: builds its rooms from the settings and the world, starts and stops them in
order.

It starts no process, sets no signal and never exits: whoever made it watches `failed` and ends it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine

from config.model import Retry, StoreServer, Topology
from config.reload import ReadAgain, reload
from foundation.database.content import Contents, files_beside, with_files
from foundation.database.engine import Upgrade, open_engine, prepare_schema, sqlite_url
from foundation.database.keeping import ContentKeeper
from foundation.database.readers import Readers
from foundation.database.spool import Spool
from foundation.database.writer import Writer
from foundation.directory.lookup import DirectoryLookup
from foundation.interfaces.control import Control, Listener, ReloadOutcome, ServerStatus
from foundation.interfaces.explanation import Explains, Wait
from foundation.interfaces.holdings import Holdings
from foundation.interfaces.mailbox_store import MailboxStore
from foundation.interfaces.world import Executor, World
from foundation.pressure.levels import Level
from foundation.rpc.server import RpcServer
from foundation.smtp.client import ConnectionFailed, SmtpConnection, Timeouts
from foundation.smtp.server import SmtpServer
from foundation.smtp.session import Peer, ServerOptions
from foundation.tls import Identity
from foundation.tracking.statements import Tracking
from mailboxstore.api import Store
from mailboxstore.control import StoreControl
from mailboxstore.database import tables
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import Mailbox
from mailboxstore.database.mailboxes import find_mailbox
from mailboxstore.delivery.policy import lmtp_size_bytes
from mailboxstore.delivery.session import DeliverySession
from mailboxstore.explain import StoreExplainer
from mailboxstore.holdings import StoreHoldings
from mailboxstore.maintenance import Maintenance
from mailboxstore.notifications import Notifications
from mailboxstore.outbox.agent import OutboxAgent
from mailboxstore.outbox.hubs import Hub, HubConnection
from mailboxstore.outbox.reports import Reports
from mailboxstore.outbox.retry import Backoff
from mailboxstore.outbox.submission import OutboxSubmission
from mailboxstore.pressure import StorePressure
from mailboxstore.search.indexes import TextIndexes
from mailboxstore.search.members import FolderMembers

READER_THREADS = 4
SYNC_THREADS = 4
STOP_SECONDS = 10.0
HUB_TIMEOUTS = Timeouts(connect=10, greeting=30, handshake=15, hello=30, mail=60, recipient=60)

log = logging.getLogger("waypost.mailboxstore")


class MailboxStoreDaemon:
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
        """Raises KeyError when the topology has no store of this name."""
        self._topology = topology
        self._settings = _settings(topology, name)
        self._world = world
        self._identity = identity
        self._upgrade = upgrade
        self._read_again = read_again
        self._retry = Retry()
        self._state: Literal["starting", "ready", "draining"] = "starting"
        self._started_at_ms = 0
        self.listeners: tuple[Listener, ...] = ()
        self.failed = asyncio.Event()
        """Set when the disk failed under a commit: the store must be ended and started again."""
        self._executors: list[Executor] = []
        self._engine: Engine | None = None
        self._directory: DirectoryLookup | None = None
        self._writer: Writer | None = None
        self._database: MailboxDatabase | None = None
        self._store: Store | None = None
        self._indexes: TextIndexes | None = None
        self._explainer: StoreExplainer | None = None
        self._agent: OutboxAgent | None = None
        self._keeper: ContentKeeper | None = None
        self._maintenance: Maintenance | None = None
        self._pressure: StorePressure | None = None
        self._lmtp: SmtpServer | None = None
        self._rpc: RpcServer | None = None
        self._notifications = Notifications()

    @property
    def name(self) -> str:
        return self._settings.name

    async def start(self) -> None:
        """Returns when it listens. Raises OSError, CertificateError, SchemaError; `stop` then cleans up."""
        self._started_at_ms = self._world.clock.now_ms()
        folder = self._topology.server_folder(self.name)
        folder.mkdir(parents=True, exist_ok=True)
        self._topology.control_socket(self.name).parent.mkdir(parents=True, exist_ok=True)
        database = await self._open_database()
        self._database = database
        directory = DirectoryLookup(
            self._topology.directory_database, folder / "directory.snapshot", self._world
        )
        self._directory = directory
        await directory.start()
        agent = self._make_agent(database)
        self._agent = agent
        members = FolderMembers(database.readers)
        self._indexes = self._make_indexes(database, members, folder / "search")
        self._maintenance = Maintenance(
            database,
            directory,
            disconnected_keep_days=self._settings.disconnected_keep_days,
            disconnected=self._notifications.end,
            purged=self._indexes.forget if self._indexes else None,
        )
        directory.on_change(self._maintenance.directory_changed)
        submission = OutboxSubmission(
            database, agent, self._notifications.publish, int(self._retry.expiry_seconds * 1000)
        )
        store = Store(
            database,
            directory,
            self._notifications,
            submission,
            message_size_bytes=self._settings.limits.message_size_bytes,
            pressure=self._level,
            members=members,
            indexes=self._indexes,
        )
        self._store = store
        bounded = bool(self._settings.database_size_bytes)
        self._pressure = StorePressure(
            database, self._settings.pressure, self._world, folder, bounded=bounded
        )
        await self._pressure.start()
        await agent.start()
        await self._listen(database, directory, store, agent)
        self._maintenance.start()
        self._state = "ready"

    async def stop(self) -> None:
        """Takes nothing new, ends what runs, then closes. Safe after a start that failed."""
        self._state = "draining"
        self._notifications.close()
        serving = [server for server in (self._lmtp, self._rpc) if server is not None]
        await asyncio.gather(*(server.stop(STOP_SECONDS) for server in serving))
        if self._pressure is not None:
            await self._pressure.stop()
        if self._maintenance is not None:
            await self._maintenance.stop()
        if self._indexes is not None:
            await self._indexes.stop()
        if self._agent is not None:
            await self._agent.stop()
        if self._keeper is not None:
            await self._keeper.stop()
        if self._directory is not None:
            await self._directory.stop()
        if self._writer is not None:
            await self._writer.close()
        for executor in self._executors:
            executor.close()
        if self._engine is not None:
            self._engine.dispose()
        self._executors, self._engine = [], None

    def status(self) -> ServerStatus:
        details = {"watched": self._notifications.watchers}
        if self._lmtp is not None:
            details["lmtp_connections"] = self._lmtp.connections
        if self._rpc is not None:
            details["rpc_connections"] = self._rpc.connections
        if self._agent is not None:
            details["hub_connections"] = self._agent.connections
        if self._indexes is not None:
            details["search_index_bytes"] = self._indexes.size_bytes
        return ServerStatus(
            name=self.name,
            role="store",
            site=self._settings.site,
            pid=os.getpid(),
            state=self._state,
            listeners=self.listeners,
            started_at_ms=self._started_at_ms,
            version=_version(),
            details=details,
            pressure=self._level(),
            pressure_reasons=self._pressure.reasons if self._pressure is not None else (),
        )

    async def reload(self) -> ReloadOutcome:
        """Settings and certificates count anew, for new connections and messages."""
        topology, outcome = reload(self._topology, self.name, self._identity, self._read_again)
        if not outcome.problems:
            self._take(topology)
        return outcome

    def _take(self, topology: Topology) -> None:
        self._topology, settings = topology, _settings(topology, self.name)
        self._settings = settings
        if self._explainer is not None:
            self._explainer.settings = settings
        if self._database is not None:
            self._database.quota_bytes = settings.mailbox_quota_bytes
        if self._store is not None:
            self._store.message_size_bytes = settings.limits.message_size_bytes
        if self._pressure is not None:
            self._pressure.take(settings.pressure)
        if self._maintenance is not None:
            self._maintenance.keep_disconnected(settings.disconnected_keep_days)
        if self._lmtp is not None:
            self._lmtp.options = self._options(self._lmtp.options.spool)

    # --- parts ---

    async def _open_database(self) -> MailboxDatabase:
        url = self._settings.connection_url or sqlite_url(
            self._topology.server_folder(self.name) / f"{self._settings.database}.db"
        )
        engine = open_engine(url, self._settings.database_size_bytes)
        self._engine = engine
        writing, reading, computing, syncing = (
            self._executor("writer", 1),
            self._executor("readers", READER_THREADS),
            self._executor("computing", 1),
            self._executor("content", SYNC_THREADS),
        )
        await writing.run(
            prepare_schema, engine, tables.metadata, tables.COMPONENT, tables.REVISION, self._upgrade
        )
        files = files_beside(
            engine,
            self._world.disk,
            self._world.entropy.identifier,
            syncing,
            takes_new=not self._settings.database_size_bytes,  # the bound is to count all content
        )
        engine = with_files(engine, files)
        self._writer = Writer(engine, writing, failed=self._disk_failed)
        contents = Contents(tables.contents)
        self._keeper = ContentKeeper(files, contents, self._writer)
        await self._keeper.start()
        return MailboxDatabase(
            server=self.name,
            writer=self._writer,
            readers=Readers(engine, reading),
            contents=contents,
            tracking=Tracking(tables.tracking),
            clock=self._world.clock,
            identifier=self._world.entropy.identifier,
            executor=computing,
            files=files,
            quota_bytes=self._settings.mailbox_quota_bytes,
        )

    def _executor(self, name: str, threads: int) -> Executor:
        executor = self._world.executor(f"{self.name}-{name}", threads)
        self._executors.append(executor)
        return executor

    def _disk_failed(self, error: BaseException) -> None:
        log.critical("the disk failed under a commit; the store must be started again", exc_info=error)
        self.failed.set()

    def _level(self) -> Level:
        return self._pressure.level if self._pressure is not None else "normal"

    def _make_agent(self, database: MailboxDatabase) -> OutboxAgent:
        retry = self._retry
        hubs = [
            Hub(hub.name, hub.smtp_internal.host, hub.smtp_internal.port)
            for hub in self._topology.hubs
            if hub.site == self._settings.site
        ]
        return OutboxAgent(
            database,
            hubs,
            self._connect,
            Reports(database, self._topology.host_name(self.name), self._topology.default_domain),
            self._notifications.publish,
            self._world,
            backoff=Backoff(
                retry.probe_first_seconds, retry.probe_longest_seconds, self._world.entropy.uniform
            ),
            delay_notice_ms=int(retry.delay_notice_seconds * 1000),
        )

    def _make_indexes(
        self, database: MailboxDatabase, members: FolderMembers, folder: Path
    ) -> TextIndexes | None:
        """They need SQLite's numbers of emails: rising in the order of commits, and never given twice."""
        if self._engine is None or self._engine.dialect.name != "sqlite":
            return None

        def busy() -> bool:
            return database.writer.waiting > 0 or self._level() != "normal"

        return TextIndexes(folder, database, members, self._executor("index", 1), busy)

    async def _connect(self, hub: Hub) -> HubConnection:
        """Raises ConnectionFailed, also when another server than this hub answers there."""
        connection = await SmtpConnection.open(
            hub.host,
            hub.port,
            hostname=self._topology.host_name(self.name),
            implicit_tls=self._identity.internal_client(),
            timeouts=HUB_TIMEOUTS,
            watched=True,
        )
        found = connection.peer.certificate_name
        if found != hub.name:
            connection.abort()
            raise ConnectionFailed(f"{hub.host}:{hub.port} is {found or 'unnamed'}, not {hub.name}", "tls")
        return connection

    async def _listen(
        self, database: MailboxDatabase, directory: DirectoryLookup, store: Store, agent: OutboxAgent
    ) -> None:
        settings = self._settings

        def session(peer: Peer) -> DeliverySession:
            hubs = frozenset(hub.name for hub in self._topology.hubs)
            return DeliverySession(
                peer,
                database,
                directory,
                self._notifications.publish,
                hubs,
                hostname=self._topology.host_name(self.name),
                pressure=self._level,
            )

        self._lmtp = SmtpServer(self._options(database.spool), session, self._world.entropy)
        lmtp_port = await self._lmtp.start(settings.lmtp.host, settings.lmtp.port)
        control = StoreControl(database, agent, self.status, self.reload)
        self._explainer = self._make_explainer(database, directory, agent)
        self._rpc = RpcServer(
            {
                MailboxStore: store,
                Control: control,
                Explains: self._explainer,
                Holdings: StoreHoldings(database),
            },
            authorise=self._may_call,
            trace_id=self._world.entropy.identifier,
            peer_name=self._identity.peer_name,
        )
        rpc_port = await self._rpc.serve_tls(
            settings.rpc.host, settings.rpc.port, self._identity.internal_server()
        )
        socket = self._topology.control_socket(self.name)
        await self._rpc.serve_unix(socket)
        self.listeners = (
            Listener(protocol="lmtp", host=settings.lmtp.host, port=lmtp_port),
            Listener(protocol="rpc", host=settings.rpc.host, port=rpc_port),
            Listener(protocol="control", host=str(socket), port=0),
        )

    def _options(self, spool: Callable[[], Spool]) -> ServerOptions:
        limits = self._settings.limits
        return ServerOptions(
            hostname=self._topology.host_name(self.name),
            listener="lmtp",
            protocol="lmtp",
            implicit_tls=self._identity.internal_server(),
            private=True,
            message_size_bytes=lmtp_size_bytes(limits),
            recipients=limits.recipients,
            protocol_errors=limits.protocol_errors,
            idle_seconds=limits.connection_idle_seconds,
            connections=limits.connections,
            spool=spool,
        )

    def _may_call(self, peer: str, service: str, method: str) -> bool:
        """Mailboxes are for Client Access; the control interface for every server and for the operator, whose
        name is empty on the Unix socket."""
        if service == MailboxStore.__name__:
            return any(server.name == peer for server in self._topology.access)
        return service in (Control.__name__, Explains.__name__, Holdings.__name__)

    def _make_explainer(
        self, database: MailboxDatabase, directory: DirectoryLookup, agent: OutboxAgent
    ) -> StoreExplainer:
        async def usage(mailbox_id: str) -> Mailbox | None:
            return await database.readers.run(lambda connection: find_mailbox(connection, mailbox_id))

        def away(hub: str) -> Wait | None:
            next_probe_ms = agent.next_probe_ms(hub)
            if not next_probe_ms:
                return None
            return Wait(reason=agent.last_failure(hub), next_attempt_at_ms=next_probe_ms)

        return StoreExplainer(self._settings, self._topology, directory, usage, away, live=True)


def _settings(topology: Topology, name: str) -> StoreServer:
    for store in topology.stores:
        if store.name == name:
            return store
    raise KeyError(name)


def _version() -> str:
    try:
        return importlib.metadata.version("waypost")
    except importlib.metadata.PackageNotFoundError:
        return ""
