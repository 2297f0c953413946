"""A hub at the other end of the Outbox agent, without a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.reply import Reply
from foundation.smtp.sending import SendResult
from mailboxstore.database.units import Unit
from mailboxstore.outbox.hubs import Hub

OK = Reply.of(250, "2.0.0", "ok")


class FakeHub:
    """At the other end of the Outbox agent; commits a transfer with its key, so a repeat gets the same
    answers. Outlives the store's process."""

    def __init__(self) -> None:
        self.got: Counter[tuple[str, str]] = Counter()
        self.usable = True
        self.messages_sent = 0
        self.next: Callable[[], SendResult]
        self._known: dict[str, SendResult] = {}

    def answer(self, unit: Unit, replies: Sequence[Reply], final: Reply) -> SendResult:
        known = self._known.get(unit.transfer_key)
        if known is not None:
            return known
        given = tuple(replies[number % len(replies)] for number in range(len(unit.recipients)))
        if not any(reply.positive for reply in given):
            return SendResult(sender=OK, recipients=given)
        result = SendResult(sender=OK, recipients=given, final=(final,))
        if final.positive:
            self._known[unit.transfer_key] = result
            accepted = zip(unit.addresses, given, strict=True)
            self.got.update((unit.network_message_id, each) for each, reply in accepted if reply.positive)
        return result

    async def send(
        self,
        sender: Sender,
        transfer: Transfer | None,
        recipients: Sequence[Recipient],
        content: Callable[[], AsyncIterator[bytes]],
        size_bytes: int,
    ) -> SendResult:
        assert transfer is not None
        octets = b"".join([piece async for piece in content()])
        assert len(octets) == size_bytes
        assert transfer.network_message_id.encode() in octets
        return self.next()

    async def quit(self) -> None:
        return None


class FakeLane:
    def __init__(self, name: str) -> None:
        self.hub = Hub(name, "127.0.0.1", 1)

    def came_up(self) -> None:
        return None

    async def went_down(self, reply: str) -> None:
        return None

    def wake(self) -> None:
        return None
