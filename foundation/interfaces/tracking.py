"""Tracking events: what a server did with a message and why, in the words of Exchange's message tracking log.

An event is a row in the database of the work, written in the same commit.
"""

from __future__ import annotations

from typing import Literal

import msgspec

EventName = Literal[
    "RECEIVE",
    "SUBMIT",
    "RESOLVE",
    "EXPAND",
    "AGENTINFO",
    "TRANSFER",
    "SEND",
    "DELIVER",
    "DUPLICATEDELIVER",
    "DEFER",
    "FAIL",
    "DROP",
    "DSN",
    "BADMAIL",
    "REDIRECT",
    "HAREDIRECT",
    "RESUBMIT",
    "WITHDRAW",
    "EXPUNGE",
    "LOGON",
    "THROTTLE",
    "POISONMESSAGE",
]
"""RECEIVE: came in (SMTP, LMTP, submit). SUBMIT: the Outbox agent handed it to a hub. RESOLVE: an address
became another. EXPAND: a group became members. AGENTINFO: the compliance step ran, or why not. TRANSFER:
bifurcated into a transfer unit, with the next hop. SEND: the next server answered 250. DELIVER: committed
to a mailbox. DUPLICATEDELIVER: merged, or recognised as delivered before. DEFER: will be tried again.
FAIL: given up or refused. DSN: a report was made. DROP: discarded on purpose."""

REFUSED_AT_THE_END = "refused at the end of data"
"""Reason of a FAIL event about what was never accepted: the sender's side was told at once."""

Source = Literal[
    "SMTP", "LMTP", "STOREDRIVER", "ROUTING", "AGENT", "DSN", "QUEUE", "ADMIN", "MAILBOXRULE", "SAFETYNET"
]


class TrackingEvent(msgspec.Struct, frozen=True, kw_only=True):
    event: EventName
    source: Source
    at_ms: int
    server: str
    network_message_id: str = ""
    message_id: str = ""
    """Message-ID header without angle brackets."""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    transfer_key: str = ""
    """The unit's key: RECEIVE carries the key it came with, TRANSFER and SEND the key it left with."""
    next_hop: str = ""
    """Server or host it goes to; for RECEIVE where it came from."""
    reply: str = ""
    """SMTP reply given or got."""
    reason: str = ""
    related: str = ""
    """Group address, former address, or the network message id of the DSN or of the reported message."""
    mailbox_id: str = ""
    folder_id: str = ""
    uid: int = 0
    size_bytes: int = 0
    probe: bool = False
    sequence: int = 0
    """Rises within one server; given by the database."""
