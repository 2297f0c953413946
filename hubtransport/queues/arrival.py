"""What a session received, as one commit: content, message, transfer key with the results, tracking events.

Where the categorizer has decided already, the message is stored as it waits in the delivery queues; else it
waits in the submission queue. Promise: a key that is known changes nothing.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from foundation.database.spool import Spool
from foundation.interfaces.tracking import TrackingEvent
from hubtransport.queues import statements
from hubtransport.queues.delivery import Enqueue, add_routed
from hubtransport.queues.records import QueuedMessage, Unit
from hubtransport.queues.submission import add_message

Results = dict[str, tuple[int, str, str]]
"""RCPT address as given -> code, status, text of the reply it got."""

_encode = msgspec.msgpack.Encoder().encode
_results = msgspec.msgpack.Decoder(Results).decode


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a session received it."""

    message: QueuedMessage
    key: str = ""
    """Transfer key; empty: none came with it."""
    results: Results = {}
    events: tuple[TrackingEvent, ...] = ()


class Accepted(msgspec.Struct, frozen=True):
    message: QueuedMessage
    """With its row."""
    units: tuple[Unit, ...] = ()
    """None: it waits in the submission queue."""


class KnownTransfer(msgspec.Struct, frozen=True):
    """The key was committed before: nothing was stored again."""

    network_message_id: str
    results: Results


def accept(
    connection: Connection, arrival: Arrival, work: Enqueue | None, content: Spool
) -> Accepted | KnownTransfer:
    """`work`: what the categorizer made of it; None: it could not say it at once."""
    if arrival.key:
        known = find_key(connection, arrival.key)
        if known is not None:
            return known
        values = {
            "key": arrival.key,
            "network_message_id": arrival.message.network_message_id,
            "received_at_ms": arrival.message.received_at_ms,
            "results": _encode(arrival.results),
        }
        statements.insert_key.run(connection, values)
    if work is None:
        accepted = Accepted(add_message(connection, arrival.message, content))
        statements.tracking.record(connection, arrival.events)
        return accepted
    units = add_routed(connection, work, content)
    statements.tracking.record(connection, (*arrival.events, *work.events))
    return Accepted(units[0].message, units)


def find_key(connection: Connection, key: str) -> KnownTransfer | None:
    row = statements.select_key.first(connection, {"of_key": key})
    return None if row is None else KnownTransfer(row[1], _results(row[0]))


def prune_keys(connection: Connection, before_ms: int, count: int) -> int:
    return connection.execute(statements.prune_keys, {"before_ms": before_ms, "count": count}).rowcount
