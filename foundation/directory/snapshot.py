"""The directory as a daemon keeps it in memory: everything looked up by key, brought up to date by changes.

The same `Changes` come from the database and from the file a daemon starts from.
"""

from __future__ import annotations

import msgspec

from foundation.interfaces.directory import AcceptedDomain, Credentials, DirectoryRecipient

FORMAT_VERSION = 1


class OrganisationRow(msgspec.Struct, frozen=True, array_like=True):
    organisation_id: str
    default_domain: str
    postmaster_id: str
    revision: int


class DomainRow(msgspec.Struct, frozen=True, array_like=True):
    accepted: AcceptedDomain
    removed: bool = False


class RecipientRow(msgspec.Struct, frozen=True, array_like=True):
    recipient: DirectoryRecipient
    password_hash: str = ""
    disabled: bool = False
    removed: bool = False
    members: tuple[tuple[str, str], ...] = ()
    """(recipient id, "") or ("", external address), in the group's order."""


class AddressRow(msgspec.Struct, frozen=True, array_like=True):
    key: str
    recipient_id: str
    """Empty: nobody has it any more."""
    primary: bool = False


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What happened after a revision; with `whole`, all there is."""

    version: int = FORMAT_VERSION
    organisation: OrganisationRow
    whole: bool
    domains: tuple[DomainRow, ...] = ()
    recipients: tuple[RecipientRow, ...] = ()
    addresses: tuple[AddressRow, ...] = ()


class Snapshot:
    def __init__(self) -> None:
        self.organisation = OrganisationRow("", "", "", 0)
        self._clear()

    def _clear(self) -> None:
        self._domains: dict[str, AcceptedDomain] = {}
        self._recipients: dict[str, RecipientRow] = {}
        self._addresses: dict[str, AddressRow] = {}
        self._keys_of: dict[str, dict[str, None]] = {}
        self._by_mailbox: dict[str, str] = {}
        self._mailboxes_of: dict[str, dict[str, None]] = {}
        self._first_user: str | None = None

    @property
    def known(self) -> bool:
        """Whether it holds a directory at all."""
        return bool(self.organisation.organisation_id)

    def apply(self, changes: Changes) -> None:
        if changes.whole:
            self._clear()
        self.organisation = changes.organisation
        for domain in changes.domains:
            if domain.removed:
                self._domains.pop(domain.accepted.domain, None)
            else:
                self._domains[domain.accepted.domain] = domain.accepted
        for row in changes.recipients:
            self._forget(row.recipient.recipient_id)
            if not row.removed:
                self._remember(row)
        for address in changes.addresses:
            self._set_address(address)
        self._first_user = None

    def export(self) -> Changes:
        """Everything, in an order that does not depend on how it came here."""
        return Changes(
            organisation=self.organisation,
            whole=True,
            domains=tuple(DomainRow(self._domains[domain]) for domain in sorted(self._domains)),
            recipients=tuple(self._recipients[identifier] for identifier in sorted(self._recipients)),
            addresses=tuple(self._addresses[key] for key in sorted(self._addresses)),
        )

    def domain(self, domain: str) -> AcceptedDomain | None:
        return self._domains.get(domain)

    def domains(self) -> tuple[AcceptedDomain, ...]:
        return tuple(self._domains[domain] for domain in sorted(self._domains))

    def by_key(self, key: str) -> DirectoryRecipient | None:
        row = self._addresses.get(key)
        return self.by_id(row.recipient_id) if row is not None else None

    def by_id(self, recipient_id: str) -> DirectoryRecipient | None:
        row = self._recipients.get(recipient_id)
        return row.recipient if row is not None else None

    def members(self, group_id: str) -> tuple[DirectoryRecipient | str, ...]:
        row = self._recipients.get(group_id)
        found: list[DirectoryRecipient | str] = []
        for member_id, address in row.members if row is not None else ():
            member = self.by_id(member_id) if member_id else address
            if member is not None:
                found.append(member)
        return tuple(found)

    def credentials(self, key: str) -> Credentials | None:
        """None also for a user who may not log on."""
        address = self._addresses.get(key)
        row = self._recipients.get(address.recipient_id) if address is not None else None
        if row is None or row.recipient.kind != "user" or row.disabled or not row.password_hash:
            return None
        keys = self._keys_of[row.recipient.recipient_id]
        order = sorted(keys, key=lambda key: (not self._addresses[key].primary, key))
        return Credentials(user=row.recipient, password_hash=row.password_hash, addresses=tuple(order))

    def by_mailbox(self, mailbox_id: str) -> DirectoryRecipient | None:
        return self.by_id(self._by_mailbox.get(mailbox_id, ""))

    def mailboxes_of(self, store: str) -> tuple[str, ...]:
        return tuple(sorted(self._mailboxes_of.get(store, ())))

    def postmaster(self) -> DirectoryRecipient | None:
        """The one who was named, else the first user (identifiers rise with time)."""
        named = self.by_id(self.organisation.postmaster_id)
        if named is not None:
            return named
        if self._first_user is None:
            users = (key for key, row in self._recipients.items() if row.recipient.kind == "user")
            self._first_user = min(users, default="")
        return self.by_id(self._first_user)

    def _remember(self, row: RecipientRow) -> None:
        recipient = row.recipient
        self._recipients[recipient.recipient_id] = row
        if recipient.mailbox_id:
            self._by_mailbox[recipient.mailbox_id] = recipient.recipient_id
            self._mailboxes_of.setdefault(recipient.store, {})[recipient.mailbox_id] = None

    def _forget(self, recipient_id: str) -> None:
        row = self._recipients.pop(recipient_id, None)
        if row is not None and row.recipient.mailbox_id:
            self._by_mailbox.pop(row.recipient.mailbox_id, None)
            self._mailboxes_of[row.recipient.store].pop(row.recipient.mailbox_id, None)

    def _set_address(self, row: AddressRow) -> None:
        before = self._addresses.pop(row.key, None)
        if before is not None:
            keys = self._keys_of[before.recipient_id]
            keys.pop(row.key, None)
            if not keys:
                del self._keys_of[before.recipient_id]
        if row.recipient_id:
            self._addresses[row.key] = row
            self._keys_of.setdefault(row.recipient_id, {})[row.key] = None
