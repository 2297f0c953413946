"""What every daemon answers to the command line: status, trace, reload; hubs and stores also tell their
queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec

from foundation.interfaces.tracking import TrackingEvent


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    protocol: Literal[
        "submission", "submissions", "smtp", "smtp-internal", "lmtp", "imap", "imaps", "rpc", "control"
    ]
    host: str
    port: int


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    role: Literal["hub", "store", "access"]
    site: str
    pid: int
    state: Literal["starting", "ready", "draining"]
    listeners: tuple[Listener, ...] = ()
    started_at_ms: int = 0
    version: str = ""
    details: dict[str, int] = {}
    """Figures by name: queued, connections, …"""
    pressure: Literal["normal", "medium", "high"] = "normal"
    """medium: mail from outside is refused for now. high: all that is new."""
    pressure_reasons: tuple[str, ...] = ()


class ReloadOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Key paths of settings that changed, by what becomes of the change."""

    applied: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    first_start: tuple[str, ...] = ()
    """Count only when the directory is made."""
    problems: tuple[str, ...] = ()
    """Why nothing was changed."""


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One transfer unit, or one message before it has any."""

    entry_id: str
    queue: Literal["submission", "delivery", "unreachable", "poison", "outbox"]
    next_hop: str
    state: Literal["ready", "active", "retry", "suspended"]
    network_message_id: str
    message_id: str
    sender: str
    recipients: tuple[str, ...]
    size_bytes: int
    received_at_ms: int
    attempts: int = 0
    last_attempt_at_ms: int = 0
    last_reply: str = ""
    next_attempt_at_ms: int = 0
    expires_at_ms: int = 0
    outcome_unknown: bool = False
    """The next hop may have it: only that one is asked again, until it answers or an operator releases it."""


def released_because(reason: str) -> str:
    """What tracking says of a released entry."""
    return f"released by an operator though its outcome is unknown, a double is possible: {reason}"


class OneUseCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A logon for `waypost probe`: once, at this server, by one protocol, within a minute."""

    login: str
    password: str
    expires_at_ms: int
    certificate: str
    """PEM of the certificate that this server shows to mail programs: who shows another is not it."""


class ProbeLogon(Protocol):
    """Offered by Client Access, to the operator alone."""

    async def mint(self, address: str, protocol: Literal["submission", "imap"]) -> OneUseCredential:
        """What is submitted with it is marked as a probe. Raises MailError 550 5.1.1, 452 4.5.3, 451."""
        ...


class Control(Protocol):
    async def status(self) -> ServerStatus: ...

    def trace(
        self, message_id: str, network_message_ids: tuple[str, ...]
    ) -> AsyncIterator[tuple[TrackingEvent, ...]]:
        """Events of messages with this Message-ID, or with one of these network message ids, in the
        server's order."""
        ...

    def events(self, since_ms: int) -> AsyncIterator[tuple[TrackingEvent, ...]]:
        """All events at or after a time, in the server's order."""
        ...

    async def reload(self) -> ReloadOutcome: ...

    def queue(self) -> AsyncIterator[tuple[QueueEntry, ...]]:
        """Everything that waits here; nothing on a Client Access server."""
        ...

    async def retry(self, next_hop: str, entry_ids: tuple[str, ...]) -> int:
        """Makes entries due now (empty: all of that hop; hop empty too: all). Returns how many."""
        ...

    async def release(self, entry_ids: tuple[str, ...], reason: str) -> int:
        """Entries of unknown outcome are routed anew, though their next hop may have them: a double is
        possible. Returns how many; those that are being handed over now are not among them."""
        ...
