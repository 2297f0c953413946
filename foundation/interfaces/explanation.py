"""What a server would do with a message that is not sent: asked by `waypost explain`, answered by the code
that decides about real ones.

Every server answers for its own station; where it hands the message on, the next server is asked in its turn.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from foundation.interfaces.tracking import TrackingEvent
from foundation.mail.envelope import Recipient, Sender

Door = Literal["submission", "outbox", "smtp", "smtp-internal", "lmtp"]
"""How it comes in: from a mail program, from Client Access, from outside, from a Waypost server, for
delivery."""

Outcome = Literal["delivered", "refused", "failed", "deferred", "unreachable", "expanded", "merged"]
"""refused: the sender's side is told at once. failed: accepted before, so the sender gets a report.
deferred: it waits, as things are here. unreachable: it waits for a way that the settings do not give."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it would come in. What is known of its content is a `foundation.mail.headers.Content`."""

    door: Door
    sender: Sender
    recipients: tuple[Recipient, ...]
    size_bytes: int
    header: bytes = b"\r\n"
    """With its empty line; just that where no message is given."""
    network_message_id: str = ""
    assessed: str = ""
    """Version of the compliance rules that assessed it on its way; empty: not yet."""

    def read(self, offset: int, length: int) -> bytes:
        """Of the header; there is nothing else."""
        return self.header[offset : offset + length]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One decision."""

    stage: str
    rule: str
    """Machine word for the rule that decided."""
    what: str
    why: str
    recipients: tuple[str, ...] = ()
    """Who it is about: addresses after the decision."""
    related: str = ""
    """Former address, or the group's."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient that goes no further than this server."""

    address: str
    """As it is called by now."""
    original: str
    """As the server was given it."""
    outcome: Outcome
    reply: str = ""
    """SMTP reply, or what the report to the sender would say."""
    why: str = ""


class Going(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient that goes on."""

    recipient: Recipient
    original: str
    """As the server was given it."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """A next hop that can't be reached as things are."""

    reason: str
    """Last reply, or what went wrong."""
    since_ms: int = 0
    next_attempt_at_ms: int = 0
    """0: at once."""


class Onward(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer unit, or a call: the next station of some recipients."""

    recipients: tuple[Going, ...]
    door: Door | None
    """Of the next server; None: it leaves the organisation."""
    next_hop: str
    """Server, domain or send connector."""
    queue: str = ""
    """Name of the queue it would wait in."""
    choices: tuple[str, ...] = ()
    """Who may take it, best first: servers, or hosts outside."""
    why: str
    path: tuple[str, ...] = ()
    """Sites from here to the destination."""
    cost: int = 0
    wait: Wait | None = None
    """None: it would go at once."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    server: str
    live: bool
    """From what the running server knows; else computed from configuration and directory alone."""
    steps: tuple[Step, ...] = ()
    ends: tuple[End, ...] = ()
    onward: tuple[Onward, ...] = ()
    events: tuple[TrackingEvent, ...] = ()
    """What tracking would keep of the decisions; without keys and times."""
    assessed: str = ""


class Explains(Protocol):
    async def explain(self, question: Question) -> Explanation:
        """Changes nothing. Raises MailError 451 while the directory can't be asked."""
        ...
