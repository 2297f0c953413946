"""`waypost queue`: what waits over the whole topology, why, and what `retry` does about it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.commands import waypost
from tests.harness.mail import User
from tests.harness.organisation import Organisation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def everything_runs(organisation: Organisation) -> AsyncIterator[None]:
    """Each test leaves all servers running."""
    yield
    for name in organisation.names:
        await organisation.start(name)


@pytest.fixture
def alice(organisation: Organisation) -> User:
    return organisation.user("alice@example.test")


@pytest.fixture
def bob(organisation: Organisation) -> User:
    return organisation.user("bob@example.test")


async def test_what_waits_for_a_hub_is_listed_with_its_reason(
    organisation: Organisation, alice: User, bob: User
) -> None:
    await organisation.kill("hub-b")
    sent = await alice.send(bob, "dave@example.test")
    await organisation.wait_for_event(sent.message_id, "hub-a", "DEFER")
    listed = await waypost(organisation.config, "queue", "list", "--json")
    (item,) = [each for each in listed.document["items"] if each["message_id"] == sent.message_id]
    assert listed.code == 4
    assert [gap["server"] for gap in listed.document["gaps"]] == ["hub-b"]
    assert "hub-b can't be reached" in listed.errors
    assert (item["server"], item["queue"], item["next_hop"], item["state"]) == (
        "hub-a",
        "delivery",
        "hub-b",
        "retry",
    )
    assert item["recipients"] == ["bob@example.test", "dave@example.test"]
    assert item["last_reply"]
    assert item["received_at"] < item["next_attempt_at"] < item["expires_at"]
    assert item["waits_seconds"] >= 0
    text = await waypost(organisation.config, "queue", "list", "--next-hop", "hub-b")
    headings, line = [row.split("\t") for row in text.out.splitlines()]
    shown = dict(zip(headings, line, strict=True))
    assert shown["entry"] == item["entry_id"]
    assert shown["to"] == "bob@example.test +1"
    assert shown["given up"].startswith("in 47 h 59 min")
    assert shown["next try"] == "now" or shown["next try"].startswith("in ")
    assert shown["last reply"] == item["last_reply"]
    nothing = await waypost(organisation.config, "queue", "list", "--next-hop", "store-b")
    assert nothing.out.splitlines() == ["\t".join(headings)]
    await organisation.start("hub-b")
    await bob.wait_for(sent, seconds=45)


async def test_an_entry_is_shown_by_any_of_its_names(
    organisation: Organisation, alice: User, bob: User
) -> None:
    await organisation.kill("hub-b")
    sent = await alice.send(bob)
    await organisation.wait_for_event(sent.message_id, "hub-a", "DEFER")
    (entry,) = await organisation.wait_until_queued("hub-a", [sent.message_id])
    for name in (entry.entry_id, entry.entry_id[-12:], entry.network_message_id, f"<{sent.message_id}>"):
        shown = await waypost(organisation.config, "queue", "show", name)
        assert f"entry: {entry.entry_id}" in shown.out.splitlines()
        assert "to: bob@example.test" in shown.out.splitlines()
    await organisation.start("hub-b")
    await bob.wait_for(sent, seconds=45)
    await organisation.wait_until_idle()
    missing = await waypost(organisation.config, "queue", "show", entry.entry_id)
    assert (missing.code, missing.out) == (3, "")
    assert "nothing that waits is called" in missing.errors


async def test_an_outbox_waits_for_its_hub_and_is_tried_when_told(
    organisation: Organisation, alice: User
) -> None:
    await organisation.stop("hub-a")
    sent = await alice.send("carol@example.test")
    (entry,) = await organisation.wait_until_queued("store-a", [sent.message_id])
    listed = await waypost(organisation.config, "queue", "list", "--server", "store-a", "--json")
    assert [(each["queue"], each["next_hop"]) for each in listed.document["items"]] == [("outbox", "hub-a")]
    await organisation.start("hub-a")
    retried = await waypost(organisation.config, "queue", "retry", entry.entry_id[-12:], "--json")
    assert retried.code in (0, 3)  # 3: it went by itself meanwhile
    await organisation.user("carol@example.test").wait_for(sent)


async def test_what_a_server_will_never_answer_is_released_by_the_operator(
    organisation: Organisation, alice: User, bob: User
) -> None:
    await organisation.kill("hub-b")
    sent = await alice.send(bob)
    await organisation.wait_for_event(sent.message_id, "hub-a", "DEFER")
    await organisation.kill("hub-a")  # what it had in hand may have been sent, for all it knows then
    await organisation.start("hub-a")
    later = await alice.send(bob)
    await organisation.wait_for_event(later.message_id, "hub-a", "TRANSFER")
    waiting = await organisation.wait_until_queued("hub-a", [sent.message_id, later.message_id])
    entry, known = sorted(waiting, key=lambda each: each.received_at_ms)
    assert (entry.next_hop, entry.outcome_unknown, known.outcome_unknown) == ("hub-b", True, False)
    listed = await waypost(organisation.config, "queue", "list")
    assert "outcome unknown" in listed.out
    release = ("queue", "release", "--reason", "its disk is gone")
    asked = await waypost(organisation.config, *release, entry.entry_id)
    assert asked.code == 2
    assert "may be delivered twice" in asked.errors and "--yes" in asked.errors
    shown = await waypost(organisation.config, *release, "--next-hop", "hub-b", "--dry-run", "--json")
    assert (shown.code, shown.document["released"], shown.document["dry_run"]) == (4, 0, True)
    assert [item["entry_id"] for item in shown.document["items"]] == [entry.entry_id]
    refused = await waypost(organisation.config, *release, known.entry_id, "--yes")
    assert (refused.code, "is known" in refused.errors) == (1, True)
    nowhere = await waypost(organisation.config, *release, "--next-hop", "store-b", "--yes", "--json")
    assert (nowhere.code, "nothing waits for store-b" in nowhere.errors) == (4, True)
    done = await waypost(organisation.config, *release, entry.entry_id[-12:], "--yes", "--json")
    assert (done.code, done.document["released"]) == (4, 1)
    again = await organisation.wait_for_event(sent.message_id, "hub-a", "RESUBMIT")
    assert (again.source, again.transfer_key) == ("ADMIN", entry.entry_id)
    assert again.reason.endswith("a double is possible: its disk is gone")
    await organisation.start("hub-b")
    for each in (sent, later):
        await bob.wait_for(each, seconds=45)
    await organisation.wait_until_idle()
    assert await bob.count(sent) == 1


async def test_a_release_names_something_and_says_why(organisation: Organisation) -> None:
    for arguments in (("--reason", "none"), ("--reason", " ", "--next-hop", "hub-b")):
        printed = await waypost(organisation.config, "queue", "release", *arguments)
        assert (printed.code, printed.out) == (2, "")
    printed = await waypost(organisation.config, "queue", "release", "--next-hop", "hub-b")
    assert (printed.code, "--reason" in printed.errors) == (2, True)
    printed = await waypost(organisation.config, "queue", "release", "no-such-entry", "--reason", "none")
    assert (printed.code, printed.out) == (3, "")


async def test_nothing_of_that_name_is_exit_3(organisation: Organisation) -> None:
    for arguments in (("show", "no-such-entry"), ("retry", "no-such-entry"), ("list", "--server", "hub-x")):
        printed = await waypost(organisation.config, "queue", *arguments)
        assert (printed.code, printed.out) == (3, "")
        assert printed.errors.startswith("waypost: ")


async def test_what_has_no_way_is_routed_anew_when_told(organisation: Organisation, alice: User) -> None:
    """The last one here: what it sends stays."""
    sent = await alice.send("eve@example.net")
    await organisation.wait_for_event(sent.message_id, "hub-a", "TRANSFER")
    (entry,) = await organisation.wait_until_queued("hub-a", [sent.message_id])
    assert (entry.queue, entry.state) == ("unreachable", "suspended")
    text = await waypost(organisation.config, "queue", "list")
    assert "on queue retry" in text.out
    retried = await waypost(organisation.config, "queue", "retry", entry.entry_id)
    assert (retried.code, retried.out) == (0, "1 entry is tried now.\n")
    await organisation.wait_for_event(sent.message_id, "hub-a", "RESUBMIT")
    (again,) = await organisation.wait_until_queued("hub-a", [sent.message_id])
    assert again.queue in ("unreachable", "submission")
