"""What an IMAP client believes of its selected mailbox, from nothing but the responses it got, and the rules
that responses must keep (RFC 3501 2.3.1.1, 2.3.1.2, 7.3.1, 7.4.1). Pure: no sockets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

RECENT = "\\Recent"


class Broken(AssertionError):
    """A response that can't be true, or that must not come now."""


@dataclass
class Believed:
    """One message; None is what the client was not told yet."""

    after_uid: int
    """Greatest UID known when it came up: its own is greater."""
    uid: int | None = None
    flags: frozenset[str] | None = None
    modseq: int = 0


@dataclass
class Belief:
    messages: list[Believed] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    """UIDs that were expunged: they never come back."""
    uid_validity: int = 0
    uid_next: int = 0
    last_uid: int = 0

    def exists(self, count: int) -> None:
        if count < len(self.messages):
            raise Broken(f"{count} EXISTS after {len(self.messages)}: only EXPUNGE makes it fewer")
        self.messages += (Believed(self.last_uid) for _ in range(count - len(self.messages)))

    def expunge(self, number: int) -> None:
        gone = self._at(number, "EXPUNGE")
        if gone.uid is not None:
            self.gone.add(gone.uid)
        del self.messages[number - 1]

    def fetch(self, number: int, uid: int | None, flags: Iterable[str] | None, modseq: int | None) -> None:
        message = self._at(number, "FETCH")
        if uid is not None:
            self._learn_uid(number, message, uid)
        if flags is not None:
            message.flags = frozenset(flags) - {RECENT}
        if modseq is not None:
            if modseq < message.modseq:
                raise Broken(f"MODSEQ of {number} went back from {message.modseq} to {modseq}")
            message.modseq = modseq

    def stored(self, numbers: Iterable[int], operation: str, flags: frozenset[str]) -> None:
        """What the client itself changed without asking to be told."""
        for number in numbers:
            message = self.messages[number - 1]
            if message.flags is not None:
                known = message.flags
                message.flags = {"+": known | flags, "-": known - flags, "": flags}[operation]

    def unknown(self) -> list[int]:
        """Numbers of messages of which the UID or the flags are not known."""
        return [
            number
            for number, message in enumerate(self.messages, 1)
            if message.uid is None or message.flags is None
        ]

    def modseqs(self) -> dict[int, int]:
        """By UID, as far as they are known."""
        return {each.uid: each.modseq for each in self.messages if each.uid is not None and each.modseq}

    def flags(self) -> dict[int, frozenset[str] | None]:
        """By UID, as far as that is known."""
        return {each.uid: each.flags for each in self.messages if each.uid is not None}

    def differs_from(self, truth: list[tuple[int, frozenset[str], int]]) -> str:
        """The first difference from a fresh FETCH of (UID, flags, modseq); empty: none."""
        if len(truth) != len(self.messages):
            return f"believes in {len(self.messages)} messages of {len(truth)}: {self._uids()} {truth}"
        for number, (message, (uid, flags, modseq)) in enumerate(zip(self.messages, truth, strict=True), 1):
            if message.uid != uid:
                return f"takes message {number} for UID {message.uid}, it is {uid}"
            if message.flags != flags:
                return f"takes the flags of UID {uid} for {message.flags}, they are {flags}"
            if message.modseq > modseq:
                return f"was told MODSEQ {message.modseq} of UID {uid}, it is {modseq}"
        return ""

    def _uids(self) -> list[int | None]:
        return [message.uid for message in self.messages]

    def _at(self, number: int, what: str) -> Believed:
        if not 1 <= number <= len(self.messages):
            raise Broken(f"{what} of message {number} of {len(self.messages)}")
        return self.messages[number - 1]

    def _learn_uid(self, number: int, message: Believed, uid: int) -> None:
        if message.uid not in (None, uid):
            raise Broken(f"message {number} had UID {message.uid}, now {uid}, without an EXPUNGE")
        if message.uid is None:
            if uid in self.gone:
                raise Broken(f"UID {uid} came back after its EXPUNGE")
            if uid <= message.after_uid:
                raise Broken(f"new message {number} has UID {uid}, not above {message.after_uid}")
            before = [each.uid for each in self.messages[: number - 1] if each.uid is not None]
            behind = [each.uid for each in self.messages[number:] if each.uid is not None]
            if (before and max(before) >= uid) or (behind and min(behind) <= uid):
                raise Broken(f"UID {uid} of message {number} is out of order in {self._uids()}")
        message.uid = uid
        self.last_uid = max(self.last_uid, uid)
