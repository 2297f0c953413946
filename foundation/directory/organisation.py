"""Changes of the organisation itself and of its accepted domains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, insert, select, update

from foundation.directory.records import (
    DOMAIN_KINDS,
    AlreadyExists,
    DomainKind,
    DomainRecord,
    InUse,
    Invalid,
    NoDirectory,
    NotFound,
    OrganisationRecord,
)
from foundation.directory.tables import addresses, domains, organisation, recipients
from foundation.directory.unit import Unit, prune, recipient_of
from foundation.mail.address import domain_key, valid_domain


def create(connection: Connection, name: str, now_ms: int, identifier: Callable[[], str]) -> str:
    """Raises AlreadyExists."""
    existing = connection.execute(select(organisation.c.name)).scalar()
    if existing is not None:
        raise AlreadyExists(f"the directory already holds the organisation {existing!r}")
    organisation_id = identifier()
    connection.execute(
        insert(organisation).values(
            organisation_id=organisation_id,
            name=name,
            default_domain="",
            postmaster_id="",
            created_at_ms=now_ms,
            revision=0,
            pruned_revision=0,
        )
    )
    return organisation_id


def show(connection: Connection) -> OrganisationRecord:
    row = connection.execute(select(organisation)).first()
    if row is None:
        raise NoDirectory("the directory has no organisation yet", "run `waypost up` or `waypost init`")
    query = select(recipients.c.address).where(
        recipients.c.recipient_id == row.postmaster_id, recipients.c.removed_at_ms.is_(None)
    )
    return OrganisationRecord(
        organisation_id=row.organisation_id,
        name=row.name,
        default_domain=row.default_domain,
        postmaster=connection.execute(query).scalar() or "",
        revision=row.revision,
    )


def set_postmaster(unit: Unit, address: str) -> None:
    """An empty address: the first user again. Raises NotFound."""
    postmaster_id = recipient_of(unit.connection, address).recipient_id if address else ""
    unit.connection.execute(update(organisation).values(postmaster_id=postmaster_id))


def add_domain(unit: Unit, domain: str, kind: DomainKind, default: bool) -> None:
    """Raises Invalid, AlreadyExists."""
    key = _checked(domain)
    _check_kind(kind)
    values = {
        "kind": kind,
        "created_at_ms": unit.now_ms,
        "removed_at_ms": None,
        "revision": unit.revision,
    }
    row = unit.connection.execute(select(domains).where(domains.c.domain == key)).first()
    if row is None:
        unit.connection.execute(insert(domains).values(domain_id=unit.identifier(), domain=key, **values))
    elif row.removed_at_ms is None:
        raise AlreadyExists(f"{key} is an accepted domain already")
    else:
        renewed = update(domains).where(domains.c.domain == key)
        unit.connection.execute(renewed.values(domain_id=unit.identifier(), **values))
    if default:
        unit.connection.execute(update(organisation).values(default_domain=key))


def set_domain(unit: Unit, domain: str, kind: DomainKind | None, default: bool) -> None:
    """Raises NotFound, Invalid."""
    key = _existing(unit.connection, domain)
    if kind is not None:
        _check_kind(kind)
        changed = update(domains).where(domains.c.domain == key)
        unit.connection.execute(changed.values(kind=kind, revision=unit.revision))
    if default:
        unit.connection.execute(update(organisation).values(default_domain=key))


def remove_domain(unit: Unit, domain: str) -> None:
    """Raises NotFound, InUse (it is the default, or recipients have addresses in it)."""
    key = _existing(unit.connection, domain)
    if unit.connection.execute(select(organisation.c.default_domain)).scalar() == key:
        raise InUse(f"{key} is the default domain", "make another one the default first")
    used = (
        select(addresses.c.address)
        .where(addresses.c.address_key.endswith(f"@{key}", autoescape=True), addresses.c.recipient_id != "")
        .order_by(addresses.c.address_key)
        .limit(1)
    )
    example = unit.connection.execute(used).scalar()
    if example is not None:
        raise InUse(f"{key} still has recipients, {example} among them", "remove their addresses first")
    removed = update(domains).where(domains.c.domain == key)
    unit.connection.execute(removed.values(removed_at_ms=unit.now_ms, revision=unit.revision))
    prune(unit)


def list_domains(connection: Connection) -> tuple[DomainRecord, ...]:
    default = show(connection).default_domain
    rows = connection.execute(
        select(domains).where(domains.c.removed_at_ms.is_(None)).order_by(domains.c.domain)
    )
    return tuple(
        DomainRecord(
            domain=row.domain,
            kind=row.kind,
            default=row.domain == default,
            created_at_ms=row.created_at_ms,
        )
        for row in rows
    )


def show_domain(connection: Connection, domain: str) -> DomainRecord:
    """Raises NotFound."""
    key = _existing(connection, domain)
    return next(record for record in list_domains(connection) if record.domain == key)


def known_domains(connection: Connection) -> Sequence[str]:
    query = select(domains.c.domain).where(domains.c.removed_at_ms.is_(None)).order_by(domains.c.domain)
    return connection.execute(query).scalars().all()


def _checked(domain: str) -> str:
    key = domain_key(domain.strip())
    if key.startswith("[") or not valid_domain(key, smtputf8=False):
        raise Invalid(f"{domain!r} is not a valid domain", "write it like example.org")
    return key


def _check_kind(kind: str) -> None:
    if kind not in DOMAIN_KINDS:
        raise Invalid(f"{kind!r} is no kind of domain", f"take one of {', '.join(DOMAIN_KINDS)}")


def _existing(connection: Connection, domain: str) -> str:
    key = domain_key(domain.strip())
    known = known_domains(connection)
    if key not in known:
        raise NotFound(f"{key} is not an accepted domain", f"accepted domains are {', '.join(known)}")
    return key
