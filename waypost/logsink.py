"""Where the supervisor writes its servers' log lines, so that nobody who does not read them can stop a
server.

Lines wait in a bounded queue for a thread that writes them; when it is full, lines are dropped and
counted.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from typing import Any, TextIO

from waypost.logs import JsonFormatter, colours_on, line_of, readable

QUEUED_LINES = 10_000
LINES_AT_ONCE = 1_000


class LogSink:
    """Readable lines on a terminal, the servers' JSON lines in a pipe."""

    def __init__(self, stream: TextIO, queued_lines: int = QUEUED_LINES) -> None:
        self.dropped = 0
        self._stream = stream
        self._readable = stream.isatty()
        self._colours = colours_on(stream)
        self._lines: queue.Queue[str | None] = queue.Queue(queued_lines)
        self._thread = threading.Thread(target=self._write_lines, name="log lines", daemon=True)
        self._thread.start()

    def write(self, entry: Mapping[str, Any]) -> None:
        """Never waits."""
        if self.dropped and self._put(self._line(_dropped(self.dropped))):
            self.dropped = 0
        if not self._put(self._line(entry)):
            self.dropped += 1

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Waits for what is queued, for a bounded time."""
        try:
            self._lines.put(None, timeout=timeout_seconds)
        except queue.Full:
            return
        self._thread.join(timeout_seconds)

    def _line(self, entry: Mapping[str, Any]) -> str:
        if self._readable:
            return readable(entry, colours=self._colours)
        return line_of(entry)

    def _put(self, line: str) -> bool:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return False
        return True

    def _write_lines(self) -> None:
        ended = False
        while not ended:
            waiting = [self._lines.get()]
            while len(waiting) < LINES_AT_ONCE and not self._lines.empty():
                waiting.append(self._lines.get())
            ended = None in waiting
            try:
                self._stream.write("".join(f"{line}\n" for line in waiting if line is not None))
                self._stream.flush()
            except OSError:  # nobody reads any more; the servers go on
                continue


class SinkHandler(logging.Handler):
    """Sends this process's own records the same way."""

    def __init__(self, sink: LogSink, server: str) -> None:
        super().__init__()
        self._sink = sink
        self._entries = JsonFormatter(server)

    def emit(self, record: logging.LogRecord) -> None:
        self._sink.write(self._entries.entry(record))


def _dropped(count: int) -> dict[str, Any]:
    return {"level": "warning", "server": "up", "message": f"{count} log lines were dropped"}
