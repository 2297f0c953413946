"""Taking an entry out of the Outbox takes the message back, as long as no hub can have it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from foundation.interfaces.tracking import TrackingEvent
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import FolderRow
from mailboxstore.database.messages import MessageRow
from mailboxstore.database.units import Unit, withdraw_units


def withdraw(
    connection: Connection,
    database: MailboxDatabase,
    folder: FolderRow,
    rows: Sequence[MessageRow],
    now_ms: int,
) -> None:
    """Called before messages leave a folder; does nothing where it is not the Outbox.

    Refusal INUSE, for all of them, when one is on its way or a hub may have it.
    """
    if folder.role != "outbox" or not rows:
        return
    units = withdraw_units(connection, folder.folder, [row.uid for row in rows])
    events = [_withdrawn(database.server, unit, folder, now_ms) for unit in units]
    database.tracking.record(connection, events)


def _withdrawn(server: str, unit: Unit, folder: FolderRow, now_ms: int) -> TrackingEvent:
    return TrackingEvent(
        event="WITHDRAW",
        source="STOREDRIVER",
        at_ms=now_ms,
        server=server,
        network_message_id=unit.network_message_id,
        message_id=unit.message_id,
        sender=unit.sender.address,
        recipients=unit.addresses,
        transfer_key=unit.transfer_key,
        reason="The user took it out of the Outbox before a hub had it",
        mailbox_id=unit.mailbox_id,
        folder_id=folder.folder_id,
        uid=unit.uid,
        size_bytes=unit.size_bytes,
        probe=unit.probe,
    )
