"""A kept connection that ended meanwhile says nothing of its next hop."""

from __future__ import annotations

import pytest

from foundation.smtp.reply import Reply
from tests.unit.hubtransport.lab import Lab


@pytest.mark.parametrize("closed", [True, False])
async def test_a_kept_connection_that_ended_is_no_failure_of_the_next_hop(lab: Lab, closed: bool) -> None:
    """The server cut it unseen, or says 421 to the first command."""
    store = lab.stores["store-a"]
    await lab.start("hub-a")
    connection = await lab.connect_inside()
    await lab.send("carol@example.test", connection=connection)
    await store.wait()
    await lab.until_idle()
    if closed:
        store.cut()
    else:
        store.mail_replies = [Reply.of(421, "4.3.2", "Closing")]
    await lab.send("carol@example.test", connection=connection)
    await store.wait(2)
    await lab.until_idle()
    events = await lab.events()
    assert [event for event in events if event.event == "DEFER"] == []
    assert len([event for event in events if event.event == "SEND"]) == 2
    assert len(store.sessions) == 2
