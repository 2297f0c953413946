"""The socket of a connection in memory: what its machine's kernel does for it, and tells of it.

As far as the servers ask for it (foundation/smtp/liveness.py): keep-alive, and TCP_INFO's account of what the
other side does not acknowledge.
"""

from __future__ import annotations

import contextvars
import socket
from typing import Protocol

from foundation.smtp.liveness import TCP_INFO
from waypost.simulator.loop import SimulatedLoop

RETRANSMISSION_SECONDS = 0.2
"""The first; each further one waits twice as long."""


class Link(Protocol):
    """One end of a connection (waypost/simulator/connections.py)."""

    lost: bool

    def unanswered_seconds(self) -> float:
        """How long the oldest bytes on the way have been lost again and again."""
        ...

    def probe(self) -> bool:
        """Asks the other side's kernel; whether it answered, if only that it knows of no connection."""
        ...

    def break_off(self, error: Exception) -> None: ...


class SimulatedSocket:
    def __init__(self, link: Link, loop: SimulatedLoop, context: contextvars.Context) -> None:
        self._link = link
        self._loop = loop
        self._context = context
        self._options: dict[tuple[int, int], int] = {}
        self._unanswered = 0
        """Probes in a row."""

    def setsockopt(self, level: int, option: int, value: int) -> None:
        keep_alive = socket.SOL_SOCKET, socket.SO_KEEPALIVE
        begins = (level, option) == keep_alive and keep_alive not in self._options
        self._options[level, option] = value
        if begins:
            self._loop.call_soon(self._probe_later, socket.TCP_KEEPIDLE, context=self._context)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        if (level, option, size) != (socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size):
            raise OSError(92, "Protocol not available")
        seconds = self._link.unanswered_seconds()
        retransmissions = int(seconds / RETRANSMISSION_SECONDS + 1).bit_length() - 1
        return TCP_INFO.pack(retransmissions, 0, round(seconds * 1000))

    def _probe_later(self, option: int) -> None:
        seconds = self._options[socket.IPPROTO_TCP, option]
        self._loop.call_later(seconds, self._probe, context=self._context)

    def _probe(self) -> None:
        """While bytes are on the way, they are asked about instead."""
        if self._link.lost:
            return
        if self._link.unanswered_seconds() or self._link.probe():
            self._unanswered = 0
            self._probe_later(socket.TCP_KEEPIDLE)
            return
        self._unanswered += 1
        if self._unanswered > self._options[socket.IPPROTO_TCP, socket.TCP_KEEPCNT]:
            self._link.break_off(TimeoutError(110, "Connection timed out"))
            return
        self._probe_later(socket.TCP_KEEPINTVL)
