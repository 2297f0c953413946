"""Reads the directory's changes from its database. Blocking: runs in an executor, one call at a time.

Asking whether anything changed costs a few microseconds (SQLite's data_version), so daemons ask often.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, select
from sqlalchemy.exc import SQLAlchemyError

from foundation.database.engine import open_engine
from foundation.directory import tables
from foundation.directory.snapshot import AddressRow, Changes, DomainRow, OrganisationRow, RecipientRow
from foundation.interfaces.directory import AcceptedDomain, DirectoryRecipient

log = logging.getLogger("waypost.directory")

_GROUPS_A_QUERY = 500


class DirectoryUnreachable(Exception):
    """The directory can't be read now; says why."""


class DirectorySource:
    """One kept connection to the directory."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_engine(url)
        self._file = _database_file(self._engine)
        self._opened: tuple[int, int] | None = None
        self._connection: Connection | None = None
        self._seen: tuple[int, str, int] | None = None

    def changes(self, organisation_id: str, since: int) -> Changes | None:
        """What happened after revision `since` of that organisation; None: nothing.

        All there is, when the caller knows another organisation, or less than the tombstones reach back to.
        Raises DirectoryUnreachable.
        """
        try:
            connection = self._connect()
            version = _data_version(connection)
            if version is not None and self._seen == (version, organisation_id, since):
                return None
            with connection.begin():
                changes = read_changes(connection, organisation_id, since)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self._disconnect()
            reason = getattr(error, "orig", None) or error
            raise DirectoryUnreachable(f"the directory can't be read: {reason}") from error
        if version is not None:
            organisation = changes.organisation
            # The version was read first: a change that came in between is looked for again.
            self._seen = (version, organisation.organisation_id, organisation.revision)
        unchanged = not changes.whole and changes.organisation.revision == since
        return None if unchanged else changes

    def close(self) -> None:
        self._disconnect()
        self._engine.dispose()

    def _connect(self) -> Connection:
        if self._file is not None:
            status = os.stat(self._file)  # to open a missing file would make an empty one
            if self._opened != (status.st_dev, status.st_ino):  # put back from a copy, or made anew
                self._disconnect()
                self._opened = (status.st_dev, status.st_ino)
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._seen = None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except SQLAlchemyError:
                log.warning("a connection to the directory could not be closed", exc_info=True)


def read_changes(connection: Connection, organisation_id: str, since: int) -> Changes:
    """In one transaction of the caller's. Raises DirectoryUnreachable when there is no organisation yet."""
    row = connection.execute(select(tables.organisation)).first()
    if row is None:
        raise DirectoryUnreachable("the directory has no organisation yet")
    organisation = OrganisationRow(row.organisation_id, row.default_domain, row.postmaster_id, row.revision)
    whole = organisation_id != row.organisation_id or not row.pruned_revision <= since <= row.revision
    if not whole and since == row.revision:
        return Changes(organisation=organisation, whole=False)
    after = 0 if whole else since
    return Changes(
        organisation=organisation,
        whole=whole,
        domains=_domains(connection, after),
        recipients=_recipients(connection, after),
        addresses=_addresses(connection, after),
    )


def _domains(connection: Connection, after: int) -> tuple[DomainRow, ...]:
    rows = connection.execute(select(tables.domains).where(tables.domains.c.revision > after))
    return tuple(
        DomainRow(AcceptedDomain(domain=row.domain, kind=row.kind), row.removed_at_ms is not None)
        for row in rows
    )


def _recipients(connection: Connection, after: int) -> tuple[RecipientRow, ...]:
    rows = connection.execute(select(tables.recipients).where(tables.recipients.c.revision > after)).all()
    groups = [row.recipient_id for row in rows if row.kind == "group" and row.removed_at_ms is None]
    members = _members(connection, groups)
    return tuple(
        RecipientRow(
            to_recipient(row),
            row.password_hash,
            row.disabled,
            row.removed_at_ms is not None,
            tuple(members.get(row.recipient_id, ())),
        )
        for row in rows
    )


def _members(connection: Connection, groups: list[str]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    table = tables.members.c
    for start in range(0, len(groups), _GROUPS_A_QUERY):
        some = groups[start : start + _GROUPS_A_QUERY]
        query = select(tables.members).where(table.group_id.in_(some)).order_by(table.group_id, table.ordinal)
        for row in connection.execute(query):
            found.setdefault(row.group_id, []).append((row.member_id, row.address))
    return found


def _addresses(connection: Connection, after: int) -> tuple[AddressRow, ...]:
    table = tables.addresses.c
    query = select(table.address_key, table.recipient_id, table.is_primary).where(table.revision > after)
    return tuple(
        AddressRow(row.address_key, row.recipient_id, row.is_primary) for row in connection.execute(query)
    )


def to_recipient(row: Row[Any]) -> DirectoryRecipient:
    """From a whole row of `recipients`."""
    return DirectoryRecipient(
        recipient_id=row.recipient_id,
        kind=row.kind,
        address=row.address,
        name=row.name,
        mailbox_id=row.mailbox_id,
        store=row.store,
        database=row.database,
        target=row.target,
    )


def _data_version(connection: Connection) -> int | None:
    """Changes whenever another connection has committed; None where there is no such thing."""
    if connection.dialect.name != "sqlite":
        return None
    driver: Any = connection.connection.dbapi_connection
    # Past SQLAlchemy, which would begin a transaction for it.
    return int(driver.execute("PRAGMA data_version").fetchone()[0])


def _database_file(engine: Engine) -> Path | None:
    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return None
    return Path(str(engine.url.database))
