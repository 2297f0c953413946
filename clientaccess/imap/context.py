"""What the commands of one connection share: where output goes, whose mailbox it is, what is selected, and
the few ways in which a command ends other than well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

import msgspec

from clientaccess.imap.kept import Kept
from foundation.interfaces.mailbox_store import MailboxStore

if TYPE_CHECKING:
    from clientaccess.imap.selected import Selected


class Output(Protocol):
    def write(self, data: bytes) -> None:
        """Takes a piece of a response; small pieces are joined."""

    async def flush(self) -> None:
        """Waits while the client reads too slowly. Raises Disconnected."""


class Incoming(Protocol):
    """A message that the client is sending."""

    problem: Exception | None
    """Why it did not come to its end; nothing of it may be kept then."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...


class Disconnected(Exception):
    """The client is gone; nothing can be said to it any more."""


class Rejected(Exception):
    """NO, with a response code."""

    def __init__(self, sentence: str, code: bytes = b"") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


class Misused(Exception):
    """BAD: the command can't be obeyed in this state, or with these arguments."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Farewell(Exception):
    """BYE: the connection must end."""

    def __init__(self, sentence: str, code: bytes = b"") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


class Done(msgspec.Struct, frozen=True):
    """The tagged OK."""

    sentence: str
    code: bytes = b""


class Context:
    """An authenticated session's surroundings."""

    __slots__ = ("condstore", "kept", "mailbox_id", "message_bytes_max", "out", "selected", "store", "utf8")

    def __init__(
        self, out: Output, store: MailboxStore, mailbox_id: str, message_bytes_max: int, kept: Kept
    ) -> None:
        self.out = out
        self.store = store
        self.mailbox_id = mailbox_id
        self.message_bytes_max = message_bytes_max
        self.kept = kept
        """Of all sessions."""
        self.utf8 = False
        """UTF8=ACCEPT is enabled (RFC 6855)."""
        self.condstore = False
        """Every FETCH response carries MODSEQ (RFC 7162 3.1)."""
        self.selected: Selected | None = None
