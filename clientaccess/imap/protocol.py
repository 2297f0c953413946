"""One IMAP client's socket: bytes to commands to the session, and its output back; TLS, time-outs, back
pressure.

An idle connection is a protocol object and a timer: the task that carries out commands exists only while
there are any. Output waits for slow readers, input waits for the commands before it, so that memory a
connection is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from clientaccess.imap import fragments as f
from clientaccess.imap.capabilities import SessionOptions
from clientaccess.imap.context import Disconnected
from clientaccess.imap.incoming import Message
from clientaccess.imap.session import MAILBOX_GONE, Session
from clientaccess.imap.watching import Followed, Watches
from config.model import Limits
from foundation.interfaces.authentication import Authentication
from foundation.interfaces.directory import Credentials
from foundation.interfaces.mailbox_store import MailboxStore, Notice
from foundation.interfaces.world import World
from foundation.world.read_buffers import give_back_read_buffer

_log = logging.getLogger("waypost.clientaccess")

LOGON_SECONDS_MAX = 60
"""Between two commands before logon."""
BEFORE_LOGON_SECONDS_MAX = 300
"""From the connection's begin to logon."""
STALLED_SECONDS_MAX = 120
"""A client must read at least STALLED_BYTES of waiting output in this time."""
STALLED_BYTES = 1024
HANDSHAKE_SECONDS_MAX = 60
OUTPUT_BYTES_HIGH = 262144
OUTPUT_JOINED_BYTES = 65536
INPUT_BYTES_HIGH = 262144
COMMANDS_IN_A_ROW = 50


@dataclass(frozen=True)
class ImapOptions:
    hostname: str
    tls: ssl.SSLContext | None
    """For STARTTLS and implicit TLS; None: neither is to be had."""
    limits: Limits
    version: str = ""
    plain_logon: bool = False
    """Logon without TLS is allowed."""


