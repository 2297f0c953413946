"""The way of a message through real hubs: from a store or from outside, to stores, to another hub, to the Internet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.hubtransport.lab import CONTENT, Lab


@pytest.fixture
async def lab(tmp_path: Path):  # type: ignore[no-untyped-def]
    async with Lab(tmp_path) as lab:
        yield lab


async def test_own_site_by_lmtp_with_received_and_byte_for_byte(lab: Lab) -> None:
    await lab.start("hub-a")
    result = await lab.send("carol@example.test")
    assert result.final[0].code == 250
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.content.endswith(CONTENT)
    prefix = delivered.content[: -len(CONTENT)]
    assert prefix.startswith(b"Received: from store-a (store-a [127.0.0.1])\r\n\tby hub-a.example.test with ESMTPS id ")
    assert b"for <carol@example.test>" in prefix
    assert delivered.transfer is not None
    assert delivered.transfer.prefix_bytes == len(prefix)
    assert delivered.transfer.assessed == "hub-a/1"
    assert delivered.recipients[0].recipient_id
    await lab.until_idle()
    events = [event.event for event in await lab.events()]
    assert events == ["RECEIVE", "AGENTINFO", "TRANSFER", "SEND"]


async def test_two_sites_one_copy_to_each_and_no_second_assessment(lab: Lab) -> None:
    await lab.start("hub-a", "hub-b")
    await lab.send("bob@example.test", "carol@example.test")
    (at_a,) = await lab.stores["store-a"].wait()
    (at_b,) = await lab.stores["store-b"].wait()
    assert (at_a.addresses, at_b.addresses) == (("carol@example.test",), ("bob@example.test",))
    assert at_b.content.count(b"Received: ") == 2
    assert at_b.transfer is not None and at_a.transfer is not None
    assert at_b.transfer.network_message_id == at_a.transfer.network_message_id
    assert at_b.transfer.content_sha256 == at_a.transfer.content_sha256
    assert at_b.content[at_b.transfer.prefix_bytes :] == CONTENT
    await lab.until_idle()
    info = await lab.until_event("AGENTINFO", "hub-b")
    assert "assessed by hub-a version 1" in info.reason
    sent = await lab.until_event("SEND", "hub-a", lambda event: event.next_hop == "hub-b")
    received = await lab.until_event("RECEIVE", "hub-b")
    assert received.transfer_key == sent.transfer_key
