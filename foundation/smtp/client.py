"""The SMTP and LMTP client, the project's only door to aiosmtplib.

aiosmtplib opens the connection (TCP, TLS, EHLO, AUTH); then a reply queue of our own takes the transport
over, because pipelining, chunking, LMTP and replies for each recipient need one. What a message's way may
rely on: after a failure it is known whether the message can have been accepted
(`ConnectionBroken.outcome_unknown`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, cast

import aiosmtplib

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.command import PRIVATE_KEYWORD
from foundation.smtp.replies import Broken, ReplyQueue
from foundation.smtp.reply import Reply, ReplyError, ReplyReader
from foundation.smtp.sending import Content, Sending, SendResult, Timeouts
from foundation.tls import certificate_name
from foundation.world.failures import reason

__all__ = [
    "ConnectionBroken",
    "ConnectionFailed",
    "Phase",
    "SendResult",
    "ServerPeer",
    "SmtpConnection",
    "Timeouts",
]

SINGLE_FLIGHT_BYTES_MAX = 64 * 1024
FRESH_SECONDS = 5
"""A connection kept for longer may be dead unnoticed: its first flight carries no content."""

Phase = Literal["connect", "greeting", "tls", "hello", "authentication"]


class ConnectionFailed(Exception):
    """No session came about, nothing was sent. `reply` is the server's refusal, if it gave one."""

    permanent = False
    """The message is not to blame: another server, or this one later, may take it."""

    def __init__(self, sentence: str, phase: Phase, reply: Reply | None = None) -> None:
        super().__init__(f"{sentence}: {reply}" if reply else sentence)
        self.sentence = sentence
        self.phase = phase
        self.reply = reply


class ConnectionBroken(Exception):
    """The session ended within a transaction.

    `outcome_unknown`: the end of the content was sent, and no reply to it was read (RFC 1047); else the
    message was certainly not accepted.
    """

    def __init__(self, sentence: str, *, outcome_unknown: bool, reply: Reply | None = None) -> None:
        super().__init__(f"{sentence}: {reply}" if reply else sentence)
        self.sentence = sentence
        self.outcome_unknown = outcome_unknown
        self.reply = reply


@dataclass(frozen=True)
class ServerPeer:
    host: str
    address: str
    port: int
    tls: bool
    certificate_name: str
    """Name of the Waypost server in its certificate; empty for others."""


class SmtpConnection:
    """An open session, for one message at a time."""

    def __init__(
        self,
        queue: ReplyQueue,
        features: dict[str, str],
        peer: ServerPeer,
        timeouts: Timeouts,
        loop: asyncio.AbstractEventLoop,
        *,
        lmtp: bool,
    ) -> None:
        self._queue = queue
        self.features = features
        """EHLO keywords in upper case with their parameters."""
        self.peer = peer
        self.messages_sent = 0
        self._timeouts = timeouts
        self._loop = loop
        self._lmtp = lmtp
        self._reset_first = False
        self._last_reply_at = loop.time()

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        *,
        hostname: str,
        protocol: Literal["smtp", "lmtp"] = "smtp",
        implicit_tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        require_tls: bool = False,
        timeouts: Timeouts | None = None,
        authentication: tuple[str, str] | None = None,
        watched: bool = False,
    ) -> SmtpConnection:
        """`starttls` is used when the server offers it; with `require_tls` nothing goes without. SMTP only.

        `watched`: inside the organisation, where a server whose machine is gone need not be waited for as
        long as RFC 5321 4.5.3.2 asks; a slow one is.

        Raises ConnectionFailed.
        """
        timeouts = timeouts or Timeouts()
        loop = asyncio.get_running_loop()
        client = aiosmtplib.SMTP(
            hostname=host,
            port=port,
            local_hostname=hostname,
            timeout=timeouts.hello,
            use_tls=implicit_tls is not None,
            tls_context=implicit_tls,
            start_tls=False,
        )
        try:
            await _connect(client, host, port, timeouts)
            features = await _hello(client, hostname, protocol)
            if implicit_tls is None:
                features = await _upgrade(client, features, starttls, require_tls, hostname, timeouts)
            if authentication is not None:
                await _authenticate(client, *authentication)
            return cls._take_over(
                client, features, host, port, timeouts, loop, lmtp=protocol == "lmtp", watched=watched
            )
        except BaseException:
            client.close()
            raise

    @classmethod
    def _take_over(
        cls,
        client: aiosmtplib.SMTP,
        features: dict[str, str],
        host: str,
        port: int,
        timeouts: Timeouts,
        loop: asyncio.AbstractEventLoop,
        *,
        lmtp: bool,
        watched: bool,
    ) -> SmtpConnection:
        transport = cast("asyncio.Transport | None", client.transport)
        if transport is None or transport.is_closing():
            raise ConnectionFailed(f"{host}:{port} closed the connection", "hello")
        name = transport.get_extra_info("peername")
        tls = transport.get_extra_info("sslcontext") is not None
        peer = ServerPeer(
            host=host,
            address=str(name[0]) if isinstance(name, tuple) else host,
            port=port,
            tls=tls,
            certificate_name=certificate_name(transport.get_extra_info("peercert")) if tls else "",
        )
        queue = ReplyQueue(loop)
        queue.take(transport, watched=watched)
        return cls(queue, features, peer, timeouts, loop, lmtp=lmtp)

    @property
    def usable(self) -> bool:
        """Can be used for another message: it stands, and the server said nothing unasked."""
        return self._queue.usable

    @property
    def idle_seconds(self) -> float:
        return self._loop.time() - self._last_reply_at

    async def send(
        self,
        sender: Sender,
        transfer: Transfer | None,
        recipients: Sequence[Recipient],
        content: Content,
        size_bytes: int,
    ) -> SendResult:
        """Refused recipients do not hinder the others; without an accepted one no content is sent.

        Raises ConnectionBroken; MailError when the envelope can't be said to this server (nothing was sent);
        what `content` raises (the connection is dropped, the message was not accepted).
        """
        attempt = Sending(
            self._queue,
            self.features,
            self._timeouts,
            lmtp=self._lmtp,
            sender=sender,
            transfer=transfer,
            recipients=recipients,
            content=content,
            size_bytes=size_bytes,
        )
        # content along with the envelope leaves more outcomes open: only where a transfer key settles them
        single = (
            PRIVATE_KEYWORD in self.features
            and transfer is not None
            and size_bytes <= SINGLE_FLIGHT_BYTES_MAX
            and self.idle_seconds < FRESH_SECONDS
        )
        try:
            async with asyncio.timeout(self._timeouts.message):
                result = await attempt.run(reset=self._reset_first, single_flight=single)
        except Broken as error:
            self._queue.abort()
            raise ConnectionBroken(
                error.sentence, outcome_unknown=attempt.final_sent, reply=error.reply
            ) from error
        except TimeoutError:
            self._queue.abort()
            raise ConnectionBroken("The message took too long", outcome_unknown=attempt.final_sent) from None
        except BaseException:
            self._queue.abort()
            raise
        self._reset_first = attempt.open
        self._last_reply_at = self._loop.time()
        self.messages_sent += 1
        return result

    async def noop(self) -> None:
        """Raises ConnectionBroken."""
        try:
            self._queue.write(b"NOOP\r\n", 1)
            await self._queue.reply(self._timeouts.mail)
        except Broken as error:
            self._queue.abort()
            raise ConnectionBroken(error.sentence, outcome_unknown=False, reply=error.reply) from error
        self._last_reply_at = self._loop.time()

    async def quit(self) -> None:
        """Says good-bye for a short while, and closes in any case."""
        try:
            if self.usable:
                self._queue.write(b"QUIT\r\n", 1)
                await self._queue.reply(self._timeouts.quit)
        except Broken:
            pass  # gone is gone
        finally:
            self._queue.close()

    def abort(self) -> None:
        self._queue.abort()


