"""Mailbox names between the wire and the store: modified UTF-7 (RFC 3501 5.1.3) or UTF-8 (RFC 6855) outside,
NFC text with `/` inside. A name has one spelling inside; what has none is refused here."""

from __future__ import annotations

import binascii
import re
import unicodedata

DELIMITER = "/"
NAME_BYTES_MAX = 1000
PART_BYTES_MAX = 255

_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")
_NOT_DIRECT = re.compile(r"[^\x20-\x25\x27-\x7e]+|&")


class InvalidName(Exception):
    """Not a name that a mailbox can have; the text says why."""


def encode_utf7(name: str) -> bytes:
    """RFC 3501 5.1.3."""

    def shift(match: re.Match[str]) -> str:
        text = match.group()
        if text == "&":
            return "&-"
        coded = binascii.b2a_base64(text.encode("utf-16-be"), newline=False).decode("ascii")
        return "&" + coded.rstrip("=").replace("/", ",") + "-"

    return _NOT_DIRECT.sub(shift, name).encode("ascii")


def decode_utf7(raw: bytes) -> str:
    """RFC 3501 5.1.3, its one permitted spelling only. Raises InvalidName."""

    def unshift(match: re.Match[str]) -> str:
        coded = match.group(1)
        if not coded:
            return "&"
        padded = coded.replace(",", "/") + "=" * (-len(coded) % 4)
        return binascii.a2b_base64(padded).decode("utf-16-be")

    try:
        name = _SHIFTED.sub(unshift, raw.decode("ascii"))
        if encode_utf7(name) != raw:
            raise InvalidName("Not modified UTF-7")
    except (UnicodeError, binascii.Error) as error:
        raise InvalidName("Not modified UTF-7") from error
    return name


def decode_pattern(raw: bytes, utf8: bool) -> str:
    """A name as it came, or a LIST pattern: decoded and NFC, nothing else checked. Raises InvalidName."""
    if utf8:
        try:
            return unicodedata.normalize("NFC", raw.decode("utf-8"))
        except UnicodeError as error:
            raise InvalidName("Not UTF-8") from error
    return unicodedata.normalize("NFC", decode_utf7(raw))


def decode_name(raw: bytes, utf8: bool) -> str:
    """The store's spelling of an existing or new mailbox's name. Raises InvalidName."""
    name = decode_pattern(raw, utf8).removesuffix(DELIMITER)  # RFC 3501 6.3.3: a trailing delimiter is a hint
    if not name or len(name.encode("utf-8")) > NAME_BYTES_MAX:
        raise InvalidName("The name is empty or too long")
    first, *rest = name.split(DELIMITER)
    if first.upper() == "INBOX":  # RFC 3501 5.1
        first = "INBOX"
    parts = [first, *rest]
    for part in parts:
        if not part or len(part.encode("utf-8")) > PART_BYTES_MAX:
            raise InvalidName("A part of the name is empty or too long")
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in part):
            raise InvalidName("The name has control characters")
    return DELIMITER.join(parts)


def new_name(raw: bytes, utf8: bool) -> str:
    """Like decode_name, for a mailbox to be made: wildcards are refused, too (RFC 3501 5.1). Raises
    InvalidName."""
    name = decode_name(raw, utf8)
    if "*" in name or "%" in name:
        raise InvalidName("The name has wildcards")
    return name


def encode_name(name: str, utf8: bool) -> bytes:
    return name.encode("utf-8") if utf8 else encode_utf7(name)


def matches(name: str, pattern: str) -> bool:
    """`*` is anything, `%` anything but the delimiter (RFC 3501 6.3.8); time is bounded by the product of
    lengths."""
    return _matches(name, pattern) or (name == "INBOX" and _matches(name, pattern.upper()))


def _matches(name: str, pattern: str) -> bool:
    states = {0}
    states = _skip_wildcards(states, pattern)
    for character in name:
        following = set()
        for state in states:
            if state == len(pattern):
                continue
            wanted = pattern[state]
            if wanted == "*" or (wanted == "%" and character != DELIMITER):
                following.add(state)
            elif wanted == character and wanted != "%":
                following.add(state + 1)
        states = _skip_wildcards(following, pattern)
        if not states:
            return False
    return len(pattern) in states


def _skip_wildcards(states: set[int], pattern: str) -> set[int]:
    reached = set(states)
    for state in states:
        while state < len(pattern) and pattern[state] in "*%":
            state += 1
            reached.add(state)
    return reached
