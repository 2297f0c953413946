"""A user gets another mailbox on another store while everything runs: mail under way follows, mail programs
are told, and what was left is there again after the way back."""

from __future__ import annotations

import asyncio
import imaplib

import pytest

from tests.harness.commands import waypost
from tests.harness.mail import User
from tests.harness.organisation import Organisation
from tests.harness.patience import patient, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


async def rehome(organisation: Organisation, user: User, store: str) -> None:
    moved = await waypost(
        organisation.config, "user", "rehome", user.address, "--store", store, "--yes", "--json"
    )
    assert (moved.code, moved.document["store"]) == (0, store)


def until_bye(connection: imaplib.IMAP4) -> bytes:
    """Waits in IDLE until the server ends it."""
    connection.sock.settimeout(patient(30))
    connection.send(b"i IDLE\r\n")
    while line := connection.readline():
        if line.startswith(b"* BYE"):
            break
    return line


async def until_left(organisation: Organisation, store: str) -> None:
    """Until then the store takes mail for the mailbox that is left."""

    async def look() -> bool:
        told = [entry["message"] for entry in organisation.log if entry["server"] == store]
        return "mailbox disconnected" in told

    await until(look, f"{store} knows that its mailbox is left")


async def test_a_user_gets_another_mailbox_and_the_old_one_again(organisation: Organisation) -> None:
    alice, bob = organisation.user("alice@example.test"), organisation.user("bob@example.test")
    first = await alice.send(bob)
    await bob.wait_for(first)
    with bob.imap() as connection:
        connection.select("INBOX")
        told = asyncio.create_task(asyncio.to_thread(until_bye, connection))
        await organisation.kill("store-b")
        under_way = await alice.send(bob)
        await organisation.wait_for_event(under_way.message_id, "hub-b", "DEFER")
        await rehome(organisation, bob, "store-a")
        await organisation.start("store-b")
        assert (await told).startswith(b"* BYE The mailbox is not here any more")
    await bob.wait_for(under_way, seconds=45)
    assert await bob.count(first) == 0
    event = await organisation.wait_for_event(under_way.message_id, "hub-b", "RESUBMIT")
    assert event.reply.startswith("451 4.1.6")
    later = await bob.send(alice)
    await alice.wait_for(later)
    await rehome(organisation, bob, "store-b")
    await bob.wait_for(first)
    await until_left(organisation, "store-a")
    last = await alice.send(bob)
    await bob.wait_for(last, seconds=45)
    assert await bob.count(under_way) == 0
    await organisation.wait_until_idle()
    audited = await waypost(organisation.config, "audit", "--json")
    assert (audited.code, audited.document["unexplained"], audited.document["doubled"]) == (0, 0, 0)