class Server(Protocol):
    """What a connection needs of the listeners it came by."""

    options: ImapOptions
    session_options: SessionOptions
    authentication: Authentication
    locate: Callable[[Credentials], MailboxStore]
    world: World
    watches: Watches
    stopping: bool

    def admit(self, connection: Connection, source: str) -> bool: ...

    def left(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One client: bytes to commands to the session, and its output back."""

    __slots__ = (
        "_deadline",
        "_followed",
        "_fragments",
        "_gone",
        "_joined",
        "_joined_bytes",
        "_loop",
        "_paused_reading",
        "_readable",
        "_secure",
        "_server",
        "_session",
        "_started",
        "_task",
        "_timer",
        "_transport",
        "_unread_bytes",
        "_writable",
    )

    _session: Session
    _transport: asyncio.Transport

    def __init__(self, server: Server, secure: bool) -> None:
        self._server = server
        self._secure = secure
        self._loop = asyncio.get_running_loop()
        self._fragments = f.Fragments()
        self._joined: list[bytes] = []
        self._joined_bytes = 0
        self._gone = False
        self._paused_reading = False
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._unread_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._followed: Followed | None = None
        """The mailbox whose notices come here."""
        self._timer: asyncio.TimerHandle | None = None
        self._started = self._deadline = self._loop.time()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=OUTPUT_BYTES_HIGH)
        peer = transport.get_extra_info("peername")
        source = str(peer[0]) if peer else ""
        server = self._server
        self._session = Session(
            server.session_options,
            server.authentication,
            server.locate,
            server.world.entropy,
            self,
            source,
            self._secure,
        )
        if not server.admit(self, source):
            self._session.bye("Too many connections, try again later", b"UNAVAILABLE")
            self._close()
            return
        self._session.greet()
        self._send()
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self._session.ended:
            return
        self._fragments.feed(data)
        if self._session.user and self._writable is None:  # sending does not make up for not reading
            self._arm()
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)
        self._wake()
        if (
            self._task is not None
            and self._fragments.buffered_bytes > INPUT_BYTES_HIGH
            and not self._paused_reading
        ):
            self._paused_reading = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()
            self._unread_bytes = self._transport.get_write_buffer_size()
            self._arm()

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._gone:
            return
        self._gone = True
        for waiting in (self._readable, self._writable):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        self._leave_mailbox()
        if self._task is None:
            self._leave()

    # --- Output ---

    def write(self, data: bytes) -> None:
        if data:
            self._joined.append(data)
            self._joined_bytes += len(data)
            if self._joined_bytes >= OUTPUT_JOINED_BYTES:
                self._send()

    async def flush(self) -> None:
        self._send()
        if self._writable is not None:
            await self._writable
        if self._gone:
            raise Disconnected

    def _send(self) -> None:
        if self._joined:
            joined, self._joined, self._joined_bytes = self._joined, [], 0
            if not self._gone:
                self._transport.write(joined[0] if len(joined) == 1 else b"".join(joined))

    # --- time ---

    def _arm(self) -> None:
        """Starts the time over in which something must happen."""
        if self._gone:
            return
        now = self._loop.time()
        if self._writable is not None:
            self._deadline = now + STALLED_SECONDS_MAX
        elif self._session.user:
            self._deadline = now + self._server.options.limits.imap_idle_seconds  # RFC 9051 5.4
        else:
            self._deadline = min(now + LOGON_SECONDS_MAX, self._started + BEFORE_LOGON_SECONDS_MAX)
        if self._timer is None or self._deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._time_is_up)
        elif self._writable is not None:
            unread = self._transport.get_write_buffer_size()
            if unread > self._unread_bytes - STALLED_BYTES:
                _log.info("client does not read", extra={"user": self._session.user})
                self.cut()
            else:
                self._unread_bytes = unread
                self._arm()
        elif self._session.ended:
            self.cut()
        elif self._task is not None and self._readable is None:
            self._deadline = self._loop.time() + LOGON_SECONDS_MAX  # a command is being carried out
            self._timer = self._loop.call_at(self._deadline, self._time_is_up)
        else:
            self._session.bye("Idle for too long")
            self._close()

    # --- commands ---

    def _wake(self) -> None:
        """Has waiting input and notices dealt with."""
        if self._task is None and not self._gone:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            count = 0
            while not (self._session.ended or self._gone):
                if self._session.idling:
                    await self._session.push()
                    await self.flush()
                event = None if self._session.ended else self._next_event()
                if event is None:
                    break
                await self._handle(event)
                await self.flush()
                if self._session.idling:
                    give_back_read_buffer(self._transport)
                if self._session.upgrading:
                    await self._start_tls()
                self._follow()
                self._arm()
                count += 1
                if count % COMMANDS_IN_A_ROW == 0:
                    await asyncio.sleep(0)
                if self._server.stopping and not self._session.ended:
                    self._session.bye("The server is going down", b"UNAVAILABLE")
        except Disconnected:
            pass
        except Exception:
            _log.exception("IMAP connection failed", extra={"user": self._session.user})
            self.cut()
        finally:
            self._task = None
            if self._gone:
                self._leave()
            elif self._session.ended:
                self._close()

    def _next_event(self) -> f.Event | None:
        if self._session.expects_line:
            self._fragments.expect_line()
        event = self._fragments.next_event()
        if self._paused_reading and self._fragments.buffered_bytes < INPUT_BYTES_HIGH // 4 and not self._gone:
            self._paused_reading = False
            self._transport.resume_reading()
        return event

    async def next_event(self) -> f.Event:
        """The next event, waited for. Raises Disconnected."""
        while True:
            event = self._next_event()
            if isinstance(event, f.Bad) and event.fatal:
                self._session.bye("What comes can't be understood")
                raise Disconnected
            if event is not None:
                return event
            if self._gone or self._session.ended:
                raise Disconnected
            self._readable = self._loop.create_future()
            try:
                await self._readable
            finally:
                self._readable = None

    async def _handle(self, event: f.Event) -> None:
        match event:
            case f.Whole():
                await self._session.command(event.text, event.literals)
                if self._session.user:
                    self._fragments.literal_bytes_max = f.LITERAL_BYTES_MAX
            case f.Line():
                await self._session.line(event.data)
                if self._session.user:
                    self._fragments.literal_bytes_max = f.LITERAL_BYTES_MAX
            case f.Continuation():
                self.write(b"+ go on\r\n")
            case f.Bad():
                if self._session.expects_line:
                    await self._session.line(b"")
                else:
                    self._session.bad(event.tag, event.sentence)
                if event.fatal:
                    self._session.bye("What comes can't be understood")
            case f.MessageStart():
                await self._receive_message(event)
            case _:
                raise AssertionError(f"{type(event).__name__} out of place")

    async def _receive_message(self, start: f.MessageStart) -> None:
        tagged = await self._session.announce_append(
            start.text, start.literals, start.size_bytes, start.synchronising
        )
        if tagged is None:
            self._fragments.refuse()
            return
        self._fragments.accept()
        if start.synchronising:
            self.write(b"+ go on\r\n")
            await self.flush()
        message = Message(self.next_event, b")" if start.text.endswith(b"~") else b"")
        await self._session.append(tagged, message)
        await message.skip()

    async def _start_tls(self) -> None:
        context = self._server.options.tls
        assert context is not None
        self._fragments.clear()  # RFC 3501 6.2.1; CVE-2021-38371 and its kin
        self._paused_reading = False
        try:
            transport = await self._loop.start_tls(
                self._transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS_MAX,
                ssl_shutdown_timeout=5,
            )
        except (OSError, ConnectionError) as error:  # ssl.SSLError is an OSError
            _log.info("TLS handshake failed", extra={"reason": str(error)})
            transport = None
        if transport is None:
            self.cut()
            raise Disconnected
        self._transport = transport
        transport.set_write_buffer_limits(high=OUTPUT_BYTES_HIGH)
        self._session.secured()

    # --- notices ---

    def _follow(self) -> None:
        """Watches the mailbox while one of its folders is selected."""
        watched = self._session.watched
        if watched is None:
            self._leave_mailbox()
        elif self._followed is None and not self._gone:
            self._followed = watched
            self._server.watches.follow(watched, self)

    def _leave_mailbox(self) -> None:
        if self._followed is not None:
            self._server.watches.leave(self._followed, self)
            self._followed = None

    def noticed(self, notice: Notice) -> None:
        if self._session.notice(notice):
            self._wake()

    def mailbox_gone(self) -> None:
        """The user has another one by now, or none. A command that runs learns it by itself."""
        if self._task is None and not self._session.ended:
            self._session.bye(MAILBOX_GONE)
            self._close()

    # --- the end ---

    def shut_down(self) -> None:
        """Says BYE once nothing runs."""
        if self._task is None and not self._session.ended:
            self._session.bye("The server is going down", b"UNAVAILABLE")
            self._close()

    def _leave(self) -> None:
        self._session.left()
        self._server.left(self)

    def _close(self) -> None:
        """After what is written has been read."""
        self._session.ended = True
        self._send()
        if not self._gone:
            self._transport.close()
            self._deadline = self._loop.time() + STALLED_SECONDS_MAX
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._time_is_up)

    def cut(self) -> None:
        self._session.ended = True
        self._transport.abort()
        self.connection_lost(None)

    def abandon(self) -> None:
        """Does not even wait for the command being carried out; what it has committed stays committed."""
        self.cut()
        if self._task is not None:
            self._task.cancel()
