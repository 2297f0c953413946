"""Changes of users, contacts and aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from foundation.directory.records import (
    AliasRecord,
    ContactRecord,
    DisconnectedMailbox,
    InUse,
    Invalid,
    NotFound,
    UserRecord,
)
from foundation.directory.tables import addresses, disconnected_mailboxes, members, organisation, recipients
from foundation.directory.unit import (
    Unit,
    aliases_of,
    change_recipient,
    checked_address,
    claim_address,
    free_addresses,
    new_recipient,
    prune,
    recipient_of,
    texts_by,
)
from foundation.mail.address import address_key

_ALIASES = (
    select(addresses.c.address.label("alias"), recipients.c.address, recipients.c.kind)
    .join(recipients, recipients.c.recipient_id == addresses.c.recipient_id)
    .where(addresses.c.is_primary.is_(False))
    .order_by(addresses.c.address_key)
)


def add_user(
    unit: Unit, address: str, password_hash: str, name: str, store: str, stores: Mapping[str, str]
) -> str:
    """Raises Invalid, AlreadyExists, NotFound (the store)."""
    if not stores:
        raise Invalid("there is no mailbox store to put the mailbox on", "add a store to the configuration")
    if store and store not in stores:
        raise NotFound(f"there is no store {store}", f"stores are {', '.join(stores)}")
    chosen = store or _least_filled(unit.connection, tuple(stores))
    return new_recipient(
        unit,
        "user",
        address,
        name,
        password_hash=password_hash,
        mailbox_id=unit.identifier(),
        store=chosen,
        database=stores[chosen],
    )


def set_user(
    unit: Unit, address: str, password_hash: str | None, name: str | None, disabled: bool | None
) -> None:
    """Raises NotFound."""
    user = recipient_of(unit.connection, address, "user")
    given = {"password_hash": password_hash, "name": name, "disabled": disabled}
    changed = {column: value for column, value in given.items() if value is not None}
    change_recipient(unit, user.recipient_id, **changed)


def remove_user(unit: Unit, address: str) -> DisconnectedMailbox:
    """The mailbox is disconnected, its addresses are free. Raises NotFound."""
    user = recipient_of(unit.connection, address, "user")
    mailbox = _disconnect(unit, user)
    remove_recipient(unit, user)
    return mailbox


def rehome_user(unit: Unit, address: str, store: str, stores: Mapping[str, str]) -> None:
    """The user's mailbox is another one from now on, at `store`: the one that was left there before, else a
    new one. The present one is disconnected. Raises NotFound, Invalid."""
    user = recipient_of(unit.connection, address, "user")
    if store not in stores:
        raise NotFound(f"there is no store {store}", f"stores are {', '.join(stores)}")
    if store == user.store:
        raise Invalid(f"the mailbox of {user.address} is on {store} already")
    left = _left_at(unit.connection, user.recipient_id, store)
    _disconnect(unit, user)
    if left:
        unit.connection.execute(
            delete(disconnected_mailboxes).where(disconnected_mailboxes.c.mailbox_id == left)
        )
    change_recipient(
        unit,
        user.recipient_id,
        mailbox_id=left or unit.identifier(),
        store=store,
        database=stores[store],
    )
    prune(unit)


def _left_at(connection: Connection, recipient_id: str, store: str) -> str:
    """The mailbox that the user had on a store before; empty: none that is still kept."""
    query = (
        select(disconnected_mailboxes.c.mailbox_id)
        .where(disconnected_mailboxes.c.recipient_id == recipient_id)
        .where(disconnected_mailboxes.c.store == store)
    )
    return connection.execute(query).scalar() or ""


def _disconnect(unit: Unit, user: Row[Any]) -> DisconnectedMailbox:
    mailbox = DisconnectedMailbox(
        mailbox_id=user.mailbox_id,
        address=user.address,
        name=user.name,
        store=user.store,
        database=user.database,
        since_ms=unit.now_ms,
    )
    values = {**msgspec.structs.asdict(mailbox), "recipient_id": user.recipient_id}
    unit.connection.execute(insert(disconnected_mailboxes).values(values))
    return mailbox


def remove_recipient(unit: Unit, recipient: Row[Any]) -> None:
    """Frees its addresses, takes it out of all groups, and leaves a tombstone without its password."""
    recipient_id = recipient.recipient_id
    free_addresses(unit, addresses.c.recipient_id == recipient_id)
    holding = select(members.c.group_id).where(members.c.member_id == recipient_id)
    unit.connection.execute(
        update(recipients).where(recipients.c.recipient_id.in_(holding)).values(revision=unit.revision)
    )
    unit.connection.execute(
        delete(members).where((members.c.member_id == recipient_id) | (members.c.group_id == recipient_id))
    )
    unit.connection.execute(
        update(organisation).where(organisation.c.postmaster_id == recipient_id).values(postmaster_id="")
    )
    change_recipient(unit, recipient_id, removed_at_ms=unit.now_ms, password_hash="")
    prune(unit)


def add_contact(unit: Unit, address: str, target: str, name: str) -> str:
    """Raises Invalid, AlreadyExists."""
    return new_recipient(unit, "contact", address, name, target=checked_address(target, "target address"))


def set_contact(unit: Unit, address: str, target: str | None, name: str | None) -> None:
    """Raises NotFound, Invalid."""
    contact = recipient_of(unit.connection, address, "contact")
    if target is not None:
        change_recipient(unit, contact.recipient_id, target=checked_address(target, "target address"))
    if name is not None:
        change_recipient(unit, contact.recipient_id, name=name)


def remove_contact(unit: Unit, address: str) -> None:
    """Raises NotFound."""
    remove_recipient(unit, recipient_of(unit.connection, address, "contact"))


def add_alias(unit: Unit, alias: str, address: str) -> None:
    """Raises NotFound, Invalid, AlreadyExists."""
    recipient = recipient_of(unit.connection, address)
    claim_address(unit, checked_address(alias, "alias"), recipient.recipient_id, primary=False)
    # Its credentials changed: the addresses it may send as.
    change_recipient(unit, recipient.recipient_id)


def set_alias(unit: Unit, alias: str, address: str) -> None:
    """The alias goes to another recipient. Raises NotFound, InUse (it is a primary address)."""
    recipient = recipient_of(unit.connection, address)
    given = show_alias(unit.connection, alias).alias
    remove_alias(unit, alias)
    claim_address(unit, given, recipient.recipient_id, primary=False)
    change_recipient(unit, recipient.recipient_id)


def remove_alias(unit: Unit, alias: str) -> None:
    """Raises NotFound, InUse (it is a primary address)."""
    key = address_key(alias.strip())
    row = unit.connection.execute(select(addresses).where(addresses.c.address_key == key)).first()
    if row is None or not row.recipient_id:
        raise NotFound(f"there is no alias {alias}", "waypost alias list shows all")
    recipient = recipient_of(unit.connection, alias)
    if row.is_primary:
        raise InUse(
            f"{alias} is the primary address of a {recipient.kind}",
            f"to remove the {recipient.kind}: `waypost {recipient.kind} remove {recipient.address}`",
        )
    free_addresses(unit, addresses.c.address_key == key)
    change_recipient(unit, recipient.recipient_id)
    prune(unit)


def list_users(connection: Connection, prefix: str) -> tuple[UserRecord, ...]:
    return user_records(connection, with_prefix(connection, "user", prefix))


def user_records(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[UserRecord, ...]:
    ids = [row.recipient_id for row in rows]
    holding = (
        select(members.c.member_id, recipients.c.address)
        .join(recipients, recipients.c.recipient_id == members.c.group_id)
        .order_by(recipients.c.address)
    )
    groups = texts_by(connection, holding, members.c.member_id, ids)
    aliases = aliases_of(connection, ids)
    return tuple(
        UserRecord(
            recipient_id=row.recipient_id,
            address=row.address,
            name=row.name,
            mailbox_id=row.mailbox_id,
            store=row.store,
            database=row.database,
            disabled=row.disabled,
            aliases=aliases.get(row.recipient_id, ()),
            groups=groups.get(row.recipient_id, ()),
            created_at_ms=row.created_at_ms,
        )
        for row in rows
    )


def list_contacts(connection: Connection, prefix: str) -> tuple[ContactRecord, ...]:
    return contact_records(connection, with_prefix(connection, "contact", prefix))


def contact_records(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[ContactRecord, ...]:
    aliases = aliases_of(connection, [row.recipient_id for row in rows])
    return tuple(
        ContactRecord(
            recipient_id=row.recipient_id,
            address=row.address,
            name=row.name,
            target=row.target,
            aliases=aliases.get(row.recipient_id, ()),
            created_at_ms=row.created_at_ms,
        )
        for row in rows
    )


def list_aliases(connection: Connection, prefix: str) -> tuple[AliasRecord, ...]:
    query = _ALIASES.where(addresses.c.address_key.startswith(address_key(prefix), autoescape=True))
    return tuple(
        AliasRecord(alias=row.alias, address=row.address, kind=row.kind) for row in connection.execute(query)
    )


def show_alias(connection: Connection, alias: str) -> AliasRecord:
    """Raises NotFound."""
    key = address_key(alias.strip())
    query = _ALIASES.where(addresses.c.address_key == key)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no alias {alias}", "waypost alias list shows all")
    return AliasRecord(alias=row.alias, address=row.address, kind=row.kind)


def list_disconnected(connection: Connection, store: str) -> tuple[DisconnectedMailbox, ...]:
    query = select(disconnected_mailboxes).order_by(
        disconnected_mailboxes.c.since_ms, disconnected_mailboxes.c.mailbox_id
    )
    if store:
        query = query.where(disconnected_mailboxes.c.store == store)
    return tuple(
        DisconnectedMailbox(
            mailbox_id=row.mailbox_id,
            address=row.address,
            name=row.name,
            store=row.store,
            database=row.database,
            since_ms=row.since_ms,
        )
        for row in connection.execute(query)
    )


def with_prefix(connection: Connection, kind: str, prefix: str) -> list[Row[Any]]:
    """Live recipients of a kind whose primary address begins so, by address."""
    query = (
        select(recipients)
        .join(addresses, addresses.c.recipient_id == recipients.c.recipient_id)
        .where(recipients.c.kind == kind, addresses.c.is_primary.is_(True))
        .where(addresses.c.address_key.startswith(address_key(prefix), autoescape=True))
        .order_by(addresses.c.address_key)
    )
    return list(connection.execute(query).all())


def filled_stores(connection: Connection) -> dict[str, int]:
    """Stores that users' mailboxes are on, with how many."""
    counted = (
        select(recipients.c.store, func.count())
        .where(recipients.c.kind == "user", recipients.c.removed_at_ms.is_(None))
        .group_by(recipients.c.store)
        .order_by(recipients.c.store)
    )
    return {row[0]: row[1] for row in connection.execute(counted)}


def _least_filled(connection: Connection, stores: tuple[str, ...]) -> str:
    filled = filled_stores(connection)
    return min(stores, key=lambda store: filled.get(store, 0))
