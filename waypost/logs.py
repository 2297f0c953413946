"""Structured logs of a server: one JSON object a line in a pipe, a readable coloured line on a terminal.

No message content and no secrets: what a record carries is its sentence and the fields of `extra`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_COLOURS = {"DEBUG": "2", "INFO": "0", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_SERVER_COLOURS = ("36", "32", "35", "34", "33", "96", "92", "95")


_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder().decode


class JsonFormatter(logging.Formatter):
    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server

    def format(self, record: logging.LogRecord) -> str:
        return line_of(self.entry(record))

    def entry(self, record: logging.LogRecord) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "server": self._server,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return entry


def line_of(entry: Mapping[str, Any]) -> str:
    """As JSON; what JSON has no word for as its text."""
    try:
        return _encode(entry).decode()
    except UnicodeEncodeError:  # half a character
        return json.dumps(entry, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()


class ReadableFormatter(JsonFormatter):
    def __init__(self, server: str, colours: bool) -> None:
        super().__init__(server)
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        return readable(self.entry(record), colours=self._colours)


def configure_logging(server: str) -> None:
    """Sends all records of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = sys.stderr.isatty()
    handler.setFormatter(
        ReadableFormatter(server, colours_on(sys.stderr)) if as_text else JsonFormatter(server)
    )
    use_handler(handler)


def use_handler(handler: logging.Handler) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # aiosmtpd's: a line a command, with addresses.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    # Nobody is shown where in the code a line was written, nor in which thread ("Optimization" in logging).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None


def colours_on(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


def readable(entry: Mapping[str, Any], *, colours: bool) -> str:
    """One entry for people: time of day, server, sentence, then the fields; an exception below."""
    server = str(entry.get("server", ""))
    level = str(entry.get("level", "info")).upper()
    clock = str(entry.get("time", ""))[11:23]
    known = {"time", "level", "server", "logger", "message", "exception"}
    fields = " ".join(f"{key}={value}" for key, value in entry.items() if key not in known)
    message = str(entry.get("message", ""))
    if level not in ("INFO", "DEBUG"):
        message = f"{level}: {message}"
    if colours:
        # A name keeps its colour over restarts.
        colour = _SERVER_COLOURS[sum(server.encode()) % len(_SERVER_COLOURS)]
        server = f"\x1b[{colour}m{server:<9}\x1b[0m"
        message = f"\x1b[{_COLOURS.get(level, '0')}m{message}\x1b[0m"
        clock, fields = f"\x1b[2m{clock}\x1b[0m", f"\x1b[2m{fields}\x1b[0m"
    else:
        server = f"{server:<9}"
    line = f"{clock} {server} {message} {fields}".rstrip()
    exception = str(entry.get("exception", ""))
    return f"{line}\n{exception}" if exception else line


def parse_line(server: str, line: bytes) -> dict[str, Any]:
    """A line of a server's stderr as an entry; what is no JSON object (a crash's last words) becomes its
    sentence."""
    try:
        entry = _decode(line)
    except ValueError:
        entry = None
    if isinstance(entry, dict):
        return {**entry, "server": server}
    text = line.decode("utf-8", "backslashreplace").rstrip()
    now = _time(datetime.now(UTC).timestamp())
    return {"time": now, "level": "error", "server": server, "logger": "stderr", "message": text}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
