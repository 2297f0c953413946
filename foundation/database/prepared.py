"""Statements of the hot paths: SQLAlchemy compiles them once, then SQLite's driver runs them directly.

SQLAlchemy's own execution costs several times what SQLite needs for a row found by its key, and the way of a
message is made of such statements. On other databases SQLAlchemy runs them, with the same results. Rows are
tuples, and errors are SQLAlchemy's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Boolean, Connection, Dialect, Insert, Select
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase

from foundation.database.dialects import kept_cursor, wrapped

Values = Mapping[str, Any]
Row = tuple[Any, ...]


class Prepared:
    """A statement whose parameters are named by `bindparam`, or an insert: its first values name its columns,
    unless it inserts what it selects.

    It is run with the same names each time. A list for IN can't be bound.
    """

    def __init__(self, statement: Select[Any] | UpdateBase) -> None:
        self.statement = statement
        self._text = ""
        self._pick: Callable[[Values], Sequence[Any]] = _nothing
        """The parameters in the order in which the text names them."""
        self._constants: dict[str, Any] = {}
        self._given = 0
        self._truths: tuple[int, ...] = ()
        if isinstance(statement, Select):
            columns = enumerate(statement.selected_columns)
            self._truths = tuple(place for place, column in columns if isinstance(column.type, Boolean))

    def first(self, connection: Connection, values: Values) -> Row | None:
        """The first row; None without one. For statements that find one, or few: all are fetched."""
        cursor = _cursor(connection)
        if cursor is None:
            one = connection.execute(self.statement, values).first()
            return None if one is None else tuple(one)
        found = self._run(connection, cursor, values).fetchall()
        if not found:
            return None
        row = found[0]
        return self._truthful(row) if self._truths else row

    def scalar(self, connection: Connection, values: Values) -> Any:
        """The first column of the first row; None without one."""
        row = self.first(connection, values)
        return None if row is None else row[0]

    def rows(self, connection: Connection, values: Values) -> list[Row]:
        cursor = _cursor(connection)
        if cursor is None:
            return [tuple(row) for row in connection.execute(self.statement, values)]
        found = self._run(connection, cursor, values).fetchall()
        return [self._truthful(row) for row in found] if self._truths else found

    def run(self, connection: Connection, values: Values) -> int:
        """How many rows it changed."""
        cursor = _cursor(connection)
        if cursor is None:
            # SQLAlchemy forgets the count of an insert unless it is asked for.
            options = {"preserve_rowcount": True}
            count = int(connection.execute(self.statement, values, execution_options=options).rowcount)
        else:
            count = self._run(connection, cursor, values).rowcount
        if count < 0:
            raise RuntimeError("the database did not say how many rows were changed")
        return count

    def run_each(self, connection: Connection, all_values: Sequence[Values]) -> None:
        """Once for each; nothing for none."""
        if not all_values:
            return
        cursor = _cursor(connection)
        if cursor is None:
            connection.execute(self.statement, all_values)
            return
        parameters = [self._parameters(connection.dialect, values) for values in all_values]
        try:
            # Not by the cursor itself: it would hold on to the statement, and keep a closed database open.
            cursor.connection.executemany(self._text, parameters)
        except sqlite3.Error as error:
            raise wrapped(connection, self._text, error) from error

    def add(self, connection: Connection, values: Values) -> int:
        """Inserts a row and returns the number that the database gave it."""
        cursor = _cursor(connection)
        if cursor is None:
            key = connection.execute(self.statement, values).inserted_primary_key
            number = key[0] if key else None
        else:
            number = self._run(connection, cursor, values).lastrowid
        if number is None:
            raise RuntimeError("the database gave no number for a new row")
        return int(number)

    # --- SQLite ---

    def _run(self, connection: Connection, cursor: sqlite3.Cursor, values: Values) -> sqlite3.Cursor:
        """Rows are to be fetched to the last one, or the statement stays open."""
        parameters = self._parameters(connection.dialect, values)
        try:
            return cursor.execute(self._text, parameters)
        except sqlite3.Error as error:
            raise wrapped(connection, self._text, error) from error

    def _parameters(self, dialect: Dialect, values: Values) -> Sequence[Any]:
        if not self._text:
            self._compile(dialect, values)
        if len(values) != self._given:
            raise ValueError(f"prepared for {self._given} values, got {sorted(values)}")
        if self._constants:
            values = {**self._constants, **values}
        return self._pick(values)

    def _compile(self, dialect: Dialect, values: Values) -> None:
        keys = list(values) if isinstance(self.statement, Insert) and self.statement.select is None else None
        compiled = self.statement.compile(dialect=dialect, column_keys=keys)
        assert isinstance(compiled, SQLCompiler)
        if compiled.post_compile_params:
            raise ValueError(f"a list can't be bound in a prepared statement: {compiled}")
        self._pick = _picker(compiled.positiontup or ())
        self._constants = {
            name: bind.value
            for name, bind in compiled.binds.items()
            if not bind.required and name not in values
        }
        self._given = len(values)
        self._text = compiled.string

    def _truthful(self, row: Row) -> Row:
        """SQLite keeps truth values as numbers."""
        values = list(row)
        for place in self._truths:
            if values[place] is not None:
                values[place] = bool(values[place])
        return tuple(values)


def _picker(names: Sequence[str]) -> Callable[[Values], Sequence[Any]]:
    if len(names) > 1:
        return itemgetter(*names)
    if not names:
        return _nothing
    (name,) = names
    return lambda values: (values[name],)


def _nothing(_: Values) -> Sequence[Any]:
    return ()


def _cursor(connection: Connection) -> sqlite3.Cursor | None:
    """The cursor of SQLite's connection, inside SQLAlchemy's transaction; None on another database."""
    if connection.dialect.name != "sqlite":
        return None
    if not connection.in_transaction():
        connection.begin()
    return kept_cursor(connection)
