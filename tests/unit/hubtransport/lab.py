"""Hubs under test: real ones with their databases and TLS; mailbox stores and hosts outside that answer as
told."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from config.model import Endpoint, HubServer, Retry, SendConnector, Site, SiteLink, StoreServer, Topology
from foundation.certificates import issue_certificate, make_authority
from foundation.database.spool import Spool
from foundation.directory.changes import DirectoryChanges
from foundation.interfaces.control import QueueEntry
from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import MailExchanger, NameNotFound, World
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.smtp.client import SendResult, SmtpConnection
from foundation.smtp.command import MailCommand
from foundation.smtp.reply import Reply, from_error
from foundation.smtp.server import Peer, ServerOptions, SessionFacts, SmtpServer
from foundation.tls import Identity
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor
from hubtransport.categorizer.comply import AgentChain
from hubtransport.daemon import HubTransport
from tests.harness.patience import until
from tests.harness.ports import free_port

LOCALHOST = "127.0.0.1"
QUICK = Retry(
    probe_first_seconds=0.05,
    probe_longest_seconds=0.2,
    message_interval_seconds=0.2,
    glitch_interval_seconds=0.05,
    transient_interval_seconds=0.1,
    outbound_interval_seconds=0.2,
)
CONTENT = b"From: <alice@example.test>\r\nMessage-ID: <m1@example.test>\r\nSubject: Hello\r\n\r\nHello\r\n"


class Names:
    """A name service of the test's own."""

    def __init__(self) -> None:
        self.exchangers: dict[str, tuple[MailExchanger, ...] | Exception] = {}
        self.hosts: dict[str, tuple[str, ...] | Exception] = {}

    async def mail_exchangers(self, domain: str) -> tuple[MailExchanger, ...]:
        return _answer(self.exchangers, domain)

    async def addresses(self, host: str) -> tuple[str, ...]:
        if host.replace(".", "").isdigit():
            return (host,)
        return _answer(self.hosts, host)


def _answer(known: dict[str, Any], name: str) -> Any:
    found = known.get(name, NameNotFound(name))
    if isinstance(found, Exception):
        raise found
    return found