async def _connect(client: aiosmtplib.SMTP, host: str, port: int, timeouts: Timeouts) -> None:
    """aiosmtplib knows one time-out; the connection's own is shorter than that of the greeting."""
    connecting = asyncio.ensure_future(client.connect(timeout=timeouts.greeting))
    try:
        done, _ = await asyncio.wait((connecting,), timeout=timeouts.connect)
        if not done and client.transport is None:
            raise ConnectionFailed(f"{host}:{port} can't be reached in {timeouts.connect:g} s", "connect")
        await connecting
    except (aiosmtplib.SMTPException, OSError) as error:
        phase: Phase = "greeting" if isinstance(error, aiosmtplib.SMTPResponseException) else "connect"
        _fail(f"{host}:{port} can't be reached", phase, error)
    finally:
        if not connecting.done():
            connecting.cancel()
            await asyncio.wait((connecting,))


async def _hello(client: aiosmtplib.SMTP, hostname: str, protocol: str) -> dict[str, str]:
    try:
        if protocol == "lmtp":
            response = await client.execute_command(b"LHLO", hostname.encode("ascii"))
            if response.code != 250:
                raise aiosmtplib.SMTPHeloError(response.code, response.message)
            return _features(response.message)
        try:
            return _features((await client.ehlo()).message)
        except aiosmtplib.SMTPHeloError as error:
            if not 500 <= error.code < 600 or not client.is_connected:
                raise
        await client.helo()  # RFC 5321 3.2
        return {}
    except (aiosmtplib.SMTPException, OSError) as error:
        _fail("The server refused the greeting", "hello", error)


async def _upgrade(
    client: aiosmtplib.SMTP,
    features: dict[str, str],
    context: ssl.SSLContext | None,
    required: bool,
    hostname: str,
    timeouts: Timeouts,
) -> dict[str, str]:
    if context is None or "STARTTLS" not in features:
        if required:
            raise ConnectionFailed("TLS is required and the server does not offer it", "tls")
        return features
    try:
        await client.starttls(tls_context=context, timeout=timeouts.handshake)
    except (aiosmtplib.SMTPException, OSError) as error:
        _fail("TLS could not be started", "tls", error)
    return await _hello(client, hostname, "smtp")  # RFC 3207 4.2


async def _authenticate(client: aiosmtplib.SMTP, login: str, password: str) -> None:
    try:
        await client.login(login, password)
    except (aiosmtplib.SMTPException, OSError) as error:
        _fail("The server refused the logon", "authentication", error)


def _fail(sentence: str, phase: Phase, error: Exception) -> NoReturn:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        reply = _reply(error.code, error.message)
        if reply is not None:
            raise ConnectionFailed(sentence, phase, reply) from error
    raise ConnectionFailed(f"{sentence}: {reason(error)}", phase) from error


def _reply(code: int, message: str) -> Reply | None:
    lines = message.split("\n")
    text = "".join(f"{code}-{line}\r\n" for line in lines[:-1]) + f"{code} {lines[-1]}\r\n"
    try:
        return ReplyReader().feed(text.encode("utf-8", "replace"))[0]
    except (ReplyError, IndexError):
        return None


def _features(message: str) -> dict[str, str]:
    features: dict[str, str] = {}
    for line in message.split("\n")[1:]:
        keyword, _, parameters = line.strip().partition(" ")
        if keyword:
            features[keyword.upper()] = parameters.strip()
    return features
