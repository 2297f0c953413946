"""What the store says that it really holds: every state of a delivered message, and miscounts."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, text

from foundation.database.spool import Spool
from foundation.interfaces.holdings import FiledCopy, Miscount
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.smtp.command import MailCommand
from mailboxstore.database import tables
from mailboxstore.database.holdings import MISCOUNTED
from mailboxstore.holdings import StoreHoldings
from tests.unit.mailboxstore.bench import ALICE, BOB, Bench, message


async def deliver(bench: Bench, name: str) -> None:
    """A message with this network message id, to Bob and Alice."""
    session = bench.delivery()
    transfer = Transfer(network_message_id=name, transfer_key=f"key-{name}")
    await session.mail(MailCommand(sender=Sender(address="a@example.org"), transfer=transfer))
    for user in (BOB, ALICE):
        await session.recipient(Recipient(address=user.address, recipient_id=user.recipient_id))
    with Spool.of(message(message_id=f"{name}@example.org")) as content:
        await session.message(content)


async def filed(bench: Bench, *names: str, since_ms: int = 0) -> dict[tuple[str, str], FiledCopy]:
    found = [copy async for page in StoreHoldings(bench.database).filed(since_ms, names) for copy in page]
    return {(copy.network_message_id, copy.mailbox_id): copy for copy in found}


async def miscounts(bench: Bench) -> list[Miscount]:
    return [each async for page in StoreHoldings(bench.database).miscounts() for each in page]


async def change(bench: Bench, *statements: str) -> None:
    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    await bench.database.writer.run(work)


async def test_every_state_of_a_delivered_message(bench: Bench) -> None:
    for name in ("n-present", "n-removed", "n-missing", "n-damaged"):
        await deliver(bench, name)
        bench.clock.advance(1)
    inbox = await bench.folder_id("INBOX", BOB.mailbox_id)
    await bench.store.move(BOB.mailbox_id, inbox, ((2, 2),), "Archive")
    content = "SELECT content FROM emails WHERE message_id = 'n-damaged@example.org'"
    of_bob = f"folder = (SELECT folder FROM folders WHERE folder_id = '{inbox}')"
    await change(bench, f"DELETE FROM messages WHERE uid = 3 AND {of_bob}")
    await change(
        bench,
        f"DELETE FROM contents WHERE id = ({content})",
    )
    found = await filed(bench)
    states = {name: copy.state for (name, mailbox), copy in found.items() if mailbox == BOB.mailbox_id}
    assert states == {
        "n-present": "present",
        "n-removed": "removed",
        "n-missing": "missing",
        "n-damaged": "damaged",
    }
    assert found["n-present", BOB.mailbox_id].recipient_id == BOB.recipient_id
    assert found["n-missing", ALICE.mailbox_id].state == "present"
    since = await filed(bench, since_ms=bench.clock.at_ms - 1000)
    assert {name for name, _ in since} == {"n-damaged"}
    one = await filed(bench, "n-removed", since_ms=bench.clock.at_ms + 1)
    assert {name for name, _ in one} == {"n-removed"}


async def test_what_went_with_its_folder_or_mailbox(bench: Bench) -> None:
    await deliver(bench, "n-1")
    inbox = await bench.folder_id("INBOX", BOB.mailbox_id)
    folder = f"(SELECT folder FROM folders WHERE folder_id = '{inbox}')"
    await change(
        bench, f"DELETE FROM messages WHERE folder = {folder}", f"DELETE FROM folders WHERE folder = {folder}"
    )
    assert (await filed(bench))["n-1", BOB.mailbox_id].state == "folder-gone"
    mailbox = f"(SELECT mailbox FROM mailboxes WHERE mailbox_id = '{BOB.mailbox_id}')"
    await change(
        bench,
        f"DELETE FROM folders WHERE mailbox = {mailbox}",
        f"DELETE FROM subscriptions WHERE mailbox = {mailbox}",
        f"DELETE FROM mailboxes WHERE mailbox_id = '{BOB.mailbox_id}'",
    )
    assert (await filed(bench))["n-1", BOB.mailbox_id].state == "mailbox-gone"


async def test_copies_of_a_user_are_counted_and_doubled_rows_are_not(bench: Bench) -> None:
    await deliver(bench, "n-1")
    inbox = await bench.folder_id("INBOX", BOB.mailbox_id)
    await bench.store.copy(BOB.mailbox_id, inbox, ((1, 1),), "Archive")
    await bench.append()
    assert await miscounts(bench) == []
    columns = [column for column in tables.messages.c if column.name != "uid"]
    doubled = select(text("99"), *columns).where(tables.messages.c.uid == 1).limit(1)
    await bench.database.writer.run(
        lambda c: c.execute(insert(tables.messages).from_select(["uid", *[x.name for x in columns]], doubled))
    )
    (found,) = await miscounts(bench)
    assert (found.network_message_id, found.message_id) == ("n-1", "n-1@example.org")
    assert (found.filed, found.shown) == (3, 4)
    await bench.database.writer.run(lambda c: c.execute(delete(tables.messages)))
    assert {(each.message_id, each.shown) for each in await miscounts(bench)} == {
        ("n-1@example.org", 0),
        ("one@example.org", 0),
    }


async def test_messages_are_counted_in_one_pass(bench: Bench) -> None:
    """They have no index by email: counting them for each would take hours in a large store."""

    def plan(connection: Connection) -> list[str]:
        compiled = str(MISCOUNTED.compile(bench.engine)).replace("?", "0")
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
        return [row[3] for row in rows]

    steps = await bench.database.readers.run(plan)
    assert any(step.startswith("MATERIALIZE") for step in steps), steps
