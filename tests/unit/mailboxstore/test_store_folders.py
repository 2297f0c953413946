"""Folders of a mailbox: made at first use, created, deleted, renamed, subscribed."""

from __future__ import annotations

import pytest

from foundation.interfaces.mailbox_store import Refusal
from foundation.mail.errors import MailError, Unavailable
from tests.unit.mailboxstore.bench import ALICE, BOB, CAROL, Bench

ME = ALICE.mailbox_id


async def refused(awaitable, reason: str) -> None:
    with pytest.raises(MailError) as caught:
        await awaitable
    assert caught.value.reason == reason


async def test_mailbox_appears_at_first_use_with_its_folders(bench: Bench) -> None:
    folders = await bench.store.folders(ME)
    assert {folder.name: folder.role for folder in folders} == {
        "Archive": "archive",
        "Drafts": "drafts",
        "INBOX": "inbox",
        "Junk": "junk",
        "Outbox": "outbox",
        "Sent": "sent",
        "Trash": "trash",
    }
    assert await bench.store.subscriptions(ME) == tuple(folder.name for folder in folders)
    assert len({folder.uid_validity for folder in folders}) == 7


async def test_mailbox_of_another_store_or_of_nobody(bench: Bench) -> None:
    with pytest.raises(Unavailable):
        await bench.store.folders(CAROL.mailbox_id)
    with pytest.raises(Refusal) as caught:
        await bench.store.folders("mailbox-nobody")
    assert (caught.value.code, caught.value.status) == (550, "5.1.1")


async def test_removed_user_is_refused_at_once(bench: Bench) -> None:
    await bench.store.folders(ME)
    del bench.directory.users[ALICE.recipient_id]
    bench.directory.changed()
    await refused(bench.store.folders(ME), "NONEXISTENT")
    assert await bench.store.folders(BOB.mailbox_id)


async def test_create_makes_parents_and_normalises(bench: Bench) -> None:
    made = await bench.store.create_folder(ME, "Work/2026/Cafe\u0301")
    assert made.name == "Work/2026/Caf\u00e9"
    names = [folder.name for folder in await bench.store.folders(ME)]
    assert "Work" in names and "Work/2026" in names
    await refused(bench.store.create_folder(ME, "Work/2026/Caf\u00e9"), "ALREADYEXISTS")
    await refused(bench.store.create_folder(ME, "inbox"), "ALREADYEXISTS")
    assert (await bench.store.create_folder(ME, "inbox/Sub/")).name == "INBOX/Sub"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "CANNOT"),
        ("a//b", "CANNOT"),
        ("/a", "CANNOT"),
        ("a\x00b", "CANNOT"),
        ("a*", "CANNOT"),
        ("Outbox/x", "CANNOT"),
        ("x" * 300, "LIMIT"),
        ("a/" * 60 + "a", "LIMIT"),
    ],
)
async def test_names_that_cannot_be(bench: Bench, name: str, reason: str) -> None:
    await refused(bench.store.create_folder(ME, name), reason)


async def test_second_folder_of_a_role(bench: Bench) -> None:
    await refused(bench.store.create_folder(ME, "Gesendet", "sent"), "ALREADYEXISTS")
    await refused(bench.store.create_folder(ME, "Out", "outbox"), "CANNOT")
    await bench.store.delete_folder(ME, "Sent")
    assert (await bench.store.create_folder(ME, "Gesendet", "sent")).role == "sent"


async def test_uid_validity_never_goes_back(bench: Bench) -> None:
    seen = [folder.uid_validity for folder in await bench.store.folders(ME)]
    for _ in range(3):
        folder = await bench.store.create_folder(ME, "Again")
        assert folder.uid_validity > max(seen)
        seen.append(folder.uid_validity)
        await bench.store.delete_folder(ME, "Again")


async def test_delete_with_children_leaves_the_name(bench: Bench) -> None:
    await bench.store.create_folder(ME, "Work/Old")
    await bench.append(name="Work")
    work = await bench.store.folder(ME, "Work")
    await bench.store.delete_folder(ME, "Work")
    left = await bench.store.folder(ME, "Work")
    assert not left.selectable and left.messages == 0 and left.folder_id != work.folder_id
    assert (await bench.store.changes(ME, work.folder_id, 0)).gone
    await refused(bench.store.delete_folder(ME, "Work"), "CANNOT")
    await refused(bench.append(name="Work"), "TRYCREATE")
    again = await bench.store.create_folder(ME, "Work")
    assert again.selectable and again.uid_validity > work.uid_validity
    assert await bench.append(name="Work") == again.uid_next


async def test_inbox_and_outbox_stay(bench: Bench) -> None:
    for name in ("INBOX", "Outbox"):
        await refused(bench.store.delete_folder(ME, name), "CANNOT")
    await refused(bench.store.rename_folder(ME, "Outbox", "Elsewhere"), "CANNOT")
    await refused(bench.store.delete_folder(ME, "Nowhere"), "NONEXISTENT")


async def test_rename_takes_the_tree_along(bench: Bench) -> None:
    await bench.store.create_folder(ME, "A/B/C")
    uid = await bench.append(name="A/B")
    before = await bench.store.folder(ME, "A/B")
    await bench.store.create_folder(ME, "AB")
    await bench.store.rename_folder(ME, "A", "New/Place")
    names = [folder.name for folder in await bench.store.folders(ME)]
    assert {"New", "New/Place", "New/Place/B", "New/Place/B/C", "AB"} <= set(names)
    assert not any(name.startswith("A/") for name in names)
    after = await bench.store.folder(ME, "New/Place/B")
    assert (after.folder_id, after.uid_validity) == (before.folder_id, before.uid_validity)
    assert await bench.uids("New/Place/B") == [uid]


async def test_rename_refusals(bench: Bench) -> None:
    await bench.store.create_folder(ME, "A/B")
    await refused(bench.store.rename_folder(ME, "A", "A/B/D"), "CANNOT")
    await refused(bench.store.rename_folder(ME, "A", "Sent"), "ALREADYEXISTS")
    await refused(bench.store.rename_folder(ME, "Nowhere", "X"), "NONEXISTENT")
    await refused(bench.store.rename_folder(ME, "A", "Outbox/A"), "CANNOT")


async def test_renaming_inbox_moves_its_messages(bench: Bench) -> None:
    await bench.append()
    await bench.append()
    await bench.store.create_folder(ME, "INBOX/Sub")
    await bench.store.rename_folder(ME, "inbox", "Old")
    assert await bench.uids("Old") == [1, 2]
    inbox = await bench.store.folder(ME, "INBOX")
    assert (inbox.messages, inbox.uid_next, inbox.role) == (0, 3, "inbox")
    assert (await bench.store.folder(ME, "INBOX/Sub")).selectable


async def test_subscriptions_of_names_that_are_not_there(bench: Bench) -> None:
    await bench.store.set_subscribed(ME, "Later", True)
    await bench.store.set_subscribed(ME, "Later", True)
    await bench.store.set_subscribed(ME, "Junk", False)
    names = await bench.store.subscriptions(ME)
    assert "Later" in names and "Junk" not in names


async def test_select_claims_recent_once(bench: Bench) -> None:
    await bench.append()
    await bench.append()
    assert (await bench.store.select(ME, "INBOX", True)).first_recent_uid == 1
    assert (await bench.store.select(ME, "INBOX", False)).first_recent_uid == 1
    assert (await bench.store.select(ME, "INBOX", False)).first_recent_uid == 0
    await bench.append()
    assert (await bench.store.select(ME, "INBOX", False)).first_recent_uid == 3
