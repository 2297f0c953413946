"""Large content in files beside the database: durable before its row, and never without one for long."""

from __future__ import annotations

import errno
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, MetaData, text
from sqlalchemy.engine import make_url

from foundation.database.content import (
    INLINE_BYTES,
    Contents,
    content_spool,
    content_tables,
    files_beside,
    files_of,
    secure,
    with_files,
)
from foundation.database.engine import open_engine, prepare_schema, sqlite_url
from foundation.database.files import ContentFiles, ContentUnreadable
from foundation.database.keeping import ContentKeeper
from foundation.database.readers import Readers
from foundation.database.spool import Spool, Tail
from foundation.database.writer import Writer
from foundation.mail.errors import MailError, Unavailable
from foundation.world.disk import SystemDisk, SystemFile
from foundation.world.executor import ThreadExecutor

METADATA = MetaData()
CONTENTS = Contents(content_tables(METADATA))
LARGE = bytes(range(251)) * (1 + INLINE_BYTES // 251)


class RecordingFile(SystemFile):
    def __init__(self, file: Path, disk: RecordingDisk) -> None:
        super().__init__(file)
        self._disk = disk

    def sync(self) -> None:
        self._disk.events.append("sync")
        if self._disk.failure:
            raise OSError(self._disk.failure, "the disk says no")
        super().sync()


class RecordingDisk(SystemDisk):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.failure = 0

    def create(self, file: Path) -> RecordingFile:
        return RecordingFile(file, self)


@dataclass
class Base:
    engine: Engine
    folder: Path
    disk: RecordingDisk
    files: ContentFiles
    writer: Writer
    readers: Readers

    @property
    def names(self) -> list[str]:
        return sorted(each.name for each in self.folder.iterdir())

    async def store(self, content: bytes = LARGE, start: int = 0) -> int:
        with self.spool(content) as spool:
            await secure(self.files, spool)
            return await self.writer.run(lambda connection: CONTENTS.write(connection, Tail(spool, start)))

    def spool(self, content: bytes = LARGE) -> Spool:
        spool = content_spool(self.files)
        spool.write(content)
        return spool

    async def read(self, content_id: int, offset: int = 0, length: int = 1 << 30) -> bytes:
        return await self.readers.run(lambda c: CONTENTS.read(c, content_id, offset, length))

    async def release(self, content_id: int) -> None:
        await self.writer.run(lambda connection: CONTENTS.release(connection, content_id))

    async def rows(self) -> tuple[int, int]:
        def count(connection: Connection) -> tuple[int, int]:
            contents, chunks = (
                connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                for table in ("contents", "content_chunks")
            )
            return contents, chunks

        return await self.readers.run(count)

    def keeper(self) -> ContentKeeper:
        return ContentKeeper(self.files, CONTENTS, self.writer)


@pytest.fixture
async def base(tmp_path: Path) -> AsyncIterator[Base]:
    executors = [ThreadExecutor(name, 1) for name in ("writer", "readers", "content")]
    engine = open_engine(sqlite_url(tmp_path / "a.db"))
    prepare_schema(engine, METADATA, "contents", 1)
    disk = RecordingDisk()
    numbers = iter(range(1_000_000))
    files = files_beside(engine, disk, lambda: f"n{next(numbers)}", executors[2], takes_new=True)
    assert files is not None
    files.open()
    engine = with_files(engine, files)
    writer = Writer(engine, executors[0])
    yield Base(engine, tmp_path / "a.db-content", disk, files, writer, Readers(engine, executors[1]))
    await writer.close()
    for executor in executors:
        executor.close()
    engine.dispose()


async def test_large_content_is_a_file_that_is_its_owners_alone(base: Base) -> None:
    content_id = await base.store()
    assert base.names == ["n0"] and await base.rows() == (1, 0)
    assert stat.S_IMODE((base.folder / "n0").stat().st_mode) == 0o600
    assert stat.S_IMODE(base.folder.stat().st_mode) == 0o700
    assert await base.read(content_id) == LARGE
    for offset, length in ((0, 10), (5, 7), (len(LARGE) - 3, 10), (len(LARGE), 1), (len(LARGE) + 9, 1)):
        assert await base.read(content_id, offset, length) == LARGE[offset : offset + length]


async def test_small_content_is_in_its_row(base: Base) -> None:
    content_id = await base.store(LARGE[:INLINE_BYTES])
    assert base.names == [] and base.disk.events == []
    assert await base.read(content_id) == LARGE[:INLINE_BYTES]


async def test_what_follows_a_prefix_is_stored_where_it_is(base: Base) -> None:
    content_id = await base.store(b"prefix" + LARGE, start=6)
    assert (base.folder / "n0").read_bytes() == b"prefix" + LARGE
    assert await base.read(content_id) == LARGE
    assert await base.read(content_id, 3, 4) == LARGE[3:7]
    small = await base.store(b"p" * 100 + LARGE[: INLINE_BYTES - 10], start=100)
    assert base.names == ["n0"], "little is left behind the prefix, and the file is gone with its spool"
    assert await base.read(small) == LARGE[: INLINE_BYTES - 10]


async def test_a_file_is_synced_once_before_its_row_is_committed(base: Base) -> None:
    def unit(connection: Connection, spool: Spool) -> None:
        CONTENTS.write(connection, spool)
        base.disk.events.append("row")

    with base.spool() as spool:
        await secure(base.files, spool)
        await secure(base.files, spool)
        await base.writer.run(lambda connection: unit(connection, spool))
    with base.spool() as unsecured:
        await base.writer.run(lambda connection: unit(connection, unsecured))
    assert base.disk.events == ["sync", "row", "sync", "row"]


async def test_what_is_written_after_a_sync_is_synced_again(base: Base) -> None:
    with base.spool() as spool:
        await secure(base.files, spool)
        spool.write(b"more")
        await base.writer.run(lambda connection: CONTENTS.write(connection, spool))
    assert base.disk.events == ["sync", "sync"]


@pytest.mark.parametrize(
    ("failure", "code", "status"),
    [(errno.ENOSPC, 452, "4.3.1"), (errno.EDQUOT, 452, "4.3.1"), (errno.EIO, 451, "4.3.0")],
)
@pytest.mark.parametrize("before", [True, False])
async def test_a_disk_that_fails(base: Base, failure: int, code: int, status: str, before: bool) -> None:
    base.disk.failure = failure
    with base.spool() as spool:
        with pytest.raises(MailError) as caught:
            if before:
                await secure(base.files, spool)
            await base.writer.run(lambda connection: CONTENTS.write(connection, spool))
        assert (caught.value.code, caught.value.status) == (code, status)
        base.disk.failure = 0
        with pytest.raises(MailError):  # the system may have forgotten what it could not write
            await base.writer.run(lambda connection: CONTENTS.write(connection, spool))
    assert base.names == [] and await base.rows() == (0, 0)
    assert await base.read(await base.store()) == LARGE


async def test_what_was_never_stored_is_gone_with_its_spool(base: Base) -> None:
    with base.spool():
        assert base.names == ["n0"]
    assert base.names == []


def _break() -> None:
    raise MailError(550, "5.7.1", "No")


async def test_a_unit_that_was_rolled_back_leaves_no_file(base: Base) -> None:
    def unit(connection: Connection) -> None:
        CONTENTS.write(connection, spool)
        _break()

    with base.spool() as spool, pytest.raises(MailError):
        await base.writer.run(unit)
    kept = await base.store(b"kept" + LARGE)
    assert len(base.names) == 2
    await base.keeper().reclaim()
    assert base.names == ["n1"]
    assert await base.read(kept, 0, 4) == b"kept"


async def test_a_file_goes_after_the_commit_of_its_last_release(base: Base) -> None:
    def taken_back(connection: Connection) -> None:
        CONTENTS.release(connection, content_id)
        _break()

    content_id = await base.store()
    await base.writer.run(lambda connection: CONTENTS.retain(connection, content_id))
    await base.release(content_id)
    with pytest.raises(MailError):
        await base.writer.run(taken_back)
    await base.keeper().reclaim()
    assert await base.read(content_id) == LARGE
    await base.release(content_id)
    assert base.names == ["n0"]
    await base.keeper().reclaim()
    assert base.names == [] and await base.rows() == (0, 0)


async def test_files_of_removed_content_go_by_themselves(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foundation.database.keeping.PAUSE_SECONDS", 0)
    gone = base.files.executor
    removed: list[tuple[str, ...]] = []
    remove = base.files.remove
    monkeypatch.setattr(base.files, "remove", lambda names: (removed.append(tuple(names)), remove(names)))
    keeper = base.keeper()
    await keeper.start()
    await base.release(await base.store())
    while not removed:
        await gone.run(int)
    await gone.run(int)
    await keeper.stop()
    assert set(removed) == {("n0",)} and base.names == []


async def test_what_could_not_be_asked_is_asked_again(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    await base.release(await base.store())
    with monkeypatch.context() as patch:
        patch.setattr(CONTENTS, "unnamed", lambda connection, names: _break())
        with pytest.raises(MailError):
            await base.keeper().reclaim()
    assert base.names == ["n0"]
    await base.keeper().reclaim()
    assert base.names == []


async def test_what_a_crash_left_is_removed_at_the_start(base: Base) -> None:
    content_id = await base.store()
    for number in range(1200):
        (base.folder / f"left{number}").write_bytes(b"half of a mess")
    keeper = base.keeper()
    await keeper.start()
    await keeper.stop()
    assert base.names == ["n0"]
    assert await base.read(content_id) == LARGE


@pytest.mark.parametrize("length", [None, 0, len(LARGE) - 1])
async def test_a_missing_or_short_file_is_451_and_no_surprise(base: Base, length: int | None) -> None:
    content_id = await base.store()
    file = base.folder / "n0"
    file.unlink()
    if length is not None:
        file.write_bytes(LARGE[:length])
    with base.spool() as again:
        same = await base.readers.run(lambda c: CONTENTS.is_whole(c, content_id, again))
    assert not same
    with pytest.raises(ContentUnreadable) as caught:
        await base.read(content_id)
    assert (caught.value.code, caught.value.status) == (451, "4.3.0")
    assert str(file) not in caught.value.sentence
    await base.release(content_id)
    await base.keeper().reclaim()
    assert base.names == []


async def test_what_is_whole_can_be_referred_to(base: Base) -> None:
    content_id, small = await base.store(), await base.store(b"small")
    for found, content in ((content_id, LARGE), (small, b"small")):
        with base.spool(content) as again:
            assert await base.readers.run(lambda c: CONTENTS.is_whole(c, found, again))  # noqa: B023


@pytest.mark.parametrize("close_when", ["before", "within"])
async def test_a_spool_closed_meanwhile_is_not_stored(base: Base, close_when: str) -> None:
    def unit(connection: Connection) -> int:
        return CONTENTS.write(connection, spool)

    spool = base.spool()
    file = spool.file
    assert file is not None
    if close_when == "before":
        spool.close()
    else:
        sync: Callable[[], None] = file.sync
        file.sync = lambda: (sync(), spool.close())[0]  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await base.writer.run(unit)
    await base.keeper().reclaim()
    assert base.names == [] and await base.rows() == (0, 0)


async def test_where_all_content_is_to_be_in_the_database(base: Base, tmp_path: Path) -> None:
    content_id = await base.store()
    base.files.takes_new = False
    other = await base.store(LARGE * 6)
    assert base.names == ["n0"] and await base.rows() == (2, 2)
    assert (await base.read(content_id), await base.read(other)) == (LARGE, LARGE * 6)


async def test_a_database_without_its_folder(base: Base, tmp_path: Path) -> None:
    content_id = await base.store()
    plain = open_engine(sqlite_url(tmp_path / "a.db"))
    with plain.connect() as connection, pytest.raises(ContentUnreadable):
        CONTENTS.read(connection, content_id, 0, 1)
    with plain.connect() as connection:
        assert files_of(connection) is None
    plain.dispose()


def test_only_files_of_one_machine_have_a_folder() -> None:
    url = make_url("postgresql://waypost@db/waypost")
    engine: Any = SimpleNamespace(dialect=SimpleNamespace(name="postgresql"), url=url)
    assert files_beside(engine, SystemDisk(), str, ThreadExecutor("x", 1), takes_new=True) is None
    assert with_files(engine, None) is engine
    with content_spool(None) as spool:
        spool.write(b"x" * 1_000_000)
        assert spool.file is None
