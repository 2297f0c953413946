"""Submission, one client's session: the first station of a message's way.

Promises: 250 is said only after the user's mailbox store has the message in Outbox and Sent; nothing is kept
here, so when the store is away the answer is 451 4.3.2. A call to the store that broke with its outcome
unknown is repeated under the same key, which the store recognises.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from clientaccess.submission.policy import check_header, check_recipient, check_sender, current_credentials
from foundation.database.spool import Spool
from foundation.interfaces.authentication import Authentication
from foundation.interfaces.directory import Credentials, Directory, DirectoryRecipient
from foundation.interfaces.mailbox_store import MailboxStore, Refusal, Submission
from foundation.interfaces.world import World
from foundation.mail.envelope import Recipient
from foundation.mail.errors import MailError, Unavailable
from foundation.mail.headers import complete_submission, protocol_keyword, received_line
from foundation.mail.status import BAD_MAILBOX
from foundation.rpc.errors import CallFailed
from foundation.smtp.command import MailCommand
from foundation.smtp.reply import Reply
from foundation.smtp.session import Peer, SessionFacts

log = logging.getLogger("waypost.clientaccess")

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Desk:
    """What the submission sessions of a server share."""

    server: str
    hostname: str
    default_domain: str
    directory: Directory
    authentication: Authentication
    store_of: Callable[[DirectoryRecipient], MailboxStore]
    world: World
    header_bytes_max: int
    hops_max: int
    repeat_seconds: float = 5
    """How long a submission of unknown outcome is repeated."""
    repeat_interval_seconds: float = 0.25


class SubmissionSession:
    """Implements foundation.smtp.session.SessionHandler."""

    def __init__(self, desk: Desk, peer: Peer) -> None:
        self.facts = SessionFacts()
        self._desk = desk
        self._peer = peer
        self._user: Credentials | None = None
        self._probe = False
        self._command: MailCommand | None = None
        self._recipients: list[Recipient] = []

    async def greet(self, helo: str, extended: bool) -> None:
        """Everybody may."""

    async def authenticate(self, login: str, password: str) -> None:
        self._user = await self._desk.authentication.password(login, password, self._peer.address)
        self._probe = self._user.probe

    async def mail(self, command: MailCommand) -> Reply | None:
        try:
            self._user = await current_credentials(self._user, self._desk.directory)
            check_sender(command.sender, self._user)
        except MailError as error:
            self._refused(error, sender=command.sender.address)
            raise
        self._command = command
        return None

    async def recipient(self, recipient: Recipient) -> Reply | None:
        try:
            found = await check_recipient(recipient, self._desk.directory, self._desk.default_domain)
        except MailError as error:
            self._refused(error, recipient=recipient.address)
            raise
        self._recipients.append(found)
        return None

    async def message(self, content: Spool) -> Reply:
        if self._user is None or self._command is None:
            raise MailError(503, "5.5.1", "MAIL comes first")
        desk = self._desk
        try:
            header = check_header(content, header_bytes_max=desk.header_bytes_max, hops_max=desk.hops_max)
            submission = self._submission(self._user, self._command)
            completed = complete_submission(
                header,
                at_ms=submission.received_at_ms,
                message_id=f"{desk.world.entropy.identifier()}@{desk.default_domain}",
            )
            await self._submit(self._user.user, submission, completed, content, len(header))
        except MailError as error:
            self._refused(error, sender=self._command.sender.address)
            raise
        log.info(
            "submitted",
            extra={
                "network_message_id": submission.network_message_id,
                "sender": submission.sender.address,
                "recipients": len(submission.recipients),
                "size_bytes": content.size_bytes,
                "peer": self._peer.address,
            },
        )
        return Reply.of(250, "2.6.0", f"<{submission.network_message_id}> Queued")

    def reset(self) -> None:
        self._command = None
        self._recipients = []

    def closed(self) -> None:
        self.reset()
        self._user = None

    def _submission(self, user: Credentials, command: MailCommand) -> Submission:
        desk, facts, recipients = self._desk, self.facts, self._recipients
        now_ms = desk.world.clock.now_ms()
        network_message_id = desk.world.entropy.identifier()
        protocol = protocol_keyword(
            utf8=facts.utf8, tls=facts.tls, auth=facts.authenticated, esmtp=facts.extended
        )
        received = received_line(
            peer_helo=facts.helo,
            peer_address=self._peer.address,
            by=desk.hostname,
            protocol=protocol,
            identifier=network_message_id,
            for_recipient=recipients[0].address if len(recipients) == 1 else "",  # RFC 5321 7.2
            at_ms=now_ms,
        )
        return Submission(
            key=desk.world.entropy.identifier(),
            network_message_id=network_message_id,
            mailbox_id=user.user.mailbox_id,
            user_id=user.user.recipient_id,
            sender=command.sender,
            recipients=tuple(recipients),
            received=received,
            probe=self._probe,
            client=f"{desk.server} {self._peer.address} {protocol}",
            received_at_ms=now_ms,
        )

    async def _submit(
        self, user: DirectoryRecipient, submission: Submission, header: bytes, content: Spool, offset: int
    ) -> None:
        """Raises MailError; Unavailable 451 4.3.2 when the store can't be reached."""
        clock = self._desk.world.clock
        until = 0.0
        while True:
            try:
                async with asyncio.timeout(max(until - clock.monotonic(), 0) if until else None):
                    await self._desk.store_of(user).submit(submission, _completed(header, content, offset))
                return
            except Refusal as refusal:
                if refusal.status != BAD_MAILBOX:
                    raise
                # The store knows sooner than this server that the user has another mailbox by now, or none.
                raise Unavailable("Your mailbox was moved or removed, log on again") from refusal
            except (CallFailed, TimeoutError) as error:
                unknown = isinstance(error, TimeoutError) or error.sent or bool(until)
                until = until or clock.monotonic() + self._desk.repeat_seconds
                log.warning(
                    "the mailbox store did not answer: %s",
                    error,
                    extra={"store": user.store, "key": submission.key, "outcome_unknown": unknown},
                )
                if not unknown or clock.monotonic() >= until:
                    raise Unavailable("The mailbox store can't be reached now, try again later") from error
            await asyncio.sleep(self._desk.repeat_interval_seconds)

    def _refused(self, error: MailError, **fields: str) -> None:
        log.info(
            "submission refused",
            extra={
                "peer": self._peer.address,
                "user": self._user.user.address if self._user is not None else "",
                "reply": str(error),
                **fields,
            },
        )


async def _completed(header: bytes, content: Spool, offset: int) -> AsyncIterator[bytes]:
    yield header
    while piece := content.read(offset, CHUNK_BYTES):
        yield piece
        offset += len(piece)
