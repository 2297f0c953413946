"""The same organisation in one event loop: what the harness offers for quick tests and for a debugger."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.harness.organisation import Organisation
from tests.harness.patience import patient
from tests.harness.topologies import ready_topology
from waypost.trace import every_visit


async def test_five_servers_in_one_loop_start_at_once_and_carry_mail(tmp_path: Path) -> None:
    topology = ready_topology("two-sites", tmp_path / "data")
    began = time.process_time()
    async with Organisation(topology, "inline") as organisation:
        # Of the processor: what else the machine does meanwhile does not count.
        assert time.process_time() - began < patient(1)
        alice, bob = organisation.users("alice@example.test", "bob@example.test")
        sent = await alice.send(bob)
        await bob.wait_for(sent)
        await organisation.wait_until_idle()
        (message,) = (await organisation.trace(sent.message_id)).messages
        way = [visit.server for visit in every_visit(message)]
        assert way == ["store-a", "hub-a", "hub-b", "store-b"]
        await organisation.stop("store-b")
        later = await alice.send(bob)
        await organisation.start("store-b")
        await bob.wait_for(later, seconds=30)


async def test_servers_in_the_tests_own_process_are_not_killed(tmp_path: Path) -> None:
    organisation = Organisation(ready_topology("single", tmp_path / "data"), "inline")
    with pytest.raises(AssertionError, match="run them as processes"):
        await organisation.kill("hub")
