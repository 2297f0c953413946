"""A reader that follows the directory change by change holds what one holds that reads it whole."""

from __future__ import annotations

import tempfile
from contextlib import closing, suppress
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.database.engine import sqlite_url
from foundation.directory.changes import DirectoryChanges
from foundation.directory.reading import DirectorySource
from foundation.directory.records import DirectoryError
from foundation.directory.snapshot import Changes, Snapshot
from foundation.world.entropy import SystemEntropy

DAY = 86_400_000
NAMES = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["user", "group", "contact", "remove", "disable", "postmaster"]), NAMES),
        st.tuples(st.sampled_from(["alias", "unalias", "move", "member", "members"]), NAMES, NAMES),
        st.tuples(st.sampled_from(["domain", "undomain", "wait", "follow"])),
    ),
    max_size=30,
)


class Clock:
    at_ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


def address(name: str) -> str:
    return f"{name}@example.test"


def step(directory: DirectoryChanges, clock: Clock, what: str, *names: str) -> None:
    given = [address(name) for name in names]
    match what:
        case "user":
            directory.add_user(given[0], "hash", stores={"one": "x", "two": "y"})
        case "group":
            directory.add_group(given[0])
        case "contact":
            directory.add_contact(given[0], "x@other.test")
        case "disable":
            directory.set_user(given[0], disabled=True)
        case "postmaster":
            directory.set_postmaster(given[0])
        case "alias":
            directory.add_alias(given[0], given[1])
        case "unalias":
            directory.remove_alias(given[0])
        case "move":
            directory.set_alias(given[0], given[1])
        case "member":
            directory.add_members(given[0], [given[1], "x@other.test"])
        case "members":
            directory.set_members(given[0], [given[1]])
        case "domain":
            directory.add_domain("more.test")
        case "undomain":
            directory.remove_domain("more.test")
        case "wait":
            clock.at_ms += 31 * DAY
        case "remove":
            for remove in (directory.remove_user, directory.remove_group, directory.remove_contact):
                with suppress(DirectoryError):
                    remove(given[0])


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_following_is_reading(steps: list[tuple[str, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = sqlite_url(Path(folder) / "directory.db")
        clock = Clock()
        with (
            closing(DirectoryChanges(url, clock, SystemEntropy())) as directory,
            closing(DirectorySource(url)) as source,
            closing(DirectorySource(url)) as reader,
        ):
            directory.create_organisation("Example", "example.test")
            followed = Snapshot()
            for what, *names in [*steps, ("follow",)]:
                if what == "follow":
                    known = followed.organisation
                    changes = source.changes(known.organisation_id, known.revision)
                    if changes is not None:
                        followed.apply(changes)
                    continue
                with suppress(DirectoryError):
                    step(directory, clock, what, *names)
            whole = reader.changes("", 0)
            assert whole is not None
            read = Snapshot()
            read.apply(whole)
            assert followed.export() == read.export()
            stored = msgspec.msgpack.decode(msgspec.msgpack.encode(read.export()), type=Changes)
            again = Snapshot()
            again.apply(stored)
            assert again.export() == read.export()
            assert again.postmaster() == followed.postmaster()
