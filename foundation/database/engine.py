"""Opens a database by URL and brings it to the schema the code expects, before anything else touches it.

Promises: a committed transaction survives a power cut (SQLite: WAL with synchronous=FULL), readers see one
snapshot a transaction, and only one transaction at a time writes to a SQLite file.

Schema: a fresh database is made from the metadata and stamped; an older one is upgraded by a function handed
in (Alembic lives above, in waypost/migrations); a newer one is refused. The stamp is a table of Alembic's,
one for each component (`version_table="<component>_schema_version"`), so components may share a database.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError, NoSuchModuleError, SQLAlchemyError

from foundation.database.dialects import (
    BUSY_TIMEOUT_MS,
    begin_sqlite,
    keep_cursor,
    limit_size,
    lock_for_schema,
    set_pragmas,
)

POOLED = 32
"""Connections of one engine at once; threads of its readers must be fewer."""

PASSWORD_FILE = "password_file"
_URLS = "Give sqlite:///FILE or postgresql://USER@HOST/DATABASE"

Upgrade = Callable[[Connection, str, int], None]
"""upgrade(connection, component, from_revision): inside the transaction that will be stamped."""


class SchemaError(Exception):
    """The database can't be used as it is: where it is, what is wrong, and how to mend it."""

    def __init__(self, place: str, problem: str, mend: str) -> None:
        super().__init__(f"{place}: {problem}. {mend}")
        self.place = place
        self.problem = problem
        self.mend = mend


class SchemaTooNew(SchemaError):
    """A later release of Waypost has upgraded this database."""


def sqlite_url(file: Path) -> str:
    return URL.create("sqlite", database=str(file)).render_as_string()


def shown_url(engine: Engine) -> str:
    """For messages: a SQLite file as its path, another URL without its password."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        return engine.url.database
    return engine.url.render_as_string(hide_password=True)


def open_engine(url: str, size_bytes_max: int = 0) -> Engine:
    """Connects to nothing yet. Its transactions begin DEFERRED; see `writing` for the writer's.

    `size_bytes_max`: a SQLite database that would grow beyond is full; 0: no bound but the disk.

    `?password_file=FILE` in the URL: the password is read there at each connection, so it may be renewed.

    Raises SchemaError when the URL is not understood or its driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SchemaError(url, "this is no database URL", _URLS) from error
    password_file = str(parsed.query.get(PASSWORD_FILE, ""))
    parsed = parsed.difference_update_query((PASSWORD_FILE,))
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    connect: dict[str, Any] = {}
    isolation: dict[str, Any] = {"isolation_level": "REPEATABLE READ"}
    if parsed.drivername == "sqlite":
        isolation = {}
        connect = {"isolation_level": None, "check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000}
    place = parsed.render_as_string(hide_password=True)
    try:
        # Connections are opened when first needed, so there are never more than threads that use them.
        engine = create_engine(
            parsed,
            connect_args=connect,
            pool_size=POOLED,
            max_overflow=0,
            pool_pre_ping=parsed.get_backend_name() != "sqlite",
            **isolation,
        )
    except NoSuchModuleError as error:
        raise SchemaError(place, "this kind of database is not known", _URLS) from error
    except ModuleNotFoundError as error:
        mend = f"Install it: pip install {error.name}[binary]"
        raise SchemaError(place, f"the driver {error.name} is not installed", mend) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", set_pragmas)
        event.listen(engine, "connect", keep_cursor)
        if size_bytes_max:
            event.listen(engine, "connect", limit_size(size_bytes_max))
        event.listen(engine, "begin", begin_sqlite)
    if password_file:
        event.listen(engine, "do_connect", _with_password(Path(password_file)))
    return engine


def _with_password(file: Path) -> Callable[..., None]:
    def add(dialect: object, record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        try:
            options["password"] = file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InvalidRequestError(f"the password file {file} can't be read ({reason})") from error

    return add


def writing(engine: Engine) -> Engine:
    """The same engine and pool, for transactions that write.

    On SQLite they take the write lock at BEGIN. On PostgreSQL they see what others committed meanwhile: where
    there are several writers, a unit of work begins with the row that all of them lock.
    """
    if engine.dialect.name == "sqlite":
        return engine.execution_options(waypost_begin="BEGIN IMMEDIATE")
    return engine.execution_options(isolation_level="READ COMMITTED")


def version_table(component: str) -> str:
    return f"{component}_schema_version"


def revision_name(revision: int) -> str:
    """As an Alembic revision identifier: `0001`."""
    return f"{revision:04d}"


def prepare_schema(
    engine: Engine, metadata: MetaData, component: str, revision: int, upgrade: Upgrade | None = None
) -> None:
    """Blocking; all or nothing. Raises SchemaTooNew, SchemaError."""
    stamp = Table(version_table(component), MetaData(), Column("version_num", String(32), primary_key=True))
    try:
        _make_private(engine)
        with writing(engine).connect() as connection, connection.begin():
            lock_for_schema(connection)
            found = _stamped(connection, stamp, shown_url(engine))
            if found == revision:
                return
            if found is None:
                _refuse_others(connection, metadata, shown_url(engine), component)
                metadata.create_all(connection)
                stamp.create(connection, checkfirst=True)
            elif found > revision:
                raise SchemaTooNew(
                    shown_url(engine),
                    f"its {component} schema is revision {found}, this release knows {revision} at most",
                    "Start it with the newer release of Waypost, or restore a copy from before the upgrade",
                )
            elif upgrade is None:
                raise SchemaError(
                    shown_url(engine),
                    f"its {component} schema is revision {found}, this release needs {revision}",
                    "Upgrade it with a release that knows both revisions",
                )
            else:
                upgrade(connection, component, found)
            connection.execute(delete(stamp))
            connection.execute(insert(stamp), {"version_num": revision_name(revision)})
    except (SQLAlchemyError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(getattr(error, "orig", None) or error)
        raise SchemaError(
            shown_url(engine),
            f"the database can't be prepared: {reason}",
            "Check that it is a database of Waypost, that its folder can be written, and the free space",
        ) from error


def _make_private(engine: Engine) -> None:
    """A new SQLite file is its owner's alone, for mail and password hashes are in it; so its side files."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if file and file != ":memory:" and not file.startswith("file:"):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def _refuse_others(connection: Connection, metadata: MetaData, place: str, component: str) -> None:
    """Tables of one name and another use: all that Waypost makes comes with its stamp, in one commit."""
    names = inspect(connection).get_table_names()
    taken = [name for name in metadata.tables if name in names]
    if taken:
        raise SchemaError(
            place,
            f"it is not of a {component}, but has a table {taken[0]!r} already",
            f"Give the {component} a database of its own",
        )


def _stamped(connection: Connection, stamp: Table, place: str) -> int | None:
    if not inspect(connection).has_table(stamp.name):
        return None
    text = connection.execute(select(stamp.c.version_num)).scalar()
    if text is None:
        return None
    if not text.isdecimal():
        problem = f"its schema is stamped {text!r}, which no release of Waypost writes"
        raise SchemaError(place, problem, "Restore a copy of it")
    return int(text)
