"""What processes cost, as /proc says it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from benchmarks.processes import Usage, cpu_seconds, memory_bytes, tree

BUSY_SECONDS = 0.2
_BUSY = f"import time\nwhile time.process_time() < {BUSY_SECONDS}: pass"


@pytest.fixture
def child() -> Iterator[int]:
    """A process that waits."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


def test_a_tree_has_children(child: int) -> None:
    assert set(tree([os.getpid()])) >= {os.getpid(), child}
    assert memory_bytes([os.getpid()]) > memory_bytes([child]) > 0


def test_cpu_time_is_finer_than_a_tick() -> None:
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        ticks = cpu_seconds([child.pid]) * os.sysconf("SC_CLK_TCK")
        child.communicate(b"\n")
    assert ticks > 0
    assert abs(ticks - round(ticks)) > 1e-6


def test_children_that_ended_count() -> None:
    before = cpu_seconds([os.getpid()])
    subprocess.run([sys.executable, "-c", _BUSY], check=True)
    assert cpu_seconds([os.getpid()]) - before > BUSY_SECONDS * 0.8


async def test_the_generator_counts_apart(child: int) -> None:
    async with Usage([child]) as usage:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
    assert usage.generator_seconds >= 0.05
    assert usage.peak_bytes > 0
