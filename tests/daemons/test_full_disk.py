"""Servers whose disk or database is full: 452 4.3.1 is answered, nothing accepted is lost, and when there is
room again it goes on."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.harness.faulty import FaultyOrganisation
from tests.harness.full_disk import can_mount
from tests.harness.mail import Sent, User, compose
from tests.harness.patience import until
from tests.harness.topologies import ready_topology
from waypost.cli.audit import examine
from waypost.cli.control import Servers as Controls
from waypost.servers import servers_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

SMALL = ("hub-a", "store-a", "store-b")
FULL = 452, "4.3.1"
BODY = "x" * 70 + "\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["bounded databases", "file systems"])
async def organisation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FaultyOrganisation]:
    mount = request.param == "file systems"
    if mount and not can_mount():
        pytest.skip("no file system can be mounted here: that takes root")
    topology = ready_topology("two-sites", tmp_path_factory.mktemp("full") / "data")
    async with FaultyOrganisation(topology, SMALL, mount=mount) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def there_is_room(organisation: FaultyOrganisation) -> AsyncIterator[None]:
    yield
    for name in SMALL:
        await organisation.empty_disk(name)
        await organisation.start(name)
    await organisation.wait_until_idle(60)


async def until_refused(send: Callable[[], Awaitable[Sent]]) -> tuple[list[Sent], tuple[int, str]]:
    """What was accepted before, and the refusal."""
    accepted: list[Sent] = []
    while len(accepted) < 200:
        try:
            accepted.append(await send())
        except smtplib.SMTPResponseException as refused:
            return accepted, (refused.smtp_code, _status(refused))
    raise AssertionError("never refused")


async def when_there_is_room(send: Callable[[], Awaitable[Sent]]) -> Sent:
    """Sends as clients do: what is refused for now is sent again."""

    async def attempt() -> Sent | None:
        try:
            return await send()
        except smtplib.SMTPResponseException as refused:
            assert (refused.smtp_code, _status(refused)) == FULL
            return None

    sent = await until(attempt, "there is room again", 30)
    assert sent is not None
    return sent


def _status(refused: smtplib.SMTPResponseException) -> str:
    text = refused.smtp_error
    return (text.decode() if isinstance(text, bytes) else text).split(" ")[0]


async def arrived_once(organisation: FaultyOrganisation, user: User, sent: list[Sent]) -> None:
    await organisation.wait_until_idle(60)
    counts = await user.look("INBOX", lambda box: [len(box.find(each.message_id)) for each in sent])
    assert counts == [1] * len(sent)
    topology = organisation.topology
    found, away = await examine(Controls(topology), servers_of(topology), 0)
    assert not away
    assert found.findings == ()


async def test_a_full_store_refuses_submissions_for_now(organisation: FaultyOrganisation) -> None:
    alice, bob = organisation.users("alice@example.test", "bob@example.test")

    async def send() -> Sent:
        return await alice.send(bob, message=compose(alice.address, bob.address, body=BODY * 500))

    before = await send()
    await organisation.fill_disk("store-a")
    accepted, refusal = await until_refused(send)
    assert refusal == FULL
    await organisation.empty_disk("store-a")
    await organisation.start("store-a")
    after = await when_there_is_room(lambda: alice.send(bob))
    await arrived_once(organisation, bob, [before, *accepted, after])
    assert len(await alice.messages("Sent")) == len(accepted) + 2


async def test_mail_for_a_full_store_waits_on_its_hub(organisation: FaultyOrganisation) -> None:
    alice, bob = organisation.users("alice@example.test", "bob@example.test")
    await organisation.fill_disk("store-b")
    sent: list[Sent] = []
    replies: list[str] = []
    while not replies and len(sent) < 200:
        sent.append(await alice.send(bob, message=compose(alice.address, bob.address, body=BODY * 500)))
        event = await organisation.wait_for_event(sent[-1].message_id, "hub-b", "DEFER", "SEND")
        replies = [event.reply] if event.event == "DEFER" else []
    assert replies and "452 4.3.1" in replies[0], replies
    await organisation.empty_disk("store-b")
    await organisation.start("store-b")
    for each in sent:
        await bob.wait_for(each, seconds=60)
    await arrived_once(organisation, bob, sent)


async def test_a_full_hub_refuses_strangers_for_now_and_keeps_what_it_took(
    organisation: FaultyOrganisation,
) -> None:
    alice, carol = organisation.users("alice@example.test", "carol@example.test")
    await organisation.stop("store-a")
    stranger = "stranger@elsewhere.example"

    async def send() -> Sent:
        message = compose(stranger, carol.address, body=BODY * 500)
        await asyncio.to_thread(organisation.send_from_outside, "hub-a", stranger, [carol.address], message)
        return Sent(str(message["Message-ID"]).strip("<>"), {})

    before = await send()
    await organisation.fill_disk("hub-a")
    accepted, refusal = await until_refused(send)
    assert refusal == FULL
    await organisation.start("store-a")
    waiting = await alice.send(carol)  # in the Outbox, or through the hub when space became free inside
    await organisation.empty_disk("hub-a")
    await organisation.start("hub-a")
    last = await when_there_is_room(send)
    await arrived_once(organisation, carol, [before, *accepted, waiting, last])
