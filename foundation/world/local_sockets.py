"""Between servers of one machine and one user: Unix sockets, where the system vouches for what mutual TLS
proves between machines.

Promises: who can connect runs as the servers' user, or as root, and could read their certificates' keys as
well; so the name it says is believed. Whatever stands in the way (another user, another machine, another
system, a path too long, nobody listening) is no error: there is no socket then, and TLS is the way.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import struct
import sys
from pathlib import Path

CREDENTIALS = struct.Struct("=iII")
"""Of Linux's struct ucred: process, user, group (unix(7), SO_PEERCRED)."""

CALLER = b"\0waypost/"
"""What a client's abstract address (unix(7)) starts with; its server's name and a number follow."""

SUFFIX = ".sock"

LMTP = "lmtp"
SMTP_INTERNAL = "smtp-internal"
"""Listeners beside the control socket."""


class LocalSockets:
    """Those of one server. Without a folder, or on another system than Linux, there are none."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder = folder if sys.platform == "linux" else None
        self._name = name
        self._numbers = itertools.count()

    def listen(self, listener: str) -> socket.socket | None:
        """A bound socket that this user alone can connect to, once it listens; it replaces a dead one's."""
        if self._folder is None:
            return None
        file = _file(self._folder, self._name, listener)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            file.unlink(missing_ok=True)
            bound.bind(str(file))
            file.chmod(0o600)
        except OSError:
            bound.close()
            return None
        return bound

    def connect(self, server: str, listener: str = "") -> socket.socket | None:
        """A connection to a listener of another server; without the listener's name to its control socket."""
        if self._folder is None:
            return None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.bind(CALLER + f"{self._name}/{os.getpid()}-{next(self._numbers)}".encode())
            connection.connect(str(_file(self._folder, server, listener)))
            if _same_user(connection):
                return connection
        except OSError:
            pass
        connection.close()
        return None


def local_peer(transport: asyncio.BaseTransport) -> str:
    """Name of the Waypost server at the other end of a local socket; empty for anybody else."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX or not _same_user(connection):
        return ""
    address: str | bytes = connection.getpeername()
    if isinstance(address, bytes):
        return (
            address.removeprefix(CALLER).partition(b"/")[0].decode(errors="replace")
            if address.startswith(CALLER)
            else ""
        )
    return Path(address).name.partition(".")[0]


def _file(folder: Path, server: str, listener: str) -> Path:
    return folder / (f"{server}.{listener}{SUFFIX}" if listener else f"{server}{SUFFIX}")


def _same_user(connection: socket.socket) -> bool:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, user, _ = CREDENTIALS.unpack(raw)
    return user in (os.geteuid(), 0)
