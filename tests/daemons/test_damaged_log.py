"""Damage within what a server had committed can't be healed, but `waypost audit` names each message that is
missing, and no other."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness.commands import waypost
from tests.harness.mail import Sent, User
from tests.harness.organisation import Organisation
from tests.harness.topologies import ready_topology
from tests.harness.wal import damage, ends_of_commits, log_of, put_after_last_commit

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

DATABASES = {"store-a": "default.db", "store-b": "default.db", "hub-a": "queue.db", "hub-b": "queue.db"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DATABASES)
async def victim(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Organisation, str]]:
    data = tmp_path_factory.mktemp("damaged") / "data"
    async with Organisation(ready_topology("two-sites", data)) as running:
        yield running, request.param


async def send_and_wait(organisation: Organisation, count: int) -> list[Sent]:
    alice, bob = organisation.users("alice@example.test", "bob@example.test")
    sent = [await alice.send(bob, subject=str(number)) for number in range(count)]
    for each in sent:
        await bob.wait_for(each)
    await organisation.wait_until_idle()
    return sent


def log_file(organisation: Organisation, server: str) -> Path:
    return log_of(organisation.topology.server_folder(server) / DATABASES[server])


async def test_garbage_costs_nothing_and_damage_is_named(victim: tuple[Organisation, str]) -> None:
    organisation, server = victim
    log = log_file(organisation, server)
    kept = await send_and_wait(organisation, 3)
    await organisation.kill(server)
    put_after_last_commit(log, os.urandom(20_000))
    commits = len(ends_of_commits(log))
    assert commits > 3
    await organisation.start(server)
    said = await waypost(organisation.config, "audit", "--json")
    assert (said.code, said.document["items"]) == (0, []), said.out

    kept += await send_and_wait(organisation, 2)
    before = ends_of_commits(log)
    hit = await send_and_wait(organisation, 3)
    await organisation.kill(server)
    assert ends_of_commits(log)[: len(before)] == before
    damage(log, before[-1] + 500)
    await organisation.start(server)

    said = await waypost(organisation.config, "audit", "--json")
    assert said.code == 1
    items = said.document["items"]
    assert said.document["unexplained"] == len(items)
    assert {item["message_id"] for item in items} == {each.message_id for each in hit}
    assert all(item["kind"] == "unexplained" and item["trace"] for item in items)
    assert {item["server"] for item in items} <= {server, *neighbours(server)}
    there = await present(organisation.user("bob@example.test"), kept + hit)
    assert there == [1] * len(kept) + [0 if server == "store-b" else 1] * len(hit)


def neighbours(server: str) -> tuple[str, ...]:
    way = ("store-a", "hub-a", "hub-b", "store-b")
    at = way.index(server)
    return way[max(at - 1, 0) : at + 2]


async def present(user: User, sent: list[Sent]) -> list[int]:
    return await user.look("INBOX", lambda box: [len(box.find(each.message_id)) for each in sent])
