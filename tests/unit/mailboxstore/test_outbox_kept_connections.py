"""A kept connection that the hub closes says nothing of the hub."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from foundation.smtp.reply import Reply
from tests.unit.mailboxstore.bench import Bench
from tests.unit.mailboxstore.hub import TestHub
from tests.unit.mailboxstore.test_outbox_agent import Office


class ClosingHub(TestHub):
    """Answers one MAIL with `last_words`, the others as the hub does."""

    last_words: Reply | None = None

    @property
    def sender_reply(self) -> Reply | None:
        said, self.last_words = self.last_words, None
        return said

    @sender_reply.setter
    def sender_reply(self, reply: Reply | None) -> None:
        self.last_words = reply


@pytest.fixture
async def office(bench: Bench) -> AsyncIterator[Office]:
    hub = ClosingHub("hub-a")
    await hub.start()
    made = Office(bench, [hub])
    await made.agent.start()
    bench.clock.run()
    yield made
    await made.agent.stop()
    await hub.stop()


@pytest.mark.parametrize("unseen", [True, False])
async def test_a_kept_connection_that_ended_is_no_failure_of_the_hub(office: Office, unseen: bool) -> None:
    """The hub cut it, or says 421 to the first command."""
    bench, [hub] = office.bench, office.hubs
    await bench.submit(key="key-1")
    await hub.message()
    await office.until("Outbox", 0)
    assert hub.connections_made == 1
    if unseen:
        hub.cut()
    else:
        hub.sender_reply = Reply.of(421, "4.3.2", "Closing")
    await bench.submit(key="key-2")
    await hub.message(2)
    assert hub.connections_made == 2
    assert await bench.events("DEFER") == []
