"""What a simulated power cut leaves of files: what was synced, and of the rest anything."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest

from waypost.simulator.disk import SimulatedDisk, leave_files
from waypost.simulator.journal import Journal
from waypost.simulator.machine import Machine, Process, start_process


class Room:
    def disk(self, folder: Path) -> tuple[int, int]:
        return 1000, 400


@pytest.fixture
def process() -> Process:
    return start_process(Machine("hub-a", "10.0.0.1"))


def journal() -> Journal:
    return Journal(lambda: 0.0)


def write(disk: SimulatedDisk, file: Path, *, sync: bool) -> None:
    made = disk.create(file)
    made.write(b"x" * 1000)
    if sync:
        made.sync()


def test_a_kill_leaves_everything(process: Process, tmp_path: Path) -> None:
    write(SimulatedDisk(process, Room()), tmp_path / "a", sync=False)
    leave_files(process, None, journal())
    assert (tmp_path / "a").stat().st_size == 1000
    assert not process.open_files


def test_a_power_cut_takes_what_was_not_synced(process: Process, tmp_path: Path) -> None:
    disk = SimulatedDisk(process, Room())
    names = [f"u{number}" for number in range(60)]
    for name in names:
        write(disk, tmp_path / name, sync=False)
    write(disk, tmp_path / "synced", sync=True)
    write(disk, tmp_path / "removed", sync=False)
    disk.remove(tmp_path / "removed")
    leave_files(process, Random(1), journal())
    left = {name: disk.size(tmp_path / name) for name in disk.names(tmp_path)}
    assert left.pop("synced") == 1000
    assert set(left) <= set(names) and all(size <= 1000 for size in left.values())
    assert any(size < 1000 for size in left.values())
    write(disk, tmp_path / "later", sync=True)
    leave_files(process, Random(1), journal())
    assert {name: disk.size(tmp_path / name) for name in left} == left


@pytest.mark.parametrize(("fault", "number"), [("full", errno.ENOSPC), ("io", errno.EIO)])
def test_a_disk_that_fails_under_commits_fails_under_syncs(
    process: Process, tmp_path: Path, fault: str, number: int
) -> None:
    process.machine.commit_fault = fault
    with pytest.raises(OSError) as caught:
        write(SimulatedDisk(process, Room()), tmp_path / "a", sync=True)
    assert caught.value.errno == number


def test_small_files_and_space(process: Process, tmp_path: Path) -> None:
    disk = SimulatedDisk(process, Room())
    assert disk.free_bytes(tmp_path) == 400
    disk.make_folder(tmp_path / "a" / "b")
    disk.write(tmp_path / "a" / "b" / "settings", b"one")
    assert disk.read(tmp_path / "a" / "b" / "settings") == b"one"
