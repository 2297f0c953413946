"""ESMTP parameters of MAIL and RCPT (RFC 5321 4.1.2), parsed strictly."""

from __future__ import annotations

import re

from foundation.mail.errors import MailError
from foundation.mail.xtext import decode_xtext, valid_xtext

_KEYWORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*")
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]++))?")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,63}")

NOTIFY_WORDS = ("SUCCESS", "FAILURE", "DELAY")


def bad(sentence: str) -> MailError:
    return MailError(501, "5.5.4", sentence)


def unsupported(keyword: str) -> MailError:
    return MailError(555, "5.5.4", f"Parameter {keyword} is not supported")  # RFC 5321 4.1.1.11


def split_parameters(text: bytes) -> dict[str, str | None]:
    """`KEY=value KEY …` by upper-case keyword; None where there is no `=`. Raises MailError 501 5.5.4."""
    result: dict[str, str | None] = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if match is None:
            key = word.partition(b"=")[0]
            known = _KEYWORD.fullmatch(key)
            raise bad(
                f"The value of {key.decode().upper()} is malformed" if known else "A parameter is malformed"
            )
        keyword, value = match[1].decode().upper(), match[2]
        if keyword in result:
            raise bad(f"Parameter {keyword} is given twice")
        # RFC 6531 3.3: only values of ORCPT may carry UTF-8
        if value is not None and not value.isascii() and keyword != "ORCPT":
            raise bad(f"The value of {keyword} is malformed")
        try:
            result[keyword] = None if value is None else value.decode()
        except UnicodeDecodeError:
            raise bad(f"The value of {keyword} is not UTF-8") from None
    return result


def flag(keyword: str, value: str | None) -> bool:
    if value is not None:
        raise bad(f"{keyword} takes no value")
    return True


def size(value: str | None) -> int:
    # RFC 1870 3: 1*20DIGIT
    if value is None or len(value) > 20 or not (value.isascii() and value.isdigit()):
        raise bad("SIZE takes a number of octets")
    return int(value)


def body(value: str | None, *, binary: bool) -> str:
    word = (value or "").upper()
    if word not in ("7BIT", "8BITMIME") and not (binary and word == "BINARYMIME"):
        raise bad("BODY is 7BIT or 8BITMIME")  # RFC 6152 2
    return word


def ret(value: str | None) -> str:
    word = (value or "").upper()
    if word not in ("FULL", "HDRS"):
        raise bad("RET is FULL or HDRS")  # RFC 3461 4.3
    return word


def envid(value: str | None) -> str:
    # RFC 3461 4.4: xtext of at most 100 characters
    if not value or len(value) > 100 or not valid_xtext(value):
        raise bad("ENVID is xtext of at most 100 characters")
    return value


def notify(value: str | None) -> str:
    """NEVER, or a comma list in the fixed order SUCCESS, FAILURE, DELAY (RFC 3461 4.1)."""
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return "NEVER"
    if any(word not in NOTIFY_WORDS for word in words):
        raise bad("NOTIFY is NEVER alone, or a list of SUCCESS, FAILURE, DELAY")
    return ",".join(word for word in NOTIFY_WORDS if word in words)


def orcpt(value: str | None, *, smtputf8: bool) -> str:
    """`type;xtext` (RFC 3461 4.2), for type utf-8 also plain UTF-8 (RFC 6533 3)."""
    kind, semicolon, address = (value or "").partition(";")
    if not semicolon or not address or len(address) > 500 or _ADDRESS_TYPE.fullmatch(kind) is None:
        raise bad("ORCPT is an address type, a semicolon and xtext of at most 500 characters")
    if not address.isascii() and not (smtputf8 and kind.lower() == "utf-8"):
        raise bad("ORCPT is not ASCII")
    if kind.lower() != "utf-8" and not valid_xtext(address):
        raise bad("ORCPT is not xtext")
    return f"{kind};{address}"


def text(value: str | None) -> str:
    """What stands behind xtext; empty for no value."""
    if value and not valid_xtext(value):
        raise bad("A parameter is not xtext")
    return decode_xtext(value or "")
