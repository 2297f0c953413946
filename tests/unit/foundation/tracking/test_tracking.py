from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, MetaData

from foundation.database.engine import open_engine, prepare_schema, sqlite_url, writing
from foundation.interfaces.tracking import TrackingEvent
from foundation.tracking.export import write_lines
from foundation.tracking.statements import Tracking
from foundation.tracking.tables import tracking_table

METADATA = MetaData()
TABLE = tracking_table(METADATA)
TRACKING = Tracking(TABLE)

FULL = TrackingEvent(
    event="SEND",
    source="SMTP",
    at_ms=1_700_000_000_123,
    server="hub-a",
    network_message_id="n-1",
    message_id="m-1@a.test",
    sender="alice@a.test",
    recipients=("bob@b.test", 'jürgen "x"@b.test'),
    transfer_key="k-1",
    next_hop="hub-b",
    reply="250 2.6.0 Queued",
    reason="least cost",
    related="group@a.test",
    mailbox_id="box",
    folder_id="folder",
    uid=7,
    size_bytes=1234,
    probe=True,
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(sqlite_url(tmp_path / "a.sqlite"))
    prepare_schema(engine, METADATA, "tracking", 1)
    with writing(engine).connect() as made, made.begin():
        yield made
    engine.dispose()


def event(at_ms: int = 0, **fields: object) -> TrackingEvent:
    return TrackingEvent(event="RECEIVE", source="SMTP", at_ms=at_ms, server="hub-a", **fields)  # type: ignore[arg-type]


def count(connection: Connection) -> int:
    return connection.exec_driver_sql("SELECT count(*) FROM tracking_events").scalar_one()


def test_every_field_has_a_column_and_comes_back(connection: Connection) -> None:
    assert {column.name for column in TABLE.columns} == set(TrackingEvent.__struct_fields__)
    TRACKING.record(connection, [FULL])
    (found,) = TRACKING.find(connection, FULL.message_id, ())
    assert found.sequence == 1
    assert found == replace(FULL, sequence=1)


def test_nothing_to_record(connection: Connection) -> None:
    TRACKING.record(connection, [])
    assert count(connection) == 0


def test_finds_the_events_of_a_message_that_carry_no_message_id(connection: Connection) -> None:
    TRACKING.record(
        connection,
        [
            event(1, message_id="m", network_message_id="n1"),
            event(2, network_message_id="n1"),
            event(3, network_message_id="n2"),
            event(4, message_id="m", network_message_id="n3"),
            event(5, message_id="other", network_message_id="n4"),
            event(6, message_id="m"),
            event(7),
        ],
    )
    assert [found.at_ms for found in TRACKING.find(connection, "m", ())] == [1, 2, 4, 6]
    assert [found.at_ms for found in TRACKING.find(connection, "", ("n2", "n4"))] == [3, 5]
    assert [found.at_ms for found in TRACKING.find(connection, "m", ("n2", ""))] == [1, 2, 3, 4, 6]
    assert TRACKING.find(connection, "", ()) == ()
    assert TRACKING.find(connection, "", ("",)) == ()


def test_pages_by_sequence(connection: Connection) -> None:
    TRACKING.record(connection, [event(n, message_id="m") for n in range(7)])
    pages = []
    after = 0
    while page := TRACKING.find(connection, "m", (), after_sequence=after, limit=3):
        pages.append([found.at_ms for found in page])
        after = page[-1].sequence
    assert pages == [[0, 1, 2], [3, 4, 5], [6]]


def test_prunes_what_is_too_old_in_batches(connection: Connection) -> None:
    TRACKING.record(connection, [event(n, message_id="m") for n in range(10)])
    removed = []
    while number := TRACKING.prune(connection, older_than_ms=7, max_bytes=1 << 30, limit=3):
        removed.append(number)
    assert removed == [3, 3, 1]
    assert [found.at_ms for found in TRACKING.find(connection, "m", ())] == [7, 8, 9]


def test_prunes_the_oldest_over_the_size(connection: Connection) -> None:
    TRACKING.record(connection, [event(n, message_id="m", reason="x" * 1000) for n in range(100)])
    while TRACKING.prune(connection, older_than_ms=0, max_bytes=50_000, limit=10):
        pass
    left = [found.at_ms for found in TRACKING.find(connection, "m", ())]
    assert left == list(range(70, 100)), left


def test_an_empty_table_is_pruned(connection: Connection) -> None:
    assert TRACKING.prune(connection, older_than_ms=1, max_bytes=0) == 0


def test_json_lines() -> None:
    output = io.BytesIO()
    assert write_lines(output, [FULL, event(0, network_message_id="n")]) == 2
    first, second = (json.loads(line) for line in output.getvalue().splitlines())
    assert first["at"] == "2023-11-14T22:13:20.123Z"
    assert first["recipients"] == ["bob@b.test", 'jürgen "x"@b.test']
    assert first["probe"] is True
    assert second == {
        "at": "1970-01-01T00:00:00.000Z",
        "event": "RECEIVE",
        "source": "SMTP",
        "server": "hub-a",
        "network_message_id": "n",
    }
