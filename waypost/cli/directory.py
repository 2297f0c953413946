"""What the commands for users, aliases, groups and domains share: the directory of a configuration, its
errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from waypost.cli.options import load_topology
from waypost.cli.output import NOT_FOUND, PARTIAL, USAGE, CommandFailed, print_json, print_table, rfc3339

if TYPE_CHECKING:
    from config.model import Topology
    from foundation.directory.changes import DirectoryChanges


@contextmanager
def directory_of(config: Path | None) -> Iterator[tuple[DirectoryChanges, Topology]]:
    """The directory for changes; what it refuses ends the command with its sentence and mend."""
    from foundation.directory.changes import DirectoryChanges
    from foundation.directory.records import DirectoryError, NoDirectory, NotFound
    from foundation.world.clock import SystemClock
    from foundation.world.entropy import SystemEntropy

    topology = load_topology(config)
    changes = DirectoryChanges(topology.directory_database, SystemClock(), SystemEntropy())
    try:
        yield changes, topology
    except NotFound as error:
        raise CommandFailed("not_found", error.sentence, mend=error.mend, exit_code=NOT_FOUND) from error
    except NoDirectory as error:
        raise CommandFailed("no_directory", error.sentence, mend=error.mend, exit_code=PARTIAL) from error
    except DirectoryError as error:
        code = _snake_case(type(error).__name__)
        raise CommandFailed(code, error.sentence, mend=error.mend, exit_code=USAGE) from error
    finally:
        changes.close()


def print_records(records: Sequence[msgspec.Struct], columns: Sequence[str], as_json: bool) -> None:
    documents = [document(record) for record in records]
    if as_json:
        print_json({"items": documents})
        return
    headings = [column.replace("_", " ") for column in columns]
    print_table(headings, ([shown(each[column]) for column in columns] for each in documents))


def print_record(record: msgspec.Struct, as_json: bool) -> None:
    found = document(record)
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        print(f"{key.replace('_', ' ')}: {shown(value)}")


def document(record: msgspec.Struct) -> dict[str, Any]:
    found = dict(msgspec.to_builtins(record))
    for key in [key for key in found if key.endswith("_ms")]:
        found[key.removesuffix("_ms")] = rfc3339(found.pop(key)) or None
    return found


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(value)
    return "" if value is None else str(value)


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
