"""A probe: a real message through the real ports, watched until its recipient's mailbox shows it, and
removed.

It logs on with one-use credentials that Client Access mints over the control interface; everything after that
is what any mail program does. All tracking events of it are marked as a probe's.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from foundation.interfaces.control import Listener, OneUseCredential
from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import World
from foundation.mail.address import is_ascii, split_address
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.headers import date_value
from foundation.smtp.client import ConnectionBroken, ConnectionFailed, SmtpConnection, Timeouts
from foundation.smtp.reply import Reply
from foundation.tls import pinning_client
from waypost.imap import ImapClient, ImapFailed

HOSTNAME = "localhost"
LOOK_SECONDS = 2.0
"""Between two looks at the tracking of a message that has not arrived yet."""
TIMEOUTS = Timeouts(
    connect=10,
    greeting=15,
    handshake=10,
    hello=15,
    mail=15,
    recipient=15,
    data=15,
    block=30,
    final=60,
    message=120,
)

Wanted = Literal["submission", "imap"]


@dataclass(frozen=True)
class Traveller:
    """One end of the probe's way."""

    address: str
    """As it is written to."""
    login: str
    """Primary address of the user."""


class Gate(Protocol):
    """Client Access as the probe needs it."""

    async def mint(self, user: str, protocol: Wanted) -> tuple[OneUseCredential, tuple[Listener, ...]]:
        """A logon, and where it counts. Raises ProbeFailed."""
        ...


class Watch(Protocol):
    """What the servers know of the probe on its way."""

    async def failure(self, message_id: str) -> str:
        """Why it will not arrive; empty while it may."""
        ...

    async def delay(self, message_id: str) -> str:
        """Where it waits, and why; empty when it waits nowhere."""
        ...


class ProbeFailed(Exception):
    """It did not arrive, or could not be sent: one sentence."""


@dataclass
class Probe:
    sender: Traveller
    recipient: Traveller
    message_id: str
    """Without angle brackets."""
    arrived: bool = False
    reason: str = ""
    """Why it did not arrive."""
    accepted: str = ""
    """The submission's 250."""
    accepted_seconds: float = 0.0
    arrived_seconds: float = 0.0
    removed: list[str] = field(default_factory=list)
    """Folders it was removed from: Inbox, Sent, Outbox."""
    left: list[str] = field(default_factory=list)
    """What could not be removed, and why."""


async def send_probe(
    probe: Probe,
    gate: Gate,
    world: World,
    watch: Watch,
    *,
    timeout_seconds: float,
    progress: Callable[[str], None],
) -> None:
    """Fills in what became of the probe."""
    began = time.monotonic()
    deadline = began + timeout_seconds
    inbox: ImapClient | None = None
    try:
        inbox = await _log_on(gate, probe.recipient.login)
        await inbox.select("INBOX")
        progress("logged on, sending")
        began = time.monotonic()
        deadline = began + timeout_seconds
        probe.accepted = str(await _submit(probe, gate, world))
        probe.accepted_seconds = time.monotonic() - began
        progress(f"accepted, waiting in the Inbox of {probe.recipient.login}")
        found = await _wait(inbox, probe, watch, deadline)
        probe.arrived_seconds = time.monotonic() - began
        probe.arrived = True
        progress("arrived, cleaning up")
        with _noting(probe, "Inbox"):
            await inbox.remove(found)
            probe.removed.append("Inbox")
    except (ProbeFailed, ImapFailed) as error:
        probe.reason = str(error)
    finally:
        if inbox is not None:
            await inbox.close()
    if probe.accepted:
        await _remove_copies(probe, gate)


async def _submit(probe: Probe, gate: Gate, world: World) -> Reply:
    """Raises ProbeFailed."""
    credential, listeners = await gate.mint(probe.sender.login, "submission")
    listener = _listener(listeners, "submissions", "submission")
    context = pinning_client(credential.certificate)
    implicit = listener.protocol == "submissions"
    content = _message(probe, world)
    try:
        connection = await SmtpConnection.open(
            listener.host,
            listener.port,
            hostname=HOSTNAME,
            implicit_tls=context if implicit else None,
            starttls=None if implicit else context,
            require_tls=True,
            timeouts=TIMEOUTS,
            authentication=(credential.login, credential.password),
        )
    except ConnectionFailed as error:
        raise ProbeFailed(str(error)) from error

    async def whole() -> AsyncIterator[bytes]:
        yield content

    addresses = (probe.sender.address, probe.recipient.address)
    sender = Sender(
        address=probe.sender.address,
        size_bytes=len(content),
        smtputf8=not all(is_ascii(address) for address in addresses),
    )
    # A probe that fails says so here; the user's mailbox is no place for a report of it (RFC 3461 4.1).
    recipient = Recipient(address=probe.recipient.address, notify="NEVER")
    try:
        result = await connection.send(sender, None, (recipient,), whole, len(content))
    except ConnectionBroken as error:
        raise ProbeFailed(f"Client Access did not take the message: {error}") from error
    finally:
        await connection.quit()
    reply = (*result.final, *result.recipients, result.sender)[0]
    if reply is None or not reply.positive or not result.final:
        raise ProbeFailed(f"refused at submission: {reply}")
    return reply


