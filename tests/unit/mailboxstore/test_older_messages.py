"""What an earlier release did not compute of a message is computed by the store's upkeep."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from foundation.database.engine import prepare_schema
from foundation.interfaces.mailbox_store import HeaderContains
from mailboxstore.database import tables
from mailboxstore.maintenance import Maintenance
from tests.unit.mailboxstore.bench import ALICE, Bench, message
from waypost.migrations.upgrade import upgrade

ME = ALICE.mailbox_id


async def test_fields_of_messages_from_an_earlier_release(bench: Bench) -> None:
    await bench.append(message("Früher", "old@x", more="To: bob@example.org\r\n"))
    folder_id = await bench.folder_id()

    def as_before(connection: Connection) -> None:
        connection.execute(text("DROP INDEX emails_without_fields"))
        for column in ("header_fields", "searched_fields"):
            connection.execute(text(f"ALTER TABLE emails DROP COLUMN {column}"))
        connection.execute(text("DROP INDEX contents_file"))
        for column in ("file", "file_start"):
            connection.execute(text(f"ALTER TABLE contents DROP COLUMN {column}"))
        connection.execute(text("ALTER TABLE outbox_units DROP COLUMN prefix"))
        connection.execute(text("UPDATE mailboxstore_schema_version SET version_num = '0001'"))

    await bench.database.writer.run(as_before)
    prepare_schema(bench.engine, tables.metadata, tables.COMPONENT, tables.REVISION, upgrade)

    async def fields() -> tuple[bytes | int | None, ...]:
        wanted = bench.store.columns(ME, folder_id, ((1, 9),), ("header_fields",), (b"subject", b"to"))
        [page] = [page async for page in wanted]
        return page.values[0]

    subject = HeaderContains(name="Subject", text="früher")
    assert await fields() == (None,) and await bench.store.search(ME, folder_id, subject) == (1,)
    upkeep = Maintenance(
        bench.database, bench.directory, disconnected_keep_days=30, disconnected=bench.notifications.end
    )
    await upkeep.run_once()
    [listed] = await fields()
    assert isinstance(listed, bytes) and b"\r\nSubject: Fr\xc3\xbcher\r\n" in listed
    assert await bench.store.search(ME, folder_id, subject) == (1,)


async def test_a_message_that_can_t_be_read_does_not_hold_up_the_others(bench: Bench, tmp_path: Path) -> None:
    await bench.append(message("Lost", "lost@x", "x" * 100_000))
    await bench.append(message("Later", "later@x"))
    [file] = (tmp_path / "store.db-content").iterdir()
    file.unlink()
    forget = text("UPDATE emails SET header_fields = NULL, searched_fields = NULL")
    await bench.database.writer.run(lambda connection: connection.execute(forget).close())
    upkeep = Maintenance(
        bench.database, bench.directory, disconnected_keep_days=30, disconnected=bench.notifications.end
    )
    await upkeep.run_once()
    wanted = bench.store.columns(ME, await bench.folder_id(), ((1, 9),), ("header_fields",), (b"subject",))
    [page] = [page async for page in wanted]
    lost, later = page.values[0]
    assert lost is None and isinstance(later, bytes) and b"Subject: Later\r\n" in later
