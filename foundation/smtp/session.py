"""What a server's listener and the sessions on it tell each other: the types between
foundation/smtp/server.py and the daemons that receive mail."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from foundation.database.spool import Spool
from foundation.mail.envelope import Recipient
from foundation.smtp.command import MailCommand
from foundation.smtp.content import BareNewlines
from foundation.smtp.reply import Reply

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Peer:
    """Who is connected, as known when the session begins; STARTTLS and AUTH show in SessionFacts."""

    address: str
    port: int
    tls: bool
    certificate_name: str
    """Server name in the client's certificate, empty without one."""
    listener: str


@dataclass(frozen=True)
class SessionFacts:
    """What the client said so far."""

    helo: str = ""
    extended: bool = False
    """EHLO or LHLO, not HELO."""
    lmtp: bool = False
    tls: bool = False
    authenticated: bool = False
    utf8: bool = False
    """The running transaction was begun with SMTPUTF8."""


@dataclass(frozen=True)
class ServerOptions:
    hostname: str
    listener: str = "smtp"
    """Name of the listener in Peer and in the log."""
    protocol: Literal["smtp", "lmtp"] = "smtp"
    starttls: ssl.SSLContext | None = None
    implicit_tls: ssl.SSLContext | None = None
    authentication: bool = False
    """AUTH PLAIN and LOGIN are offered, once TLS stands."""
    private: bool = False
    """Waypost servers only: XWAYPOST is offered, content passes as it is."""
    bare_newlines: BareNewlines = "refuse"
    """What becomes of a CR or LF alone in content; `keep` on private listeners whatever is said here."""
    message_size_bytes: int = 36 * MEBIBYTE
    recipients: int = 5000
    protocol_errors: int = 20
    logon_failures: int = 3
    idle_seconds: float = 300
    content_seconds: float = 3600
    """The longest that one message's content may take."""
    session_seconds: float = 3600
    """The longest that a connection is kept, counted between commands; not on private listeners."""
    handshake_seconds: float = 60
    connections: int = 5000
    connections_per_source: int = 200
    """Not for loopback, not on private listeners."""
    line_bytes: int = MEBIBYTE
    """Longest line of text; not limited on private listeners."""
    banner: str = "Waypost"
    spool: Callable[[], Spool] = Spool
    """Makes the spool that content goes to."""


class SessionHandler(Protocol):
    """One client's session, made when it connects. Raised MailErrors become the reply, any other exception
    451 4.3.0 with a trace id."""

    facts: SessionFacts
    """Set by the server whenever it changes, before the call that it matters for."""

    async def greet(self, helo: str, extended: bool) -> None:
        """HELO, EHLO or LHLO came."""

    async def authenticate(self, login: str, password: str) -> None:
        """Returns when they are right; MailError 535 5.7.8, 454 4.7.0."""

    async def mail(self, command: MailCommand) -> Reply | None:
        """None: 250 2.1.0. A transaction begins when the reply is positive."""

    async def recipient(self, recipient: Recipient) -> Reply | None:
        """None: 250 2.1.5. The recipient counts as accepted when the reply is positive."""

    async def message(self, content: Spool) -> Reply | tuple[Reply, ...]:
        """The whole content; LMTP answers one reply for each accepted recipient (RFC 2033 4.2).

        Not cancelled when the client goes away. The server closes the spool afterwards.
        """

    def reset(self) -> None:
        """The transaction is over: RSET, a new greeting, STARTTLS, after a message."""

    def closed(self) -> None:
        """The connection is gone; nothing is called after this."""
