"""The envelope of a message on its way: who sends to whom, with the DSN wishes (RFC 3461), and how Waypost
servers name the message and its transfer between each other. Small and immutable; content goes apart."""

from __future__ import annotations

import msgspec


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """MAIL FROM with its parameters."""

    address: str
    """`local@domain` as given; empty for the null sender (RFC 5321 4.5.5)."""
    ret: str = ""
    """FULL, HDRS or empty (RFC 3461 4.3)."""
    envid: str = ""
    """xtext as received (RFC 3461 4.4)."""
    body: str = ""
    """7BIT, 8BITMIME, BINARYMIME or empty."""
    smtputf8: bool = False
    requiretls: bool = False
    size_bytes: int = 0
    """As declared; 0 for unknown."""


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """RCPT TO with its parameters, and what resolving it carried along."""

    address: str
    notify: str = ""
    """NEVER, or a comma list of SUCCESS, FAILURE, DELAY, or empty (RFC 3461 4.1)."""
    orcpt: str = ""
    """`type;xtext` as received (RFC 3461 4.2)."""
    recipient_id: str = ""
    """The directory's id of the final recipient, once resolved; empty outside the organisation."""
    expanded_from: str = ""
    """Id of the group that brought this recipient in; a receiving hub never expands it again."""


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """What only Waypost servers tell each other, on their own listeners."""

    network_message_id: str
    """One id over all hops, copies and expansions."""
    transfer_key: str = ""
    """Names one transfer unit: a repeat under the same key is the same transfer."""
    assessed: str = ""
    """Version of the compliance rules that assessed the message; empty: not assessed yet."""
    prefix_bytes: int = 0
    """How many leading bytes are trace headers put before the content as submitted."""
    content_sha256: str = ""
    """Hex digest of the content after the prefix."""
    probe: bool = False
    first_attempt: bool = False
    """Nothing was sent under this key before: it need not be looked for. Not said: it may be a repeat."""
    may_be_held: bool = False
    """Large content: a receiver that has it, by its digest, may say so, and is sent the prefix alone."""
