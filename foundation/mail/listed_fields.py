"""The header fields that programs list and search: taken out of a message once, when a store files it, so
that neither a list of messages nor a search reads the message again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from foundation.mail.decoding import decode_header, fold
from foundation.mail.headers import header_block, split_fields, unfold

if TYPE_CHECKING:
    from collections.abc import Iterable

LISTED_BYTES_MAX = 16 * 1024
"""Of a message with more in these fields they are not kept."""

_NAMES = """
from sender reply-to to cc bcc subject date message-id in-reply-to references resent-from resent-to
resent-date content-type content-transfer-encoding content-class mime-version newsgroups followup-to
organization user-agent x-mailer priority x-priority importance x-msmail-priority list-id list-post
list-unsubscribe list-unsubscribe-post disposition-notification-to return-receipt-to x-label keywords
x-spam-flag x-spam-status auto-submitted precedence lines x-uniform-type-identifier
x-universally-unique-identifier chat-version bimi-indicator
"""
LISTED = frozenset(name.encode() for name in _NAMES.split())
"""What programs ask for, in lower case. No trace fields: servers put those before a message whose listed
fields are known already."""


class Listed(msgspec.Struct, frozen=True):
    fields: bytes = b""
    """The listed fields as they stand, each with its line end. Empty: ask the message."""
    searched: bytes = b""
    """A line `name:value` for each in UTF-8, decoded and folded for comparison. Empty: ask the message."""


def list_fields(header: bytes) -> Listed:
    """Of a message's header, from its first octet."""
    texts: list[bytes] = []
    lines: list[str] = []
    size = 0
    block = header[: header_block(header)]
    plain = block.isascii() and b"=?" not in block
    for text, name, value in split_fields(block):
        if name.lower() not in LISTED:
            continue
        size += len(text)
        if size > LISTED_BYTES_MAX:
            return Listed()
        texts.append(text if text.endswith(b"\n") else text + b"\r\n")
        value = unfold(value)
        shown = value.decode("ascii").strip().lower() if plain else fold(decode_header(value).strip())
        if "\n" in shown:  # from an encoded word: who looks for one asks the message
            shown = shown.replace("\n", "\r")
        lines.append(f"{name.decode('ascii').lower()}:{shown}")
    try:
        searched = "\n".join(lines).encode()
    except UnicodeEncodeError:  # half a character, which UTF-7 can encode
        searched = b""
    return Listed(b"".join(texts), searched)


def choose_fields(listed: Iterable[bytes], names: Iterable[bytes]) -> list[bytes]:
    """Of each, the fields of these names (lower case) and the empty line that ends them (RFC 3501 6.4.5)."""
    find = _pattern(frozenset(names)).findall
    return [b"".join([*find(b"\n" + fields), b"\n\r\n"])[1:] for fields in listed]


@lru_cache(maxsize=64)
def _pattern(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """A field with the line end before it, not its own: what begins with a newline is found a third faster
    than what stands at the start of a line.
    """
    wanted = b"|".join(re.escape(name) for name in sorted(names))
    return re.compile(rb"\n(?:%b)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*" % wanted, re.IGNORECASE)


def searched_values(searched: str, name: str) -> Iterable[str]:
    """The folded values of the fields of this name (lower case) among the lines of `Listed.searched`."""
    start = name + ":"
    return (line[len(start) :] for line in searched.split("\n") if line.startswith(start))
