"""What the people who write know: what they handed in, what they were answered, and when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Accepted:
    """Answered 250."""

    sent_at: float
    """When it was handed in."""
    sender: str
    recipients: tuple[str, ...]


@dataclass
class Books:
    written: int = 0
    """Messages that people wrote."""
    accepted: dict[str, Accepted] = field(default_factory=dict)
    """By Message-ID; each try has its own."""
    refused: Counter[str] = field(default_factory=Counter)
    """Recipients, or whole messages, refused for good: by reply."""
    put_off: Counter[str] = field(default_factory=Counter)
    """Tries that came to nothing and were made again later: by reply, or by what went wrong."""
    unanswered: dict[str, None] = field(default_factory=dict)
    """Message-IDs of tries that were sent whole, and no answer read: what comes of them can be double."""
    holding: int = 0
    """Messages that are with those who wrote them, and not accepted yet."""
    longest_holding_seconds: float = 0.0
    """Of those that were accepted in the end."""
