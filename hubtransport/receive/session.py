"""Receive, one client's session: hooks of the SMTP server, the stamp, the commit, and only then 250.

Promises: 250 2.6.0 is said after the message, its transfer key with the result of every RCPT, and the
tracking event are committed; a repeat under a known key gets the answers of the first time and stores
nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from foundation.database.spool import Spool, with_header
from foundation.interfaces.directory import Directory
from foundation.interfaces.tracking import REFUSED_AT_THE_END, TrackingEvent
from foundation.interfaces.world import World
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.mail.headers import message_id, protocol_keyword, received_line, remove_private
from foundation.pressure.levels import Level, refuse_all, refuse_outsiders
from foundation.smtp.command import MailCommand
from foundation.smtp.reply import Reply, from_error
from foundation.smtp.session import Peer, SessionFacts
from hubtransport.queues import statements
from hubtransport.queues.arrival import Arrival, KnownTransfer, Results, find_key
from hubtransport.queues.events import event_of
from hubtransport.queues.records import QueuedMessage, QueuedRecipient
from hubtransport.queues.store import QueueStore
from hubtransport.receive.connectors import ReceiveConnector
from hubtransport.receive.entrance import Entrance
from hubtransport.receive.policy import HeaderFacts, check_content, check_recipient, check_space

log = logging.getLogger("waypost.hubtransport")


class Reception(msgspec.Struct, frozen=True, kw_only=True):
    """What the sessions of a hub share."""

    server: str
    hostname: str
    default_domain: str
    folder: Path
    """Whose disk must have room."""
    directory: Directory
    store: QueueStore
    world: World
    entrance: Entrance
    expires_at_ms: Callable[[int], int]
    delay_at_ms: Callable[[int], int]
    pressure: Callable[[], Level] = lambda: "normal"


class HubSession:
    """Implements foundation.smtp.session.SessionHandler."""

    def __init__(self, reception: Reception, connector: ReceiveConnector, peer: Peer) -> None:
        self.facts = SessionFacts()
        self._hub = reception
        self._connector = connector
        self._peer = peer
        self._sender = Sender(address="")
        self._transfer: Transfer | None = None
        self._known: KnownTransfer | None = None
        self._accepted: list[Recipient] = []
        self._results: Results = {}

    async def greet(self, helo: str, extended: bool) -> None:
        self._connector.admit(self._peer.certificate_name)

    async def authenticate(self, login: str, password: str) -> None:
        raise MailError(502, "5.5.1", "This server takes mail without authentication")

    async def mail(self, command: MailCommand) -> Reply | None:
        hub = self._hub
        self._sender = command.sender
        self._transfer = command.transfer if self._connector.trusted else None
        if self._transfer is not None and self._transfer.transfer_key and not self._transfer.first_attempt:
            key = self._transfer.transfer_key
            self._known = await hub.store.readers.run(lambda connection: find_key(connection, key))
        if self._known is None:  # what was taken before is under way: its sender may learn that
            check_space(hub.world.disk.free_bytes(hub.folder))
            refuse_all(hub.pressure())
            if not self._connector.trusted:
                refuse_outsiders(hub.pressure())
        return None

    async def recipient(self, recipient: Recipient) -> Reply | None:
        if self._known is not None:
            return self._remembered(self._known, recipient)
        try:
            await check_recipient(recipient, self._connector, self._hub.directory, self._hub.default_domain)
        except MailError as error:
            self._results[recipient.address] = (error.code, error.status, error.sentence)
            if error.permanent:
                log.info(
                    "recipient refused",
                    extra={"peer": self._peer.address, "recipient": recipient.address, "reply": str(error)},
                )
            raise
        self._accepted.append(recipient)
        self._results[recipient.address] = (250, "2.1.5", "Recipient ok")
        return None

    async def message(self, content: Spool) -> Reply:
        if self._known is not None:
            return await self._duplicate(self._known)
        now_ms = self._hub.world.clock.now_ms()
        try:
            facts = check_content(content, self._connector)
        except MailError as error:
            await self._refused(error, content, now_ms)
            raise
        cleaned = facts.header if self._connector.trusted else remove_private(facts.header)
        if cleaned == facts.header:
            return await self._commit(content, facts, now_ms)
        with with_header(content, len(facts.header), cleaned, self._hub.store.spool()) as rewritten:
            return await self._commit(rewritten, HeaderFacts(cleaned, facts.utf8), now_ms)

    def reset(self) -> None:
        self._sender = Sender(address="")
        self._transfer = None
        self._known = None
        self._accepted = []
        self._results = {}

    def closed(self) -> None:
        self.reset()

    # --- the commit

    async def _commit(self, content: Spool, facts: HeaderFacts, now_ms: int) -> Reply:
        hub = self._hub
        message = self._message(content, facts, now_ms)
        arrival = Arrival(
            message=message,
            key=self._transfer.transfer_key if self._transfer is not None else "",
            results=dict(self._results),
            events=(
                self._event("RECEIVE", message, now_ms, f"250 2.6.0 {message.network_message_id} queued"),
            ),
        )
        accepted = await hub.entrance.take(arrival, content)
        if isinstance(accepted, KnownTransfer):
            return await self._duplicate(accepted)
        return Reply.of(250, "2.6.0", f"{message.network_message_id} queued")

    def _message(self, content: Spool, facts: HeaderFacts, now_ms: int) -> QueuedMessage:
        hub, transfer = self._hub, self._transfer
        entropy = hub.world.entropy
        network_message_id = transfer.network_message_id if transfer is not None else ""
        network_message_id = network_message_id or entropy.identifier()
        return QueuedMessage(
            entry_id=entropy.identifier(),
            network_message_id=network_message_id,
            message_id=message_id(facts.header),
            sender=self._sender,
            content_bytes=content.size_bytes,
            prefix=self._received(network_message_id, now_ms),
            carried_prefix_bytes=transfer.prefix_bytes if transfer is not None else 0,
            content_sha256=(transfer.content_sha256 if transfer is not None else "") or content.sha256,
            utf8_header=facts.utf8,
            assessed=transfer.assessed if transfer is not None else "",
            probe=transfer.probe if transfer is not None else False,
            received_at_ms=now_ms,
            expires_at_ms=hub.expires_at_ms(now_ms),
            delay_at_ms=hub.delay_at_ms(now_ms) if self._sender.address else 0,
            source=self._peer.certificate_name or self._peer.address,
            next_position=len(self._accepted),
            recipients=tuple(
                QueuedRecipient(
                    position=position, recipient=self._believed(recipient), original=recipient.address
                )
                for position, recipient in enumerate(self._accepted)
            ),
        )

    def _believed(self, recipient: Recipient) -> Recipient:
        if self._connector.trusted:
            return recipient
        return msgspec.structs.replace(recipient, recipient_id="", expanded_from="")

    def _received(self, network_message_id: str, now_ms: int) -> bytes:
        """RFC 5321 4.4; the recipient is named only when it is the only one, for blind copies' sake (7.2)."""
        return received_line(
            peer_helo=self.facts.helo,
            peer_address=self._peer.address,
            peer_name=self._peer.certificate_name,
            by=self._hub.hostname,
            protocol=protocol_keyword(
                utf8=self.facts.utf8,
                tls=self.facts.tls,
                auth=self.facts.authenticated,
                esmtp=self.facts.extended,
            ),
            identifier=network_message_id,
            for_recipient=self._accepted[0].address if len(self._accepted) == 1 else "",
            at_ms=now_ms,
        )

    # --- what is not stored

    def _remembered(self, known: KnownTransfer, recipient: Recipient) -> Reply:
        """The answer of the first time."""
        result = known.results.get(recipient.address)
        if result is None:
            raise MailError(451, "4.3.0", "This transfer was made with other recipients")
        reply = Reply.of(result[0], result[1], result[2])
        if reply.positive:
            self._accepted.append(recipient)
        return reply

    async def _duplicate(self, known: KnownTransfer) -> Reply:
        """Had before: the content is dropped, the answer repeated."""
        if any(known.results.get(recipient.address, (451,))[0] >= 300 for recipient in self._accepted):
            raise MailError(451, "4.3.0", "This transfer was made with other recipients")
        now_ms = self._hub.world.clock.now_ms()
        text = f"{known.network_message_id} queued before"
        event = TrackingEvent(
            event="DUPLICATEDELIVER",
            source="SMTP",
            at_ms=now_ms,
            server=self._hub.server,
            network_message_id=known.network_message_id,
            sender=self._sender.address,
            recipients=tuple(recipient.address for recipient in self._accepted),
            transfer_key=self._transfer.transfer_key if self._transfer is not None else "",
            next_hop=self._peer.certificate_name or self._peer.address,
            reply=f"250 2.6.0 {text}",
            reason="the transfer key is known: content discarded",
        )
        await self._hub.store.writer.run(lambda connection: statements.tracking.record(connection, (event,)))
        return Reply.of(250, "2.6.0", text)

    async def _refused(self, error: MailError, content: Spool, now_ms: int) -> None:
        """What is refused at the end of data leaves a trace, too."""
        header = content.read(0, self._connector.header_size_bytes)
        message = self._message(content, HeaderFacts(header, False), now_ms)
        event = self._event("FAIL", message, now_ms, str(from_error(error)), REFUSED_AT_THE_END)
        await self._hub.store.writer.run(lambda connection: statements.tracking.record(connection, (event,)))

    def _event(
        self,
        name: Literal["RECEIVE", "FAIL"],
        message: QueuedMessage,
        now_ms: int,
        reply: str,
        reason: str = "",
    ) -> TrackingEvent:
        return event_of(
            message,
            name,
            "SMTP",
            at_ms=now_ms,
            server=self._hub.server,
            recipients=tuple(recipient.address for recipient in self._accepted),
            transfer_key=self._transfer.transfer_key if self._transfer is not None else "",
            next_hop=message.source,
            reply=reply,
            reason=reason or f"received by {self._connector.listener}",
        )
