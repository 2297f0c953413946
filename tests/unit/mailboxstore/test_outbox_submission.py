"""Submission: Outbox, Sent and the transfer unit in one commit, once for each key, without Bcc in what
leaves.
"""

from __future__ import annotations

from hashlib import sha256

import pytest

from foundation.interfaces.mailbox_store import SEEN, Refusal
from mailboxstore.database.units import units_page
from mailboxstore.outbox.kept import KEPT_BYTES_MAX, KeptEmail
from tests.unit.mailboxstore.bench import ALICE, BOB, PLAIN, Bench, message, open_bench
from tests.unit.mailboxstore.test_store_folders import refused

ME = ALICE.mailbox_id
ALL = ((1, 2**40),)


async def set_state(bench: Bench, state: str) -> None:
    from mailboxstore.database import units

    key = bench.turns.units[-1].transfer_key
    await bench.database.writer.run(lambda c: units.set_state(c, key, state, "", 0))  # type: ignore[arg-type]


async def test_outbox_and_sent_in_one_commit(bench: Bench) -> None:
    await bench.submit(received_at_ms=123)
    [outbox], [sent] = await bench.records("Outbox"), await bench.records("Sent")
    assert outbox.flags == sent.flags == SEEN
    assert sent.content == outbox.content == PLAIN
    assert outbox.thread_id == sent.thread_id and outbox.email_id == sent.email_id
    assert await bench.count("contents") == await bench.count("emails") == 1
    [unit] = bench.turns.units
    assert unit.prefix.startswith(b"Received: from laptop")
    assert unit.size_bytes == len(unit.prefix) + len(PLAIN)
    assert (unit.target, unit.state, unit.uid, unit.received_at_ms) == ("hub-a", "ready", 1, 123)
    assert unit.addresses == (BOB.address,) and unit.message_id == "one@example.org"
    assert unit.expires_at_ms == bench.clock.now_ms() + 48 * 3600 * 1000
    [event] = await bench.events()
    assert (event.event, event.source, event.transfer_key) == ("RECEIVE", "STOREDRIVER", "key-1")
    assert (event.network_message_id, event.mailbox_id) == ("network-key-1", ME)


async def test_what_is_small_stays_in_memory_until_it_leaves(bench: Bench) -> None:
    await bench.submit(key="waits")
    bench.turns.state = "active"
    await bench.submit(key="leaves")
    await bench.submit(PLAIN + b"x" * KEPT_BYTES_MAX, key="large")
    waits, leaves, large = bench.turns.kept
    assert waits == leaves == KeptEmail(PLAIN, sha256(PLAIN).hexdigest())
    assert large is None


async def test_repeat_of_a_key_changes_nothing(bench: Bench) -> None:
    await bench.submit()
    await bench.submit()
    assert len(await bench.records("Outbox")) == len(await bench.records("Sent")) == 1
    assert len(bench.turns.units) == 1 and bench.turns.abandoned_units == 1
    await bench.submit(key="key-2")
    assert len(await bench.records("Outbox")) == 2


@pytest.mark.parametrize(
    "header",
    [
        b"From: a@example.org\r\nBcc: secret@example.org,\r\n\tother@example.org\r\nSubject: x\r\n\r\n",
        b"bcc:secret@example.org\r\nFrom: a@example.org\r\n\r\n",
        b"From: a@example.org\r\nBCC: secret@example.org\r\nBcc: other@example.org\r\n\r\n",
    ],
)
async def test_bcc_stays_in_sent_only(bench: Bench, header: bytes) -> None:
    await bench.submit(header + b"Bcc: is a word of the body\r\n")
    [outbox], [sent] = await bench.records("Outbox"), await bench.records("Sent")
    assert sent.content == header + b"Bcc: is a word of the body\r\n"
    assert outbox.content is not None
    assert b"secret" not in outbox.content and b"other" not in outbox.content
    assert outbox.content.endswith(b"\r\n\r\nBcc: is a word of the body\r\n")
    assert b"secret" in sent.envelope and b"secret" not in outbox.envelope
    assert await bench.count("contents") == 2


