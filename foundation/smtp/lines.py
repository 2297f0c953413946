"""A server's input: bytes as they come, taken out as command lines or as raw content. Bounded."""

from __future__ import annotations

from foundation.smtp.command import AUTH_LINE_BYTES_MAX


class LineTooLong(Exception):
    """A line beyond every limit has passed; it is thrown away, the next one can be read."""


class InputBuffer:
    """Lines are cut at LF; with their ends, so that the caller sees how they were ended."""

    def __init__(self, line_bytes_max: int = AUTH_LINE_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._line_bytes_max = line_bytes_max
        self._searched = 0
        self._discarding = False

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_line(self) -> bytes | None:
        """None while there is no whole line. Raises LineTooLong once for an overlong line, at its end."""
        end = self._buffer.find(b"\n", self._searched) + 1
        if not end:
            self._searched = len(self._buffer)
            if self._searched > self._line_bytes_max:
                self._discarding = True
                self.clear()
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._searched = 0
        if self._discarding or len(line) > self._line_bytes_max:
            self._discarding = False
            raise LineTooLong
        return line

    def take(self, count: int | None = None) -> bytes:
        """Up to `count` bytes of what is there, all when None."""
        if count is None or count >= len(self._buffer):
            data = bytes(self._buffer)
            self.clear()
        else:
            data = bytes(self._buffer[:count])
            del self._buffer[:count]
            self._searched = 0
        return data

    def put_back(self, data: bytes) -> None:
        """Returns what was taken too much."""
        self._buffer[:0] = data
        self._searched = 0

    def clear(self) -> None:
        self._buffer.clear()
        self._searched = 0
