"""The one writer of a database: units of work wait, are committed in groups, and only then answered.

Promises: `run` returns after the commit that holds the unit (250 means durable); a unit that fails takes none
along; a caller that goes away undoes nothing; who waits when the disk fails under a commit is cancelled, so
that no answer is given to what may be durable; units are committed in the order of their calls. What arrives
during a commit goes into the next one: no timer, no sleep. Only a lazy unit, which nobody waits for, begins
no commit of its own before LAZY_SECONDS are over: it goes with the next one.

A group runs without savepoints. Where one of its units fails, it is rolled back and runs again, each unit in
a savepoint of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, Transaction
from sqlalchemy.exc import SQLAlchemyError

from foundation.database.dialects import can_commit, is_full, is_input_output, run_text, transaction_open
from foundation.database.engine import writing
from foundation.database.executor import Executor
from foundation.mail.errors import MailError

T = TypeVar("T")

UNITS_A_COMMIT = 40
UNITS_WAITING = 10_000
LAZY_SECONDS = 0.03

log = logging.getLogger("waypost.database")


@dataclass(frozen=True, slots=True)
class _Done(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _Unknown:
    """It may be durable, or not: nobody may be told either."""


_Outcome = _Done[Any] | _Failed | _Unknown


@dataclass(slots=True, eq=False)
class _Entry:
    unit: Callable[[Connection], Any]
    committed: Callable[[Any], None] | None
    lazy: bool
    future: asyncio.Future[Any]


class _TransactionLost(Exception):
    """The database ended the whole transaction at an error of one unit."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Writer:
    """Group commit for one database. Units run one after the other, in a thread of the executor.

    `failed` is called on the event loop when the disk failed under a commit: what is durable is unknown then,
    and the daemon should end and be started again. Who waits for that commit is cancelled: to its peer the
    outcome is as unknown as it is here.
    """

    def __init__(
        self, engine: Engine, executor: Executor, *, failed: Callable[[BaseException], None] | None = None
    ) -> None:
        self._engine = writing(engine)
        self._executor = executor
        self._failed = failed
        self._queue: deque[_Entry] = deque()
        self._urgent = 0
        """Units of the queue that are not lazy."""
        self._timer: asyncio.TimerHandle | None = None
        """When the lazy ones have waited long enough."""
        self._waited = False
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._broken: BaseException | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Units not yet committed that no commit has taken up: the measure for back pressure."""
        return len(self._queue)

    async def run(
        self,
        unit: Callable[[Connection], T],
        committed: Callable[[T], None] | None = None,
        *,
        lazy: bool = False,
    ) -> T:
        """Commits `unit` and returns its value; `committed` is called with it first, on the event loop.

        A lazy unit may wait for the commit of another one, at most LAZY_SECONDS: for work whose loss in a
        crash is made good by itself, and whose end nobody waits for.
        The unit must neither commit nor roll back, and may be run twice, of which the first time is undone in
        the database. A MailError (or another error of its own) rolls back this
        unit alone and is raised here. The database's errors: 452 4.3.1 when it is full, else 451 4.3.0.
        Cancelling the caller does not take the unit back. Cancelled (CancelledError) when the disk failed
        under the commit.
        """
        if self._closed or self._broken is not None:
            raise MailError(451, "4.3.0", "The database takes no writes now, try again later")
        if len(self._queue) >= UNITS_WAITING:
            raise MailError(452, "4.3.1", "Too many commits are waiting, try again later")
        loop = asyncio.get_running_loop()
        entry = _Entry(unit, committed, lazy, loop.create_future())
        self._queue.append(entry)
        self._urgent += not lazy
        if lazy and self._timer is None:
            self._timer = loop.call_later(LAZY_SECONDS, self._time_is_over)
        if self._wanted():
            self._begin()
        result: T = await entry.future
        return result

    async def close(self) -> None:
        """Commits what waits, then takes no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._wanted():
            self._begin()
        while self._task is not None:
            await asyncio.wait([self._task])
        if self._connection is not None:
            await self._executor.run(self._disconnect)

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    def _time_is_over(self) -> None:
        self._timer = None
        self._waited = bool(self._queue)
        if self._wanted():
            self._begin()

    def _wanted(self) -> bool:
        """Whether what waits is to be committed now."""
        enough = len(self._queue) >= UNITS_A_COMMIT
        return bool(self._queue) and (self._urgent > 0 or self._waited or self._closed or enough)

    async def _work(self) -> None:
        group: list[_Entry] = []
        try:
            while self._wanted():
                group = self._take_group()
                outcomes = await self._executor.run(self._commit, [entry.unit for entry in group])
                self._answer(group, outcomes)
                group = []
        except BaseException as error:
            # Cancelled with the loop, or the executor is gone: nobody may wait for ever or think it done.
            log.error("the writer stopped", exc_info=error)
            refused = _Failed(_answer_to(error))
            waiting = list(self._queue)
            self._queue.clear()
            self._urgent = 0
            self._answer(group, [refused if isinstance(error, Exception) else _Unknown() for _ in group])
            self._answer(waiting, [refused for _ in waiting])
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None
            self._waited = False

    def _take_group(self) -> list[_Entry]:
        group = list(islice(self._queue, UNITS_A_COMMIT))
        for entry in group:
            self._queue.popleft()
            self._urgent -= not entry.lazy
        return group

    def _answer(self, group: Sequence[_Entry], outcomes: Sequence[_Outcome]) -> None:
        for entry, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, _Done) and entry.committed is not None:
                try:
                    entry.committed(outcome.value)
                except Exception:
                    log.exception("a callback after a commit failed")
        for entry, outcome in zip(group, outcomes, strict=True):
            if entry.future.done():
                continue
            if isinstance(outcome, _Done):
                entry.future.set_result(outcome.value)
            elif isinstance(outcome, _Failed):
                entry.future.set_exception(outcome.error)
            else:
                entry.future.cancel()
        if self._broken is not None and self._failed is not None:
            failed, self._failed = self._failed, None
            failed(self._broken)

    # --- below: in the executor ---

    def _commit(self, units: Sequence[Callable[[Connection], Any]]) -> Sequence[_Outcome]:
        """One transaction, one commit."""
        try:
            connection = self._connect()
            transaction = connection.begin()
        except SQLAlchemyError as error:
            return self._group_failed(units, None, error)
        try:
            outcomes = _together(connection, units)
            if outcomes is None:
                transaction.rollback()
                transaction = connection.begin()
                outcomes = [_attempt(connection, unit, savepoint=True) for unit in units]
            if all(isinstance(outcome, _Failed) for outcome in outcomes):
                transaction.rollback()
                return outcomes
        except _TransactionLost as lost:
            return self._group_failed(units, transaction, lost.cause)
        except SQLAlchemyError as error:
            return self._group_failed(units, transaction, error)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except SQLAlchemyError as error:
            outcomes = self._group_failed(units, transaction, error)
            if is_input_output(error):
                self._broken = error
                return [_Unknown() for _ in units]
        return outcomes

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _group_failed(
        self, units: Sequence[object], transaction: Transaction | None, error: BaseException
    ) -> list[_Outcome]:
        log.error("a commit of %d units failed", len(units), exc_info=error)
        try:
            if transaction is not None:
                transaction.rollback()
            self._disconnect()
        except SQLAlchemyError:
            log.exception("a failed transaction could not be rolled back; its connection is dropped")
            self._connection = None
        return [_Failed(_answer_to(error)) for _ in units]


