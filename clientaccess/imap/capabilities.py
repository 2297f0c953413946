"""What a session can do, and what it says of it (RFC 3501 6.1.1): only what is really done."""

from __future__ import annotations

import msgspec

from clientaccess.imap.kept import Kept

_CAPABILITIES = (
    "IMAP4rev1 LITERAL+ SASL-IR ENABLE ID IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN LIST-EXTENDED "
    "LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE ESEARCH SEARCHRES CONDSTORE WITHIN OBJECTID SAVEDATE "
    "STATUS=SIZE UTF8=ACCEPT"
)


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True):
    hostname: str
    version: str = ""
    starttls: bool = True
    """STARTTLS is to be had."""
    plain_logon: bool = False
    """Logon without TLS is allowed."""
    message_bytes_max: int
    logon_failures_max: int
    bad_commands_max: int
    kept: Kept = msgspec.field(default_factory=Kept)
    """What all sessions share."""


def may_log_on(options: SessionOptions, secure: bool) -> bool:
    """RFC 3501 11.1: passwords never go in plain text, unless a setting allows it."""
    return secure or options.plain_logon


def announcement(options: SessionOptions, *, authenticated: bool, secure: bool) -> bytes:
    """The CAPABILITY response's words."""
    words = ["CAPABILITY", _CAPABILITIES, f"APPENDLIMIT={options.message_bytes_max}"]
    if not authenticated:
        if not secure and options.starttls:
            words.append("STARTTLS")
        words.append("AUTH=PLAIN" if may_log_on(options, secure) else "LOGINDISABLED")
    return " ".join(words).encode("ascii")
