"""The machine's randomness: identifiers, unguessable bytes, jitter. Safe to call from any thread."""

from __future__ import annotations

import random
import secrets
import threading
import time

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_RANDOM_BITS = 74
_STEP_BITS = 32
_BLOCK_BYTES = 4096
"""Drawn at once for identifiers: to ask the kernel for each costs more than all the rest of it."""


class SystemEntropy:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_ms = 0
        self._last_random = 0
        self._block = b""
        self._used = 0
        self._jitter = random.SystemRandom()

    def identifier(self) -> str:
        """A new UUIDv7 as 36 characters of text, rising within a process (RFC 9562 5.7)."""
        with self._lock:
            now_ms = time.time_ns() // 1_000_000
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                # The top bit stays free, so that a burst within one millisecond has room to count.
                self._last_random = self._bits(_RANDOM_BITS - 1)
            else:
                # RFC 9562 6.2 method 2: same millisecond, or the clock went back: count on by a random step.
                self._last_random += 1 + self._bits(_STEP_BITS)
                if self._last_random >> _RANDOM_BITS:
                    self._last_ms += 1
                    self._last_random = self._bits(_RANDOM_BITS - 1)
            return _uuid7(self._last_ms, self._last_random)

    def token(self, size_bytes: int) -> bytes:
        """Unguessable bytes."""
        return secrets.token_bytes(size_bytes)

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high): jitter."""
        return low + (high - low) * self._jitter.random()

    def _bits(self, count: int) -> int:
        """From the block; under the lock."""
        size = (count + 7) // 8
        if self._used + size > len(self._block):
            self._block, self._used = secrets.token_bytes(_BLOCK_BYTES), 0
        piece = self._block[self._used : self._used + size]
        self._used += size
        return int.from_bytes(piece, "big") >> (size * 8 - count)


def _uuid7(at_ms: int, random_bits: int) -> str:
    high, low = random_bits >> 62, random_bits & ((1 << 62) - 1)
    digits = f"{(at_ms << 80) | _VERSION_AND_VARIANT | (high << 64) | low:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
