"""What the sender is told of a message that stays in the Outbox too long or that no hub takes: an NDR (RFC
3464), made here and filed in the sender's Inbox by the unit of work that settles the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlalchemy import Connection

from foundation.database.spool import Spool
from foundation.mail.envelope import Recipient
from foundation.mail.rendering import summarise
from foundation.mail.report import ReportedRecipient, delivery_report
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.emails import NewEmail, find_email, read_email
from mailboxstore.database.units import Unit
from mailboxstore.outbox.outcome import Refused

RETURNED_BYTES_MAX = 1024 * 1024
"""A larger original is returned as its header alone, also with RET=FULL (RFC 3461 4.3 allows it)."""


class Report(msgspec.Struct, frozen=True):
    email: NewEmail
    network_message_id: str
    recipients: tuple[str, ...]


def wants(recipient: Recipient, what: Literal["FAILURE", "DELAY"]) -> bool:
    """RFC 3461 4.1: without NOTIFY, failures and delays are reported."""
    return not recipient.notify or what in recipient.notify.upper().split(",")


class Reports:
    def __init__(self, database: MailboxDatabase, hostname: str, default_domain: str) -> None:
        self._database = database
        self._hostname = hostname
        self._domain = default_domain

    async def failed(self, unit: Unit, refused: Sequence[Refused], hub: str) -> Report | None:
        """None when nobody wants to know. `hub` gave the replies; empty: the store gave up by itself."""
        reported = [
            ReportedRecipient(
                address=item.recipient.address,
                orcpt=item.recipient.orcpt,
                action="failed",
                status=item.reply.status or "5.0.0",
                diagnostic=str(item.reply),
                remote_mta=f"{hub}.{self._domain}" if hub else "",
                last_attempt_ms=unit.last_attempt_at_ms or None,
            )
            for item in refused
            if wants(item.recipient, "FAILURE")
        ]
        return await self._make("failed", unit, reported)

    async def delayed(self, unit: Unit) -> Report | None:
        reported = [
            ReportedRecipient(
                address=recipient.address,
                orcpt=recipient.orcpt,
                action="delayed",
                status="4.4.1",
                diagnostic=unit.last_reply or "No hub of this site can be reached",
                last_attempt_ms=unit.last_attempt_at_ms or None,
                will_retry_until_ms=unit.expires_at_ms,
            )
            for recipient in unit.recipients
            if wants(recipient, "DELAY")
        ]
        return await self._make("delayed", unit, reported)

    async def _make(
        self, kind: Literal["failed", "delayed"], unit: Unit, reported: list[ReportedRecipient]
    ) -> Report | None:
        if not reported or not unit.sender.address:
            return None
        database = self._database
        header, original = await self._original(unit)
        email_id = database.identifier()
        content = delivery_report(
            kind=kind,
            reporting_mta=self._hostname,
            sender=unit.sender.address,
            recipients=reported,
            envid=unit.sender.envid,
            original_header=header,
            original=original,
            at_ms=database.clock.now_ms(),
            message_id=f"{email_id}@{self._domain}",
            from_address=f"postmaster@{self._domain}",
            arrival_ms=unit.received_at_ms,
            network_message_id=unit.network_message_id,
        )
        spool = Spool.of(content)
        email = NewEmail(email_id, b"Return-Path: <>\r\n", spool, summarise(b"Return-Path: <>\r\n" + content))
        return Report(email, database.identifier(), tuple(item.address for item in reported))

    async def _original(self, unit: Unit) -> tuple[bytes, bytes | None]:
        contents = self._database.contents
        whole = unit.sender.ret == "FULL" and unit.size_bytes <= RETURNED_BYTES_MAX

        def read(connection: Connection) -> tuple[bytes, bytes | None]:
            stored = find_email(connection, unit.email)
            if stored is None:
                return b"\r\n", None
            header = unit.prefix + read_email(connection, contents, stored, 0, stored.header_size)
            if not whole:
                return header, None
            return header, unit.prefix + read_email(connection, contents, stored, 0, stored.size_bytes)

        return await self._database.readers.run(read)
