"""Names of folders: parts joined by `/`, NFC, `INBOX` in any case is the inbox (RFC 3501 5.1)."""

from __future__ import annotations

import unicodedata

from foundation.interfaces.mailbox_store import Refusal, Role

INBOX = "INBOX"
PART_LENGTH_MAX = 250
NAME_LENGTH_MAX = 1000
DEPTH_MAX = 50

FIRST_FOLDERS: tuple[tuple[str, Role], ...] = (
    (INBOX, "inbox"),
    ("Outbox", "outbox"),
    ("Sent", "sent"),
    ("Drafts", "drafts"),
    ("Trash", "trash"),
    ("Junk", "junk"),
    ("Archive", "archive"),
)
"""What every mailbox is made with."""


def canonical(name: str) -> str:
    """The name as it is stored. Never fails: a name that can't exist just isn't found."""
    name = unicodedata.normalize("NFC", name)
    head, slash, tail = name.partition("/")
    return (INBOX if head.upper() == INBOX else head) + slash + tail


def checked(name: str) -> str:
    """The name of a folder to be made, as it is stored. Refusal CANNOT, LIMIT."""
    name = canonical(name.removesuffix("/"))
    parts = name.split("/")
    if not all(parts):
        raise Refusal("CANNOT", "A part of the folder's name is empty")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        raise Refusal("CANNOT", "The folder's name has a control character")
    if any(letter in "%*" for letter in name):
        raise Refusal("CANNOT", "The folder's name has a character that lists use as wildcard")
    too_long = len(name) > NAME_LENGTH_MAX or any(len(part) > PART_LENGTH_MAX for part in parts)
    if too_long or len(parts) > DEPTH_MAX:
        raise Refusal("LIMIT", "The folder's name is too long")
    return name


def parents(name: str) -> list[str]:
    """`a/b/c`: `a`, `a/b`."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