def _together(
    connection: Connection, units: Sequence[Callable[[Connection], Any]]
) -> Sequence[_Outcome] | None:
    """All of them without savepoints, which copy each page that a unit changes. None: one failed, which is to
    take none along. Raises _TransactionLost.
    """
    if len(units) == 1:
        return [_attempt(connection, units[0], savepoint=False)]
    try:
        return [_Done(_value(connection, unit)) for unit in units]
    except Exception as error:
        if not transaction_open(connection):
            raise _TransactionLost(error) from error
        return None


def _value(connection: Connection, unit: Callable[[Connection], T]) -> T:
    value = unit(connection)
    if not can_commit(connection):
        raise RuntimeError("a unit of work ended the transaction, or hid an error that ended it")
    return value


def _attempt(connection: Connection, unit: Callable[[Connection], Any], *, savepoint: bool) -> _Outcome:
    """Raises _TransactionLost when the database rolled back more than this unit."""
    try:
        if savepoint:
            run_text(connection, "SAVEPOINT unit")
        value = _value(connection, unit)
        if savepoint:
            run_text(connection, "RELEASE SAVEPOINT unit")
        return _Done(value)
    except Exception as error:
        if not transaction_open(connection):
            raise _TransactionLost(error) from error
        if savepoint:
            run_text(connection, "ROLLBACK TO SAVEPOINT unit")
            run_text(connection, "RELEASE SAVEPOINT unit")
        if isinstance(error, SQLAlchemyError):
            log.error("a unit of work failed", exc_info=error)
            return _Failed(_answer_to(error))
        return _Failed(error)


def _answer_to(error: BaseException) -> MailError:
    if is_full(error):
        answer = MailError(452, "4.3.1", "The database is full, try again later")
    else:
        answer = MailError(451, "4.3.0", "The database can't be written now, try again later")
    answer.__cause__ = error
    return answer
