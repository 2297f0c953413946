"""One connection in memory: bytes that take time, come in pieces, and break, as its fate says.

Its fate comes from the seed: its latency, into which pieces bytes fall, after how many bytes in which
direction it breaks, and whether both ends are told or hear nothing more. TLS is not spoken; a connection made
with contexts on both sides is one, and each end knows the name in the other's.
"""

from __future__ import annotations

import asyncio
import contextvars
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Protocol, cast

from foundation.tls import SERVER_URI
from waypost.simulator.journal import Journal
from waypost.simulator.loop import SimulatedLoop
from waypost.simulator.machine import Machine, Process
from waypost.simulator.sockets import SimulatedSocket

KERNEL_BYTES = 64 * 1024
"""What a socket takes before the writer has to wait."""
SILENCE_SECONDS = 900.0
"""When the kernel gives up on bytes nobody acknowledges."""
PROBE_SECONDS = 1.0
SHOWN_BYTES = 60
PIECES_MAX = 64
"""Of one write."""


@dataclass(frozen=True)
class Fate:
    """What becomes of one connection."""

    latency_seconds: float
    jitter_seconds: float
    pieces_bytes: int
    """Largest piece that comes at once; 0: as written."""
    cut_towards: str = ""
    """`server` or `client`: the direction whose bytes run out; empty: it holds."""
    cut_after_bytes: int = 0
    cut_silently: bool = False
    stall_at_piece: int = 0
    stall_seconds: float = 0.0


class Wires(Protocol):
    """What a connection runs through (waypost/simulator/network.py)."""

    loop: SimulatedLoop
    random: Random
    journal: Journal
    context: contextvars.Context

    def blocked(self, source: Machine, target: Machine) -> bool:
        """Whether packets from one machine to the other are lost now."""
        ...


