"""How the Outbox reaches a hub: one kept SMTP connection, as the agent sees it, and the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.sending import SendResult


@dataclass(frozen=True)
class Hub:
    name: str
    host: str
    port: int


class HubConnection(Protocol):
    """The part of foundation.smtp.client.SmtpConnection that the agent needs."""

    @property
    def usable(self) -> bool: ...

    @property
    def messages_sent(self) -> int: ...

    async def send(
        self,
        sender: Sender,
        transfer: Transfer | None,
        recipients: Sequence[Recipient],
        content: Callable[[], AsyncIterator[bytes]],
        size_bytes: int,
    ) -> SendResult: ...

    async def quit(self) -> None: ...


class Connect(Protocol):
    """Opens a connection. Raises foundation.smtp.client.ConnectionFailed."""

    async def __call__(self, hub: Hub) -> HubConnection: ...
