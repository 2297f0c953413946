"""Delivery, what the runner asks of to_hub, to_store and to_internet: a connection to a next hop, and
transfers on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from foundation.mail.errors import MailError
from hubtransport.delivery.outcome import Attempt
from hubtransport.queues.records import Unit
from hubtransport.routing.hop import Hop

Content = Callable[[], AsyncIterator[bytes]]


class HopFailed(Exception):
    """No connection now; nothing was sent. Another try may help."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class HopRefused(Exception):
    """Nothing can ever be delivered there: no such domain, it takes no mail, it is ourselves."""

    def __init__(self, error: MailError) -> None:
        super().__init__(str(error))
        self.error = error


class Line(Protocol):
    """One open connection to a next hop."""

    remote: str
    """Who answered: server name or host."""
    messages_max: int
    """How many messages one connection carries."""
    idle_seconds: float
    """How long it is kept without work."""

    @property
    def usable(self) -> bool: ...

    @property
    def messages_sent(self) -> int: ...

    async def send(self, unit: Unit, content: Content) -> Attempt:
        """Never raises for what the other side does."""
        ...

    async def close(self) -> None: ...


class Courier(Protocol):
    async def connect(self, hop: Hop) -> Line:
        """Raises HopFailed, HopRefused."""
        ...
