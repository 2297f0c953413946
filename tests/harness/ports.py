"""Ports for servers under test that nobody else takes meanwhile.

They lie below the range from which the kernel gives ports to clients, in blocks that a test process holds
by a lock for as long as it runs: tests run side by side, and servers are stopped and started again on the
port they had.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

FIRST_PORT = 20_000
LAST_PORT = 32_000
BLOCK = 100

_held: list[int] = []
"""Descriptors of the locks; they end with the process."""


def _blocks() -> Iterator[int]:
    """First ports of the blocks that this process could lock."""
    folder = Path(tempfile.gettempdir()) / f"waypost-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for first in range(FIRST_PORT, LAST_PORT, BLOCK):
        descriptor = os.open(folder / str(first), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        _held.append(descriptor)
        yield first
    raise RuntimeError("all ports for tests are taken by other test runs")


def _ports() -> Iterator[int]:
    for first in _blocks():
        for port in range(first, first + BLOCK):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            yield port


_sequence = _ports()


def free_port() -> int:
    """A port of 127.0.0.1 that no other call, here or in another test process, returns."""
    return next(_sequence)
