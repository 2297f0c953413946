"""Changes of distribution groups. Groups may nest, also in a loop: that is stored, and reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from foundation.directory.records import GroupRecord, NotFound
from foundation.directory.tables import addresses, domains, members, recipients
from foundation.directory.unit import (
    Unit,
    aliases_of,
    change_recipient,
    checked_address,
    new_recipient,
    recipient_of,
    texts_by,
)
from foundation.directory.users import remove_recipient, with_prefix
from foundation.mail.address import address_key, split_address

_Member = tuple[str, str]
"""(recipient id, "") or ("", external address)."""


def add_group(unit: Unit, address: str, name: str, given: Sequence[str]) -> str:
    """Raises Invalid, AlreadyExists, NotFound (a member)."""
    group_id = new_recipient(unit, "group", address, name)
    _write(unit, group_id, _resolve(unit.connection, given))
    return group_id


def set_group(unit: Unit, address: str, name: str) -> None:
    """Raises NotFound."""
    change_recipient(unit, recipient_of(unit.connection, address, "group").recipient_id, name=name)


def set_members(unit: Unit, address: str, given: Sequence[str]) -> str:
    """Raises NotFound, Invalid."""
    group = recipient_of(unit.connection, address, "group")
    _write(unit, group.recipient_id, _resolve(unit.connection, given))
    return str(group.recipient_id)


def add_members(unit: Unit, address: str, given: Sequence[str]) -> str:
    """At the end; those that are in already stay where they are. Raises NotFound, Invalid."""
    group = recipient_of(unit.connection, address, "group")
    before = _read(unit.connection, group.recipient_id)
    _write(unit, group.recipient_id, [*before, *_resolve(unit.connection, given)])
    return str(group.recipient_id)


def remove_members(unit: Unit, address: str, given: Sequence[str]) -> str:
    """Raises NotFound when the group or one of the members is not there."""
    group = recipient_of(unit.connection, address, "group")
    kept = _read(unit.connection, group.recipient_id)
    for text in given:
        key = address_key(text.strip())
        owner = unit.connection.execute(
            select(addresses.c.recipient_id).where(addresses.c.address_key == key)
        ).scalar()
        found = next(
            (
                member
                for member in kept
                if (owner and member[0] == owner) or (member[1] and address_key(member[1]) == key)
            ),
            None,
        )
        if found is None:
            raise NotFound(f"{text} is not a member of {group.address}")
        kept.remove(found)
    _write(unit, group.recipient_id, kept)
    return str(group.recipient_id)


def remove_group(unit: Unit, address: str) -> None:
    """Raises NotFound."""
    remove_recipient(unit, recipient_of(unit.connection, address, "group"))


def list_groups(connection: Connection, prefix: str) -> tuple[GroupRecord, ...]:
    return group_records(connection, with_prefix(connection, "group", prefix))


def group_records(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[GroupRecord, ...]:
    ids = [row.recipient_id for row in rows]
    aliases = aliases_of(connection, ids)
    shown = (
        select(
            members.c.group_id, func.coalesce(recipients.c.address, members.c.address).label("shown_address")
        )
        .outerjoin(recipients, recipients.c.recipient_id == members.c.member_id)
        .order_by(members.c.group_id, members.c.ordinal)
    )
    inside = texts_by(connection, shown, members.c.group_id, ids)
    return tuple(
        GroupRecord(
            recipient_id=row.recipient_id,
            address=row.address,
            name=row.name,
            members=inside.get(row.recipient_id, ()),
            aliases=aliases.get(row.recipient_id, ()),
            loop=_loop(connection, row.recipient_id),
            created_at_ms=row.created_at_ms,
        )
        for row in rows
    )


def _resolve(connection: Connection, given: Sequence[str]) -> list[_Member]:
    found: list[_Member] = []
    for text in given:
        address = checked_address(text, "member address")
        key = address_key(address)
        owner = connection.execute(
            select(addresses.c.recipient_id).where(addresses.c.address_key == key)
        ).scalar()
        if owner:
            found.append((owner, ""))
            continue
        kind = connection.execute(
            select(domains.c.kind).where(
                domains.c.domain == split_address(key)[1], domains.c.removed_at_ms.is_(None)
            )
        ).scalar()
        if kind == "authoritative":
            raise NotFound(f"there is no recipient {address}", "add it first")
        found.append(("", address))
    return found


def _read(connection: Connection, group_id: str) -> list[_Member]:
    query = select(members).where(members.c.group_id == group_id).order_by(members.c.ordinal)
    return [(row.member_id, row.address) for row in connection.execute(query)]


def _write(unit: Unit, group_id: str, wanted: Sequence[_Member]) -> None:
    """Each member once, in the order given first."""
    once: dict[tuple[str, str], _Member] = {}
    for member_id, address in wanted:
        once.setdefault((member_id, address_key(address)), (member_id, address))
    unit.connection.execute(delete(members).where(members.c.group_id == group_id))
    if once:
        unit.connection.execute(
            insert(members),
            [
                {"group_id": group_id, "ordinal": ordinal, "member_id": member_id, "address": address}
                for ordinal, (member_id, address) in enumerate(once.values())
            ],
        )
    change_recipient(unit, group_id)


def _loop(connection: Connection, group_id: str) -> tuple[str, ...]:
    """Addresses of the groups on a shortest way from this group back to itself."""
    came_from: dict[str, str] = {}
    waiting = [group_id]
    for current in waiting:
        nested = (
            select(recipients.c.recipient_id)
            .join(members, members.c.member_id == recipients.c.recipient_id)
            .where(members.c.group_id == current, recipients.c.kind == "group")
            .order_by(members.c.ordinal)
        )
        for inner in connection.execute(nested).scalars():
            if inner == group_id:
                way = [current]
                while way[-1] != group_id:
                    way.append(came_from[way[-1]])
                return tuple(_address(connection, step) for step in reversed(way))
            if inner not in came_from:
                came_from[inner] = current
                waiting.append(inner)
    return ()


def _address(connection: Connection, recipient_id: str) -> str:
    query = select(recipients.c.address).where(recipients.c.recipient_id == recipient_id)
    return str(connection.execute(query).scalar_one())
