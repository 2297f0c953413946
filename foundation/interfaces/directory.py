"""What the daemons read from the directory: recipients, accepted domains, credentials, where a mailbox lives.

Read from a snapshot that each daemon keeps; what the snapshot misses is asked of the directory itself before
anybody is told "unknown". Raises Unavailable (451 4.3.0) when it must be asked and can't be.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class AcceptedDomain(msgspec.Struct, frozen=True, kw_only=True):
    domain: str
    """Lower-case A-labels."""
    kind: Literal["authoritative", "internal-relay", "external-relay"] = "authoritative"


class DirectoryRecipient(msgspec.Struct, frozen=True, kw_only=True):
    recipient_id: str
    kind: Literal["user", "group", "contact"]
    address: str
    """Primary address as given, for display."""
    name: str = ""
    mailbox_id: str = ""
    store: str = ""
    """Name of the server that holds the mailbox; users only."""
    database: str = ""
    target: str = ""
    """External address; contacts only."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    user: DirectoryRecipient
    password_hash: str
    """argon2id in PHC form."""
    addresses: tuple[str, ...]
    """Address keys the user may send as: the primary one and the aliases."""
    probe: bool = False
    """Logged on with a one-use credential: what comes is a probe. Never in the directory."""


class Directory(Protocol):
    async def accepted_domain(self, domain: str) -> AcceptedDomain | None: ...

    async def accepted_domains(self) -> tuple[AcceptedDomain, ...]: ...

    async def find(self, address: str) -> DirectoryRecipient | None:
        """By any address of the recipient, compared as address keys (foundation.mail.address)."""
        ...

    async def find_id(self, recipient_id: str) -> DirectoryRecipient | None: ...

    async def members(self, group_id: str) -> tuple[DirectoryRecipient | str, ...]:
        """Direct members of a group in a fixed order; text is an external address."""
        ...

    async def credentials(self, login: str) -> Credentials | None:
        """By any address of a user, or its local part in the default domain."""
        ...

    async def mailbox(self, mailbox_id: str) -> DirectoryRecipient | None:
        """The user whose mailbox this is; None when it is disconnected or unknown."""
        ...

    async def mailboxes_of(self, store: str) -> tuple[str, ...]:
        """Ids of all mailboxes that live on a store."""
        ...

    async def postmaster(self) -> DirectoryRecipient | None:
        """Who gets mail for `postmaster` where nobody has that address: the organisation's first user by
        default."""
        ...

    async def refresh(self) -> None:
        """What is asked from now on is answered by what the directory holds now, or later. Raises Unavailable
        (451 4.3.0).
        """
        ...

    def revision(self) -> int:
        """Rises with every change seen; for caches."""
        ...
