"""The numbers of one commit in one mailbox: UIDs, the modseq, counters of folders, the quota. Arithmetic
only.

Promises: a UID is given once and rises; all that one unit of work changes in a mailbox carries one new
modseq, greater than every earlier one (RFC 7162 3.1); UIDVALIDITY rises with every folder made, also after
deletions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from foundation.interfaces.mailbox_store import DELETED, SEEN, Notice, Refusal


@dataclass(slots=True)
class Mailbox:
    mailbox: int
    mailbox_id: str
    user_id: str
    last_uid_validity: int
    modseq: int
    messages: int
    size_bytes: int
    connected: bool


@dataclass(slots=True)
class FolderRow:
    folder: int
    folder_id: str
    mailbox: int
    name: str
    role: str
    selectable: bool
    uid_validity: int
    uid_next: int
    highest_modseq: int
    recent_from: int
    messages: int
    unseen: int
    deleted: int
    size_bytes: int


@dataclass(slots=True)
class MailboxChange:
    """What one unit of work does to one mailbox. Whoever made it writes `mailbox` and `dirty` back at the
    end.
    """

    mailbox: Mailbox
    found: dict[str, FolderRow] = field(default_factory=dict)
    """Folders that were read with the mailbox, by their role."""
    dirty: dict[int, FolderRow] = field(default_factory=dict)
    folder_list_changed: bool = False
    notices: list[Notice] = field(default_factory=list)
    """Of folders that this unit removed."""
    _modseq: int = 0

    def modseq(self) -> int:
        """The modseq of everything this unit changes."""
        if not self._modseq:
            self.mailbox.modseq += 1
            self._modseq = self.mailbox.modseq
        return self._modseq

    def next_uid_validity(self) -> int:
        self.mailbox.last_uid_validity += 1
        return self.mailbox.last_uid_validity

    def touch(self, folder: FolderRow) -> int:
        folder.highest_modseq = self.modseq()
        self.dirty[folder.folder] = folder
        return folder.highest_modseq

    def place(self, folder: FolderRow, flags: int, size_bytes: int) -> int:
        """Counts a new message and returns its UID."""
        self.touch(folder)
        uid = folder.uid_next
        folder.uid_next += 1
        self._count(folder, flags, 1, size_bytes)
        return uid

    def remove(self, folder: FolderRow, flags: int, size_bytes: int) -> None:
        self.touch(folder)
        self._count(folder, flags, -1, -size_bytes)

    def reflag(self, folder: FolderRow, before: int, after: int) -> None:
        self.touch(folder)
        folder.unseen += (not after & SEEN) - (not before & SEEN)
        folder.deleted += bool(after & DELETED) - bool(before & DELETED)

    def all_notices(self, mailbox_id: str) -> tuple[tuple[str, Notice], ...]:
        """What to tell the mailbox's watchers once this is committed."""
        notices = list(self.notices)
        notices += [
            Notice(folder_id=folder.folder_id, highest_modseq=folder.highest_modseq)
            for folder in self.dirty.values()
        ]
        if self.folder_list_changed:
            notices.append(Notice())
        return tuple((mailbox_id, notice) for notice in notices)

    def _count(self, folder: FolderRow, flags: int, messages: int, size_bytes: int) -> None:
        folder.messages += messages
        folder.size_bytes += size_bytes
        if not flags & SEEN:
            folder.unseen += messages
        if flags & DELETED:
            folder.deleted += messages
        self.mailbox.messages += messages
        self.mailbox.size_bytes += size_bytes


def over_quota(mailbox: Mailbox, size_bytes: int, quota_bytes: int) -> bool:
    """Whether so many bytes more have no room; a quota of 0 is none."""
    return bool(quota_bytes) and mailbox.size_bytes + size_bytes > quota_bytes


def refuse_over_quota(mailbox: Mailbox, size_bytes: int, quota_bytes: int) -> None:
    """Raises Refusal OVERQUOTA (552 5.2.2)."""
    if over_quota(mailbox, size_bytes, quota_bytes):
        raise Refusal("OVERQUOTA", "The mailbox is full", 552, "5.2.2")
