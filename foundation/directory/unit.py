"""One change of the directory: a transaction with its revision, and what every change does with addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, delete, func, insert, select, update

from foundation.directory.records import AlreadyExists, Invalid, NoDirectory, NotFound
from foundation.directory.tables import addresses, disconnected_mailboxes, domains, organisation, recipients
from foundation.mail.address import address_key, split_address, valid_address

KEEP_MS = 30 * 86_400_000
"""How long tombstones and disconnected mailboxes are kept."""

_IDS_A_QUERY = 500


@dataclass(frozen=True)
class Unit:
    connection: Connection
    revision: int
    now_ms: int
    identifier: Callable[[], str]


def begin_unit(connection: Connection, now_ms: int, identifier: Callable[[], str]) -> Unit:
    """Begins a change: its revision comes first, so that changes are seen in the order of their revisions."""
    raised = update(organisation).values(revision=organisation.c.revision + 1)
    revision = connection.execute(raised.returning(organisation.c.revision)).scalar()
    if revision is None:
        raise NoDirectory("the directory has no organisation yet", "run `waypost up` or `waypost init`")
    return Unit(connection, revision, now_ms, identifier)


def checked_address(address: str, what: str = "address") -> str:
    """The address without surrounding blanks. Raises Invalid."""
    address = address.strip()
    if not valid_address(address, smtputf8=True):
        raise Invalid(f"{address!r} is not a valid {what}", "write it as local@domain")
    return address


def recipient_of(connection: Connection, address: str, kind: str = "") -> Row[Any]:
    """The live recipient with this address, of this kind. Raises NotFound."""
    query = (
        select(recipients)
        .join(addresses, addresses.c.recipient_id == recipients.c.recipient_id)
        .where(addresses.c.address_key == address_key(address.strip()))
    )
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(
            f"there is no {kind or 'recipient'} {address}", f"waypost {kind or 'user'} list shows all"
        )
    if kind and row.kind != kind:
        raise NotFound(f"{address} is a {row.kind}, not a {kind}")
    return row


def with_id(connection: Connection, recipient_id: str) -> Row[Any]:
    return connection.execute(select(recipients).where(recipients.c.recipient_id == recipient_id)).one()


def claim_address(unit: Unit, address: str, recipient_id: str, *, primary: bool) -> None:
    """Gives the address to a recipient. Raises Invalid, AlreadyExists."""
    key = address_key(address)
    domain = split_address(key)[1]
    known = select(domains.c.domain).where(domains.c.domain == domain, domains.c.removed_at_ms.is_(None))
    if unit.connection.execute(known).first() is None:
        raise Invalid(
            f"{domain} is not an accepted domain", f"add it with `waypost domain add {domain}` first"
        )
    values = {
        "address": address,
        "recipient_id": recipient_id,
        "is_primary": primary,
        "removed_at_ms": None,
        "revision": unit.revision,
    }
    row = unit.connection.execute(select(addresses).where(addresses.c.address_key == key)).first()
    if row is None:
        unit.connection.execute(insert(addresses).values(address_key=key, **values))
    elif row.recipient_id:
        owner = with_id(unit.connection, row.recipient_id)
        whose = "" if row.is_primary else f" (an alias of {owner.address})"
        raise AlreadyExists(f"{address} is taken by a {owner.kind}{whose}")
    else:
        unit.connection.execute(update(addresses).where(addresses.c.address_key == key).values(**values))


def free_addresses(unit: Unit, condition: Any) -> None:
    """Turns addresses into tombstones."""
    unit.connection.execute(
        update(addresses)
        .where(condition)
        .values(recipient_id="", is_primary=False, removed_at_ms=unit.now_ms, revision=unit.revision)
    )


def new_recipient(unit: Unit, kind: str, address: str, name: str, **values: str) -> str:
    """Makes a recipient with its primary address, and returns its id. Raises Invalid, AlreadyExists."""
    address = checked_address(address)
    recipient_id = unit.identifier()
    claim_address(unit, address, recipient_id, primary=True)
    row = {
        "recipient_id": recipient_id,
        "kind": kind,
        "name": name,
        "address": address,
        "mailbox_id": "",
        "store": "",
        "database": "",
        "password_hash": "",
        "target": "",
        "disabled": False,
        "created_at_ms": unit.now_ms,
        "removed_at_ms": None,
        "revision": unit.revision,
        **values,
    }
    unit.connection.execute(insert(recipients).values(**row))
    return recipient_id


def change_recipient(unit: Unit, recipient_id: str, **values: object) -> None:
    unit.connection.execute(
        update(recipients)
        .where(recipients.c.recipient_id == recipient_id)
        .values(revision=unit.revision, **values)
    )


def aliases_of(connection: Connection, recipient_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    query = (
        select(addresses.c.recipient_id, addresses.c.address)
        .where(addresses.c.is_primary.is_(False))
        .order_by(addresses.c.address_key)
    )
    return texts_by(connection, query, addresses.c.recipient_id, recipient_ids)


def texts_by(
    connection: Connection, query: Select[Any], column: Column[str], wanted: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Answers of a query of (id, text), grouped by id, for the ids wanted in `column`."""
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(wanted), _IDS_A_QUERY):
        some = query.where(column.in_(wanted[start : start + _IDS_A_QUERY]))
        for identifier, text in connection.execute(some):
            found[identifier] = (*found.get(identifier, ()), text)
    return found


def prune(unit: Unit) -> None:
    """Forgets what was removed long ago; a reader that knows less reads everything anew."""
    before = unit.now_ms - KEEP_MS
    newest = 0
    for table in (domains, recipients, addresses):
        old = table.c.removed_at_ms < before
        newest = max(
            newest, unit.connection.execute(select(func.max(table.c.revision)).where(old)).scalar() or 0
        )
        unit.connection.execute(delete(table).where(old))
    unit.connection.execute(delete(disconnected_mailboxes).where(disconnected_mailboxes.c.since_ms < before))
    if newest:
        unit.connection.execute(
            update(organisation).where(organisation.c.pruned_revision < newest).values(pruned_revision=newest)
        )
