"""The directory as the daemons see it, over a real database."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from foundation.database.engine import sqlite_url
from foundation.directory import lookup as lookup_module
from foundation.directory.changes import DirectoryChanges
from foundation.directory.lookup import DirectoryLookup
from foundation.directory.reading import DirectorySource
from foundation.directory.snapshot import Snapshot
from foundation.interfaces.directory import DirectoryRecipient
from foundation.interfaces.world import World
from foundation.mail.errors import Unavailable
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from foundation.world.dns import DnsResolver
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor

WORLD = World(SystemClock(), SystemEntropy(), SystemDisk(), DnsResolver(), ThreadExecutor)
STORES = {"store-a": "default"}
SECONDS = 5.0


def changes_at(tmp_path: Path, name: str = "directory.db") -> DirectoryChanges:
    changes = DirectoryChanges(sqlite_url(tmp_path / name), SystemClock(), SystemEntropy())
    changes.create_organisation("Example", "example.test")
    return changes


@pytest.fixture
def changes(tmp_path: Path) -> DirectoryChanges:
    return changes_at(tmp_path)


def add(changes: DirectoryChanges, local: str) -> str:
    return changes.add_user(f"{local}@example.test", f"hash of {local}", stores=STORES).recipient_id


def directory_at(tmp_path: Path, name: str = "directory.db", world: World = WORLD) -> DirectoryLookup:
    return DirectoryLookup(sqlite_url(tmp_path / name), tmp_path / "snapshot", world)


@pytest.fixture
async def directory(changes: DirectoryChanges, tmp_path: Path) -> AsyncIterator[DirectoryLookup]:
    made = directory_at(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def until(directory: DirectoryLookup, condition: Callable[[], bool]) -> None:
    """Waits for changes to be seen without asking for them."""
    changed = asyncio.Event()
    directory.on_change(changed.set)
    async with asyncio.timeout(SECONDS):
        while not condition():
            await changed.wait()
            changed.clear()


def addresses(members: tuple[DirectoryRecipient | str, ...]) -> list[str]:
    return [member if isinstance(member, str) else member.address for member in members]


async def test_change_is_seen_without_asking(directory: DirectoryLookup, changes: DirectoryChanges) -> None:
    revision = directory.revision()
    loop = asyncio.get_running_loop()
    add(changes, "alice")
    began = loop.time()
    await until(directory, lambda: directory.revision() > revision)
    assert loop.time() - began < 1.0


async def test_miss_is_asked_at_once(directory: DirectoryLookup, changes: DirectoryChanges) -> None:
    assert await directory.find("alice@example.test") is None
    identifier = add(changes, "alice")
    found = await directory.find("Alice@EXAMPLE.test")
    assert found is not None
    assert (found.recipient_id, found.store, found.database) == (identifier, "store-a", "default")
    assert await directory.find_id(identifier) == found
    assert await directory.mailbox(found.mailbox_id) == found
    assert await directory.mailboxes_of("store-a") == (found.mailbox_id,)
    assert await directory.mailboxes_of("store-z") == ()


@pytest.mark.parametrize(
    "address", ["", "alice", "@", "nobody@example.test", "a\0b@example.test", "\ud800@x"]
)
async def test_nobody(directory: DirectoryLookup, changes: DirectoryChanges, address: str) -> None:
    add(changes, "alice")
    assert await directory.find(address) is None


async def test_detail_of_an_address(directory: DirectoryLookup, changes: DirectoryChanges) -> None:
    alice, special = add(changes, "alice"), add(changes, "alice+special")
    for address, expected in [
        ("alice+lists@example.test", alice),
        ("alice+a+b@example.test", alice),
        ("Alice+Special@example.test", special),
    ]:
        found = await directory.find(address)
        assert found is not None
        assert found.recipient_id == expected
    assert await directory.find("+lists@example.test") is None
    assert await directory.find("bob+lists@example.test") is None


async def test_removed_user_is_gone(directory: DirectoryLookup, changes: DirectoryChanges) -> None:
    add(changes, "alice")
    found = await directory.find("alice@example.test")
    assert found is not None
    revision = directory.revision()
    changes.remove_user("alice@example.test")
    await until(directory, lambda: directory.revision() > revision)
    assert await directory.find("alice@example.test") is None
    assert await directory.find_id(found.recipient_id) is None
    assert await directory.mailbox(found.mailbox_id) is None
    assert await directory.mailboxes_of("store-a") == ()
    assert await directory.credentials("alice") is None


async def test_credentials(directory: DirectoryLookup, changes: DirectoryChanges) -> None:
    add(changes, "bob")
    changes.add_alias("a@example.test", "bob@example.test")
    changes.add_group("team@example.test")
    for login in ("bob", "BOB", "bob@example.test", "a@example.test", "a"):
        credentials = await directory.credentials(login)
        assert credentials is not None
        assert credentials.password_hash == "hash of bob"
        assert credentials.addresses == ("bob@example.test", "a@example.test")
    assert await directory.credentials("team") is None
    assert await directory.credentials("") is None
    assert await directory.credentials("bob+x") is None
    revision = directory.revision()
    changes.set_user("bob@example.test", disabled=True)
    await until(directory, lambda: directory.revision() > revision)
    assert await directory.credentials("bob") is None
    assert await directory.find("bob@example.test") is not None


async def test_members(directory: DirectoryLookup, changes: DirectoryChanges) -> None:
    add(changes, "alice")
    changes.add_contact("partner@example.test", "x@other.test")
    changes.add_group("inner@example.test")
    wanted = ["partner@example.test", "out@other.test", "alice@example.test", "inner@example.test"]
    group = changes.add_group("all@example.test", members=wanted).recipient_id
    assert addresses(await directory.members(group)) == wanted
    revision = directory.revision()
    changes.remove_contact("partner@example.test")
    await until(directory, lambda: directory.revision() > revision)
    assert addresses(await directory.members(group)) == wanted[1:]
    assert await directory.members("unknown") == ()


async def test_domains(directory: DirectoryLookup, changes: DirectoryChanges) -> None:
    accepted = await directory.accepted_domain("EXAMPLE.test")
    assert accepted is not None
    assert accepted.domain == "example.test"
    changes.add_domain("bücher.test", "internal-relay")
    accepted = await directory.accepted_domain("Bücher.test")
    assert accepted is not None
    assert (accepted.domain, accepted.kind) == ("xn--bcher-kva.test", "internal-relay")
    assert [domain.domain for domain in await directory.accepted_domains()] == [
        "example.test",
        accepted.domain,
    ]
    revision = directory.revision()
    changes.remove_domain("bücher.test")
    await until(directory, lambda: directory.revision() > revision)
    assert await directory.accepted_domain("bücher.test") is None


async def test_postmaster(directory: DirectoryLookup, changes: DirectoryChanges) -> None:
    assert await directory.postmaster() is None
    changes.add_group("team@example.test")
    first, second = add(changes, "zoe"), add(changes, "alice")
    postmaster = await directory.postmaster()
    assert postmaster is not None
    assert postmaster.recipient_id == first
    revision = directory.revision()
    changes.set_postmaster("alice@example.test")
    await until(directory, lambda: directory.revision() > revision)
    postmaster = await directory.postmaster()
    assert postmaster is not None
    assert postmaster.recipient_id == second


async def test_starts_from_its_snapshot_when_the_directory_is_away(
    changes: DirectoryChanges, tmp_path: Path
) -> None:
    add(changes, "alice")
    changes.add_group("all@example.test", members=["alice@example.test", "x@other.test"])
    first = directory_at(tmp_path)
    await first.start()
    await first.stop()
    assert stat.S_IMODE((tmp_path / "snapshot").stat().st_mode) == 0o600
    (tmp_path / "directory.db").rename(tmp_path / "elsewhere")
    second = directory_at(tmp_path)
    await second.start()
    assert not second.reachable
    assert await second.find("alice@example.test") is not None
    group = await second.find("all@example.test")
    assert group is not None
    assert addresses(await second.members(group.recipient_id)) == ["alice@example.test", "x@other.test"]
    credentials = await second.credentials("alice")
    assert credentials is not None
    with pytest.raises(Unavailable) as told:
        await second.find("bob@example.test")
    assert (told.value.code, told.value.status) == (451, "4.3.0")
    assert not (tmp_path / "directory.db").exists()
    await second.stop()


async def test_follows_again_when_the_directory_is_back(
    changes: DirectoryChanges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup_module, "POLL_FAILED_SECONDS", 0.01)
    changes.close()
    (tmp_path / "directory.db").rename(tmp_path / "elsewhere")
    directory = directory_at(tmp_path)
    await directory.start()
    with pytest.raises(Unavailable):
        await directory.accepted_domains()
    (tmp_path / "elsewhere").rename(tmp_path / "directory.db")
    await until(directory, lambda: directory.reachable)
    assert await directory.accepted_domain("example.test") is not None
    await directory.stop()


async def test_a_directory_put_back_from_a_copy(
    directory: DirectoryLookup, changes: DirectoryChanges, tmp_path: Path
) -> None:
    add(changes, "alice")
    with closing(sqlite3.connect(tmp_path / "directory.db")) as database:
        database.execute("VACUUM INTO ?", (str(tmp_path / "copy"),))
    add(changes, "bob")
    assert await directory.find("bob@example.test") is not None
    changes.close()
    revision = directory.revision()
    for end in ("-wal", "-shm"):
        (tmp_path / f"directory.db{end}").unlink(missing_ok=True)
    (tmp_path / "copy").rename(tmp_path / "directory.db")
    await until(directory, lambda: directory.revision() > revision)
    assert await directory.find("bob@example.test") is None
    assert await directory.find("alice@example.test") is not None


async def test_snapshot_of_another_organisation_is_replaced(
    changes: DirectoryChanges, tmp_path: Path
) -> None:
    add(changes, "alice")
    first = directory_at(tmp_path)
    await first.start()
    await first.stop()
    other = changes_at(tmp_path, "other.db")
    for local in ("bob", "carol", "dave"):
        add(other, local)
    second = directory_at(tmp_path, "other.db")
    await second.start()
    assert await second.find("alice@example.test") is None
    assert await second.find("bob@example.test") is not None
    await second.stop()


@pytest.mark.parametrize("content", [b"", b"\xc1", b"nonsense", b"\x81\xa7version\x63"])
async def test_damaged_snapshot_is_no_hindrance(
    changes: DirectoryChanges, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "snapshot").write_bytes(content)
    directory = directory_at(tmp_path)
    await directory.start()
    assert await directory.accepted_domain("example.test") is not None
    await directory.stop()


async def test_snapshot_that_cannot_be_written_is_no_hindrance(
    changes: DirectoryChanges, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "snapshot").mkdir()
    directory = directory_at(tmp_path)
    await directory.start()
    assert await directory.accepted_domain("example.test") is not None
    await directory.stop()
    assert "can't be written" in caplog.text


async def test_many_misses_share_their_questions(changes: DirectoryChanges, tmp_path: Path) -> None:
    asked = 0

    class Counting(ThreadExecutor):
        async def run(self, function, *arguments):  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            return await super().run(function, *arguments)

    directory = directory_at(tmp_path, world=replace(WORLD, executor=Counting))
    await directory.start()
    before = asked
    found = await asyncio.gather(*(directory.find(f"{number}@example.test") for number in range(500)))
    assert found == [None] * 500
    assert asked - before <= 3
    await directory.stop()


async def test_cancelled_question_does_not_answer_for_others(
    directory: DirectoryLookup, changes: DirectoryChanges
) -> None:
    first = asyncio.create_task(directory.find("alice@example.test"))
    second = asyncio.create_task(directory.find("alice@example.test"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    add(changes, "alice")
    first.cancel()
    third = asyncio.create_task(directory.find("alice@example.test"))
    assert await third is not None
    await asyncio.wait([first, second])


async def test_stopped_lookup_says_so(changes: DirectoryChanges, tmp_path: Path) -> None:
    directory = directory_at(tmp_path)
    await directory.start()
    await directory.stop()
    with pytest.raises(Unavailable):
        await directory.find("alice@example.test")


def test_reader_behind_the_tombstones_reads_everything(changes: DirectoryChanges, tmp_path: Path) -> None:
    source = DirectorySource(sqlite_url(tmp_path / "directory.db"))
    snapshot = Snapshot()
    add(changes, "alice")
    first = source.changes("", 0)
    assert first is not None
    assert first.whole
    snapshot.apply(first)
    known = snapshot.organisation
    assert source.changes(known.organisation_id, known.revision) is None
    changes.remove_user("alice@example.test")
    late = DirectoryChanges(sqlite_url(tmp_path / "directory.db"), LateClock(), SystemEntropy())
    late.add_alias("x@example.test", late.add_group("g@example.test").address)
    late.remove_alias("x@example.test")
    second = source.changes(known.organisation_id, known.revision)
    assert second is not None
    assert second.whole
    snapshot.apply(second)
    assert snapshot.by_key("alice@example.test") is None
    assert snapshot.by_key("g@example.test") is not None
    source.close()


class LateClock:
    def now_ms(self) -> int:
        return SystemClock().now_ms() + 31 * 86_400_000
