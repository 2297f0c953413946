"""What keeps a message from being filed twice: keys of submissions and transfers, and who got which message.

These rows outlive the messages; they are kept 14 days.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from mailboxstore.database import transfer_statements

KEPT_MS = 14 * 24 * 3600 * 1000
SENT_COPY_KEPT_MS = 3600 * 1000
PRUNED_AT_ONCE = 500


class RecipientResult(msgspec.Struct, frozen=True, array_like=True):
    """What a recipient of a transfer was answered in the end."""

    recipient: str
    """recipient id, or the address where the sender gave none."""
    code: int
    status: str
    text: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[RecipientResult, ...]).decode


def transfer_results(connection: Connection, transfer_key: str) -> tuple[RecipientResult, ...] | None:
    """The results of a transfer that came before; None for a new key."""
    found = transfer_statements.FIND_TRANSFER.scalar(connection, {"transfer_key": transfer_key})
    return None if found is None else _decode(found)


def remember_transfer(
    connection: Connection,
    transfer_key: str,
    network_message_id: str,
    results: tuple[RecipientResult, ...],
    now_ms: int,
) -> None:
    transfer_statements.ADD_TRANSFER.run(
        connection,
        {
            "transfer_key": transfer_key,
            "network_message_id": network_message_id,
            "results": _encode(results),
            "at_ms": now_ms,
        },
    )


def mark_delivered(
    connection: Connection, network_message_id: str, recipient_id: str, mailbox_id: str, now_ms: int
) -> bool:
    """False when this recipient got this message in this mailbox before."""
    added = transfer_statements.ADD_DELIVERED.run(
        connection,
        {
            "network_message_id": network_message_id,
            "recipient_id": recipient_id,
            "mailbox_id": mailbox_id,
            "at_ms": now_ms,
        },
    )
    return added == 1


def was_submitted(connection: Connection, submission_key: str) -> bool:
    values = {"submission_key": submission_key}
    return transfer_statements.FIND_SUBMISSION.first(connection, values) is not None


def mark_submitted(
    connection: Connection, submission_key: str, network_message_id: str, mailbox_id: str, now_ms: int
) -> bool:
    """False when this submission came before."""
    added = transfer_statements.ADD_SUBMISSION.run(
        connection,
        {
            "submission_key": submission_key,
            "network_message_id": network_message_id,
            "mailbox_id": mailbox_id,
            "at_ms": now_ms,
        },
    )
    return added == 1


def remember_sent_copy(
    connection: Connection, mailbox: int, message_id: str, folder: int, uid: int, now_ms: int
) -> None:
    transfer_statements.ADD_SENT_COPY.run(
        connection,
        {"mailbox": mailbox, "message_id": message_id, "folder": folder, "uid": uid, "at_ms": now_ms},
    )


def sent_copies(connection: Connection, mailbox: int, message_id: str, folder: int, now_ms: int) -> list[int]:
    """UIDs in this folder of copies that the store made of this message in the last hour, the oldest
    first.
    """
    values = {"mailbox": mailbox, "message_id": message_id, "since_ms": now_ms - SENT_COPY_KEPT_MS}
    rows = connection.execute(transfer_statements.FIND_SENT_COPIES, values)
    return [row.uid for row in rows if row.folder == folder]


def forget_sent_copy(connection: Connection, mailbox: int, message_id: str, folder: int, uid: int) -> None:
    values = {"mailbox": mailbox, "message_id": message_id, "folder": folder, "uid": uid}
    transfer_statements.DELETE_SENT_COPY.run(connection, values)


def prune(connection: Connection, now_ms: int) -> int:
    """Removes a few rows that are too old; returns how many."""
    old = {"before_ms": now_ms - KEPT_MS, "limit": PRUNED_AT_ONCE}
    rows = connection.execute(transfer_statements.OLD_DELIVERED, old).all()
    if rows:
        connection.execute(transfer_statements.DELETE_DELIVERED, [dict(row._mapping) for row in rows])
    removed = len(rows)
    removed += connection.execute(transfer_statements.DELETE_OLD_TRANSFERS, old).rowcount
    removed += connection.execute(transfer_statements.DELETE_OLD_SUBMISSIONS, old).rowcount
    copies = {"before_ms": now_ms - SENT_COPY_KEPT_MS}
    removed += connection.execute(transfer_statements.DELETE_OLD_SENT_COPIES, copies).rowcount
    return removed