async def _wait(inbox: ImapClient, probe: Probe, watch: Watch, deadline: float) -> tuple[int, ...]:
    """UIDs in the Inbox. Raises ProbeFailed, ImapFailed."""
    while not (found := await inbox.find(probe.message_id)):
        left = deadline - time.monotonic()
        if left <= 0:
            raise ProbeFailed(await watch.delay(probe.message_id) or "it did not arrive in time")
        began = time.monotonic()
        await inbox.idle(min(left, LOOK_SECONDS))
        if time.monotonic() - began >= min(left, LOOK_SECONDS) and (
            reason := await watch.failure(probe.message_id)
        ):
            raise ProbeFailed(reason)
    return found


async def _remove_copies(probe: Probe, gate: Gate) -> None:
    """From Sent; and from the Outbox, where no hub has it yet."""
    session: ImapClient | None = None
    try:
        session = await _log_on(gate, probe.sender.login)
        await _remove_from(session, probe, "Sent", await session.special_folder("\\Sent") or "Sent")
        if not probe.arrived:
            await _remove_from(session, probe, "Outbox", "Outbox")
    except (ProbeFailed, ImapFailed) as error:
        probe.left.append(f"Sent: {error}")
    finally:
        if session is not None:
            await session.close()


async def _remove_from(session: ImapClient, probe: Probe, shown: str, folder: str) -> None:
    with _noting(probe, shown):
        await session.select(folder)
        if found := await session.find(probe.message_id):
            await session.remove(found)
            probe.removed.append(shown)


@contextlib.contextmanager
def _noting(probe: Probe, shown: str) -> Iterator[None]:
    """What can't be removed is told; it does not change whether the probe arrived."""
    try:
        yield
    except ImapFailed as error:
        probe.left.append(f"{shown}: {error}")


async def _log_on(gate: Gate, user: str) -> ImapClient:
    """Raises ProbeFailed, ImapFailed."""
    credential, listeners = await gate.mint(user, "imap")
    listener = _listener(listeners, "imaps", "imap")
    context = pinning_client(credential.certificate)
    session = await ImapClient.open(
        listener.host, listener.port, context, implicit=listener.protocol == "imaps"
    )
    try:
        await session.log_on(credential.login, credential.password)
    except BaseException:
        session.abort()
        raise
    return session


def _listener(listeners: tuple[Listener, ...], *wanted: str) -> Listener:
    """The first of the wanted protocols. Raises ProbeFailed."""
    for protocol in wanted:
        for listener in listeners:
            if listener.protocol == protocol:
                return listener
    raise ProbeFailed(f"Client Access offers neither {' nor '.join(wanted)}")


def _message(probe: Probe, world: World) -> bytes:
    fields = (
        f"From: <{probe.sender.address}>",
        f"To: <{probe.recipient.address}>",
        "Subject: Waypost probe",
        f"Date: {date_value(world.clock.now_ms())}",
        f"Message-ID: <{probe.message_id}>",
        "Auto-Submitted: auto-generated",  # RFC 3834 5
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
    )
    body = "A probe of the way between two mailboxes. It is removed as soon as it has arrived.\r\n"
    return ("\r\n".join(fields) + "\r\n\r\n" + body).encode()


def new_probe(sender: Traveller, recipient: Traveller, world: World, default_domain: str) -> Probe:
    domain = split_address(sender.address)[1] or default_domain
    return Probe(sender, recipient, f"probe.{world.entropy.identifier()}@{domain}")


def failure_in(events: list[TrackingEvent]) -> str:
    """Why a message will not arrive, in its tracking; empty while it may."""
    for event in events:
        if event.event in ("FAIL", "DROP", "POISONMESSAGE", "WITHDRAW"):
            return f"{event.event} on {event.server}: {event.reply or event.reason}"
    return ""
