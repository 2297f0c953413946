"""Clock, identifiers, disk and executor of the real world."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor


def test_clock_rises() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.now_ms() > 1_700_000_000_000


def test_identifiers_are_uuid7_and_rise() -> None:
    entropy = SystemEntropy()
    made = [entropy.identifier() for _ in range(20_000)]
    assert made == sorted(set(made))
    for identifier in made[:100]:
        parsed = uuid.UUID(identifier)
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122
        assert str(parsed) == identifier


def test_no_randomness_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of counted bytes: each identifier takes the next ones."""
    times = iter(range(10**15, 2 * 10**15, 10**6))
    monkeypatch.setattr("foundation.world.entropy.time.time_ns", lambda: next(times))
    monkeypatch.setattr("foundation.world.entropy._BLOCK_BYTES", 24)
    blocks = iter([bytes(range(24)), bytes(range(24, 48))])
    monkeypatch.setattr("foundation.world.entropy.secrets.token_bytes", lambda size: next(blocks))
    entropy = SystemEntropy()
    drawn = [uuid.UUID(entropy.identifier()).int for _ in range(4)]
    starts = [0, 10, 24, 34]  # 10 bytes each; what is left of a block is too short
    for value, start in zip(drawn, starts, strict=True):
        bits = int.from_bytes(bytes(range(start, start + 10)), "big") >> 7
        assert (value >> 64 & 0xFFF, value & (1 << 62) - 1) == (bits >> 62, bits & (1 << 62) - 1)


def test_identifier_carries_the_time() -> None:
    before = SystemClock().now_ms()
    identifier = SystemEntropy().identifier()
    assert before <= uuid.UUID(identifier).int >> 80 <= SystemClock().now_ms()


def test_identifiers_rise_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    entropy = SystemEntropy()
    times = iter([5_000_000_000_000_000, 4_000_000_000_000_000, 5_000_000_000_000_000])
    monkeypatch.setattr("foundation.world.entropy.time.time_ns", lambda: next(times))
    made = [entropy.identifier() for _ in range(3)]
    assert made == sorted(set(made))


def test_identifiers_rise_when_the_counter_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    entropy = SystemEntropy()
    monkeypatch.setattr("foundation.world.entropy.time.time_ns", lambda: 5_000_000_000_000_000)
    monkeypatch.setattr("foundation.world.entropy.secrets.token_bytes", lambda size: b"\xff" * size)
    monkeypatch.setattr("foundation.world.entropy._STEP_BITS", 72)
    made = [entropy.identifier() for _ in range(10)]
    assert made == sorted(set(made))
    assert len({identifier[:13] for identifier in made}) > 1


def test_identifiers_of_many_threads_differ() -> None:
    entropy = SystemEntropy()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: entropy.identifier(), range(4_000)))
    assert len(set(made)) == 4_000


def test_jitter_stays_in_bounds() -> None:
    entropy = SystemEntropy()
    assert all(2.0 <= entropy.uniform(2.0, 3.0) < 3.0 for _ in range(200))
    assert len(entropy.token(32)) == 32


def test_disk_replaces_a_file_whole(tmp_path: Path) -> None:
    disk = SystemDisk()
    file = tmp_path / "new" / "folder" / "settings"
    disk.write(file, b"first")
    disk.write(file, b"second", 0o644)
    assert disk.read(file) == b"second"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [entry.name for entry in file.parent.iterdir()] == ["settings"]


def test_disk_keeps_secrets_to_itself(tmp_path: Path) -> None:
    SystemDisk().write(tmp_path / "key", b"secret")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_disk_leaves_the_old_file_on_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SystemDisk()
    file = tmp_path / "settings"
    disk.write(file, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foundation.world.disk.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        disk.write(file, b"new")
    assert file.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings"]


def test_disk_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SystemDisk().read(tmp_path / "nothing")
    assert SystemDisk().free_bytes(tmp_path) > 0


def test_disk_makes_files_that_grow(tmp_path: Path) -> None:
    disk = SystemDisk()
    folder = tmp_path / "some" / "content"
    disk.make_folder(folder)
    disk.make_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    file = disk.create(folder / "one")
    assert stat.S_IMODE((folder / "one").stat().st_mode) == 0o600
    file.write(b"abc")
    file.write(memoryview(b"defg"))
    assert (file.read(2, 3), file.read(5, 100), file.read(9, 1)) == (b"cde", b"fg", b"")
    file.sync()
    with file.map(7) as mapped:
        assert mapped[:] == b"abcdefg"
    file.close()
    file.close()
    for use in (lambda: file.read(0, 1), lambda: file.map(1), lambda: file.write(b"x"), file.sync):
        with pytest.raises(OSError, match="Bad file descriptor"):
            use()
    assert (disk.read(folder / "one"), disk.read(folder / "one", 3, 2)) == (b"abcdefg", b"de")
    assert disk.size(folder / "one") == 7
    with pytest.raises(FileExistsError):
        disk.create(folder / "one")
    (folder / "folder").mkdir()
    assert list(disk.names(folder)) == ["one"]
    disk.remove(folder / "one")
    disk.remove(folder / "one")
    assert list(disk.names(folder)) == []
    with pytest.raises(FileNotFoundError):
        disk.size(folder / "one")


def test_a_sync_is_of_the_file_and_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr("foundation.world.disk.os.fsync", fsync)
    file = SystemDisk().create(tmp_path / "one")
    file.sync()
    file.close()
    assert synced == [str(tmp_path / "one"), str(tmp_path)]
    synced.clear()
    SystemDisk().make_folder(tmp_path / "a" / "b")
    assert synced == [str(tmp_path), str(tmp_path / "a")]


async def test_executor_runs_off_the_loop() -> None:
    executor = ThreadExecutor("test", 1)
    assert await executor.run(lambda a, b: (a + b, threading.current_thread().name), 1, 2) == (3, "test_0")

    def fail() -> None:
        raise ValueError("told to the caller")

    with pytest.raises(ValueError, match="told to the caller"):
        await executor.run(fail)
    executor.close()
    with pytest.raises(RuntimeError):
        await executor.run(fail)


async def test_executor_finishes_what_a_cancelled_caller_began() -> None:
    executor = ThreadExecutor("test", 1)
    began, go_on, done = threading.Event(), threading.Event(), []

    def work() -> None:
        began.set()
        go_on.wait(10)
        done.append(True)

    task = asyncio.create_task(executor.run(work))
    assert await asyncio.get_running_loop().run_in_executor(None, began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    executor.close()
    assert done == [True]
