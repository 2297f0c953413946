"""Searches as statements: what the database knows of messages without reading them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    LargeBinary,
    Select,
    and_,
    bindparam,
    cast,
    false,
    func,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from foundation.database.prepared import Prepared
from foundation.interfaces.mailbox_store import (
    And,
    DateIs,
    Everything,
    HasFlag,
    HasKeyword,
    IdIs,
    InUids,
    Key,
    ModseqFrom,
    Not,
    Or,
    SizeIs,
    YoungerThan,
)
from mailboxstore.database.tables import emails, messages

DAY_MS = 24 * 3600 * 1000
Clause = ColumnElement[bool]

_m, _e = messages.c, emails.c

TEXT_OF = (
    select(_m.uid, _e.parts, _e.prefix, _e.content, _e.content_sha256, _e.size_bytes, _e.header_size)
    .join(emails, _e.email == _m.email)
    .where(_m.folder == bindparam("folder"), _m.uid.in_(bindparam("uids", expanding=True)))
    .order_by(_m.uid)
)

TEXT_OF_EMAILS = (
    select(
        _e.email,
        _e.email_id,
        _e.parts,
        _e.prefix,
        _e.content,
        _e.content_sha256,
        _e.size_bytes,
        _e.header_size,
    )
    .where(_e.email.in_(bindparam("emails", expanding=True)))
    .order_by(_e.email)
)
EMAIL_ID_OF = select(_e.email_id).where(_e.email == bindparam("email"))
NEWEST_EMAIL = select(func.max(_e.email))
MEMBERS_PAGE = Prepared(
    select(_m.uid, _m.email)
    .where(_m.folder == bindparam("folder"), _m.uid > bindparam("after"))
    .order_by(_m.uid)
    .limit(bindparam("limit"))
)


class _Holds(FunctionElement[bool]):
    """Whether octets have others in them."""

    type = Boolean()
    inherit_cache = True


@compiles(_Holds)
def _instr(element: _Holds, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)}) > 0"


@compiles(_Holds, "postgresql")
def _position(element: _Holds, compiler: SQLCompiler, **options: Any) -> str:
    octets, sought = (compiler.process(one, **options) for one in element.clauses)
    return f"position({sought} in {octets}) > 0"


_searched = _e.searched_fields
FIELDS_WITH = Prepared(
    select(_m.uid, _searched)
    .join(emails, _e.email == _m.email)
    .where(
        _m.folder == bindparam("folder"),
        _m.uid.between(bindparam("first"), bindparam("last")),
        or_(
            _Holds(_searched, bindparam("sought", type_=LargeBinary)),
            _searched.is_(None),
            func.length(_searched) == 0,
        ),
    )
    .order_by(_m.uid)
)
"""Messages whose listed fields may have the octets: where those are in them, or are not known."""


def uids_where(folder: int, key: Key, now_ms: int) -> Select[Any]:
    """UIDs of the folder for which the key holds, rising. Only keys of the database (keys.in_database)."""
    return (
        select(_m.uid)
        .join(emails, _e.email == _m.email)
        .where(_m.folder == folder, clause(key, now_ms))
        .order_by(_m.uid)
    )


def clause(key: Key, now_ms: int) -> Clause:
    if isinstance(key, And):
        return and_(true(), *(clause(child, now_ms) for child in key.keys))
    if isinstance(key, Or):
        return or_(false(), *(clause(child, now_ms) for child in key.keys))
    if isinstance(key, Not):
        return not_(clause(key.key, now_ms))
    if isinstance(key, YoungerThan):
        return _m.internal_date_ms >= now_ms - key.seconds * 1000
    return _LEAVES[type(key)](key)


def _flag(key: HasFlag) -> Clause:
    return _m.flags.op("&")(key.flag) != 0


def _keyword(key: HasKeyword) -> Clause:
    keywords = func.lower(" " + _m.keywords + " ")
    return keywords.contains(f" {key.keyword.lower()} ", autoescape=True)


def _uids(key: InUids) -> Clause:
    return or_(false(), *(_m.uid.between(first, last) for first, last in key.ranges))


def _size(key: SizeIs) -> Clause:
    if key.comparison == "larger":
        return _m.size_bytes > key.size_bytes
    return _m.size_bytes < key.size_bytes


def _identifier(key: IdIs) -> Clause:
    column = _e.email_id if key.which == "email" else _m.thread_id
    return column == key.identifier


def _date(key: DateIs) -> Clause:
    if key.which == "sent":
        day = key.year * 10000 + key.month * 100 + key.day
        compared = {"before": _e.sent_day < day, "on": _e.sent_day == day, "since": _e.sent_day >= day}
        # A message without a date is on no day: NULL must not reach a NOT.
        return func.coalesce(compared[key.comparison], false())
    at = (date(key.year, key.month, key.day) - date(1970, 1, 1)).days * DAY_MS
    if key.which == "internal":
        # The day in the offset the date was given with.
        local = _m.internal_date_ms + cast(_m.internal_offset_minutes, BigInteger) * 60_000
    else:
        local = _m.save_date_ms + 0
    if key.comparison == "before":
        return local < at
    if key.comparison == "since":
        return local >= at
    return and_(local >= at, local < at + DAY_MS)


_LEAVES: dict[type, Callable[[Any], Clause]] = {
    Everything: lambda key: true(),
    HasFlag: _flag,
    HasKeyword: _keyword,
    InUids: _uids,
    SizeIs: _size,
    ModseqFrom: lambda key: _m.modseq >= key.modseq,
    IdIs: _identifier,
    DateIs: _date,
}
