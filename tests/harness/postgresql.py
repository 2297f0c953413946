"""Databases of their own on a PostgreSQL server, for tests that ask for one.

WAYPOST_TEST_POSTGRESQL_URL names the server and a user who may make databases, like
postgresql://postgres@127.0.0.1:5432/postgres; with the optional dependency `postgresql` installed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

VARIABLE = "WAYPOST_TEST_POSTGRESQL_URL"


def server_url() -> str:
    """Empty where no server is named."""
    return os.environ.get(VARIABLE, "")


@contextmanager
def new_databases(count: int) -> Iterator[list[str]]:
    """URLs of empty databases, which are dropped in the end."""
    server = make_url(server_url()).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with ExitStack() as made, engine.connect() as connection:
        made.callback(engine.dispose)
        urls = []
        for _ in range(count):
            name = f"waypost_test_{uuid.uuid4().hex}"
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
            made.callback(connection.exec_driver_sql, f"DROP DATABASE {name} WITH (FORCE)")
            url = server.set(drivername="postgresql", database=name)
            urls.append(url.render_as_string(hide_password=False))
        try:
            yield urls
        finally:
            made.close()
