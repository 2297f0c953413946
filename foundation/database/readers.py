"""Reads for the daemons: a query function runs off the event loop and sees one snapshot of the database.

Promise: its transaction ends before `run` returns, so no read transaction lasts while a client is waited for
(it would keep the WAL from being reset).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from foundation.database.executor import Executor
from foundation.mail.errors import MailError

T = TypeVar("T")

log = logging.getLogger("waypost.database")


class Readers:
    """As many at once as the executor has threads."""

    def __init__(self, engine: Engine, executor: Executor) -> None:
        self._engine = engine
        self._executor = executor

    async def run(self, query: Callable[[Connection], T]) -> T:
        """Raises what the query raises; MailError 451 4.3.0 for an error of the database."""
        return await self._executor.run(self._query, query)

    def _query(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection, connection.begin():
                return query(connection)
        except SQLAlchemyError as error:
            log.exception("a query failed")
            raise MailError(451, "4.3.0", "The database can't be read now, try again later") from error
