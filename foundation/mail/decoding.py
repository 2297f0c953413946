"""Header values and text parts as the text they mean, for search and for people.

Nothing here raises: what can't be decoded becomes U+FFFD. Sizes are bounded by the callers.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from encodings.aliases import aliases
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from foundation.mail.content_fields import Params
    from foundation.mail.mime import Part

TEXT_OCTETS_MAX = 8 * 1024 * 1024
"""How much of a part is decoded."""

_ENCODED_WORD = re.compile(rb"=\?([^?*\s]{1,80})(?:\*[^?\s]{0,80})?\?([BbQq])\?([^?]*+)\?=")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")

# Slow on hostile input, or no character sets at all.
_REFUSED = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
_CODECS = {
    name: codec
    for name, codec in [*aliases.items(), *((codec, codec) for codec in aliases.values())]
    if codec not in _REFUSED and not codec.endswith("_codec") and codec != "rot_13"
}
_CODECS |= {
    "us_ascii": "utf_8",
    "ascii": "utf_8",
    "ansi_x3.4_1968": "utf_8",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_cn": "gb18030",
    "x_gbk": "gb18030",
    "x_sjis": "cp932",
    "x_mac_roman": "mac_roman",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "unicode_1_1_utf_7": "utf_7",
    "cp_850": "cp850",
    "cp_1252": "cp1252",
    "windows_874": "cp874",
    "x_unknown": "utf_8",
    "unknown_8bit": "utf_8",
    "default": "utf_8",
}


def decode_header(raw: bytes) -> str:
    """The text of an unfolded header value, encoded words decoded (RFC 2047); the rest is UTF-8."""
    if b"=?" not in raw:
        return raw.decode("utf-8", "replace")
    text: list[str] = []
    pending = b""
    pending_charset = b""
    position = 0
    for word in _ENCODED_WORD.finditer(raw):
        between = raw[position : word.start()]
        charset = word[1].lower()
        # RFC 2047 6.2: white space between encoded words is not shown. Their octets are joined first, because
        # many programs cut a character in two.
        if pending_charset and (charset != pending_charset or between.strip(b" \t\r\n")):
            text.append(decode_charset(pending, pending_charset))
            pending = b""
        if between.strip(b" \t\r\n") or not (pending_charset or position):
            text.append(between.decode("utf-8", "replace"))
        pending += _decode_word(word[2], word[3])
        pending_charset = charset
        position = word.end()
    if pending_charset:
        text.append(decode_charset(pending, pending_charset))
    text.append(raw[position:].decode("utf-8", "replace"))
    return "".join(text)


def fold(text: str) -> str:
    """As texts are compared: without regard to case, and composed."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def decode_charset(octets: bytes, charset: bytes) -> str:
    """Text in a character set by its MIME name; an unknown one is read as UTF-8."""
    name = charset.decode("ascii", "replace").strip().strip("\"'").lower().replace("-", "_").replace(" ", "_")
    return octets.decode(_CODECS.get(name, "utf_8"), "replace")


def decode_transfer(octets: bytes, encoding: str) -> bytes:
    """Without its Content-Transfer-Encoding (RFC 2045 6); an unknown one is left."""
    if encoding == "base64":
        return _decode_base64(octets)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(octets)
    return octets


class Octets(Protocol):
    """A message's octets, by slices: a buffer, or something that reads them when they are asked for."""

    def __getitem__(self, span: slice, /) -> bytes | bytearray: ...


def decode_text(buffer: Octets, part: Part, limit_octets: int = TEXT_OCTETS_MAX) -> str:
    """The text of a text part, of at most limit_octets encoded octets."""
    octets = bytes(buffer[part.body_start : min(part.body_end, part.body_start + limit_octets)])
    return decode_charset(
        decode_transfer(octets, part.encoding), parameter(part.params, "charset").encode("utf-8", "replace")
    )


def decode_header_block(header: bytes) -> str:
    """All fields as text, unfolded."""
    for fold in (b"\r\n ", b"\r\n\t", b"\n ", b"\n\t"):
        header = header.replace(fold, fold[-1:])
    return decode_header(header)


def parameter(params: Params, name: str) -> str:
    """A parameter's text: plain, encoded or continued (RFC 2231), or, against the rules, in encoded words."""
    pieces: dict[int, bytes] = {}
    charset = b""
    for key, value in params:
        base, star, section = key.partition("*")
        if base != name:
            continue
        if not star:
            return decode_header(value)
        number, encoded = section.removesuffix("*"), section.endswith("*") or not section
        if number and not (number.isdecimal() and number.isascii() and len(number) < 5):
            continue
        index = int(number or "0")
        if encoded:
            if index == 0 and value.count(b"'") >= 2:
                charset, _, value = value.split(b"'", 2)
            value = _PERCENT.sub(lambda found: bytes((int(found[1], 16),)), value)
        pieces.setdefault(index, value)
    joined = b"".join(pieces[index] for index in sorted(pieces))
    return decode_charset(joined, charset)


def _decode_word(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"Bb":
        return _decode_base64(text)
    return binascii.a2b_qp(text, header=True)


def _decode_base64(octets: bytes) -> bytes:
    try:
        return binascii.a2b_base64(octets)
    except binascii.Error:
        clean = _NOT_BASE64.sub(b"", octets)
        clean = clean[: len(clean) - (len(clean) % 4 == 1)]
        return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))
