"""A server's talk does not depend on how its input is cut into reads, and nothing a client says breaks it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.database.spool import Spool
from foundation.mail.envelope import Recipient
from foundation.mail.errors import MailError
from foundation.smtp.channel import Channel
from foundation.smtp.command import MailCommand
from foundation.smtp.conversation import Conversation
from foundation.smtp.reply import Reply
from foundation.smtp.session import Peer, ServerOptions, SessionFacts

COMMANDS = st.sampled_from(
    [
        b"EHLO x\r\n",
        b"LHLO x\r\n",
        b"HELO x\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"MAIL FROM:<> SIZE=9 BODY=8BITMIME RET=HDRS\r\n",
        b"MAIL FROM:<a@b.example> XWAYPOST-ID=1\r\n",
        b"MAIL FROM:<\xc3\xa9@b.example> SMTPUTF8\r\n",
        b"RCPT TO:<c@d.example>\r\n",
        b"RCPT TO:<no@d.example>\r\n",
        b"RCPT TO:<postmaster> NOTIFY=NEVER\r\n",
        b"DATA\r\n",
        b"hello\r\n",
        b".\r\n",
        b"..\r\n",
        b"\r\n.\r\n",
        b"bare\n.\n",
        b"BDAT 5\r\nab\r\n\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 7 LAST\r\nRSET\r\n\r",
        b"BDAT x\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"NOOP\n",
        b"AUTH PLAIN\r\n",
        b"AUTH LOGIN YQ==\r\n",
        b"AGEAYg==\r\n",
        b"*\r\n",
        b"VRFY x\r\n",
        b"HELP\r\n",
        b"QUIT\r\n",
        b"\r\n",
        b"\x00\xff\r\n",
        b"x" * 700 + b"\r\n",
        b"y" * 13000 + b"\r\n",
    ]
)
SESSIONS = st.lists(COMMANDS | st.binary(max_size=12), max_size=25)
PREFIX = b"EHLO x\r\nLHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"


class Memory(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Handler:
    facts = SessionFacts()

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.events: list[object] = []
        self.accepted = 0

    async def greet(self, helo: str, extended: bool) -> None:
        self.events.append(("greet", helo, extended))

    async def authenticate(self, login: str, password: str) -> None:
        self.events.append(("authenticate", login, password))

    async def mail(self, command: MailCommand) -> Reply | None:
        self.events.append(command)
        return None

    async def recipient(self, recipient: Recipient) -> Reply | None:
        if recipient.address.startswith("no"):
            raise MailError(550, "5.1.1", "No")
        self.events.append(recipient)
        self.accepted += 1
        return None

    async def message(self, content: Spool) -> Reply | tuple[Reply, ...]:
        self.events.append(content.read(0, content.size_bytes))
        reply = Reply.of(250, "2.6.0", "Queued")
        return (reply,) * self.accepted if self.options.protocol == "lmtp" else reply

    def reset(self) -> None:
        self.accepted = 0

    def closed(self) -> None:
        self.events.append("closed")


class Ids:
    def identifier(self) -> str:
        return "id"

    def token(self, size_bytes: int) -> bytes:
        return bytes(size_bytes)

    def uniform(self, low: float, high: float) -> float:
        return low


def pieces_of(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    points = sorted({cut % (len(data) + 1) for cut in cuts})
    for start, end in zip([0, *points], [*points, len(data)], strict=True):
        yield data[start:end]


def talk(pieces: list[bytes], options: ServerOptions) -> tuple[bytes, list[object], bool]:
    async def run() -> tuple[bytes, list[object], bool]:
        loop = asyncio.get_running_loop()
        transport, handler = Memory(), Handler(options)
        channel = Channel(transport, loop, options.idle_seconds)
        peer = Peer(
            address="192.0.2.1", port=1, tls=options.authentication, certificate_name="", listener="smtp"
        )

        async def no_tls(context: object) -> None:
            raise AssertionError

        conversation = Conversation(channel, options, handler, Ids(), peer, no_tls)
        task = loop.create_task(conversation.run())
        for piece in pieces:
            channel.feed(piece)
            for _ in range(4):
                await asyncio.sleep(0)
        channel.eof()
        await asyncio.wait_for(task, 10)
        channel.lost()
        return bytes(transport.written), handler.events, transport.closed

    return asyncio.run(run())


@settings(max_examples=200, deadline=None)
@given(
    SESSIONS,
    st.lists(st.integers(0, 40_000), max_size=8),
    st.sampled_from(["smtp", "lmtp"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_any_split_gives_the_same_talk(
    commands: list[bytes], cuts: list[int], protocol: Any, private: bool, lenient: bool, authentication: bool
) -> None:
    options = ServerOptions(
        hostname="mx.example",
        protocol=protocol,
        private=private,
        bare_newlines="normalise" if lenient else "refuse",
        authentication=authentication,
        protocol_errors=12,
        message_size_bytes=3000,
    )
    stream = PREFIX + b"".join(commands)
    failures: list[logging.LogRecord] = []
    catcher = logging.Handler(logging.ERROR)
    catcher.emit = failures.append  # type: ignore[method-assign]
    logging.getLogger("waypost.smtp").addHandler(catcher)
    try:
        whole = talk([stream], options)
        assert talk(list(pieces_of(stream, cuts)), options) == whole
    finally:
        logging.getLogger("waypost.smtp").removeHandler(catcher)
    assert not failures
    written, events, _ = whole
    assert events[-1] == "closed"
    for line in written.split(b"\r\n")[:-1]:
        assert line[:3].isdigit() and line[3:4] in (b" ", b"-") and len(line) <= 510
