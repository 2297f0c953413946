"""A hub at the other end of the Outbox agent: a real SMTP listener that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from foundation.database.spool import Spool
from foundation.mail.envelope import Recipient, Transfer
from foundation.mail.errors import MailError
from foundation.smtp.client import SmtpConnection, Timeouts
from foundation.smtp.command import MailCommand
from foundation.smtp.reply import Reply
from foundation.smtp.server import SmtpServer
from foundation.smtp.session import Peer, ServerOptions, SessionFacts
from foundation.world.entropy import SystemEntropy
from mailboxstore.outbox.hubs import Hub, HubConnection

Answer = Reply | Callable[[], Reply | None] | None


class Taken:
    """A message that the hub has taken."""

    def __init__(
        self, transfer: Transfer, sender: str, recipients: tuple[Recipient, ...], content: bytes
    ) -> None:
        self.transfer = transfer
        self.sender = sender
        self.recipients = recipients
        self.content = content


class TestHub:
    __test__ = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken: list[Taken] = []
        self.arrived = asyncio.Event()
        """Set at every message, whatever is answered."""
        self.attempts = 0
        self.offered: list[Transfer | None] = []
        """What came with each MAIL."""
        self.sender_reply: Reply | None = None
        self.recipient_replies: dict[str, Reply] = {}
        self.final_reply: Reply | None = None
        self.hold: asyncio.Event | None = None
        """The final reply waits for it."""
        self.vanish = False
        """The connection is cut instead of the final reply."""
        self.connections_made = 0
        self.port = 0
        self._server: SmtpServer | None = None

    async def start(self) -> None:
        options = ServerOptions(hostname=self.name, listener="smtp-internal", private=True)
        self._server = SmtpServer(options, lambda peer: _Session(self, peer), SystemEntropy())
        self.port = await self._server.start("127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            if self.hold is not None:
                self.hold.set()
            await server.stop(0.1)

    def cut(self) -> None:
        """Resets every connection."""
        if self._server is not None:
            for connection in list(self._server._connections):
                connection.abort()

    @property
    def address(self) -> Hub:
        return Hub(self.name, "127.0.0.1", self.port)

    async def message(self, count: int = 1) -> Taken:
        """Waits until so many messages were taken; the last one."""
        async with asyncio.timeout(10):
            while len(self.taken) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.taken[count - 1]

    async def attempted(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.attempts < count:
                self.arrived.clear()
                await self.arrived.wait()


async def connect_in_clear(hub: Hub) -> HubConnection:
    timeouts = Timeouts(connect=5, greeting=5, hello=5)
    return await SmtpConnection.open(hub.host, hub.port, hostname="store-a", timeouts=timeouts)


class _Session:
    def __init__(self, hub: TestHub, peer: Peer) -> None:
        self.facts = SessionFacts()
        self.hub = hub
        self.command = MailCommand(sender=None)  # type: ignore[arg-type]
        self.recipients: list[Recipient] = []
        hub.connections_made += 1

    async def greet(self, helo: str, extended: bool) -> None:
        return None

    async def authenticate(self, login: str, password: str) -> None:
        raise MailError(503, "5.5.1", "No")

    async def mail(self, command: MailCommand) -> Reply | None:
        self.command = command
        self.hub.offered.append(command.transfer)
        return self.hub.sender_reply

    async def recipient(self, recipient: Recipient) -> Reply | None:
        reply = self.hub.recipient_replies.get(recipient.address)
        if reply is None:
            self.recipients.append(recipient)
        return reply

    async def message(self, content: Spool) -> Reply:
        hub = self.hub
        hub.attempts += 1
        hub.arrived.set()
        if hub.hold is not None:
            await hub.hold.wait()
        reply = hub.final_reply or Reply.of(250, "2.0.0", "Queued")
        if reply.positive:
            transfer = self.command.transfer
            assert transfer is not None
            known = [taken.transfer.transfer_key for taken in hub.taken]
            if transfer.transfer_key not in known:
                data = content.read(0, content.size_bytes)
                taken = Taken(transfer, self.command.sender.address, tuple(self.recipients), data)
                hub.taken.append(taken)
                hub.arrived.set()
        if hub.vanish:
            hub.vanish = False
            hub.cut()
        return reply

    def reset(self) -> None:
        self.recipients = []

    def closed(self) -> None:
        return None
