from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from waypost.lock import FolderHeld, FolderLock


def test_a_second_holder_is_told_who_holds_it(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "data", "waypost up")
    with pytest.raises(FolderHeld, match=rf"process {os.getpid()} \(waypost up\)"):
        FolderLock(tmp_path / "data", "another")
    lock.release()
    FolderLock(tmp_path / "data", "another").release()


def test_the_lock_ends_with_its_process_and_is_not_inherited(tmp_path: Path) -> None:
    holder = (
        "import pathlib, subprocess, sys; from waypost.lock import FolderLock;"
        "lock = FolderLock(pathlib.Path(sys.argv[1]), 'first');"
        "child = subprocess.Popen(['cat'], stdin=sys.stdin, close_fds=False); print(child.pid, flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.wait()
    FolderLock(tmp_path, "second").release()
    assert process.stdin is not None
    process.stdin.close()
    process.stdout.close()
