"""A mail server outside the organisation, for tests: takes everything, or answers as it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiosmtpd.smtp import SMTP

from config.model import Endpoint
from tests.harness.patience import patient


@dataclass(frozen=True)
class Received:
    sender: str
    recipients: tuple[str, ...]
    content: bytes


class SinkServer:
    """Use as `async with SinkServer() as sink`; `sink.endpoint` is where it listens."""

    def __init__(self) -> None:
        self.replies: dict[str, str] = {}
        """Reply to RCPT by recipient, where it is not 250."""
        self._received: asyncio.Queue[Received] = asyncio.Queue()
        self._all: list[Received] = []
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> Endpoint:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return Endpoint(host=host, port=port)

    async def next(self, seconds: float = 10) -> Received:
        """The next message that arrives."""
        return await asyncio.wait_for(self._received.get(), patient(seconds))

    def all_received(self) -> tuple[Received, ...]:
        """Everything that ever arrived."""
        return tuple(self._all)

    async def __aenter__(self) -> SinkServer:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, hostname="sink.example.net", enable_SMTPUTF8=True), "127.0.0.1", 0
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        sender = "" if envelope.mail_from in (None, "<>") else envelope.mail_from
        received = Received(sender, tuple(envelope.rcpt_tos), envelope.content)
        self._all.append(received)
        self._received.put_nowait(received)
        return "250 OK"