class Ending(asyncio.Transport):
    """One end of a connection: a transport for its protocol, a sender of bytes to the other end."""

    def __init__(
        self,
        network: Wires,
        machine: Machine,
        process: Process | None,
        context: contextvars.Context,
        local: tuple[str, int],
        remote: tuple[str, int],
        tls: Any,
    ) -> None:
        own_socket = SimulatedSocket(self, network.loop, network.context)
        super().__init__({"sockname": local, "peername": remote, "socket": own_socket})
        self._network = network
        self.machine = machine
        self.process = process
        self._context = context
        self.tls = tls
        self.label = ""
        self.other: Ending = self
        self._protocol: Any = None
        self._high, self._low = 64 * 1024, 16 * 1024
        self._unread_bytes = 0
        """Sent by this end and not yet taken by the other."""
        self.sent_bytes = 0
        self.arrived_bytes = 0
        """Of what this end sent, taken by the other end's protocol."""
        self._cut_after: int | None = None
        self._fate = Fate(0.001, 0.0, 0)
        self._pieces = 0
        self._last_due = 0.0
        self._flight: deque[tuple[float, bytes | None]] = deque()
        """On the way to the other end; None: no more will come."""
        self._arriving = False
        self._paused = False
        self._reading = True
        self._closing = False
        self.lost = False
        self._ended = False
        self.silenced = False
        if process is not None:
            process.endings[self] = None

    # --- asyncio.Transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name in ("sslcontext", "ssl_object", "cipher"):
            return self.tls if self.tls is not None else default
        if name == "peercert":
            return certificate_of(self.other.tls) if self.tls is not None else default
        return super().get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._protocol)

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self.other.hurry()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return max(self._unread_bytes - KERNEL_BYTES, 0)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def can_write_eof(self) -> bool:
        return self.tls is None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        whole = bytes(data)
        self.sent_bytes += len(whole)
        self._unread_bytes += len(whole)
        size = (
            max(self._fate.pieces_bytes, len(whole) // PIECES_MAX) if self._fate.pieces_bytes else len(whole)
        )
        for start in range(0, len(whole), size):
            self._send(whole[start : start + size])
        if self.get_write_buffer_size() > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not self._closing and not self._ended:
            self._ended = True
            self._send(None)

    def close(self) -> None:
        if self._closing:
            return
        self.write_eof()
        self._closing = True
        self._network.loop.call_soon(self._lose, None, context=self._context)

    def abort(self) -> None:
        if not self.lost:
            self._closing = True
            self._flight.clear()
            self.other.reset_later(self._delay())
            self._network.loop.call_soon(self._lose, None, context=self._context)

    # --- for the network

    def begin(self, fate: Fate, cut_after: int | None) -> None:
        self._fate, self._cut_after = fate, cut_after

    def serve(self, factory: Callable[[], Any]) -> None:
        """The end of the server: its protocol hears of the connection at once."""
        self._protocol = self.enter(factory)
        self._network.loop.call_soon(self._protocol.connection_made, self, context=self._context)

    def wait_for_protocol(self) -> None:
        """The end of the client reads nothing until it has one."""
        self._protocol = asyncio.Protocol()
        self._reading = False

    def connected(self, protocol: Any) -> None:
        """Raises ConnectionResetError when the connection is gone already."""
        self._protocol = protocol
        if self.lost or self.is_closing():
            raise ConnectionResetError(104, "Connection reset by peer")
        protocol.connection_made(self)
        self._reading = True
        self.other.hurry()

    def enter(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs code of this end's process; nothing when it is dead."""
        if self.process is None or self.process.alive:
            return self._context.run(function, *arguments)
        return None

    def hold(self) -> None:
        self._cut_after = None
        self._fate = replace(self._fate, stall_at_piece=0)

    def break_off(self, error: Exception) -> None:
        """The kernel says that the connection is gone."""
        if not self.lost:
            self._closing = True
            self._flight.clear()
            self.enter(self._lose, error)

    def reset_later(self, delay: float) -> None:
        """This end is told that the connection is gone."""
        if not self.lost:
            self._network.loop.call_later(delay, self._reset, context=self._network.context)

    def forsake(self, deliver: bool) -> None:
        """Its process is gone; with `deliver`, what is on the way arrives."""
        self.lost = True
        if not deliver:
            self._flight.clear()
        if self.machine.powered:
            self.other.reset_later(self._delay() if not self._flight else 0.05)

    def unanswered_seconds(self) -> float:
        """How long the oldest bytes on the way have been lost again and again."""
        if not self._flight or not self._unheard(self, self.other):
            return 0.0
        return max(self._network.loop.time() - self._flight[0][0], 0.0)

    def probe(self) -> bool:
        """Asks the other machine whether it is there; it knows of no connection when its process is gone."""
        other = self.other
        if self._unheard(self, other) or self._unheard(other, self):
            return False
        if other.lost or (other.process is not None and not other.process.alive):
            self.reset_later(self._delay())
        return True

    def hurry(self) -> None:
        """The other end reads again."""
        if self._flight and not self._arriving:
            self._arriving = True
            self._network.loop.call_soon(self._arrive, context=self._network.context)

    def _delay(self) -> float:
        return self._fate.latency_seconds + self._network.random.random() * self._fate.jitter_seconds

    def _send(self, piece: bytes | None) -> None:
        loop = self._network.loop
        due = loop.time() + self._delay()
        self._pieces += 1
        if self._pieces == self._fate.stall_at_piece:
            due += self._fate.stall_seconds
            self._network.journal.fault(
                "delay", self.machine.name, f"{self.label} stands still for {self._fate.stall_seconds:.1f} s"
            )
        self._last_due = max(due, self._last_due)
        self._flight.append((self._last_due, piece))
        if not self._arriving:
            self._arriving = True
            loop.call_at(self._flight[0][0], self._arrive, context=self._network.context)

    def _arrive(self) -> None:
        """Hands over what is due, if it gets through and is wanted."""
        loop, other = self._network.loop, self.other
        self._arriving = False
        while self._flight:
            due, piece = self._flight[0]
            now = loop.time()
            if self._unheard(self, other):
                self._wait_for_passage(due)
                return
            if due > now:
                self._again_at(due)
                return
            if piece is not None and not other._reading and not other._closing:
                return  # until it hurries
            self._flight.popleft()
            if not self._hand_over(piece):
                return

    def _hand_over(self, piece: bytes | None) -> bool:
        other, network = self.other, self._network
        if (other.process is not None and not other.process.alive) or other.lost:
            self.reset_later(self._delay())
            return False
        if piece is None:
            network.journal.note(self.machine.name, f"{self.label} ends")
            keep_open = other.enter(other._protocol.eof_received)
            if not keep_open:
                other.enter(other.close)
            return True
        cut = self._cut_after is not None and self.arrived_bytes + len(piece) > self._cut_after
        if cut:
            piece = piece[: max((self._cut_after or 0) - self.arrived_bytes, 0)]
        self.arrived_bytes += len(piece)
        self._unread_bytes -= len(piece)
        if piece and not other._closing:
            if network.journal.detailed:
                network.journal.note(self.machine.name, f"{self.label} {_shown(piece)}")
            other.enter(other._protocol.data_received, piece)
        if self._paused and self.get_write_buffer_size() <= self._low and not self.lost:
            self._paused = False
            self.enter(self._protocol.resume_writing)
        if cut:
            self._cut()
            return False
        return True

    def _cut(self) -> None:
        """The bytes ran out on the way from here."""
        journal, other = self._network.journal, self.other
        if self._fate.cut_silently:
            journal.fault("silence", self.machine.name, f"{self.label} falls silent")
            self.silenced = other.silenced = True
            for each in (self, other):
                each._again_at(self._network.loop.time())
        else:
            journal.fault("cut", self.machine.name, f"{self.label} cut after {self.arrived_bytes} bytes")
            self._flight.clear()
            other._flight.clear()
            self.reset_later(0.0)
            other.reset_later(0.0)

    def _reset(self) -> None:
        if not self.lost and not self._network.blocked(self.other.machine, self.machine):
            self._network.journal.note(self.machine.name, f"{self.label} reset")
            self.break_off(ConnectionResetError(104, "Connection reset by peer"))

    def _unheard(self, source: Ending, target: Ending) -> bool:
        """Whether nothing gets through now."""
        return self.silenced or self._network.blocked(source.machine, target.machine)

    def _wait_for_passage(self, due: float) -> None:
        if self._network.loop.time() - due > SILENCE_SECONDS:
            self.break_off(TimeoutError(110, "Connection timed out"))
        else:
            self._again_at(self._network.loop.time() + PROBE_SECONDS)

    def _again_at(self, when: float) -> None:
        if not self._arriving:
            self._arriving = True
            self._network.loop.call_at(when, self._arrive, context=self._network.context)

    def _lose(self, error: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        if self.process is not None:
            self.process.endings.pop(self, None)
        self._protocol.connection_lost(error)


def certificate_of(context: Any) -> dict[str, Any]:
    name = getattr(context, "certificate_name", "")
    return {"subjectAltName": (("URI", SERVER_URI + name),)} if name else {}


def _shown(piece: bytes) -> str:
    text = piece[:SHOWN_BYTES].decode("ascii", "replace")
    shown = "".join(letter if letter.isprintable() and letter.isascii() else "." for letter in text)
    return f"{len(piece)} bytes {zlib.crc32(piece):08x} {shown}"
