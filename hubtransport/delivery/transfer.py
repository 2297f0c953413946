"""Delivery, one transfer over an SMTP or LMTP connection: an envelope that this server can take, replies as
an Attempt."""

from __future__ import annotations

import msgspec

from foundation.mail.envelope import Sender, Transfer
from foundation.mail.errors import MailError
from foundation.smtp.client import SINGLE_FLIGHT_BYTES_MAX, ConnectionBroken, SmtpConnection
from hubtransport.delivery.courier import Content
from hubtransport.delivery.outcome import Attempt
from hubtransport.queues.records import Unit


class SmtpLine:
    """A Line over one SmtpConnection."""

    def __init__(
        self,
        connection: SmtpConnection,
        remote: str,
        *,
        lmtp: bool,
        private: bool,
        messages_max: int,
        idle_seconds: float,
    ) -> None:
        self._connection = connection
        self._lmtp = lmtp
        self._private = private
        self.remote = remote
        self.messages_max = messages_max
        self.idle_seconds = idle_seconds

    @property
    def usable(self) -> bool:
        return self._connection.usable

    @property
    def messages_sent(self) -> int:
        return self._connection.messages_sent

    async def send(self, unit: Unit, content: Content) -> Attempt:
        features = self._connection.features
        try:
            sender = await _sender_for(unit, features, content)
        except MailError as error:
            return Attempt(remote=self.remote, refused=error)
        transfer = transfer_of(unit, to_store=self._lmtp) if self._private else None
        recipients = [queued.recipient for queued in unit.recipients]
        try:
            result = await self._connection.send(
                sender, transfer, recipients, content, unit.message.size_bytes
            )
        except ConnectionBroken as error:
            return Attempt(remote=self.remote, broken=str(error), unknown=error.outcome_unknown)
        except MailError as error:
            if not error.permanent:
                raise
            return Attempt(remote=self.remote, refused=error)
        return Attempt(
            sender=result.sender,
            recipients=result.recipients,
            final=result.final,
            lmtp=self._lmtp,
            dsn="DSN" in features,
            remote=self.remote,
        )

    async def close(self) -> None:
        await self._connection.quit()


def transfer_of(unit: Unit, *, to_store: bool) -> Transfer:
    """A store may have large content already: in the Outbox or in Sent, or for another recipient."""
    message = unit.message
    return Transfer(
        network_message_id=message.network_message_id,
        transfer_key=unit.key,
        assessed=message.assessed,
        prefix_bytes=len(message.prefix) + message.carried_prefix_bytes,
        content_sha256=message.content_sha256,
        probe=message.probe,
        first_attempt=unit.attempts == 0 and not unit.pinned,
        may_be_held=to_store and message.content_bytes > SINGLE_FLIGHT_BYTES_MAX,
    )


async def _sender_for(unit: Unit, features: dict[str, str], content: Content) -> Sender:
    """MAIL parameters that say no more than is so. Raises MailError when this server can't take the
    message."""
    message = unit.message
    sender = message.sender
    limit = features.get("SIZE", "")
    if limit.isdigit() and 0 < int(limit) < message.size_bytes:
        # RFC 1870 6.1
        raise MailError(
            552, "5.3.4", f"The message is larger than the {limit} bytes that the next server takes"
        )
    addresses = (sender.address, *(queued.recipient.address for queued in unit.recipients))
    # RFC 6531 3.1: said only when something in it needs it
    utf8 = message.utf8_header or not all(address.isascii() for address in addresses)
    if utf8 and "SMTPUTF8" not in features:
        raise MailError(553, "5.6.7", "The next server can't take internationalised addresses or headers")
    body = sender.body
    if body == "8BITMIME" and "8BITMIME" not in features:
        if not await _is_ascii(content):
            raise MailError(554, "5.6.3", "The next server takes only 7-bit messages")  # RFC 6152 3
        body = ""
    return msgspec.structs.replace(sender, smtputf8=utf8, body=body)


async def _is_ascii(content: Content) -> bool:
    async for chunk in content():
        if not chunk.isascii():
            return False
    return True
