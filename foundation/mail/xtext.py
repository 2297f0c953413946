"""The encodings that DSN parameters use inside SMTP commands (RFC 3461 4, RFC 6533 3)."""

from __future__ import annotations

import re

_XTEXT = re.compile(r"[!-*,-<>-~]*+(?:\+[0-9A-F]{2}[!-*,-<>-~]*+)*")
_PLAIN = re.compile(r"[!-*,-<>-~]*+")
_XTEXT_UNSAFE = re.compile(rb"[^!-*,-<>-~]")
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_UNITEXT_UNSAFE = re.compile(r"[\x00-\x20+=\\\x7f]")
_EMBEDDED_CHARACTER = re.compile(r"\\x\{([0-9A-F]{2,6})\}")


def valid_xtext(text: str) -> bool:
    return _XTEXT.fullmatch(text) is not None


def encode_xtext(text: str) -> str:
    """Text (as UTF-8) to xtext: what is not printable ASCII, `+` and `=` become `+HH` (RFC 3461 4)."""
    if _PLAIN.fullmatch(text):
        return text
    encoded = _XTEXT_UNSAFE.sub(lambda found: b"+%02X" % found[0][0], text.encode("utf-8", "replace"))
    return encoded.decode("ascii")


def decode_xtext(text: str) -> str:
    """The text behind xtext. What is not xtext stays as it is; octets that are no UTF-8 become U+FFFD."""
    if _PLAIN.fullmatch(text):
        return text
    raw = _HEXCHAR.sub(lambda found: bytes((int(found[1], 16),)), text.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")


def encode_utf8_address(address: str, *, ascii_only: bool) -> str:
    """The address of a `utf-8;` ORCPT: utf-8-addr-xtext, or -unitext where UTF-8 may stay (RFC 6533 3)."""

    def embed(character: str) -> str:
        return f"\\x{{{ord(character):02X}}}"

    encoded = _UNITEXT_UNSAFE.sub(lambda found: embed(found[0]), address)
    if ascii_only:
        encoded = "".join(c if c.isascii() else embed(c) for c in encoded)
    return encoded


def decode_utf8_address(text: str) -> str:
    """The address behind utf-8-addr-xtext or utf-8-addr-unitext (RFC 6533 3)."""

    def character(found: re.Match[str]) -> str:
        value = int(found[1], 16)
        return chr(value) if value < 0xD800 or 0xE000 <= value < 0x110000 else "\ufffd"

    return _EMBEDDED_CHARACTER.sub(character, text)


def decode_orcpt(orcpt: str) -> tuple[str, str]:
    """(address type in lower case, address) of an ORCPT value (RFC 3461 4.2); empty type when it has none."""
    kind, semicolon, value = orcpt.partition(";")
    if not semicolon:
        return "", decode_xtext(orcpt)
    kind = kind.strip().lower()
    return (kind, decode_utf8_address(value)) if kind == "utf-8" else (kind, decode_xtext(value))
