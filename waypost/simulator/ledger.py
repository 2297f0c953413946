"""What the people outside the organisation know: what they sent, what they were answered, what they saw.

The checker compares it with what the organisation then really holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, Protocol

ATTEMPT_HEADER = "X-Simulated-Attempt"
_ATTEMPT = re.compile(rb"^" + ATTEMPT_HEADER.encode() + rb": (\S+)\r?$", re.MULTILINE)

Answer = Literal["sending", "accepted", "unknown", "refused"]
"""`unknown`: the end of the content was sent, and no answer read that settles it."""


@dataclass(eq=False)
class Attempt:
    """One try to hand in one message."""

    name: str
    message_id: str
    """The same for all tries of one message."""
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    """As the client sent it."""
    inside: bool
    """Submitted by a user; else handed to a hub by a stranger."""
    begun_at: float
    answer: Answer = "sending"
    accepted: tuple[str, ...] = ()
    """Recipients whose RCPT was answered 250."""
    refused: dict[str, str] = field(default_factory=dict)
    reply: str = ""
    ended_at: float = 0.0
    probe: bool = False
    """Of the last round, when everything is healthy."""

    @property
    def arriving(self) -> bytes:
        """What must arrive: as sent, of a user without Bcc."""
        if not self.inside:
            return self.content
        return b"\r\n".join(
            line for line in self.content.split(b"\r\n") if not line.lower().startswith(b"bcc:")
        )


@dataclass(frozen=True)
class Seen:
    """A message that a reader's program was shown."""

    user: str
    uid_validity: int
    uid: int
    attempt: str
    """Empty for a report."""
    content: bytes
    at: float
    how: Literal["found", "told"]
    """Found when it connected or asked, or told in IDLE."""


class Answered(Protocol):
    @property
    def read(self) -> bool:
        """Whether the reply came to the program at the other end; known only later."""
        ...


@dataclass(frozen=True)
class Taken:
    """A message that a host outside answered 250 for."""

    host: str
    recipients: tuple[str, ...]
    content: bytes
    at: float
    client: str
    answered: Answered


@dataclass(frozen=True)
class Shortage:
    """A resource of a server that ran short, and until when."""

    server: str
    high: bool
    """Short enough to refuse everybody."""
    since: float
    until: float


@dataclass
class Ledger:
    attempts: dict[str, Attempt] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    expunged: list[Seen] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    """What somebody noticed during the run."""
    upsets: list[tuple[float, str]] = field(default_factory=list)
    """Crashes and failed commits: when, and of which server."""

    shortages: list[Shortage] = field(default_factory=list)

    def upset_since(self, server: str, since: float) -> bool:
        return any(at >= since and name == server for at, name in self.upsets)


def attempt_of(content: bytes) -> str:
    """Whose content this is; empty for none of ours."""
    header = content.partition(b"\r\n\r\n")[0]
    found = _ATTEMPT.search(header)
    return found[1].decode() if found else ""
