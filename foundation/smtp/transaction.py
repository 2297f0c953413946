"""The order of a mail transaction on a server (RFC 5321 3.3, 4.1.4; RFC 2033): what may follow what, and
which call of the session handler answers it. Knows no sockets.

Promise: a transaction exists from a positive MAIL reply until its content was answered, or RSET, a new
greeting or STARTTLS ended it.
"""

from __future__ import annotations

import dataclasses
import logging

from foundation.interfaces.world import Entropy
from foundation.mail.errors import MailError, unexpected
from foundation.smtp.command import MailCommand, parse_mail, parse_rcpt
from foundation.smtp.intake import Intake, too_large
from foundation.smtp.reply import Reply, from_error
from foundation.smtp.session import ServerOptions, SessionFacts, SessionHandler

log = logging.getLogger("waypost.smtp")

MAIL_OK = Reply.of(250, "2.1.0", "Sender ok")
RCPT_OK = Reply.of(250, "2.1.5", "Recipient ok")


def bad_sequence(sentence: str) -> MailError:
    return MailError(503, "5.5.1", sentence)


class Transaction:
    def __init__(self, options: ServerOptions, handler: SessionHandler, entropy: Entropy) -> None:
        self._options = options
        self._handler = handler
        self._entropy = entropy
        self._command: MailCommand | None = None
        self._accepted = 0
        self.intake: Intake | None = None
        """The content of a transaction that is being sent in chunks."""

    @property
    def open(self) -> bool:
        return self._command is not None

    async def mail(self, argument: bytes, announced: frozenset[str]) -> Reply:
        if self._command is not None:
            raise bad_sequence("A transaction is already open")
        command = parse_mail(argument, announced=announced, private=self._options.private)
        if command.sender.size_bytes > self._options.message_size_bytes:
            raise too_large(self._options.message_size_bytes)
        self.facts(utf8=command.sender.smtputf8)
        reply = await self._handler.mail(command) or MAIL_OK
        if reply.positive:
            self._command = command
        return reply

    async def recipient(self, argument: bytes, announced: frozenset[str]) -> Reply:
        if self._command is None:
            raise bad_sequence("MAIL comes first")
        if self.intake is not None:
            raise bad_sequence("The content has begun")  # RFC 3030 2
        if self._accepted >= self._options.recipients:
            raise MailError(452, "4.5.3", "Too many recipients")  # RFC 5321 4.5.3.1.10
        recipient = parse_rcpt(
            argument,
            announced=announced,
            private=self._options.private,
            smtputf8=self._command.sender.smtputf8,
        )
        reply = await self._handler.recipient(recipient) or RCPT_OK
        if reply.positive:
            self._accepted += 1
        return reply

    def require_recipients(self) -> None:
        """Raises MailError 503 5.5.1 when no content may follow (RFC 2033 4.2)."""
        if self._command is None:
            raise bad_sequence("MAIL comes first")
        if not self._accepted:
            raise bad_sequence("No valid recipients")

    async def message(self, intake: Intake) -> tuple[Reply, ...]:
        """The content is complete: what to answer, one reply a recipient in LMTP. Ends the transaction."""
        answers = self._accepted if self._options.protocol == "lmtp" else 1
        try:
            if intake.problem is not None:
                return (from_error(intake.problem),) * answers
            reply = await self._handler.message(intake.spool)
            replies = reply if isinstance(reply, tuple) else (reply,) * answers
            if len(replies) != answers:
                raise ValueError(f"{len(replies)} replies for {answers} recipients")
            return replies
        except MailError as error:
            return (from_error(error),) * answers
        except Exception as error:
            return (self.surprise(error),) * answers
        finally:
            intake.close()
            self.reset()

    def discard(self) -> None:
        """Content that will not become complete."""
        if self.intake is not None:
            self.intake.close()
            self.intake = None

    def reset(self) -> None:
        self.discard()
        self._command = None
        self._accepted = 0
        self.facts(utf8=False)
        self._handler.reset()

    def facts(self, **changes: str | bool) -> None:
        facts: SessionFacts = self._handler.facts
        if any(getattr(facts, name) != value for name, value in changes.items()):
            self._handler.facts = dataclasses.replace(facts, **changes)  # type: ignore[arg-type]

    def surprise(self, error: Exception) -> Reply:
        """451 4.3.0 for an error nobody foresaw; what it was goes to the log alone."""
        trace_id = self._entropy.identifier()
        log.error("unexpected error in a session", exc_info=error, extra={"trace_id": trace_id})
        return from_error(unexpected(trace_id))
