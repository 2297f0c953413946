"""The submission queue: what was received, or made here, and waits for the categorizer.

Units of work for the writer. Promise: a message leaves with its content and its last recipient.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from foundation.database.spool import Spool
from foundation.interfaces.tracking import TrackingEvent
from hubtransport.queues import statements
from hubtransport.queues.records import MessageState, QueuedMessage, QueuedRecipient
from hubtransport.queues.rows import message_values, messages_of, recipient_values


def add_message(connection: Connection, message: QueuedMessage, content: Spool) -> QueuedMessage:
    """The message with its row."""
    waiting = [(queued, "") for queued in message.recipients]
    return insert_message(connection, message, content, "submitted", waiting)


def insert_message(
    connection: Connection,
    message: QueuedMessage,
    content: Spool,
    state: MessageState,
    recipients: Sequence[tuple[QueuedRecipient, str]],
) -> QueuedMessage:
    """`recipients`: each with the key of its transfer unit; empty: it waits for the categorizer."""
    content_id = statements.contents.write(connection, content)
    row = statements.insert_message.add(connection, message_values(message, content_id, state))
    values = [recipient_values(row, queued, key) for queued, key in recipients]
    statements.insert_recipients.run_each(connection, values)
    return msgspec.structs.replace(message, id=row, content_id=content_id)


def add_reports(
    connection: Connection, reports: Sequence[tuple[QueuedMessage, bytes]]
) -> tuple[QueuedMessage, ...]:
    """Reports made here, in the commit of what they tell of."""
    added = []
    for report, content in reports:
        with Spool.of(content) as spool:
            complete = msgspec.structs.replace(report, content_sha256=spool.sha256)
            added.append(add_message(connection, complete, spool))
    return tuple(added)


def load(connection: Connection, after: int, count: int) -> list[QueuedMessage]:
    """The next messages whose recipients wait, by row."""
    return load_state(connection, "submitted", after, count)


def count_submitted(connection: Connection) -> int:
    """Messages whose recipients wait for the categorizer."""
    return int(connection.execute(statements.count_messages_in_state, {"of_state": "submitted"}).scalar_one())


def load_state(connection: Connection, state: str, after: int, count: int) -> list[QueuedMessage]:
    values = {"of_state": state, "after": after, "count": count}
    rows = connection.execute(statements.select_messages_in_state, values).mappings().all()
    return messages_of(connection, rows)


def crashed(
    connection: Connection, message: int, crashes: int, poison: bool, events: Sequence[TrackingEvent]
) -> None:
    """The categorizer failed unexpectedly; from the threshold on the message is set aside."""
    state = "poison" if poison else "submitted"
    connection.execute(
        statements.set_crashes, {"of_message": message, "to_crashes": crashes, "to_state": state}
    )
    statements.tracking.record(connection, events)


def release_poison(
    connection: Connection, messages: Sequence[QueuedMessage], events: Sequence[TrackingEvent]
) -> None:
    """An operator lets messages out of the poison queue."""
    for message in messages:
        values = {"of_message": message.id, "to_crashes": 0, "to_state": "submitted"}
        connection.execute(statements.set_crashes, values)
    statements.tracking.record(connection, events)


def end_recipients(connection: Connection, message: int, content_id: int, positions: Sequence[int]) -> None:
    """Takes recipients away that ended; the message and its content go with the last one."""
    ended = [{"of_message": message, "of_position": position} for position in positions]
    statements.delete_recipient.run_each(connection, ended)
    if statements.select_any_recipient.first(connection, {"of_message": message}) is None:
        statements.delete_message.run(connection, {"of_message": message})
        statements.contents.release(connection, content_id)
