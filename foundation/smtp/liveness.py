"""A client's connection to a server of the organisation: noticing that its machine, or the network, is gone.

Within a transaction SMTP has no question that asks for it, but the other side's kernel answers for its
machine: probes while nothing is under way, and whatever is sent. Promise: a peer whose kernel acknowledged
nothing for GONE_SECONDS, though it was asked again and again, is given up; one that is slow, or takes no more
content for now, is waited for. (TCP_USER_TIMEOUT gives up the latter, too.)
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable

GONE_SECONDS = 25.0
PROBE_AFTER_SECONDS = 10
PROBE_EVERY_SECONDS = 5
PROBES = 3
"""Together as long as GONE_SECONDS."""
LOOK_SECONDS = 5.0
UNANSWERED_MIN = 3
"""Repetitions that got no answer; fewer may have been lost by chance."""

TCP_INFO = struct.Struct("=2x2B52xI")
"""Of Linux's struct tcp_info: tcpi_retransmits, tcpi_probes, tcpi_last_ack_recv (in milliseconds)."""


class Liveness:
    """Looks after one open connection until `stop`; calls `gone` once at most."""

    def __init__(
        self,
        transport: asyncio.BaseTransport,
        loop: asyncio.AbstractEventLoop,
        gone: Callable[[str], None],
    ) -> None:
        self._socket = transport.get_extra_info("socket")
        self._loop = loop
        self._gone = gone
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Does nothing where there is no socket, or a system that does not tell."""
        if self._socket is None or sys.platform != "linux":
            return
        # RFC 1122 4.2.3.6: only where an application asks for it
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        try:
            raw = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
        except OSError:  # closed in this turn of the loop; the protocol hears of it in the next
            self._timer = None
            return
        retransmissions, probes, acknowledged_ms = TCP_INFO.unpack(raw)
        unanswered = max(retransmissions, probes)
        # RFC 9293 3.8.6.1: a closed window whose probes are answered is no reason to give up
        if unanswered >= UNANSWERED_MIN and acknowledged_ms >= GONE_SECONDS * 1000:
            self._timer = None
            self._gone(f"Nothing heard from the server's machine for {acknowledged_ms // 1000} s")
            return
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
