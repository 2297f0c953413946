"""Both sides of a mailbox that programs keep in step: folder → subject → flags."""

from __future__ import annotations

import asyncio
import email
import email.policy
import imaplib
import re
from pathlib import Path

from tests.harness.mail import User

Side = dict[str, dict[str, set[str]]]

_LIST = re.compile(rb'\((.*?)\) "/" (?:"(.*)"|(\S+))$')
_MAILDIR_FLAGS = {"D": "Draft", "F": "Flagged", "R": "Answered", "S": "Seen", "T": "Deleted"}


def subject_of(header: bytes) -> str:
    return str(email.message_from_bytes(header, policy=email.policy.default)["Subject"])


async def far_side(user: User) -> Side:
    """The server's, as imaplib sees it; folders that exist as they are called on the wire."""

    def look() -> Side:
        with user.imap() as connection:
            names = [match[2] or match[3] for each in connection.list()[1] if (match := _LIST.match(each))]
            return {name.decode(): _folder(connection, name.decode()) for name in names}

    return await asyncio.to_thread(look)


def _folder(connection: imaplib.IMAP4, name: str) -> dict[str, set[str]]:
    _, (count,) = connection.select(f'"{name}"', readonly=True)
    if not int(count):
        return {}
    found: dict[str, set[str]] = {}
    _, answer = connection.fetch("1:*", "(FLAGS BODY.PEEK[HEADER])")
    for part in answer:
        if isinstance(part, tuple):
            flags = {flag.decode().lstrip("\\") for flag in imaplib.ParseFlags(part[0])} - {"Recent"}
            subject = subject_of(part[1])
            assert subject not in found, f"{subject} is twice in {name}"
            found[subject] = flags
    return found


def near_side(maildirs: Path) -> Side:
    """A folder of maildirs."""
    return {
        folder.parent.relative_to(maildirs).as_posix(): _maildir(folder.parent)
        for folder in sorted(maildirs.rglob("cur"))
    }


def _maildir(folder: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in (*(folder / "new").iterdir(), *(folder / "cur").iterdir()):
        subject = subject_of(file.read_bytes())
        assert subject not in found, f"{subject} is twice in {folder}"
        found[subject] = {_MAILDIR_FLAGS[letter] for letter in file.name.partition(":2,")[2]}
    return found


def file_of(folder: Path, subject: str) -> Path:
    """A message of a maildir."""
    files = (*(folder / "new").iterdir(), *(folder / "cur").iterdir())
    return next(file for file in files if subject_of(file.read_bytes()) == subject)