async def test_blind_recipients_of_a_resent_message_stay_in_sent_only(bench: Bench) -> None:
    header = b"From: a@example.org\r\nResent-From: b@example.org\r\nResent-Bcc: secret@example.org\r\n\r\n"
    await bench.submit(header)
    [outbox], [sent] = await bench.records("Outbox"), await bench.records("Sent")
    assert sent.content == header
    assert outbox.content is not None and outbox.content.endswith(b"Resent-From: b@example.org\r\n\r\n")


async def test_quota(tmp_path) -> None:
    bench = open_bench(tmp_path, quota_bytes=100)
    with pytest.raises(Refusal) as caught:
        await bench.submit()
    assert (caught.value.reason, caught.value.code, caught.value.status) == ("OVERQUOTA", 552, "5.2.2")
    assert bench.turns.abandoned_units == 1 and not bench.turns.units
    assert await bench.count("contents") == 0
    await bench.close()


async def test_large_message(bench: Bench) -> None:
    content = message(body="x" * 900_000, more="Bcc: secret@example.org\r\n")
    await bench.submit(content)
    [record] = await bench.records("Outbox")
    assert record.content is not None and b"secret" not in record.content
    assert record.size_bytes == len(record.content)
    await refused(bench.submit(b"x" * (1024 * 1024 + 1), key="key-2"), "TOOBIG")


async def test_withdraw(bench: Bench) -> None:
    await bench.submit()
    assert await bench.store.expunge(ME, await bench.folder_id("Outbox"), ALL, deleted_only=False) == (1,)
    assert await bench.database.readers.run(lambda c: units_page(c, "", 10)) == ()
    [event] = await bench.events("WITHDRAW")
    assert event.network_message_id == "network-key-1"
    assert len(await bench.records("Sent")) == 1


@pytest.mark.parametrize("state", ["active", "unknown"])
async def test_in_transfer_is_in_use(bench: Bench, state: str) -> None:
    await bench.submit(key="key-0")
    await bench.submit()
    await set_state(bench, state)
    folder_id = await bench.folder_id("Outbox")
    await refused(bench.store.expunge(ME, folder_id, ALL, deleted_only=False), "INUSE")
    await refused(bench.store.move(ME, folder_id, ((2, 2),), "Drafts"), "INUSE")
    assert await bench.uids("Outbox") == [1, 2]
    await bench.store.copy(ME, folder_id, ALL, "Drafts")
    assert await bench.uids("Drafts") == [1, 2]
    await bench.store.move(ME, folder_id, ((1, 1),), "Drafts")
    assert await bench.uids("Outbox") == [2]


async def test_clients_own_sent_copy_replaces_the_stores(bench: Bench) -> None:
    await bench.submit()
    own = PLAIN.replace(b"At noon?", b"At noon? (my copy)")
    uid = await bench.append(own, "Sent", flags=SEEN)
    assert await bench.uids("Sent") == [uid]
    changes = await bench.store.changes(ME, await bench.folder_id("Sent"), 0)
    assert changes.expunged == (1,) and [entry.uid for entry in changes.updated] == [2]
    assert await bench.append(own, "Sent") == 3
    assert await bench.uids("Sent") == [2, 3]


async def test_sent_copies_of_one_identifier_go_one_by_one(bench: Bench) -> None:
    await bench.submit(key="key-1")
    await bench.submit(key="key-2")
    await bench.append(PLAIN, "Sent")
    assert await bench.uids("Sent") == [2, 3]


async def test_sent_copy_stays_after_an_hour_or_elsewhere(bench: Bench) -> None:
    await bench.submit()
    await bench.append(PLAIN, "Archive")
    assert await bench.uids("Sent") == [1]
    bench.clock.advance(3601)
    await bench.append(PLAIN, "Sent")
    assert await bench.uids("Sent") == [1, 2]


async def test_sent_folder_is_made_again(bench: Bench) -> None:
    await bench.store.delete_folder(ME, "Sent")
    await bench.submit()
    assert (await bench.store.folder(ME, "Sent")).role == "sent"
    await bench.store.rename_folder(ME, "Sent", "Gesendet")
    await bench.submit(key="key-2")
    assert len(await bench.records("Gesendet")) == 2
