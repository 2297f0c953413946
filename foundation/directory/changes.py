"""Changes of the directory by the command line, in its own process: each call is one committed transaction.

The daemons see a change within a second (foundation/directory/lookup.py). Every method raises DirectoryError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from foundation.database.engine import SchemaError, Upgrade, open_engine, prepare_schema, shown_url, writing
from foundation.directory import groups, organisation, users
from foundation.directory.records import (
    AliasRecord,
    ContactRecord,
    DirectoryError,
    DisconnectedMailbox,
    DomainKind,
    DomainRecord,
    GroupRecord,
    NoDirectory,
    OrganisationRecord,
    UserRecord,
)
from foundation.directory.tables import SCHEMA_REVISION, metadata
from foundation.directory.unit import Unit, begin_unit, recipient_of, with_id

T = TypeVar("T")


class Clock(Protocol):
    def now_ms(self) -> int: ...


class Entropy(Protocol):
    def identifier(self) -> str: ...


class DirectoryChanges:
    """Blocking. Opens nothing before the first call."""

    def __init__(self, url: str, clock: Clock, entropy: Entropy) -> None:
        self._engine = open_engine(url)
        self._clock = clock
        self._entropy = entropy

    def close(self) -> None:
        self._engine.dispose()

    # --- the organisation ---

    def prepare(self, upgrade: Upgrade | None = None) -> None:
        """Makes the tables where there are none, or brings them up to date."""
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            prepare_schema(self._engine, metadata, "directory", SCHEMA_REVISION, upgrade)
        except SchemaError as error:
            raise DirectoryError(f"{error.place}: {error.problem}", error.mend) from error

    def create_organisation(
        self,
        name: str,
        default_domain: str,
        domains: Sequence[tuple[str, DomainKind]] = (),
    ) -> OrganisationRecord:
        """Makes the tables and the organisation. The default domain is accepted, too.

        AlreadyExists, Invalid.
        """
        self.prepare()

        def create(connection: Connection) -> None:
            organisation.create(connection, name, self._clock.now_ms(), self._entropy.identifier)
            unit = self._unit(connection)
            kinds = dict(domains)
            kinds.setdefault(default_domain, "authoritative")
            for domain, kind in kinds.items():
                organisation.add_domain(unit, domain, kind, domain == default_domain)

        self._write(create)
        return self.organisation()

    def exists(self) -> bool:
        """Whether there is a directory with its organisation."""
        try:
            self.organisation()
        except NoDirectory:
            return False
        return True

    def organisation(self) -> OrganisationRecord:
        return self._read(organisation.show)

    def set_postmaster(self, address: str) -> OrganisationRecord:
        """Who gets mail for `postmaster` where nobody has that address; empty: the first user."""
        self._change(lambda unit: organisation.set_postmaster(unit, address))
        return self.organisation()

    # --- accepted domains ---

    def add_domain(
        self, domain: str, kind: DomainKind = "authoritative", *, default: bool = False
    ) -> DomainRecord:
        """AlreadyExists, Invalid."""
        self._change(lambda unit: organisation.add_domain(unit, domain, kind, default))
        return self.domain(domain)

    def set_domain(
        self, domain: str, *, kind: DomainKind | None = None, default: bool = False
    ) -> DomainRecord:
        """NotFound, Invalid."""
        self._change(lambda unit: organisation.set_domain(unit, domain, kind, default))
        return self.domain(domain)

    def remove_domain(self, domain: str) -> None:
        """NotFound; InUse: the default one, or one with recipients."""
        self._change(lambda unit: organisation.remove_domain(unit, domain))

    def domains(self) -> tuple[DomainRecord, ...]:
        return self._read(organisation.list_domains)

    def domain(self, domain: str) -> DomainRecord:
        """NotFound."""
        return self._read(lambda connection: organisation.show_domain(connection, domain))

    # --- users ---

    def add_user(
        self,
        address: str,
        password_hash: str,
        *,
        name: str = "",
        store: str = "",
        stores: Mapping[str, str],
    ) -> UserRecord:
        """`stores`: mailbox database by name of each store; an empty `store` takes the least filled of them.

        AlreadyExists, Invalid, NotFound.
        """
        made = self._change(lambda unit: users.add_user(unit, address, password_hash, name, store, stores))
        return self._by_id(users.user_records, made)

    def set_user(
        self,
        address: str,
        *,
        password_hash: str | None = None,
        name: str | None = None,
        disabled: bool | None = None,
    ) -> UserRecord:
        """A disabled user can't log on, but still gets mail. NotFound."""
        self._change(lambda unit: users.set_user(unit, address, password_hash, name, disabled))
        return self.user(address)

    def remove_user(self, address: str) -> DisconnectedMailbox:
        """The mailbox is disconnected and kept 30 days. NotFound."""
        return self._change(lambda unit: users.remove_user(unit, address))

    def rehome_user(self, address: str, store: str, stores: Mapping[str, str]) -> UserRecord:
        """The user has another mailbox from now on, at `store`: the one that was left there before and is
        still kept, else an empty one. The present one is disconnected with all that is in it, and kept 30
        days. Mail under way follows. NotFound, Invalid (it is there already)."""
        self._change(lambda unit: users.rehome_user(unit, address, store, stores))
        return self.user(address)

    def users(self, prefix: str = "") -> tuple[UserRecord, ...]:
        """By address, those that begin with `prefix`."""
        return self._read(lambda connection: users.list_users(connection, prefix))

    def user(self, address: str) -> UserRecord:
        """By any of the user's addresses. NotFound."""
        return self._by_address(users.user_records, address, "user")

    def disconnected_mailboxes(self, store: str = "") -> tuple[DisconnectedMailbox, ...]:
        """Mailboxes of removed users, the oldest first."""
        return self._read(lambda connection: users.list_disconnected(connection, store))

    # --- aliases ---

    def add_alias(self, alias: str, address: str) -> AliasRecord:
        """For any recipient. AlreadyExists, Invalid, NotFound."""
        self._change(lambda unit: users.add_alias(unit, alias, address))
        return self.alias(alias)

    def set_alias(self, alias: str, address: str) -> AliasRecord:
        """The alias goes to another recipient. NotFound."""
        self._change(lambda unit: users.set_alias(unit, alias, address))
        return self.alias(alias)

    def remove_alias(self, alias: str) -> None:
        """NotFound; InUse: a primary address."""
        self._change(lambda unit: users.remove_alias(unit, alias))

    def aliases(self, prefix: str = "") -> tuple[AliasRecord, ...]:
        return self._read(lambda connection: users.list_aliases(connection, prefix))

    def alias(self, alias: str) -> AliasRecord:
        """NotFound."""
        return self._read(lambda connection: users.show_alias(connection, alias))

    def filled_stores(self) -> dict[str, int]:
        """Stores that users' mailboxes are on, with how many."""
        return self._read(users.filled_stores)

    # --- groups ---

    def add_group(self, address: str, *, name: str = "", members: Sequence[str] = ()) -> GroupRecord:
        """AlreadyExists, Invalid, NotFound (a member)."""
        made = self._change(lambda unit: groups.add_group(unit, address, name, members))
        return self._by_id(groups.group_records, made)

    def set_group(self, address: str, *, name: str) -> GroupRecord:
        """NotFound."""
        self._change(lambda unit: groups.set_group(unit, address, name))
        return self.group(address)

    def set_members(self, address: str, members: Sequence[str]) -> GroupRecord:
        """NotFound, Invalid."""
        self._change(lambda unit: groups.set_members(unit, address, members))
        return self.group(address)

    def add_members(self, address: str, members: Sequence[str]) -> GroupRecord:
        """NotFound, Invalid."""
        self._change(lambda unit: groups.add_members(unit, address, members))
        return self.group(address)

    def remove_members(self, address: str, members: Sequence[str]) -> GroupRecord:
        """NotFound."""
        self._change(lambda unit: groups.remove_members(unit, address, members))
        return self.group(address)

    def remove_group(self, address: str) -> None:
        """NotFound."""
        self._change(lambda unit: groups.remove_group(unit, address))

    def groups(self, prefix: str = "") -> tuple[GroupRecord, ...]:
        return self._read(lambda connection: groups.list_groups(connection, prefix))

    def group(self, address: str) -> GroupRecord:
        """By any of the group's addresses. NotFound."""
        return self._by_address(groups.group_records, address, "group")

    # --- contacts ---

    def add_contact(self, address: str, target: str, *, name: str = "") -> ContactRecord:
        """Mail to `address` goes to `target` outside. AlreadyExists, Invalid."""
        made = self._change(lambda unit: users.add_contact(unit, address, target, name))
        return self._by_id(users.contact_records, made)

    def set_contact(
        self, address: str, *, target: str | None = None, name: str | None = None
    ) -> ContactRecord:
        """NotFound, Invalid."""
        self._change(lambda unit: users.set_contact(unit, address, target, name))
        return self.contact(address)

    def remove_contact(self, address: str) -> None:
        """NotFound."""
        self._change(lambda unit: users.remove_contact(unit, address))

    def contacts(self, prefix: str = "") -> tuple[ContactRecord, ...]:
        return self._read(lambda connection: users.list_contacts(connection, prefix))

    def contact(self, address: str) -> ContactRecord:
        """NotFound."""
        return self._by_address(users.contact_records, address, "contact")

    # --- how ---

    @property
    def _file(self) -> Path | None:
        if self._engine.dialect.name != "sqlite" or not self._engine.url.database:
            return None
        return Path(self._engine.url.database)

    def _unit(self, connection: Connection) -> Unit:
        return begin_unit(connection, self._clock.now_ms(), self._entropy.identifier)

    def _change(self, change: Callable[[Unit], T]) -> T:
        return self._write(lambda connection: change(self._unit(connection)))

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self._run(work, write=True)

    def _read(self, work: Callable[[Connection], T]) -> T:
        return self._run(work, write=False)

    def _run(self, work: Callable[[Connection], T], *, write: bool) -> T:
        if self._file is not None and not self._file.exists():
            raise NoDirectory(f"there is no directory at {self._file}", "run `waypost up` or `waypost init`")
        engine = writing(self._engine) if write else self._engine
        try:
            with engine.connect() as connection, connection.begin():
                return work(connection)
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise NoDirectory(
                f"the directory at {shown_url(self._engine)} can't be used: {reason}",
                "try again, or check the file and its folder",
            ) from error

    def _by_id(self, records: Callable[..., tuple[T, ...]], recipient_id: str) -> T:
        return self._read(lambda connection: records(connection, [with_id(connection, recipient_id)])[0])

    def _by_address(self, records: Callable[..., tuple[T, ...]], address: str, kind: str) -> T:
        return self._read(
            lambda connection: records(connection, [recipient_of(connection, address, kind)])[0]
        )
