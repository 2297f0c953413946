"""A mailbox against a dictionary: whatever is done in whatever order, UIDs and modseqs only rise, a folder
holds what the model says, and a client that follows `changes` believes the truth.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foundation.interfaces.mailbox_store import DELETED, SEEN, FlagChange, Ranges
from foundation.mail.errors import MailError
from mailboxstore.database import messages
from tests.unit.mailboxstore.bench import ALICE, Bench, message, open_bench

ME = ALICE.mailbox_id
NAMES = ("INBOX", "Archive", "A", "A/B", "C")
names = st.sampled_from(NAMES)
flag_bits = st.integers(0, 31)
keyword_sets = st.sets(st.sampled_from(("Work", "todo", "$Junk")), max_size=2)
uid_sets = st.sets(st.integers(1, 8), max_size=5)


def ranges_of(uids: set[int]) -> Ranges:
    """Neighbours joined."""
    joined: list[tuple[int, int]] = []
    for uid in sorted(uids):
        if joined and joined[-1][1] == uid - 1:
            joined[-1] = (joined[-1][0], uid)
        else:
            joined.append((uid, uid))
    return tuple(joined)


@dataclass
class Entry:
    flags: int
    keywords: frozenset[str]
    text: str


@dataclass
class Folder:
    folder_id: str
    uid_validity: int
    uid_next: int = 1
    messages: dict[int, Entry] = field(default_factory=dict)
    believed: dict[int, tuple[int, frozenset[str]]] = field(default_factory=dict)
    """What a client that follows changes has."""
    synced_to: int = 0

    def place(self, entry: Entry) -> int:
        uid = self.uid_next
        self.uid_next += 1
        self.messages[uid] = Entry(entry.flags, entry.keywords, entry.text)
        return uid


class MailboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(messages, "LATEST_BESIDES", 1)  # both ways to find what is deleted
        self.patch.setattr(messages, "LATEST_DEARER", 0)
        self.runner = asyncio.Runner()
        self.place = Path(tempfile.mkdtemp(prefix="waypost-property-"))
        self.bench: Bench = self.run(self._open())
        self.folders: dict[str, Folder] = {}
        self.validities: set[int] = set()
        self.modseqs: dict[str, int] = {}
        self.serial = 0

    async def _open(self) -> Bench:
        return open_bench(self.place)

    def run(self, work):
        return self.runner.run(work)

    def refused(self, work, reason: str) -> None:
        try:
            self.run(work)
        except MailError as error:
            assert error.reason == reason, error
        else:
            raise AssertionError(f"{reason} was expected")

    def teardown(self) -> None:
        self.patch.undo()
        self.run(self.bench.close())
        self.runner.close()
        shutil.rmtree(self.place)

    @initialize()
    def begin(self) -> None:
        for folder in self.run(self.bench.store.folders(ME)):
            self.folders[folder.name] = Folder(folder.folder_id, folder.uid_validity)
            self.validities.add(folder.uid_validity)

    @rule(name=names, flags=flag_bits, keywords=keyword_sets)
    def append(self, name: str, flags: int, keywords: set[str]) -> None:
        self.serial += 1
        text = f"message {self.serial}"
        work = self.bench.append(message(text), name, flags=flags, keywords=tuple(sorted(keywords)))
        if name not in self.folders:
            self.refused(work, "TRYCREATE")
            return
        assert self.run(work) == self.folders[name].place(Entry(flags, frozenset(keywords), text))

    @rule(name=names)
    def create(self, name: str) -> None:
        work = self.bench.store.create_folder(ME, name)
        if name in self.folders:
            self.refused(work, "ALREADYEXISTS")
            return
        made = self.run(work)
        if name == "A/B" and "A" not in self.folders:
            self._learn("A")
        self._learn(name)
        assert made.folder_id == self.folders[name].folder_id

    def _learn(self, name: str) -> None:
        folder = self.run(self.bench.store.folder(ME, name))
        assert folder.uid_validity not in self.validities
        assert folder.uid_validity > max(self.validities) or name == "A"
        self.validities.add(folder.uid_validity)
        self.folders[name] = Folder(folder.folder_id, folder.uid_validity)

    @rule(name=st.sampled_from(("Archive", "A/B", "C")))
    def delete(self, name: str) -> None:
        work = self.bench.store.delete_folder(ME, name)
        if name not in self.folders:
            self.refused(work, "NONEXISTENT")
            return
        self.run(work)
        gone = self.folders.pop(name)
        assert self.run(self.bench.store.changes(ME, gone.folder_id, 0)).gone

    @rule(name=st.sampled_from(("A", "C")), goal=st.sampled_from(("Archive", "A", "C")))
    def rename(self, name: str, goal: str) -> None:
        work = self.bench.store.rename_folder(ME, name, goal)
        if name not in self.folders:
            self.refused(work, "NONEXISTENT")
        elif goal in self.folders:
            self.refused(work, "ALREADYEXISTS")
        elif f"{name}/B" in self.folders:
            work.close()  # keeps the names of the model few
        else:
            self.run(work)
            self.folders[goal] = self.folders.pop(name)

    @precondition(lambda self: self.folders)
    @rule(
        name=names,
        uids=uid_sets,
        operation=st.sampled_from(("add", "remove", "replace")),
        flags=flag_bits,
        keywords=keyword_sets,
    )
    def flag(
        self,
        name: str,
        uids: set[int],
        operation: Literal["add", "remove", "replace"],
        flags: int,
        keywords: set[str],
    ) -> None:
        folder = self.folders.get(name)
        if folder is None:
            return
        wanted = FlagChange(operation=operation, flags=flags, keywords=tuple(sorted(keywords)))
        outcome = self.run(self.bench.store.change_flags(ME, folder.folder_id, ranges_of(uids), wanted))
        assert [entry.uid for entry in outcome.updated] == sorted(uids & set(folder.messages))
        for entry in outcome.updated:
            model = folder.messages[entry.uid]
            if operation == "add":
                model.flags, model.keywords = model.flags | flags, model.keywords | keywords
            elif operation == "remove":
                model.flags, model.keywords = model.flags & ~flags, model.keywords - keywords
            else:
                model.flags, model.keywords = flags, frozenset(keywords)
            assert (entry.flags, frozenset(entry.keywords)) == (model.flags, model.keywords)

    @rule(name=names, goal=names, uids=uid_sets, moves=st.booleans())
    def copy_or_move(self, name: str, goal: str, uids: set[int], moves: bool) -> None:
        source = self.folders.get(name)
        if source is None:
            return
        call = self.bench.store.move if moves else self.bench.store.copy
        work = call(ME, source.folder_id, ranges_of(uids), goal)
        if goal not in self.folders:
            self.refused(work, "TRYCREATE")
            return
        copied = self.run(work)
        existing = sorted(uids & set(source.messages))
        into = self.folders[goal]
        assert copied.source_uids == tuple(existing) and copied.uid_validity == into.uid_validity
        assert copied.target_uids == tuple([into.place(source.messages[uid]) for uid in existing])
        if moves:
            for uid in existing:
                del source.messages[uid]

    @rule(name=names, uids=st.none() | uid_sets, deleted_only=st.booleans())
    def expunge(self, name: str, uids: set[int] | None, deleted_only: bool) -> None:
        folder = self.folders.get(name)
        if folder is None:
            return
        wanted = None if uids is None else ranges_of(uids)
        gone = self.run(self.bench.store.expunge(ME, folder.folder_id, wanted, deleted_only))
        expected = [
            uid
            for uid, entry in sorted(folder.messages.items())
            if (uids is None or uid in uids) and (entry.flags & DELETED or not deleted_only)
        ]
        assert list(gone) == expected
        for uid in expected:
            del folder.messages[uid]

    @rule(name=names)
    def follow(self, name: str) -> None:
        """A client asks for what changed since it last did, and then believes the truth."""
        folder = self.folders.get(name)
        if folder is None:
            return
        changes = self.run(self.bench.store.changes(ME, folder.folder_id, folder.synced_to))
        assert changes.highest_modseq >= folder.synced_to and changes.uid_next == folder.uid_next
        assert all(entry.modseq > folder.synced_to for entry in changes.updated)
        assert not set(changes.expunged) & {entry.uid for entry in changes.updated}
        for uid in changes.expunged:
            folder.believed.pop(uid, None)
        for entry in changes.updated:
            folder.believed[entry.uid] = entry.flags, frozenset(entry.keywords)
        folder.synced_to = changes.highest_modseq
        truth = {uid: (entry.flags, entry.keywords) for uid, entry in folder.messages.items()}
        assert folder.believed == truth

    @rule(name=names)
    def read(self, name: str) -> None:
        folder = self.folders.get(name)
        if folder is None:
            return
        records = self.run(self.bench.records(name))
        assert [record.uid for record in records] == sorted(folder.messages)
        for record in records:
            assert folder.messages[record.uid].text.encode() in (record.content or b"")

    @invariant()
    def folders_agree(self) -> None:
        listed = {folder.name: folder for folder in self.run(self.bench.store.folders(ME))}
        if not self.folders:
            return
        assert set(listed) == set(self.folders)
        for name, folder in listed.items():
            before = self.modseqs.get(folder.folder_id, 0)
            assert folder.highest_modseq >= before, name
            self.modseqs[folder.folder_id] = folder.highest_modseq
        for name, folder in self.folders.items():
            shown, entries = listed[name], list(folder.messages.values())
            assert (shown.folder_id, shown.uid_validity) == (folder.folder_id, folder.uid_validity)
            assert shown.uid_next == folder.uid_next
            assert shown.messages == len(entries)
            assert shown.unseen == sum(not entry.flags & SEEN for entry in entries)
            assert shown.deleted == sum(bool(entry.flags & DELETED) for entry in entries)
            assert shown.size_bytes == sum(len(message(entry.text)) for entry in entries)


TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
