"""What the command line is shown of the directory, and the errors it is told."""

from __future__ import annotations

from typing import Literal

import msgspec

DomainKind = Literal["authoritative", "internal-relay", "external-relay"]
DOMAIN_KINDS: tuple[DomainKind, ...] = ("authoritative", "internal-relay", "external-relay")


class DirectoryError(Exception):
    """A change or question can't be answered: a sentence, and what to do about it."""

    def __init__(self, sentence: str, mend: str = "") -> None:
        super().__init__(f"{sentence}; {mend}" if mend else sentence)
        self.sentence = sentence
        self.mend = mend


class NoDirectory(DirectoryError):
    """There is no directory here, or it can't be reached."""


class NotFound(DirectoryError):
    """The directory has no such thing."""


class AlreadyExists(DirectoryError):
    """The address or domain is taken."""


class Invalid(DirectoryError):
    """The value can't be used."""


class InUse(DirectoryError):
    """Something else still needs it."""


class UserRecord(msgspec.Struct, frozen=True, kw_only=True):
    recipient_id: str
    address: str
    name: str
    mailbox_id: str
    store: str
    database: str
    disabled: bool
    aliases: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Addresses of the groups the user is a direct member of."""
    created_at_ms: int


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    recipient_id: str
    address: str
    name: str
    members: tuple[str, ...] = ()
    """Primary addresses of recipients, and external addresses, in the group's order."""
    aliases: tuple[str, ...] = ()
    loop: tuple[str, ...] = ()
    """Groups that lead back to this one, this one first; mail to it still reaches everybody once."""
    created_at_ms: int


class ContactRecord(msgspec.Struct, frozen=True, kw_only=True):
    recipient_id: str
    address: str
    name: str
    target: str
    aliases: tuple[str, ...] = ()
    created_at_ms: int


class AliasRecord(msgspec.Struct, frozen=True, kw_only=True):
    alias: str
    address: str
    """Primary address of the recipient it belongs to."""
    kind: Literal["user", "group", "contact"]


class DomainRecord(msgspec.Struct, frozen=True, kw_only=True):
    domain: str
    kind: DomainKind
    default: bool
    created_at_ms: int


class OrganisationRecord(msgspec.Struct, frozen=True, kw_only=True):
    organisation_id: str
    name: str
    default_domain: str
    postmaster: str
    """Address; empty: the first user."""
    revision: int


class DisconnectedMailbox(msgspec.Struct, frozen=True, kw_only=True):
    mailbox_id: str
    address: str
    name: str
    store: str
    database: str
    since_ms: int