class Clock(SystemClock):
    """The machine's clock, set forward by hand."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@dataclasses.dataclass
class Delivered:
    sender: Sender
    recipients: tuple[Recipient, ...]
    transfer: Transfer | None
    content: bytes

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(recipient.address for recipient in self.recipients)


class StubServer:
    """Takes mail over SMTP or LMTP; keys are remembered as a receiver must; answers can be scripted."""

    def __init__(self, name: str, hostname: str = "stub.example.net") -> None:
        self.name = name
        self.hostname = hostname
        self.delivered: list[Delivered] = []
        self.arrived = asyncio.Event()
        self.recipient_replies: dict[str, list[Reply]] = {}
        """Scripted answers to RCPT, used up one by one."""
        self.final_replies: dict[str, list[Reply]] = {}
        self.mail_replies: list[Reply] = []
        self.offered: list[Transfer | None] = []
        """What came with each MAIL, whatever was answered."""
        self.lose_replies = 0
        """So many times the content is taken and the connection cut before the answer."""
        self.hold: asyncio.Event | None = None
        """The answer to the content waits for it."""
        self.keys: dict[str, dict[str, Reply]] = {}
        self.repeats = 0
        self.sessions: list[StubSession] = []
        self._server: SmtpServer | None = None
        self._port = 0
        self._options: dict[str, Any] = {}

    async def start(self, port: int = 0, **options: Any) -> int:
        self._options = options or self._options
        settings = ServerOptions(hostname=self.hostname, listener=self.name, **self._options)
        self._server = SmtpServer(settings, lambda peer: StubSession(self, peer), SystemEntropy())
        self._port = await self._server.start(LOCALHOST, port or self._port)
        return self._port

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def cut(self) -> None:
        """Connections that stand are lost."""
        assert self._server is not None
        for connection in list(self._server._connections):
            connection.abort()

    async def wait(self, count: int = 1) -> list[Delivered]:
        async def look() -> bool:
            return len(self.delivered) >= count

        await until(look, f"{count} messages at {self.name}")
        return self.delivered


class StubSession:
    def __init__(self, server: StubServer, peer: Peer) -> None:
        self.facts = SessionFacts()
        self._server = server
        server.sessions.append(self)
        self.reset()

    def reset(self) -> None:
        self._command: MailCommand | None = None
        self._recipients: list[Recipient] = []
        self._results: dict[str, Reply] = {}

    def closed(self) -> None:
        pass

    async def greet(self, helo: str, extended: bool) -> None:
        pass

    async def authenticate(self, login: str, password: str) -> None:
        raise MailError(535, "5.7.8", "no")

    @property
    def _key(self) -> str:
        transfer = self._command.transfer if self._command else None
        return transfer.transfer_key if transfer else ""

    async def mail(self, command: MailCommand) -> Reply | None:
        self._server.offered.append(command.transfer)
        self._command = command
        if self._server.mail_replies:
            return self._server.mail_replies.pop(0)
        return None

    async def recipient(self, recipient: Recipient) -> Reply | None:
        known = self._server.keys.get(self._key)
        if known is not None:
            self._recipients.append(recipient)
            return known.get(recipient.address, Reply.of(451, "4.3.0", "not in that transfer"))
        scripted = self._server.recipient_replies.get(recipient.address)
        if scripted:
            reply = scripted.pop(0)
            self._results[recipient.address] = reply
            if not reply.positive:
                return reply
        self._recipients.append(recipient)
        self._results.setdefault(recipient.address, Reply.of(250, "2.1.5", "ok"))
        return None

    async def message(self, content: Spool) -> Reply | tuple[Reply, ...]:
        server, command = self._server, self._command
        assert command is not None
        if server.hold is not None:
            await server.hold.wait()
        lmtp = self.facts.lmtp
        if self._key and self._key in server.keys:
            server.repeats += 1
            replies = tuple(Reply.of(250, "2.6.0", "had it") for _ in self._recipients)
            return replies if lmtp else replies[0]
        finals = []
        for recipient in self._recipients:
            scripted = server.final_replies.get(recipient.address)
            finals.append(scripted.pop(0) if scripted else Reply.of(250, "2.6.0", "taken"))
        taken = tuple(r for r, reply in zip(self._recipients, finals, strict=True) if reply.positive)
        if taken:
            if self._key:
                server.keys[self._key] = dict(self._results)
            server.delivered.append(
                Delivered(command.sender, taken, command.transfer, content.read(0, content.size_bytes))
            )
            server.arrived.set()
        if server.lose_replies:
            server.lose_replies -= 1
            server.cut()
        return tuple(finals) if lmtp else finals[0]


class PlainHost:
    """A host outside that can only what it is told to announce, and takes everything."""

    def __init__(self, keywords: Sequence[str]) -> None:
        self._keywords = keywords
        self.lines: list[str] = []
        """MAIL and RCPT as they came."""
        self.messages = 0
        self.server: asyncio.Server | None = None

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, LOCALHOST, 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def wait(self) -> None:
        async def look() -> bool:
            return self.messages > 0

        await until(look, "a message at the plain host")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 plain.example.net\r\n")
        while line := await reader.readline():
            text = line.decode().strip()
            if text.startswith(("MAIL", "RCPT")):
                self.lines.append(text)
            if text.startswith("EHLO"):
                names = ["plain.example.net", *self._keywords]
                replies = [f"250{'-' if name != names[-1] else ' '}{name}" for name in names]
                writer.write("\r\n".join((*replies, "")).encode())
            elif text == "DATA":
                writer.write(b"354 go on\r\n")
                while (await reader.readline()) not in (b".\r\n", b""):
                    pass
                self.messages += 1
                writer.write(b"250 taken\r\n")
            else:
                writer.write(b"250 ok\r\n")
        writer.close()


class Lab:
    """Sites A and B, a hub and a store each; stores are stubs, and a host outside is one."""

    def __init__(self, folder: Path, **topology: Any) -> None:
        self.folder = folder
        self.names = Names()
        self.clock = Clock()
        self.world = World(
            clock=self.clock,
            entropy=SystemEntropy(),
            disk=SystemDisk(),
            resolver=self.names,
            executor=ThreadExecutor,
        )
        self.stores = {name: StubServer(name) for name in ("store-a", "store-b")}
        self.outside = StubServer("outside")
        self.hubs: dict[str, HubTransport] = {}
        self._changes = topology
        self._connections: list[SmtpConnection] = []
        self._plain: list[PlainHost] = []

    async def __aenter__(self) -> Lab:
        ports = [free_port() for _ in range(16)]
        certificates = self.folder / "certificates"
        certificates.mkdir()
        now_ms = self.clock.now_ms()
        make_authority(certificates, "Example", now_ms=now_ms, disk=self.world.disk)
        for name in ("hub-a", "hub-b", "hub-b2", "store-a", "store-b", "stranger"):
            issue_certificate(certificates, name, now_ms=now_ms, disk=self.world.disk)
        for name, store in self.stores.items():
            await store.start(
                protocol="lmtp", private=True, implicit_tls=Identity(certificates, name).internal_server()
            )
        self.outside_port = outside_port = await self.outside.start(protocol="smtp")
        settings: dict[str, Any] = {
            "organisation": "Example",
            "data": self.folder,
            "default_domain": "example.test",
            "domains": ({"domain": "example.test"},),
            "sites": (Site(name="A"), Site(name="B")),
            "site_links": (SiteLink(sites=("A", "B")),),
            "hubs": (self._hub("hub-a", "A", ports), self._hub("hub-b", "B", ports)),
            "stores": tuple(
                StoreServer(
                    name=name,
                    site=name[-1].upper(),
                    lmtp=Endpoint(host=LOCALHOST, port=store._port),
                    rpc=Endpoint(host=LOCALHOST, port=ports.pop()),
                )
                for name, store in self.stores.items()
            ),
            "access": (),
            "send_connectors": (SendConnector(name="internet", port=outside_port),),
        }
        extra = self._changes.pop("hubs", {})
        hubs = [self._hub(name, site, ports) for name, site in extra.items()]
        retry = self._changes.pop("retry", QUICK)
        limits = self._changes.pop("limits", None)
        settings["hubs"] = tuple(
            hub.model_copy(update={"retry": retry} | ({"limits": limits} if limits else {}))
            for hub in (*settings["hubs"], *hubs)
        )
        self.topology = Topology.model_validate(settings | self._changes)
        self.names.exchangers["example.org"] = (MailExchanger(10, "mx.example.org"),)
        self.names.hosts["mx.example.org"] = (LOCALHOST,)
        self.directory = DirectoryChanges(self.topology.directory_database, self.clock, self.world.entropy)
        self.directory.create_organisation(
            "Example", "example.test", [(domain.domain, domain.kind) for domain in self.topology.domains]
        )
        stores = {"store-a": "default", "store-b": "default"}
        for address, store in (
            ("alice@example.test", "store-a"),
            ("bob@example.test", "store-b"),
            ("carol@example.test", "store-a"),
        ):
            self.directory.add_user(address, "x", store=store, stores=stores)
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.abort()
        for hub in list(self.hubs.values()):
            await hub.stop()
        for host in self._plain:
            if host.server is not None:
                host.server.close()
        for stub in (*self.stores.values(), self.outside):
            await stub.stop()
        self.directory.close()

    def _hub(self, name: str, site: str, ports: list[int]) -> HubServer:
        return HubServer(
            name=name,
            site=site,
            smtp=Endpoint(host=LOCALHOST, port=ports.pop()),
            smtp_internal=Endpoint(host=LOCALHOST, port=ports.pop()),
            rpc=Endpoint(host=LOCALHOST, port=ports.pop()),
            retry=QUICK,
        )

    async def plain_host(self, *keywords: str) -> PlainHost:
        """Takes the place of the host outside."""
        host = PlainHost(keywords)
        port = await host.start()
        self._plain.append(host)
        (connector,) = self.topology.send_connectors
        changed = connector.model_copy(update={"port": port})
        self.topology = self.topology.model_copy(update={"send_connectors": (changed,)})
        return host

    def settings(self, hub: str) -> HubServer:
        return next(each for each in self.topology.hubs if each.name == hub)

    async def start(self, *names: str, agents: AgentChain | None = None) -> None:
        for name in names:
            hub = HubTransport(
                self.topology, name, self.world, Identity(self.topology.certificates, name), agents=agents
            )
            self.hubs[name] = hub
            await hub.start()

    async def stop(self, name: str) -> None:
        await self.hubs.pop(name).stop()

    # --- sending

    async def connect_outside(self, hub: str = "hub-a") -> SmtpConnection:
        endpoint = self.settings(hub).smtp
        assert endpoint is not None
        connection = await SmtpConnection.open(endpoint.host, endpoint.port, hostname="client.example.net")
        self._connections.append(connection)
        return connection

    async def connect_inside(self, hub: str = "hub-a", name: str = "store-a") -> SmtpConnection:
        endpoint = self.settings(hub).smtp_internal
        context = Identity(self.topology.certificates, name).internal_client()
        connection = await SmtpConnection.open(
            endpoint.host, endpoint.port, hostname=name, implicit_tls=context
        )
        self._connections.append(connection)
        return connection

    async def send(
        self,
        *recipients: str | Recipient,
        sender: Sender | str = "alice@example.test",
        content: bytes = CONTENT,
        hub: str = "hub-a",
        transfer: Transfer | None = None,
        connection: SmtpConnection | None = None,
    ) -> SendResult:
        """Over the listener for Waypost servers, as a store does."""
        connection = connection or await self.connect_inside(hub)
        return await transmit(connection, sender, recipients, content, transfer)

    # --- what happened

    async def events(self, hub: str = "hub-a", message_id: str = "m1@example.test") -> list[TrackingEvent]:
        control = self.hubs[hub]._control
        found = [event async for page in control.trace(message_id, ()) for event in page]
        related = tuple(event.related for event in found if event.event == "DSN")
        if related:
            found += [event async for page in control.trace("", related) for event in page]
        return found

    async def queued(self, hub: str = "hub-a") -> list[QueueEntry]:
        return [entry async for page in self.hubs[hub]._control.queue() for entry in page]

    async def until_idle(self, hub: str = "hub-a") -> None:
        async def look() -> bool:
            return not await self.queued(hub)

        await until(look, f"the queues of {hub} are empty")

    async def until_event(
        self, name: str, hub: str = "hub-a", check: Callable[[TrackingEvent], bool] = lambda event: True
    ) -> TrackingEvent:
        async def look() -> list[TrackingEvent]:
            return [event for event in await self.events(hub) if event.event == name and check(event)]

        return (await until(look, f"{name} at {hub}"))[0]


async def transmit(
    connection: SmtpConnection,
    sender: Sender | str,
    recipients: Sequence[str | Recipient],
    content: bytes,
    transfer: Transfer | None = None,
) -> SendResult:
    async def pieces() -> Any:
        yield content

    return await connection.send(
        sender if isinstance(sender, Sender) else Sender(address=sender),
        transfer,
        [each if isinstance(each, Recipient) else Recipient(address=each) for each in recipients],
        pieces,
        len(content),
    )


def error_reply(code: int, status: str, sentence: str) -> Reply:
    return from_error(MailError(code, status, sentence))
