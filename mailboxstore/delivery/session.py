"""LMTP from the hubs (RFC 2033): recipients are answered one by one, the message is filed, then 250 is said.

Promises: `250 2.1.5` of a recipient means that the message is committed to that mailbox; the commit is not
undone by a hub that goes away; a transfer that came before is answered as before, and its content thrown
away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection

from foundation.database.spool import Held, Spool, Stored, Tail
from foundation.interfaces.directory import Directory
from foundation.interfaces.mailbox_store import Notice
from foundation.mail.envelope import Recipient, Transfer
from foundation.mail.errors import MailError
from foundation.mail.headers import protocol_keyword, received_line, return_path_line
from foundation.mail.rendering import Summary, summarise
from foundation.pressure.levels import Level, refuse_all
from foundation.smtp.command import CONTENT_IS_HELD, MailCommand
from foundation.smtp.reply import Reply
from foundation.smtp.session import Peer, SessionFacts
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import over_quota
from mailboxstore.database.emails import NewEmail
from mailboxstore.database.guards import RecipientResult, transfer_results
from mailboxstore.database.mailboxes import find_mailbox
from mailboxstore.database.summaries import prefixed
from mailboxstore.delivery.filing import (
    Delivery,
    Filed,
    FiledRecipient,
    answer_again,
    earlier_result,
    file_delivery,
)
from mailboxstore.delivery.policy import mailbox_full, resolve

log = logging.getLogger("waypost.mailboxstore")


class DeliverySession:
    """A foundation.smtp.session.SessionHandler."""

    def __init__(
        self,
        peer: Peer,
        database: MailboxDatabase,
        directory: Directory,
        publish: Callable[[tuple[tuple[str, Notice], ...]], None],
        hubs: frozenset[str],
        *,
        hostname: str,
        pressure: Callable[[], Level] = lambda: "normal",
    ) -> None:
        self.facts = SessionFacts()
        self._peer = peer
        self._database = database
        self._directory = directory
        self._publish = publish
        self._hubs = hubs
        self._hostname = hostname
        self._pressure = pressure
        self._command: MailCommand | None = None
        self._transfer = Transfer(network_message_id="")
        self._known: tuple[RecipientResult, ...] | None = None
        self._held: tuple[Held, Summary] | None = None
        """Content that is here already, if the hub asked for it."""
        self._accepted: list[FiledRecipient] = []

    async def greet(self, helo: str, extended: bool) -> None:
        """Only hubs deliver here: MailError 550 5.7.1."""
        if self._peer.certificate_name not in self._hubs:
            raise MailError(550, "5.7.1", "Only a hub of this organisation may deliver here")

    async def authenticate(self, login: str, password: str) -> None:
        raise MailError(503, "5.5.1", "The certificate says who you are")

    async def mail(self, command: MailCommand) -> Reply | None:
        self.reset()
        transfer = command.transfer or Transfer(network_message_id=self._database.identifier())
        if transfer.transfer_key and not transfer.first_attempt:
            key = transfer.transfer_key
            self._known = await self._database.readers.run(lambda c: transfer_results(c, key))
        if self._known is None:  # what was taken before is under way: its hub may learn that
            refuse_all(self._pressure())
        self._transfer = transfer
        self._command = command
        if transfer.may_be_held and self._known is None:
            self._held = await self._database.held(transfer.content_sha256)
        return CONTENT_IS_HELD if self._held is not None else None

    async def recipient(self, recipient: Recipient) -> Reply | None:
        result_key = recipient.recipient_id or recipient.address
        if self._known is not None:
            earlier = earlier_result(self._known, result_key)
            if earlier.code < 400:
                self._accepted.append(FiledRecipient(result_key, result_key, "", recipient.address))
            return Reply.of(earlier.code, earlier.status, earlier.text)
        user = await resolve(self._directory, self._database.server, recipient)
        await self._check_quota(user.mailbox_id)
        self._accepted.append(
            FiledRecipient(result_key, user.recipient_id, user.mailbox_id, recipient.address)
        )
        return None

    async def message(self, content: Spool) -> Reply | tuple[Reply, ...]:
        database = self._database
        now_ms = database.clock.now_ms()
        delivery = await database.compute(content.size_bytes, lambda: self._delivery(content, now_ms))
        known = self._known
        if known is None:
            await database.secure(delivery.email)

        def unit_of_work(connection: Connection) -> Filed:
            if known is not None:
                return answer_again(connection, database, delivery, known, now_ms)
            return file_delivery(connection, database, delivery, now_ms)

        filed = await database.writer.run(unit_of_work, lambda done: self._publish(done.notices))
        return tuple(Reply.of(result.code, result.status, result.text) for result in filed.results)

    def reset(self) -> None:
        self._command = None
        self._transfer = Transfer(network_message_id="")
        self._known = None
        self._held = None
        self._accepted = []

    def closed(self) -> None:
        return None

    async def _check_quota(self, mailbox_id: str) -> None:
        quota = self._database.quota_bytes
        if not quota:
            return
        declared = self._command.sender.size_bytes if self._command else 0
        mailbox = await self._database.readers.run(lambda c: find_mailbox(c, mailbox_id))
        if mailbox is not None and over_quota(mailbox, declared, quota):
            raise mailbox_full()

    def _delivery(self, content: Spool, now_ms: int) -> Delivery:
        transfer = self._transfer
        sender = self._command.sender.address if self._command else ""
        stamp = self._stamp(sender, now_ms)
        arrived_prefix = content.read(0, self._prefix_bytes(content))
        prefix = stamp + arrived_prefix
        rest: Stored
        if self._held is not None and content.size_bytes == transfer.prefix_bytes:
            rest, summary = self._held[0], prefixed(self._held[1], len(prefix))
        else:
            rest = Tail(content, len(arrived_prefix))
            summary = self._summary(content, rest, len(stamp))
        email = NewEmail(email_id=self._database.identifier(), prefix=prefix, content=rest, summary=summary)
        if transfer.content_sha256 and transfer.content_sha256 != email.content_sha256:
            raise MailError(451, "4.3.0", "The content is not the one that was announced")
        return Delivery(
            network_message_id=transfer.network_message_id,
            transfer_key=transfer.transfer_key,
            sender=sender,
            peer=self._peer.certificate_name or self._peer.address,
            probe=transfer.probe,
            recipients=tuple(self._accepted),
            email=email,
        )

    def _summary(self, content: Spool, rest: Tail, stamp_bytes: int) -> Summary:
        if rest.read(0, 1) in (b" ", b"\t"):  # it goes on with the last field before it
            return prefixed(summarise(content.buffer()), stamp_bytes)
        return self._database.summaries.of(rest, stamp_bytes + content.size_bytes - rest.size_bytes)

    def _prefix_bytes(self, content: Spool) -> int:
        return min(self._transfer.prefix_bytes, content.size_bytes)

    def _stamp(self, sender: str, now_ms: int) -> bytes:
        """RFC 5321 4.4: Return-Path by the one who makes final delivery, and a Received field as by every
        hop.
        """
        facts = self.facts
        protocol = protocol_keyword(lmtp=True, utf8=facts.utf8, tls=facts.tls, auth=False, esmtp=True)
        # Not when there are several: one recipient must not learn of another (RFC 5321 7.2).
        for_recipient = self._accepted[0].address if len(self._accepted) == 1 else ""
        return return_path_line(sender) + received_line(
            peer_helo=facts.helo,
            peer_address=self._peer.address,
            peer_name=self._peer.certificate_name,
            by=self._hostname,
            protocol=protocol,
            identifier=self._transfer.network_message_id,
            for_recipient=for_recipient,
            at_ms=now_ms,
        )
