"""Memory that a server has freed is used again without the system clearing it anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

_AGAIN = """
import resource
from waypost.service import keep_freed_memory

keep_freed_memory()


def use():
    for piece in [bytearray(1024 * 1024) for _ in range(8)]:
        piece[:] = piece


use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's threshold")
def test_large_pieces_are_taken_from_memory_that_was_used_before() -> None:
    done = subprocess.run([sys.executable, "-c", _AGAIN], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2 * 1024 * 1024  # of 8 MiB
