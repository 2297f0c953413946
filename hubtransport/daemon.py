"""HubTransport: the parts of a hub, put together, started and stopped in order.

Start: the queue database is recovered before anything listens. Stop: listeners first, then what is being
committed, then transfers that run; what waits stays in the database for the next start.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from config.model import HubServer, Topology
from config.reload import ReadAgain, reload
from foundation.database.content import files_beside, with_files
from foundation.database.engine import Upgrade, open_engine, prepare_schema, sqlite_url
from foundation.database.keeping import ContentKeeper
from foundation.database.readers import Readers
from foundation.database.writer import Writer
from foundation.directory.lookup import DirectoryLookup
from foundation.interfaces.control import Control, Listener, ReloadOutcome, ServerStatus
from foundation.interfaces.explanation import Explains
from foundation.interfaces.world import World
from foundation.rpc.server import RpcServer
from foundation.smtp.server import Peer, ServerOptions, SmtpServer
from foundation.tls import OPERATOR, Identity
from hubtransport.categorizer.comply import AgentChain
from hubtransport.categorizer.decision import Context
from hubtransport.categorizer.forwarder import Forwarder, Queues
from hubtransport.categorizer.worker import CategorizerWorker
from hubtransport.control import HubControl
from hubtransport.delivery.conclude import Concluder
from hubtransport.delivery.courier import Courier
from hubtransport.delivery.hops import HopKeeper
from hubtransport.delivery.retry import RetryPolicy
from hubtransport.delivery.runner import DeliveryRunner
from hubtransport.delivery.scheduler import Scheduler
from hubtransport.delivery.sweep import Sweeper
from hubtransport.delivery.to_hub import HubCourier
from hubtransport.delivery.to_internet import InternetCourier
from hubtransport.delivery.to_store import StoreCourier
from hubtransport.dsn import Reporter
from hubtransport.explain import HubExplainer
from hubtransport.pressure import HubPressure
from hubtransport.queues.delivery import recover
from hubtransport.queues.records import QueuedMessage
from hubtransport.queues.statements import contents
from hubtransport.queues.store import QueueStore
from hubtransport.queues.tables import METADATA, REVISION
from hubtransport.receive.connectors import ReceiveConnector, internal, outside
from hubtransport.receive.entrance import Entrance
from hubtransport.receive.session import HubSession, Reception
from hubtransport.routing.hop import Hop, HopKind
from hubtransport.routing.table import RoutingTable
from hubtransport.routing.topology import hub_host_names

log = logging.getLogger("waypost.hubtransport")

COMPONENT = "hub"
STOP_SECONDS = 10.0
READERS = 2
SYNCS = 4


class HubTransport:
    """One hub of a topology."""

    def __init__(
        self,
        topology: Topology,
        name: str,
        world: World,
        identity: Identity,
        *,
        agents: AgentChain | None = None,
        upgrade: Upgrade | None = None,
        read_again: ReadAgain | None = None,
    ) -> None:
        self.name = name
        self.listeners: tuple[Listener, ...] = ()
        self._topology = topology
        self._settings: HubServer = next(hub for hub in topology.hubs if hub.name == name)
        self._world = world
        self._identity = identity
        self._agents = agents or AgentChain()
        self._upgrade = upgrade
        self._read_again = read_again
        self._hostname = topology.host_name(name)
        self._folder = topology.server_folder(name)
        self._state: Literal["starting", "ready", "draining"] = "starting"
        self._started_at_ms = 0
        self._table = RoutingTable(topology, name)
        self._retry = RetryPolicy(self._settings.retry, world.entropy.uniform)
        self._scheduler = Scheduler()
        self._reporter = Reporter(
            server=name,
            hostname=self._hostname,
            default_domain=topology.default_domain,
            expiry_ms=round(self._settings.retry.expiry_seconds * 1000),
        )
        self._connectors: dict[str, ReceiveConnector] = {}
        """By listener; sessions take theirs when they begin."""
        self._smtp: list[SmtpServer] = []
        self._closing: list[Callable[[], Awaitable[object]]] = []
        """What was started, to be stopped the other way round."""
        self.failed = asyncio.Event()
        """Set when the disk failed under a commit: the hub must be ended and started again."""

    async def start(self) -> None:
        """Returns when everything listens. Raises OSError, SchemaError, CertificateError."""
        self._started_at_ms = self._world.clock.now_ms()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._open_database()
        self._directory = DirectoryLookup(
            self._topology.directory_database, self._folder / "directory.snapshot", self._world
        )
        self._closing.append(self._directory.stop)
        await self._directory.start()
        self._build()
        await self._recover()
        await self._pressure.start()
        self._closing.append(self._pressure.stop)
        await self._listen()
        self._state = "ready"
        log.info("hub is ready", extra={"server": self.name})

    async def stop(self) -> None:
        """Takes nothing new, finishes what runs within STOP_SECONDS, leaves the rest in the queue."""
        self._state = "draining"
        while self._closing:
            await self._closing.pop()()

    def status(self) -> ServerStatus:
        queues = list(self._scheduler.queues())
        return ServerStatus(
            name=self.name,
            role="hub",
            site=self._settings.site,
            pid=os.getpid(),
            state=self._state,
            listeners=self.listeners,
            started_at_ms=self._started_at_ms,
            version=_version(),
            details={
                "submission": self._categorizer.in_memory,
                "queued": sum(queue.length for queue in queues),
                "next_hops": len(queues),
                "next_hops_failing": len(self._scheduler.failing()),
                "connections": sum(server.connections for server in self._smtp),
                "connections_out": sum(queue.connections for queue in queues),
                "possible_doubles": self._concluder.possible_doubles,
                "commits_waiting": self._writer.waiting,
            },
            pressure=self._pressure.level,
            pressure_reasons=self._pressure.reasons,
        )

    async def reload(self) -> ReloadOutcome:
        """Settings and certificates count anew, and what has no way any more gets another."""
        return await self._control.reload()

    # --- parts

    async def _open_database(self) -> None:
        url = self._settings.connection_url or sqlite_url(self._folder / "queue.db")
        engine = open_engine(url, self._settings.database_size_bytes)
        writing = self._world.executor(f"{self.name}-writer", 1)
        reading = self._world.executor(f"{self.name}-readers", READERS)
        syncing = self._world.executor(f"{self.name}-content", SYNCS)

        async def close() -> None:
            syncing.close()
            reading.close()
            writing.close()
            engine.dispose()

        self._closing.append(close)
        await writing.run(prepare_schema, engine, METADATA, COMPONENT, REVISION, self._upgrade)
        files = files_beside(
            engine,
            self._world.disk,
            self._world.entropy.identifier,
            syncing,
            takes_new=not self._settings.database_size_bytes,  # the bound is to count all content
        )
        engine = with_files(engine, files)
        self._writer = Writer(engine, writing, failed=self._database_failed)
        self._closing.append(self._writer.close)
        header_bytes = self._settings.limits.header_size_bytes * 2
        self._store = QueueStore(self._writer, Readers(engine, reading), header_bytes, files)
        keeper = ContentKeeper(files, contents, self._writer)
        self._closing.append(keeper.stop)
        await keeper.start()

    def _build(self) -> None:
        def table() -> RoutingTable:
            return self._table

        world, store, scheduler = self._world, self._store, self._scheduler
        self._concluder = Concluder(
            store, scheduler, self._retry, self._reporter, self._directory, world, self._submitted
        )
        hops = HopKeeper(store, scheduler, self._retry, table, world, self.name)
        internet = InternetCourier(table, world, self._hostname, hub_host_names(self._topology))
        self._internet = internet
        couriers: dict[HopKind, Courier] = {
            "hub": HubCourier(table, self._identity, self._hostname),
            "store": StoreCourier(table, self._identity, self._hostname),
            "mx": internet,
            "smarthost": internet,
        }
        self._runner = DeliveryRunner(store, scheduler, couriers, self._concluder, hops, world)
        self._sweeper = Sweeper(
            store, scheduler, self._concluder, self._retry, self._reporter, world, self._submitted
        )
        queues = Queues(
            scheduler.reserve, scheduler.unreserve, self._runner.add, self._add_stored, scheduler.failing
        )
        self._forwarder = Forwarder(store, self._context, self._agents, queues, self._reporter, world)
        self._categorizer = CategorizerWorker(store, self._forwarder, world, self.name)
        self._pressure = HubPressure(
            store,
            self._categorizer,
            self._settings.pressure,
            world,
            folder=self._folder,
            server=self.name,
            bounded=bool(self._settings.database_size_bytes),
        )
        self._control = HubControl(
            store,
            scheduler,
            self._runner,
            self._sweeper,
            world,
            self.name,
            status=self.status,
            reload=self._reload,
            table=table,
            submitted=self._submitted,
        )
        self._explainer = HubExplainer(
            self._settings,
            self._topology,
            self._context,
            self._agents,
            internet.hosts,
            lambda: {queue.hop: queue.failing for queue in scheduler.queues() if queue.failing is not None},
            live=True,
        )

    def _context(self) -> Context:
        return Context(
            directory=self._directory,
            table=self._table,
            server=self.name,
            default_domain=self._topology.default_domain,
        )

    def _submitted(self, messages: Sequence[QueuedMessage]) -> None:
        self._categorizer.submitted(messages)

    def _add_stored(self, hop: str, count: int, due_at_ms: int) -> None:
        self._scheduler.add_stored(hop, count, due_at_ms)
        self._runner.wake()

    async def _recover(self) -> None:
        now_ms = self._world.clock.now_ms()
        latest_ms = now_ms + round(self._retry.longest_seconds * 1000)
        recovered = await self._writer.run(lambda connection: recover(connection, latest_ms))
        for summary in recovered.hops:
            if Hop.parse(summary.hop).kind != "unreachable":
                self._scheduler.set_stored(summary)
        for state in recovered.failing:
            self._scheduler.failed(state)
        self._closing.append(lambda: self._runner.stop(STOP_SECONDS))
        self._runner.wake()
        self._closing.append(lambda: self._categorizer.stop(STOP_SECONDS / 2))
        self._categorizer.start(recovered.submitted > 0)
        self._closing.append(self._sweeper.stop)
        self._sweeper.start()

    # --- listeners

    async def _listen(self) -> None:
        settings = self._settings
        self._connectors = _connectors(settings, self._topology)
        self._closing.append(self._stop_smtp)
        found: list[Listener] = []
        if settings.smtp is not None:
            port = await self._serve("smtp", settings.smtp.host, settings.smtp.port)
            found.append(Listener(protocol="smtp", host=settings.smtp.host, port=port))
        inside = settings.smtp_internal
        port = await self._serve("smtp-internal", inside.host, inside.port)
        found.append(Listener(protocol="smtp-internal", host=inside.host, port=port))
        self._rpc = RpcServer(
            {Control: self._control, Explains: self._explainer},
            authorise=self._may_call,
            trace_id=self._world.entropy.identifier,
            peer_name=self._identity.peer_name,
        )
        self._closing.append(self._rpc.stop)
        port = await self._rpc.serve_tls(
            settings.rpc.host, settings.rpc.port, self._identity.internal_server()
        )
        found.append(Listener(protocol="rpc", host=settings.rpc.host, port=port))
        socket = self._topology.control_socket(self.name)
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._rpc.serve_unix(socket)
        self.listeners = tuple(found)

    async def _serve(self, listener: str, host: str, port: int) -> int:
        reception = Reception(
            server=self.name,
            hostname=self._hostname,
            default_domain=self._topology.default_domain,
            folder=self._folder,
            directory=self._directory,
            store=self._store,
            world=self._world,
            entrance=Entrance(self._store, self._categorizer, self._forwarder),
            expires_at_ms=self._retry.expires_at_ms,
            delay_at_ms=self._retry.delay_at_ms,
            pressure=lambda: self._pressure.level,
        )

        def session(peer: Peer) -> HubSession:
            return HubSession(reception, self._connectors[listener], peer)

        server = SmtpServer(self._options(self._connectors[listener]), session, self._world.entropy)
        self._smtp.append(server)
        return await server.start(host, port)

    async def _stop_smtp(self) -> None:
        await asyncio.gather(*(server.stop(STOP_SECONDS / 2) for server in self._smtp))

    def _options(self, connector: ReceiveConnector) -> ServerOptions:
        limits = self._settings.limits
        return ServerOptions(
            hostname=self._hostname,
            listener=connector.listener,
            starttls=None if connector.trusted else self._identity.public_server(),
            implicit_tls=self._identity.internal_server() if connector.trusted else None,
            private=connector.trusted,
            message_size_bytes=connector.message_size_bytes,
            recipients=limits.recipients,
            protocol_errors=limits.protocol_errors,
            logon_failures=limits.logon_failures,
            idle_seconds=limits.connection_idle_seconds,
            connections=limits.connections,
            connections_per_source=limits.connections_per_source,
            spool=self._store.spool,
        )

    def _may_call(self, peer: str, service: str, method: str) -> bool:
        """The local socket is the owner's alone; over the network, servers of the topology and the
        operator."""
        return peer in ("", OPERATOR) or any(server.name == peer for server in self._topology.servers)

    def _reload(self) -> ReloadOutcome:
        topology, outcome = reload(self._topology, self.name, self._identity, self._read_again)
        if not outcome.problems:
            self._take(topology)
        return outcome

    def _take(self, topology: Topology) -> None:
        """Counts for new connections and messages, and for next tries."""
        settings = next(hub for hub in topology.hubs if hub.name == self.name)
        self._topology, self._settings = topology, settings
        self._table = RoutingTable(topology, self.name)
        self._retry.settings = settings.retry
        self._pressure.take(settings.pressure)
        self._reporter.expiry_ms = round(settings.retry.expiry_seconds * 1000)
        self._store.header_bytes_max = settings.limits.header_size_bytes * 2
        self._internet.reload(hub_host_names(topology))
        self._explainer.reload(settings, topology)
        self._connectors = _connectors(settings, topology)
        for server in self._smtp:
            server.options = self._options(self._connectors[server.options.listener])

    def _database_failed(self, error: BaseException) -> None:
        """What is durable is unknown after a failed disk: stop, and be started again."""
        log.critical("the queue database failed, the hub stops", exc_info=error)
        self.failed.set()


def _connectors(settings: HubServer, topology: Topology) -> dict[str, ReceiveConnector]:
    return {connector.listener: connector for connector in (outside(settings), internal(settings, topology))}


def _version() -> str:
    try:
        return version("waypost")
    except PackageNotFoundError:
        return ""
