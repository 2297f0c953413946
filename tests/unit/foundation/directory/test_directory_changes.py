"""What the command line does to the directory."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.database.engine import sqlite_url
from foundation.directory.changes import DirectoryChanges
from foundation.directory.records import (
    AlreadyExists,
    DirectoryError,
    InUse,
    Invalid,
    NoDirectory,
    NotFound,
    UserRecord,
)
from foundation.world.entropy import SystemEntropy

STORES = {"store-a": "default", "store-b": "archive"}
DAY = 86_400_000


class Clock:
    at_ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


CLOCK = Clock()


def opened(file: Path) -> DirectoryChanges:
    return DirectoryChanges(sqlite_url(file), CLOCK, SystemEntropy())


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[DirectoryChanges]:
    changes = opened(tmp_path / "directory" / "directory.db")
    changes.create_organisation("Example", "example.test", [("relay.test", "internal-relay")])
    yield changes
    changes.close()


def add(directory: DirectoryChanges, address: str, store: str = "", name: str = "") -> UserRecord:
    return directory.add_user(address, "hash", name=name, store=store, stores=STORES)


def test_organisation(directory: DirectoryChanges, tmp_path: Path) -> None:
    organisation = directory.organisation()
    assert (organisation.name, organisation.default_domain) == ("Example", "example.test")
    assert directory.exists()
    mode = (tmp_path / "directory" / "directory.db").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    with pytest.raises(AlreadyExists, match="Example"):
        directory.create_organisation("Another", "other.test")
    assert [domain.domain for domain in directory.domains()] == ["example.test", "relay.test"]


def test_no_directory_yet(tmp_path: Path) -> None:
    changes = opened(tmp_path / "directory.db")
    assert not changes.exists()
    with pytest.raises(NoDirectory, match="waypost init"):
        changes.users()
    assert not (tmp_path / "directory.db").exists()
    changes.prepare()
    with pytest.raises(NoDirectory, match="no organisation"):
        changes.set_postmaster("")


def test_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "directory.db").write_bytes(b"\0" * 5000)
    with pytest.raises(DirectoryError, match=r"directory\.db"):
        opened(tmp_path / "directory.db").users()


def test_user_lives_on_the_least_filled_store(directory: DirectoryChanges) -> None:
    first, second = add(directory, "alice@example.test", name="Alice"), add(directory, "bob@example.test")
    assert (first.store, first.database, first.name) == ("store-a", "default", "Alice")
    assert (second.store, second.database) == ("store-b", "archive")
    assert add(directory, "carol@example.test", "store-b").store == "store-b"
    assert add(directory, "dave@example.test").store == "store-a"
    assert len({user.mailbox_id for user in directory.users()}) == 4
    with pytest.raises(NotFound, match="stores are store-a, store-b"):
        add(directory, "eve@example.test", "store-c")
    with pytest.raises(Invalid, match="no mailbox store"):
        directory.add_user("eve@example.test", "hash", stores={})


def test_addresses_are_taken_once_in_every_spelling(directory: DirectoryChanges) -> None:
    add(directory, "Alice@Example.test")
    assert directory.user("alice@EXAMPLE.TEST").address == "Alice@Example.test"
    with pytest.raises(AlreadyExists, match="taken by a user"):
        add(directory, "ALICE@example.test")
    directory.add_alias("sales@example.test", "alice@example.test")
    with pytest.raises(AlreadyExists, match=r"alias of Alice@Example\.test"):
        directory.add_group("Sales@example.test")


@pytest.mark.parametrize(
    "address", ["", "alice", "alice@", "@example.test", "a b@example.test", "a\0@example.test"]
)
def test_bad_addresses(directory: DirectoryChanges, address: str) -> None:
    with pytest.raises(Invalid):
        add(directory, address)
    assert directory.users() == ()


def test_address_in_a_foreign_domain(directory: DirectoryChanges) -> None:
    with pytest.raises(Invalid, match=r"waypost domain add other\.test"):
        add(directory, "alice@other.test")


def test_set_user(directory: DirectoryChanges) -> None:
    add(directory, "alice@example.test", name="Alice")
    changed = directory.set_user("alice@example.test", password_hash="new", disabled=True)
    assert (changed.name, changed.disabled) == ("Alice", True)
    assert directory.set_user("alice@example.test", name="A.", disabled=False).disabled is False
    with pytest.raises(NotFound, match="no user bob"):
        directory.set_user("bob@example.test", name="Bob")


def test_removed_user_leaves_a_disconnected_mailbox(directory: DirectoryChanges) -> None:
    user = add(directory, "alice@example.test")
    directory.add_alias("sales@example.test", "alice@example.test")
    directory.add_group("all@example.test", members=["alice@example.test"])
    directory.set_postmaster("sales@example.test")
    assert directory.organisation().postmaster == "alice@example.test"
    removed = directory.remove_user("alice@example.test")
    assert removed.mailbox_id == user.mailbox_id
    assert directory.disconnected_mailboxes() == (removed,)
    assert directory.disconnected_mailboxes("store-b") == ()
    assert directory.users() == ()
    assert directory.aliases() == ()
    assert directory.group("all@example.test").members == ()
    assert directory.organisation().postmaster == ""
    again = add(directory, "alice@example.test")
    assert again.recipient_id != user.recipient_id
    assert again.mailbox_id != user.mailbox_id


def test_rehomed_user_has_another_mailbox_and_leaves_one(directory: DirectoryChanges) -> None:
    add(directory, "alice@example.test")
    directory.add_alias("sales@example.test", "alice@example.test")
    directory.add_group("all@example.test", members=["alice@example.test"])
    before = directory.user("alice@example.test")
    after = directory.rehome_user("sales@example.test", "store-b", STORES)
    assert (after.recipient_id, after.store, after.database) == (before.recipient_id, "store-b", "archive")
    assert after.mailbox_id != before.mailbox_id
    assert (after.aliases, after.groups) == (("sales@example.test",), ("all@example.test",))
    (left,) = directory.disconnected_mailboxes()
    assert (left.mailbox_id, left.store, left.address) == (
        before.mailbox_id,
        "store-a",
        "alice@example.test",
    )
    back = directory.rehome_user("alice@example.test", "store-a", STORES)
    assert back == before
    assert [box.mailbox_id for box in directory.disconnected_mailboxes()] == [after.mailbox_id]
    with pytest.raises(Invalid, match="is on store-a already"):
        directory.rehome_user("alice@example.test", "store-a", STORES)
    with pytest.raises(NotFound, match="no store store-c"):
        directory.rehome_user("alice@example.test", "store-c", STORES)
    with pytest.raises(NotFound, match="no user bob"):
        directory.rehome_user("bob@example.test", "store-b", STORES)


def test_disconnected_mailboxes_are_forgotten_after_30_days(
    directory: DirectoryChanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(directory, "alice@example.test")
    add(directory, "bob@example.test")
    directory.remove_user("alice@example.test")
    monkeypatch.setattr(CLOCK, "at_ms", CLOCK.at_ms + 29 * DAY)
    add(directory, "carol@example.test")
    directory.remove_user("carol@example.test")
    assert len(directory.disconnected_mailboxes()) == 2
    monkeypatch.setattr(CLOCK, "at_ms", CLOCK.at_ms + 2 * DAY)
    directory.remove_user("bob@example.test")
    assert [box.address for box in directory.disconnected_mailboxes()] == [
        "carol@example.test",
        "bob@example.test",
    ]


def test_aliases(directory: DirectoryChanges) -> None:
    add(directory, "alice@example.test")
    directory.add_group("team@example.test")
    assert directory.add_alias("a@example.test", "alice@example.test").kind == "user"
    assert directory.add_alias("t@relay.test", "team@example.test").address == "team@example.test"
    assert directory.user("a@example.test").aliases == ("a@example.test",)
    assert [alias.alias for alias in directory.aliases("t")] == ["t@relay.test"]
    with pytest.raises(InUse, match=r"waypost user remove alice@example\.test"):
        directory.remove_alias("alice@example.test")
    directory.remove_alias("A@example.test")
    with pytest.raises(NotFound):
        directory.remove_alias("a@example.test")
    with pytest.raises(NotFound):
        directory.add_alias("b@example.test", "nobody@example.test")
    with pytest.raises(NotFound):
        directory.alias("a@example.test")
    directory.add_alias("a@example.test", "team@example.test")
    assert directory.group("a@example.test").address == "team@example.test"


def test_alias_goes_to_another_recipient(directory: DirectoryChanges) -> None:
    add(directory, "alice@example.test")
    add(directory, "bob@example.test")
    directory.add_alias("Sales@example.test", "alice@example.test")
    moved = directory.set_alias("sales@example.test", "bob@example.test")
    assert (moved.alias, moved.address) == ("Sales@example.test", "bob@example.test")
    assert directory.user("alice@example.test").aliases == ()
    with pytest.raises(NotFound):
        directory.set_alias("alice@example.test", "bob@example.test")
    with pytest.raises(NotFound):
        directory.set_alias("sales@example.test", "nobody@example.test")
    assert directory.alias("sales@example.test").address == "bob@example.test"


def test_group_members_keep_their_order_and_are_in_once(directory: DirectoryChanges) -> None:
    for name in ("alice", "bob", "carol"):
        add(directory, f"{name}@example.test")
    directory.add_alias("b@example.test", "bob@example.test")
    group = directory.add_group(
        "all@example.test",
        name="All",
        members=["carol@example.test", "b@example.test", "bob@example.test", "x@other.test", "X@OTHER.test"],
    )
    assert group.members == ("carol@example.test", "bob@example.test", "x@other.test")
    group = directory.add_members("all@example.test", ["alice@example.test", "carol@example.test"])
    assert group.members == ("carol@example.test", "bob@example.test", "x@other.test", "alice@example.test")
    group = directory.remove_members("all@example.test", ["b@example.test", "X@other.test"])
    assert group.members == ("carol@example.test", "alice@example.test")
    with pytest.raises(NotFound, match="not a member"):
        directory.remove_members("all@example.test", ["alice@example.test", "bob@example.test"])
    assert len(directory.group("all@example.test").members) == 2
    assert directory.set_members("all@example.test", []).members == ()
    assert directory.set_group("all@example.test", name="Everybody").name == "Everybody"
    with pytest.raises(NotFound, match="no recipient nobody"):
        directory.add_members("all@example.test", ["nobody@example.test"])
    assert directory.add_members("all@example.test", ["else@relay.test"]).members == ("else@relay.test",)
    with pytest.raises(NotFound, match="is a user, not a group"):
        directory.group("alice@example.test")


def test_nested_groups_and_loops(directory: DirectoryChanges) -> None:
    directory.add_group("a@example.test")
    directory.add_group("b@example.test", members=["a@example.test"])
    directory.add_group("c@example.test", members=["b@example.test"])
    assert directory.group("c@example.test").loop == ()
    looped = directory.set_members("a@example.test", ["c@example.test"])
    assert looped.loop == ("a@example.test", "c@example.test", "b@example.test")
    directory.add_group("outside@example.test", members=["a@example.test"])
    assert directory.group("outside@example.test").loop == ()
    assert directory.set_members("a@example.test", ["a@example.test"]).loop == ("a@example.test",)
    directory.remove_group("a@example.test")
    assert directory.group("b@example.test").members == ()


def test_contacts(directory: DirectoryChanges) -> None:
    contact = directory.add_contact("partner@example.test", "someone@other.test", name="Partner")
    assert contact.target == "someone@other.test"
    assert directory.set_contact("partner@example.test", target="else@other.test").name == "Partner"
    assert directory.set_contact("partner@example.test", name="P.").target == "else@other.test"
    with pytest.raises(Invalid, match="target"):
        directory.add_contact("other@example.test", "nonsense")
    assert [contact.address for contact in directory.contacts()] == ["partner@example.test"]
    directory.remove_contact("partner@example.test")
    with pytest.raises(NotFound):
        directory.contact("partner@example.test")


def test_domains(directory: DirectoryChanges) -> None:
    added = directory.add_domain("Bücher.test")
    assert (added.domain, added.kind, added.default) == ("xn--bcher-kva.test", "authoritative", False)
    with pytest.raises(AlreadyExists):
        directory.add_domain("XN--BCHER-KVA.test")
    add(directory, "alice@bücher.test")
    with pytest.raises(InUse, match="alice@bücher"):
        directory.remove_domain("bücher.test")
    directory.remove_user("alice@bücher.test")
    directory.remove_domain("bücher.test")
    with pytest.raises(NotFound, match=r"accepted domains are example\.test, relay\.test"):
        directory.remove_domain("bücher.test")
    assert directory.add_domain("bücher.test", "external-relay").kind == "external-relay"
    assert directory.set_domain("bücher.test", kind="authoritative", default=True).default
    assert [domain.default for domain in directory.domains()] == [False, False, True]
    with pytest.raises(InUse, match="default"):
        directory.remove_domain("bücher.test")


@pytest.mark.parametrize("domain", ["", "a..b", "-x.test", "x y", "[192.0.2.1]", "x" * 64 + ".test", "a@b"])
def test_bad_domains(directory: DirectoryChanges, domain: str) -> None:
    with pytest.raises(Invalid):
        directory.add_domain(domain)


def test_bad_kind_of_domain(directory: DirectoryChanges) -> None:
    with pytest.raises(Invalid, match="authoritative, internal-relay, external-relay"):
        directory.add_domain("more.test", "relay")  # type: ignore[arg-type]


def test_list_with_prefix(directory: DirectoryChanges) -> None:
    for name in ("alice", "alan", "bob", "a_x"):
        add(directory, f"{name}@example.test")
    assert [user.address for user in directory.users("AL")] == ["alan@example.test", "alice@example.test"]
    assert [user.address for user in directory.users("a_")] == ["a_x@example.test"]
    assert len(directory.users()) == 4
    directory.add_group("g@example.test", members=["bob@example.test"])
    assert directory.user("bob@example.test").groups == ("g@example.test",)


def test_a_failed_change_leaves_nothing(directory: DirectoryChanges) -> None:
    revision = directory.organisation().revision
    with pytest.raises(NotFound):
        directory.add_group("all@example.test", members=["nobody@example.test"])
    assert directory.groups() == ()
    assert directory.organisation().revision == revision


def test_two_writers_at_once_lose_nothing(directory: DirectoryChanges, tmp_path: Path) -> None:
    def work(who: str) -> None:
        changes = opened(tmp_path / "directory" / "directory.db")
        for number in range(10):
            add(changes, f"{who}{number}@example.test")
        changes.close()

    before = directory.organisation().revision
    threads = [threading.Thread(target=work, args=(who,)) for who in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(directory.users()) == 30
    assert directory.organisation().revision == before + 30
