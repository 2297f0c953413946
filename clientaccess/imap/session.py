"""One client's session: what may be asked in which state, who the client is, and what every outcome becomes
(RFC 3501 3, 6.1, 6.2; RFC 5530). Knows no sockets: the connection feeds it commands, it writes to an
Output."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from clientaccess.imap import commands as c
from clientaccess.imap import fetching, mailboxes, messages, responses, selecting
from clientaccess.imap.capabilities import SessionOptions, announcement, may_log_on
from clientaccess.imap.context import (
    Context,
    Disconnected,
    Done,
    Farewell,
    Incoming,
    Misused,
    Output,
    Rejected,
)
from clientaccess.imap.parser import BadCharset, Tagged, parse, parse_append, plain_response
from clientaccess.imap.scanner import Malformed
from clientaccess.imap.selected import leave, synchronise, tell_expunged
from foundation.interfaces.authentication import Authentication
from foundation.interfaces.directory import Credentials
from foundation.interfaces.mailbox_store import MailboxStore, Notice, Refusal
from foundation.interfaces.world import Entropy
from foundation.mail.errors import MailError, unexpected
from foundation.mail.status import BAD_MAILBOX

_log = logging.getLogger("waypost.clientaccess")

_EARLY_CHECKED_BYTES = 65536
MAILBOX_GONE = "The mailbox is not here any more, log on again"


class Session:
    __slots__ = (
        "_authentication",
        "_bad_commands",
        "_context",
        "_entropy",
        "_locate",
        "_logon_failures",
        "_options",
        "_out",
        "_peer",
        "_waiting",
        "ended",
        "secure",
        "upgrading",
        "user",
    )

    def __init__(
        self,
        options: SessionOptions,
        authentication: Authentication,
        locate: Callable[[Credentials], MailboxStore],
        entropy: Entropy,
        out: Output,
        peer: str,
        secure: bool,
    ) -> None:
        self._options = options
        self._authentication = authentication
        self._locate = locate
        self._entropy = entropy
        self._out = out
        self._peer = peer
        self._context: Context | None = None
        self._waiting: tuple[str, bytes] | None = None  # IDLE or SASL, and the command's tag
        self._bad_commands = 0
        self._logon_failures = 0
        self.secure = secure
        self.upgrading = False
        """STARTTLS was answered OK: the connection must start TLS now."""
        self.ended = False
        """BYE was said: the connection must close."""
        self.user = ""
        """Address of the user; empty before logon."""

    # --- what the connection asks and tells ---

    @property
    def expects_line(self) -> bool:
        """The next thing read is a line, not a command: DONE, or a SASL response."""
        return self._waiting is not None

    @property
    def idling(self) -> bool:
        return self._waiting is not None and self._waiting[0] == "IDLE"

    @property
    def watched(self) -> tuple[MailboxStore, str] | None:
        """Whose notices this session wants; None while no mailbox is selected."""
        context = self._context
        return (context.store, context.mailbox_id) if context is not None and context.selected else None

    def notice(self, notice: Notice) -> bool:
        """True when an idling client has something to be told: call push."""
        context = self._context
        return bool(context and context.selected and context.selected.notice(notice)) and self.idling

    def greet(self) -> None:
        sentence = f"{self._options.hostname} Waypost ready"
        self._out.write(responses.status(b"*", b"OK", sentence, self._capabilities))

    def secured(self) -> None:
        """TLS stands; nothing from before it counts (RFC 3501 6.2.1)."""
        self.upgrading = False
        self.secure = True

    def bye(self, sentence: str, code: bytes = b"") -> None:
        self.ended = True
        self._out.write(responses.status(b"*", b"BYE", sentence, code))

    def left(self) -> None:
        """The connection is gone and nothing runs for it."""
        if self._context is not None:
            leave(self._context)

    def bad(self, tag: bytes, sentence: str) -> None:
        """A command that is none. Ends the session after too many in a row."""
        self._out.write(responses.status(tag, b"BAD", sentence))
        self._bad_commands += 1
        limit = self._options.bad_commands_max * (1 if self._context is None else 10)
        if self._bad_commands >= limit:
            self.bye("Too many bad commands")

    async def command(self, text: bytes, literals: tuple[bytes, ...]) -> None:
        """Obeys one whole command, and answers it. Raises Disconnected only."""
        try:
            tagged = parse(text, literals, self._utf8)
        except Malformed as error:
            self.bad(error.tag, error.sentence)
            return
        except BadCharset as error:
            code = b"BADCHARSET (US-ASCII UTF-8)"
            self._out.write(responses.status(error.tag, b"NO", "The charset is not known", code))
            return
        await self._answer(tagged.tag, tagged.command, lambda: self._obey(tagged))

    async def line(self, line: bytes) -> None:
        """The line that expects_line asked for."""
        assert self._waiting is not None
        (purpose, tag), self._waiting = self._waiting, None
        if purpose == "IDLE":
            if line.upper() != b"DONE":
                self.bad(tag, "IDLE ends with DONE")
            else:
                await self._answer(tag, c.Noop(), self._end_idle)
        elif line == b"*":
            self.bad(tag, "Authentication was cancelled")  # RFC 3501 6.2.2
        else:
            await self._answer(tag, c.Authenticate("PLAIN"), lambda: self._plain(line))

    async def push(self) -> None:
        """Tells an idling client what is new."""
        context = self._context
        if context is not None and context.selected is not None and context.selected.dirty:
            await self._guard(b"*", synchronise(context, context.selected, expunge=True))

    async def announce_append(
        self, text: bytes, literals: tuple[bytes, ...], size_bytes: int, synchronising: bool
    ) -> Tagged | None:
        """An APPEND whose message is still to come; None: it has been refused."""
        try:
            tagged = parse_append(text, literals, self._utf8)
        except Malformed as error:
            self.bad(error.tag, error.sentence)
            return None
        command = tagged.command
        assert isinstance(command, c.Append)

        async def check() -> None:
            context = self._authenticated()
            name = mailboxes.existing(context, command.mailbox)
            if size_bytes > context.message_bytes_max:  # RFC 7889 5
                raise Rejected("The message is too big", b"TOOBIG")
            if synchronising and size_bytes > _EARLY_CHECKED_BYTES:
                try:
                    await context.store.folder(context.mailbox_id, name)
                except Refusal as refusal:
                    raise Rejected(refusal.sentence, b"TRYCREATE") from refusal

        return tagged if await self._guard(tagged.tag, check()) else None

    async def append(self, tagged: Tagged, content: Incoming) -> None:
        command = tagged.command
        assert isinstance(command, c.Append)
        await self._answer(
            tagged.tag, command, lambda: messages.append(self._authenticated(), command, content)
        )

    # --- outcomes ---

    @property
    def _utf8(self) -> bool:
        return self._context is not None and self._context.utf8

    def _authenticated(self) -> Context:
        if self._context is None:
            raise Misused("Log on first")
        return self._context

    async def _answer(
        self, tag: bytes, command: c.Command, obey: Callable[[], Awaitable[Done | None]]
    ) -> None:
        """Obeys, tells what else is new, then the tagged response."""

        async def whole() -> None:
            try:
                done = await obey()
            except (MailError, Rejected, Misused):
                await self._news(command)
                raise
            await self._news(command)
            if done is not None:
                self._bad_commands = 0
                self._out.write(responses.status(tag, b"OK", done.sentence, done.code))

        await self._guard(tag, whole())

    async def _news(self, command: c.Command) -> None:
        context = self._context
        if context is None or context.selected is None or isinstance(command, c.Select):
            return
        selected = context.selected
        uid = isinstance(command, c.Fetch | c.Store | c.Search | c.Copy) and command.uid
        # RFC 3501 7.4.1: no EXPUNGE while a command that names messages by number is answered
        expunge = uid or not isinstance(command, c.Fetch | c.Store | c.Search)
        if selected.dirty or isinstance(command, c.Noop | c.Check):
            try:
                await synchronise(context, selected, expunge=expunge, uid=uid)
            except MailError as error:  # the command's own outcome stands; the news come with a later one
                _log.warning("changes not read", extra={"user": self.user, "reason": str(error)})
        elif expunge and selected.pending:
            tell_expunged(context, selected)

    async def _guard(self, tag: bytes, work: Awaitable[None]) -> bool:
        """Whatever happens becomes a response; False when it was none of the good ones. Raises
        Disconnected."""
        try:
            await work
            return True
        except Rejected as error:
            self._out.write(responses.status(tag, b"NO", error.sentence, error.code))
        except Misused as error:
            self.bad(tag, error.sentence)
        except Malformed as error:
            self.bad(tag, error.sentence)
        except Farewell as error:
            self.bye(error.sentence, error.code)
        except MailError as error:
            self._out.write(responses.failure(tag, error))
            if isinstance(error, Refusal) and error.status == BAD_MAILBOX:
                self.bye(MAILBOX_GONE)
        except Disconnected:
            raise
        except Exception:
            trace_id = self._entropy.identifier()
            _log.exception("IMAP command failed", extra={"trace_id": trace_id, "user": self.user})
            self._out.write(responses.failure(tag, unexpected(trace_id)))
        return False

    @property
    def _capabilities(self) -> bytes:
        authenticated = self._context is not None
        return announcement(self._options, authenticated=authenticated, secure=self.secure)

    # --- commands ---

    async def _obey(self, tagged: Tagged) -> Done | None:
        tag, command = tagged.tag, tagged.command
        general = _GENERAL.get(type(command))
        if general is not None:
            return await general(self, tag, command)
        context = self._authenticated()
        handler = _AUTHENTICATED.get(type(command))
        if handler is not None:
            return await handler(context, command)
        messages.selected_of(context)
        return await _SELECTED[type(command)](context, command, tag)

    async def _capability(self, tag: bytes, command: c.Capability) -> Done:
        self._out.write(b"* %b\r\n" % self._capabilities)
        return Done("Told")

    async def _noop(self, tag: bytes, command: c.Noop | c.Check) -> Done:
        if isinstance(command, c.Check):
            messages.selected_of(self._authenticated())
        return Done("Done")

    async def _logout(self, tag: bytes, command: c.Logout) -> Done:
        if self._context is not None:
            leave(self._context)
        self.bye("Goodbye")
        return Done("Logged out")

    async def _identify(self, tag: bytes, command: c.Identify) -> Done:
        fields = [b'"name" "Waypost"']
        if self._options.version:
            fields.append(b'"version" ' + responses.string(self._options.version.encode("ascii", "replace")))
        self._out.write(b"* ID (%b)\r\n" % b" ".join(fields))
        return Done("Pleased to meet you")

    async def _start_tls(self, tag: bytes, command: c.StartTls) -> Done:
        if self._context is not None:
            raise Misused("Already logged on")
        if self.secure or not self._options.starttls:
            raise Misused("TLS is active already" if self.secure else "TLS is not to be had here")
        self.upgrading = True
        return Done("Begin TLS now")

    async def _login(self, tag: bytes, command: c.Login) -> Done:
        self._before_logon()
        try:
            user, password = command.user.decode("utf-8"), command.password.decode("utf-8")
        except UnicodeError as error:
            raise Rejected("Login and password must be UTF-8", b"AUTHENTICATIONFAILED") from error
        return await self._log_on(user, password)

    async def _authenticate(self, tag: bytes, command: c.Authenticate) -> Done | None:
        self._before_logon()
        if command.mechanism != "PLAIN":
            raise Rejected("That mechanism is not supported", b"CANNOT")
        if command.initial is not None:
            return await self._plain(command.initial)
        self._out.write(b"+ \r\n")
        self._waiting = ("SASL", tag)
        return None

    def _before_logon(self) -> None:
        if self._context is not None:
            raise Misused("Already logged on")
        if not may_log_on(self._options, self.secure):
            raise Rejected("Start TLS first", b"PRIVACYREQUIRED")  # RFC 5530 3, RFC 3501 11.1

    async def _plain(self, response: bytes) -> Done:
        authorisation, user, password = plain_response(response)
        if authorisation not in ("", user):
            raise Rejected("Nobody may act for another here", b"AUTHORIZATIONFAILED")
        return await self._log_on(user, password)

    async def _log_on(self, user: str, password: str) -> Done:
        try:
            credentials = await self._authentication.password(user, password, self._peer)
        except MailError as error:
            if error.code == 535:
                self._logon_failures += 1
            if self._logon_failures >= self._options.logon_failures_max:
                self.bye("Too many failed logons", b"AUTHENTICATIONFAILED")
            raise
        store = self._locate(credentials)
        mailbox_id = credentials.user.mailbox_id
        self._context = Context(
            self._out, store, mailbox_id, self._options.message_bytes_max, self._options.kept
        )
        self.user = credentials.user.address
        return Done("Logged on", self._capabilities)

    async def _idle(self, tag: bytes, command: c.Idle) -> None:
        self._authenticated()
        self._out.write(b"+ idling\r\n")
        self._waiting = ("IDLE", tag)

    async def _end_idle(self) -> Done:
        return Done("Idled")


_Handler = Callable[[Session, bytes, Any], Awaitable[Done | None]]

_GENERAL: dict[type, _Handler] = {
    c.Capability: Session._capability,
    c.Noop: Session._noop,
    c.Check: Session._noop,
    c.Logout: Session._logout,
    c.Identify: Session._identify,
    c.StartTls: Session._start_tls,
    c.Login: Session._login,
    c.Authenticate: Session._authenticate,
    c.Idle: Session._idle,
}

_AUTHENTICATED: dict[type, Callable[[Context, Any], Awaitable[Done]]] = {
    c.Enable: selecting.enable,
    c.Namespace: selecting.namespace,
    c.Select: selecting.select,
    c.Close: selecting.close,
    c.Create: mailboxes.create,
    c.Delete: mailboxes.delete,
    c.Rename: mailboxes.rename,
    c.Subscribe: mailboxes.subscribe,
    c.ListMailboxes: mailboxes.list_mailboxes,
    c.ListSubscribed: mailboxes.list_subscribed,
    c.Status: mailboxes.status,
}

_SELECTED: dict[type, Callable[[Context, Any, bytes], Awaitable[Done]]] = {
    c.Expunge: lambda context, command, tag: messages.expunge(context, command),
    c.Fetch: lambda context, command, tag: fetching.fetch(context, command),
    c.Store: lambda context, command, tag: messages.store_flags(context, command),
    c.Copy: lambda context, command, tag: messages.copy(context, command),
    c.Search: messages.search,
}
