from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, MetaData

from foundation.database.content import (
    CHUNK_BYTES,
    INLINE_BYTES,
    ContentMissing,
    Contents,
    content_tables,
)
from foundation.database.engine import open_engine, prepare_schema, sqlite_url, writing
from foundation.database.spool import Spool

METADATA = MetaData()
CONTENTS = Contents(content_tables(METADATA))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(sqlite_url(tmp_path / "a.sqlite"))
    prepare_schema(engine, METADATA, "contents", 1)
    with writing(engine).connect() as made, made.begin():
        yield made
    engine.dispose()


def rows(connection: Connection) -> tuple[int, int]:
    return tuple(
        connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
        for table in ("contents", "content_chunks")
    )  # type: ignore[return-value]


@pytest.mark.parametrize(
    "size", [0, 1, INLINE_BYTES, INLINE_BYTES + 1, CHUNK_BYTES, CHUNK_BYTES * 2, CHUNK_BYTES * 2 + 11]
)
def test_gives_back_any_part(connection: Connection, size: int) -> None:
    content = bytes(range(251)) * (size // 251) + bytes(size % 251)
    other = CONTENTS.write(connection, Spool.of(b"other"))
    with Spool.of(content) as spool:
        content_id = CONTENTS.write(connection, spool)
    assert CONTENTS.size(connection, content_id) == size
    assert CONTENTS.read(connection, content_id, 0, size) == content
    for offset, length in (
        (0, 0),
        (0, 10),
        (size // 2, 10),
        (size // 2, CHUNK_BYTES),
        (max(size - 5, 0), 10),
        (CHUNK_BYTES - 3, 6),
        (CHUNK_BYTES, 6),
        (size, 5),
        (size + 5, 5),
    ):
        part = CONTENTS.read(connection, content_id, offset, length)
        assert part == content[offset : offset + length], (offset, length)
    assert CONTENTS.read(connection, other, 0, 10) == b"other"


def test_goes_with_its_last_reference(connection: Connection) -> None:
    large = CONTENTS.write(connection, Spool.of(b"x" * (CHUNK_BYTES + 1)), references=2)
    small = CONTENTS.write(connection, Spool.of(b"y"))
    assert rows(connection) == (2, 2)
    CONTENTS.retain(connection, large, 3)
    CONTENTS.release(connection, large, 4)
    assert CONTENTS.size(connection, large) == CHUNK_BYTES + 1
    CONTENTS.release(connection, large)
    assert rows(connection) == (1, 0)
    CONTENTS.release(connection, small)
    assert rows(connection) == (0, 0)


def test_an_id_is_never_given_twice(connection: Connection) -> None:
    first = CONTENTS.write(connection, Spool.of(b"a"))
    CONTENTS.release(connection, first)
    assert CONTENTS.write(connection, Spool.of(b"b")) > first


def test_what_is_not_there(connection: Connection) -> None:
    for attempt in (
        lambda: CONTENTS.size(connection, 9),
        lambda: CONTENTS.read(connection, 9, 0, 1),
        lambda: CONTENTS.retain(connection, 9),
        lambda: CONTENTS.release(connection, 9),
    ):
        with pytest.raises(ContentMissing):
            attempt()
