"""Where a server puts the content that it receives, within its limits; before the handler's message()."""

from __future__ import annotations

import logging

from foundation.database.spool import no_room
from foundation.mail.errors import MailError
from foundation.smtp.content import TextGuard
from foundation.smtp.session import ServerOptions

log = logging.getLogger("waypost.smtp")

SLACK_BYTES_MIN = 1024 * 1024
"""How much beyond the limit is still read, so that most clients see the 552."""


class Intake:
    """One message's content. After a problem it only counts, and keeps nothing."""

    def __init__(self, options: ServerOptions) -> None:
        policy = "keep" if options.private else options.bare_newlines
        self._limit_bytes = options.message_size_bytes
        self._received_bytes = 0
        self._problem: MailError | None = None
        self.guard = TextGuard(policy, 0 if options.private else options.line_bytes)
        self.spool = options.spool()

    @property
    def problem(self) -> MailError | None:
        """Why the message can't be taken."""
        return self._problem or self.guard.problem

    @property
    def excessive(self) -> bool:
        """So much too large that the client is not worth listening to."""
        return self._received_bytes > drain_limit(self._limit_bytes)

    def write(self, content: bytes) -> None:
        self._received_bytes += len(content)
        if self._received_bytes > self._limit_bytes and self._problem is None:
            self._fail(too_large(self._limit_bytes))
        if self.problem is not None or not content:
            return
        try:
            self.spool.write(content)
        except OSError as error:
            log.error("content can't be spooled", extra={"error": str(error)})
            self._fail(no_room())

    def close(self) -> None:
        self.spool.close()

    def _fail(self, problem: MailError) -> None:
        self._problem = problem
        self.spool.close()


def too_large(limit_bytes: int) -> MailError:
    # RFC 1870 6.1, 6.3
    return MailError(552, "5.3.4", f"The message is larger than {limit_bytes} octets", "TOOBIG")


def drain_limit(limit_bytes: int) -> int:
    return limit_bytes + max(limit_bytes // 4, SLACK_BYTES_MIN)
