"""The command loop of a server and its verbs (RFC 5321 4.1.1, RFC 2033, RFC 3030, RFC 3207, RFC 4954).

Every command gets exactly one reply (LMTP content: one a recipient), errors that nobody foresaw 451 4.3.0.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable

from foundation.interfaces.world import Entropy
from foundation.mail.errors import MailError
from foundation.smtp import sasl
from foundation.smtp.channel import Channel, Gone
from foundation.smtp.command import PRIVATE_KEYWORD, PRIVATE_VERSION, line_limit, split_command
from foundation.smtp.content import DataReader, parse_bdat
from foundation.smtp.intake import Intake, drain_limit, too_large
from foundation.smtp.lines import LineTooLong
from foundation.smtp.reply import Reply, from_error
from foundation.smtp.session import Peer, ServerOptions, SessionFacts, SessionHandler
from foundation.smtp.transaction import Transaction, bad_sequence

log = logging.getLogger("waypost.smtp")

TOO_LONG = MailError(500, "5.5.2", "The line is too long")
CLOSING = Reply.of(421, "4.3.2", "The server is closing, try again later")
LONG_ENOUGH = Reply.of(421, "4.4.2", "Connected for long enough, connect again")
_PROTOCOL_ERRORS = frozenset({500, 501, 502, 503, 504, 538, 555})
_CONTENT_VERBS = frozenset({"RCPT", "DATA", "BDAT"})

StartTls = Callable[[ssl.SSLContext], Awaitable[None]]


class Conversation:
    """One client's talk, from the greeting to the end."""

    def __init__(
        self,
        channel: Channel,
        options: ServerOptions,
        handler: SessionHandler,
        entropy: Entropy,
        peer: Peer,
        start_tls: StartTls,
    ) -> None:
        self._channel = channel
        self._options = options
        self._handler = handler
        self._peer = peer
        self._start_tls = start_tls
        self._announced: frozenset[str] = frozenset()
        self._errors = 0
        self._logon_failures = 0
        self._between_commands = False
        self._stopping = False
        self._until = channel.later(options.session_seconds)
        handler.facts = SessionFacts(lmtp=options.protocol == "lmtp", tls=peer.tls)
        self._transaction = Transaction(options, handler, entropy)

    def stop(self) -> None:
        """A running command is finished, no further one begun."""
        self._stopping = True
        if self._between_commands:
            self._channel.farewell(CLOSING)

    async def run(self) -> None:
        """Returns when the client is gone."""
        protocol = "LMTP" if self._options.protocol == "lmtp" else "ESMTP"
        self._channel.say(f"220 {self._options.hostname} {protocol} {self._options.banner}\r\n".encode())
        try:
            while True:
                await self._next_command()
        except Gone:
            pass
        finally:
            self._transaction.discard()
            self._handler.closed()

    async def _next_command(self) -> None:
        verb = ""
        try:
            self._between_commands = True
            line = await self._channel.read_line()
            self._between_commands = False
            if self._stopping:
                raise self._channel.farewell(CLOSING)
            if not self._options.private and self._channel.passed(self._until):
                raise self._channel.farewell(LONG_ENOUGH)
            if not line.endswith(b"\r\n") and self._options.bare_newlines != "normalise":
                raise MailError(500, "5.5.2", "The line does not end with CRLF")
            verb, argument = split_command(line.rstrip(b"\r\n"))
            limit = line_limit(verb, extended=self._handler.facts.extended, private=self._options.private)
            if len(line) > limit:
                raise TOO_LONG
            method = (_LMTP_VERBS if self._options.protocol == "lmtp" else _SMTP_VERBS).get(verb)
            if method is None:
                raise MailError(500, "5.5.1", "Unknown command")
            await method(self, argument)
        except LineTooLong:
            self._refuse(TOO_LONG, verb)
        except MailError as error:
            self._refuse(error, verb)
        except Gone:
            raise
        except Exception as error:
            self._channel.say(self._transaction.surprise(error))

    def _refuse(self, error: MailError, verb: str) -> None:
        # after a refused MAIL or RCPT, what was pipelined behind it is out of sequence through no fault
        if error.code in _PROTOCOL_ERRORS and not (error.code == 503 and verb in _CONTENT_VERBS):
            self._errors += 1
            if self._errors >= self._options.protocol_errors:
                log.info("too many protocol errors", extra={"peer": self._peer.address})
                raise self._channel.farewell(Reply.of(421, "4.7.0", "Too many errors, closing"))
        self._channel.say(from_error(error))

    async def _ehlo(self, argument: bytes) -> None:
        await self._greet(argument, extended=True)

    async def _helo(self, argument: bytes) -> None:
        await self._greet(argument, extended=False)

    async def _greet(self, argument: bytes, *, extended: bool) -> None:
        words = argument.split()
        if len(words) != 1 or len(words[0]) > 255 or not words[0].isascii():
            raise MailError(501, "5.5.4", "The command takes a domain or an address literal")
        helo = words[0].decode("ascii")
        self._transaction.reset()  # RFC 5321 4.1.4
        self._transaction.facts(helo=helo, extended=extended)
        self._announced = frozenset()
        try:
            await self._handler.greet(helo, extended)
        except BaseException:
            self._transaction.facts(helo="", extended=False)  # whoever is refused has not greeted
            raise
        if not extended:
            self._channel.say(f"250 {self._options.hostname}\r\n".encode())
            return
        keywords = self._keywords()
        self._announced = frozenset(keyword.partition(" ")[0] for keyword in keywords)
        self._channel.say(Reply(250, "", (self._options.hostname, *keywords)))

    def _keywords(self) -> tuple[str, ...]:
        facts, options = self._handler.facts, self._options
        keywords = ["PIPELINING", f"SIZE {options.message_size_bytes}", "8BITMIME", "SMTPUTF8"]
        keywords += ["ENHANCEDSTATUSCODES", "DSN", "CHUNKING"]
        if options.starttls is not None and not facts.tls:
            keywords.append("STARTTLS")
        if options.authentication and facts.tls:
            keywords.append(f"AUTH {' '.join(sasl.MECHANISMS)}")
        if options.private:
            keywords.append(f"{PRIVATE_KEYWORD} {PRIVATE_VERSION}")
        return tuple(keywords)

    def _require_greeting(self) -> None:
        if not self._handler.facts.helo:
            raise bad_sequence("EHLO comes first")

    async def _starttls(self, argument: bytes) -> None:
        if self._options.starttls is None:
            raise MailError(502, "5.5.1", "STARTTLS is not offered")
        if self._handler.facts.tls:
            raise bad_sequence("TLS is already active")
        if argument:
            raise MailError(501, "5.5.4", "STARTTLS takes no parameter")
        self._require_greeting()
        if self._transaction.open:
            raise bad_sequence("A transaction is open")
        self._channel.say(b"220 2.0.0 Ready to start TLS\r\n")
        try:
            await self._start_tls(self._options.starttls)
        except OSError as error:
            log.info("TLS handshake failed", extra={"peer": self._peer.address, "error": str(error)})
            self._channel.abort()
            raise Gone from None
        self._announced = frozenset()
        self._transaction.reset()
        self._transaction.facts(helo="", extended=False, tls=True)  # RFC 3207 4.2

    async def _auth(self, argument: bytes) -> None:
        if not self._options.authentication:
            raise MailError(502, "5.5.1", "AUTH is not offered")
        self._require_greeting()
        if not self._handler.facts.extended:
            raise bad_sequence("EHLO comes first")
        if self._handler.facts.authenticated or self._transaction.open:
            raise bad_sequence("Not now")  # RFC 4954 4
        if not self._handler.facts.tls:
            raise MailError(538, "5.7.11", "Encryption is required, use STARTTLS first")
        if self._logon_failures >= self._options.logon_failures:
            raise self._channel.farewell(Reply.of(421, "4.7.0", "Too many failed logons, closing"))
        words = argument.split()
        if not 1 <= len(words) <= 2:
            raise MailError(501, "5.5.4", "The command's form is AUTH mechanism [response]")
        mechanism = words[0].upper()
        initial = words[1] if len(words) == 2 else None
        if mechanism == b"PLAIN":
            login, password = sasl.parse_plain(await self._response(sasl.EMPTY_CHALLENGE, initial))
        elif mechanism == b"LOGIN":
            login = sasl.decode_text(await self._response(sasl.USERNAME_CHALLENGE, initial))
            password = sasl.decode_text(await self._response(sasl.PASSWORD_CHALLENGE, None))
        else:
            raise MailError(504, "5.5.4", "This mechanism is not offered")
        try:
            await self._handler.authenticate(login, password)
        except MailError as error:
            self._logon_failures += error.permanent
            raise
        self._transaction.facts(authenticated=True)
        self._channel.say(b"235 2.7.0 Authentication succeeded\r\n")

    async def _response(self, challenge: bytes, initial: bytes | None) -> bytes:
        if initial is not None:
            return sasl.decode_response(initial)
        self._channel.say(challenge)
        try:
            return sasl.decode_response(await self._channel.read_line())
        except LineTooLong:
            raise MailError(500, "5.5.6", "The response is too long") from None  # RFC 4954 4

    async def _mail(self, argument: bytes) -> None:
        self._require_greeting()
        self._channel.say(await self._transaction.mail(argument, self._announced))

    async def _rcpt(self, argument: bytes) -> None:
        self._require_greeting()
        self._channel.say(await self._transaction.recipient(argument, self._announced))

    async def _data(self, argument: bytes) -> None:
        if argument:
            raise MailError(501, "5.5.4", "DATA takes no parameter")
        self._transaction.require_recipients()
        if self._transaction.intake is not None:
            raise bad_sequence("The content comes in chunks")  # RFC 3030 2
        self._channel.say(b"354 End the message with a dot alone on a line\r\n")
        intake = self._transaction.intake = Intake(self._options)
        reader = DataReader(intake.guard)
        until = self._channel.later(self._options.content_seconds)
        while not reader.finished:
            intake.write(reader.feed(await self._channel.read_data(None, until)))
            if intake.excessive:
                raise self._channel.farewell(from_error(too_large(self._options.message_size_bytes)))
        self._channel.put_back(reader.rest)
        await self._complete(intake)

    async def _bdat(self, argument: bytes) -> None:
        try:
            remaining, last = parse_bdat(argument)
        except MailError as error:
            raise self._channel.farewell(from_error(error)) from None  # where the chunk ends can't be known
        size = remaining
        if size > drain_limit(self._options.message_size_bytes):
            raise self._channel.farewell(from_error(too_large(self._options.message_size_bytes)))
        refusal: MailError | None = None
        try:
            self._transaction.require_recipients()
        except MailError as error:
            refusal = error
        intake = self._transaction.intake or Intake(self._options)
        if refusal is None:
            self._transaction.intake = intake
        until = self._channel.later(self._options.content_seconds)
        while remaining:
            data = await self._channel.read_data(remaining, until)
            remaining -= len(data)
            intake.write(intake.guard.feed(data))
            if intake.excessive:
                raise self._channel.farewell(from_error(too_large(self._options.message_size_bytes)))
        if refusal is not None:
            intake.close()
            raise refusal
        if last:
            intake.write(intake.guard.finish())
            await self._complete(intake)
        elif intake.problem is not None:
            self._channel.say(from_error(intake.problem))
        else:
            self._channel.say(f"250 2.0.0 {size} octets received\r\n".encode())

    async def _complete(self, intake: Intake) -> None:
        await self._channel.flush()
        replies = await self._transaction.message(intake)
        if replies[0].positive:
            self._errors = 0
        for reply in replies:
            self._channel.say(reply)

    async def _rset(self, argument: bytes) -> None:
        if argument:
            raise MailError(501, "5.5.4", "RSET takes no parameter")
        self._transaction.reset()
        self._channel.say(b"250 2.0.0 Reset\r\n")

    async def _noop(self, argument: bytes) -> None:
        self._channel.say(b"250 2.0.0 Ok\r\n")

    async def _vrfy(self, argument: bytes) -> None:
        if not argument:
            raise MailError(501, "5.5.4", "VRFY takes an address")
        self._channel.say(b"252 2.5.2 Not verified, but mail for it is tried\r\n")  # RFC 5321 3.5.3

    async def _expn(self, argument: bytes) -> None:
        raise MailError(502, "5.5.1", "EXPN is not offered")

    async def _help(self, argument: bytes) -> None:
        self._channel.say(b"214 2.0.0 See RFC 5321\r\n")

    async def _quit(self, argument: bytes) -> None:
        if argument:
            raise MailError(501, "5.5.4", "QUIT takes no parameter")
        raise self._channel.farewell(Reply.of(221, "2.0.0", f"{self._options.hostname} closing"))


_Verb = Callable[[Conversation, bytes], Awaitable[None]]

_VERBS: dict[str, _Verb] = {
    "MAIL": Conversation._mail,
    "RCPT": Conversation._rcpt,
    "DATA": Conversation._data,
    "BDAT": Conversation._bdat,
    "RSET": Conversation._rset,
    "NOOP": Conversation._noop,
    "QUIT": Conversation._quit,
    "STARTTLS": Conversation._starttls,
    "AUTH": Conversation._auth,
    "VRFY": Conversation._vrfy,
    "EXPN": Conversation._expn,
    "HELP": Conversation._help,
}
_SMTP_VERBS: dict[str, _Verb] = _VERBS | {"EHLO": Conversation._ehlo, "HELO": Conversation._helo}
_LMTP_VERBS: dict[str, _Verb] = _VERBS | {"LHLO": Conversation._ehlo}  # RFC 2033 4.1
