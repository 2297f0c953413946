"""The Content-* fields of a part taken apart (RFC 2045 5, RFC 2183), tolerant of what programs write."""

from __future__ import annotations

import re

from foundation.mail.decoding import parameter

BOUNDARY_OCTETS_MAX = 998

_TOKEN = rb"[!#-'*+\-.0-9A-Z^-~]"
_MEDIA_TYPE = re.compile(rb"[ \t]*+(%b++)[ \t]*+/[ \t]*+(%b++)" % (_TOKEN, _TOKEN))
_WORD = re.compile(rb"[ \t]*+(?:\([^()]*+\)[ \t]*+){0,8}(%b++)" % _TOKEN)
_PARAMETER = re.compile(
    rb';[ \t]*+([^\s=;"]++)[ \t]*+=[ \t]*+(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"?|([^;]*+))', re.DOTALL
)
_QUOTED_PAIR = re.compile(rb'\\(["\\])')
_TRAILING_COMMENT = re.compile(rb"(?:^|[ \t])\(")

Params = tuple[tuple[str, bytes], ...]
"""Names in lower case; values without quotes, otherwise as they stand (RFC 2231 sections each for itself)."""

MediaType = tuple[str, str, Params]
TEXT_PLAIN: MediaType = ("text", "plain", (("charset", b"us-ascii"),))  # RFC 2045 5.2
ENCLOSED_MESSAGE: MediaType = ("message", "rfc822", ())  # RFC 2046 5.1.5


def media_type(value: bytes | None, default: MediaType) -> MediaType:
    """Of a Content-Type value; text/plain for one that is not valid, `default` where there is none."""
    if value is None:
        return default
    found = _MEDIA_TYPE.match(value)
    if not found:
        return TEXT_PLAIN
    type_, subtype = found[1].decode("ascii").lower(), found[2].decode("ascii").lower()
    return type_, subtype, _parameters(value, found.end())


def _parameters(value: bytes, start: int) -> Params:
    parameters = []
    for name, quoted, plain in _PARAMETER.findall(value, start):
        if quoted:
            text = _QUOTED_PAIR.sub(rb"\1", quoted) if b"\\" in quoted else quoted
        else:
            comment = _TRAILING_COMMENT.search(plain)
            text = (plain[: comment.start()] if comment else plain).strip()
        parameters.append((name.decode("ascii", "replace").lower(), text))
    return tuple(parameters)


def boundary_of(params: Params) -> bytes:
    """Empty when there is none that can divide a body."""
    for name, value in params:
        if name == "boundary":
            boundary = value.rstrip()
            return boundary if len(boundary) <= BOUNDARY_OCTETS_MAX else b""
    return parameter(params, "boundary").encode("utf-8", "replace")[:BOUNDARY_OCTETS_MAX].rstrip()


def disposition_of(value: bytes | None) -> tuple[str, Params]:
    """Of a Content-Disposition value (RFC 2183 2); empty when there is none."""
    found = _WORD.match(value) if value else None
    if not found or value is None:
        return "", ()
    return found[1].decode("ascii").lower(), _parameters(value, found.end())


def first_word(value: bytes | None) -> str:
    """A token in lower case, comments before it passed over; empty when there is none."""
    found = _WORD.match(value) if value else None
    return found[1].decode("ascii").lower() if found else ""
