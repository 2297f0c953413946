"""Units of work on whole mailboxes: made at first use, changed by a MailboxChange, disconnected, purged.

Every function here runs inside a transaction that the writer or a reader opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection

from foundation.database.content import Contents
from foundation.interfaces.mailbox_store import Refusal
from mailboxstore.database import statements
from mailboxstore.database.changes import FolderRow, Mailbox, MailboxChange
from mailboxstore.database.emails import change_references
from mailboxstore.database.names import FIRST_FOLDERS

PURGED_AT_ONCE = 200

Roles = tuple[()] | tuple[str] | tuple[str, str]


def no_mailbox() -> Refusal:
    return Refusal("NONEXISTENT", "There is no such mailbox", 550, "5.1.1")


def find_mailbox(connection: Connection, mailbox_id: str) -> Mailbox | None:
    row = statements.FIND_MAILBOX.first(connection, {"mailbox_id": mailbox_id})
    return Mailbox(*row) if row else None


def open_change(connection: Connection, mailbox_id: str, roles: Roles = ()) -> MailboxChange:
    """With the folders of these roles, which cost no query of their own then.

    Refusal NONEXISTENT (550 5.1.1).
    """
    change = find_change(connection, mailbox_id, roles)
    if change is None:
        raise no_mailbox()
    return change


def find_change(connection: Connection, mailbox_id: str, roles: Roles = ()) -> MailboxChange | None:
    """The same; None: there is no such mailbox."""
    if not roles:
        mailbox = find_mailbox(connection, mailbox_id)
        return None if mailbox is None else MailboxChange(mailbox)
    values = {"mailbox_id": mailbox_id, "role": roles[0], "other_role": roles[-1]}
    rows = statements.MAILBOX_WITH_FOLDERS.rows(connection, values)
    if not rows:
        return None
    pairs = [_mailbox_and_folder(row) for row in rows]
    return MailboxChange(pairs[0][0], {folder.role: folder for _, folder in pairs if folder is not None})


def open_with_folder(
    connection: Connection, mailbox_id: str, folder: int
) -> tuple[MailboxChange, FolderRow | None] | None:
    """A mailbox with one of its folders, or None when that is gone; None when the mailbox is."""
    row = statements.MAILBOX_AND_FOLDER.first(connection, {"mailbox_id": mailbox_id, "folder": folder})
    if row is None:
        return None
    mailbox, found = _mailbox_and_folder(row)
    return MailboxChange(mailbox), found


def _mailbox_and_folder(row: Sequence[Any]) -> tuple[Mailbox, FolderRow | None]:
    own = statements.MAILBOX_COLUMN_COUNT
    return Mailbox(*row[:own]), None if row[own] is None else folder_row(row[own:])


def save_change(connection: Connection, change: MailboxChange) -> None:
    save_changes(connection, [change])


def save_changes(connection: Connection, changes: Sequence[MailboxChange]) -> None:
    """Of different mailboxes."""
    statements.SAVE_MAILBOX.run_each(connection, [_mailbox_values(change.mailbox) for change in changes])
    dirty = [_folder_values(row) for change in changes for row in change.dirty.values()]
    statements.SAVE_FOLDER.run_each(connection, dirty)


def is_connected(connection: Connection, mailbox_id: str) -> bool | None:
    """None: there is no such mailbox yet."""
    mailbox = find_mailbox(connection, mailbox_id)
    return None if mailbox is None else mailbox.connected


def make_mailbox(
    connection: Connection, mailbox_id: str, user_id: str, now_ms: int, identifier: Callable[[], str]
) -> None:
    """Makes the mailbox with its first folders, or connects it again; nothing when it is there."""
    connected = is_connected(connection, mailbox_id)
    if connected is not None:
        if not connected:
            set_disconnected(connection, mailbox_id, None)
        return
    result = connection.execute(
        statements.ADD_MAILBOX,
        {
            "mailbox_id": mailbox_id,
            "user_id": user_id,
            "created_at_ms": now_ms,
            # From the clock, so that a mailbox restored from nothing does not repeat what clients have seen.
            "last_uid_validity": max(now_ms // 1000, 1),
            "modseq": 1,
            "messages": 0,
            "size_bytes": 0,
        },
    )
    change = open_change(connection, mailbox_id)
    for name, role in FIRST_FOLDERS:
        add_folder(connection, change, name, role, now_ms, identifier())
        connection.execute(statements.SUBSCRIBE, {"mailbox": change.mailbox.mailbox, "name": name})
    save_change(connection, change)
    result.close()


def add_folder(
    connection: Connection, change: MailboxChange, name: str, role: str, now_ms: int, folder_id: str
) -> FolderRow:
    """The name is free and checked by the caller."""
    mailbox = change.mailbox
    values = {
        "folder_id": folder_id,
        "mailbox": mailbox.mailbox,
        "name": name,
        "role": role,
        "selectable": True,
        "created_at_ms": now_ms,
        "uid_validity": change.next_uid_validity(),
        "uid_next": 1,
        "highest_modseq": change.modseq(),
        "recent_from": 1,
        "messages": 0,
        "unseen": 0,
        "deleted": 0,
        "size_bytes": 0,
    }
    connection.execute(statements.ADD_FOLDER, values)
    change.folder_list_changed = True
    folder = folder_by_name(connection, mailbox.mailbox, name)
    if folder is None:
        raise RuntimeError("a folder just made is not there")
    return folder


def folder_by_name(connection: Connection, mailbox: int, name: str) -> FolderRow | None:
    row = connection.execute(statements.FOLDER_BY_NAME, {"mailbox": mailbox, "name": name}).first()
    return folder_row(row) if row else None


def folder_by_id(connection: Connection, mailbox_id: str, folder_id: str) -> FolderRow:
    """Refusal NONEXISTENT, also when the folder can't be selected."""
    values = {"mailbox_id": mailbox_id, "folder_id": folder_id}
    row = statements.FOLDER_BY_ID.first(connection, values)
    if row is None:
        raise Refusal("NONEXISTENT", "The folder is gone")
    folder = folder_row(row)
    if not folder.selectable:
        raise Refusal("NONEXISTENT", "The folder holds no messages")
    return folder


def folder_by_role(
    connection: Connection, change: MailboxChange, role: str, now_ms: int, identifier: Callable[[], str]
) -> FolderRow:
    """The mailbox's folder for this; made again when the user has deleted it."""
    known = change.found.get(role)
    if known is not None:
        return known
    mailbox = change.mailbox.mailbox
    row = statements.FOLDER_BY_ROLE.first(connection, {"mailbox": mailbox, "role": role})
    if row is not None:
        found = folder_row(row)
        return change.dirty.get(found.folder, found)
    name = next(name for name, first_role in FIRST_FOLDERS if first_role == role)
    taken = folder_by_name(connection, mailbox, name)
    if taken is None:
        return add_folder(connection, change, name, role, now_ms, identifier())
    if not taken.selectable:
        taken.selectable = True
        taken.uid_validity = change.next_uid_validity()
    taken.role = role
    change.touch(taken)
    change.folder_list_changed = True
    return taken


def set_disconnected(connection: Connection, mailbox_id: str, at_ms: int | None) -> None:
    connection.execute(
        statements.SET_DISCONNECTED, {"of_mailbox_id": mailbox_id, "disconnected_at_ms": at_ms}
    )


def connected_mailboxes(connection: Connection, after: str, limit: int) -> list[str]:
    values = {"after": after, "limit": limit}
    return list(connection.execute(statements.CONNECTED_MAILBOXES, values).scalars())


def disconnected_mailboxes(connection: Connection, after: str, limit: int) -> list[tuple[str, int]]:
    """Ids of disconnected mailboxes, and since when."""
    values = {"after": after, "limit": limit}
    rows = connection.execute(statements.DISCONNECTED_MAILBOXES, values)
    return [(row.mailbox_id, row.disconnected_at_ms) for row in rows]


def purge_step(connection: Connection, mailbox_id: str) -> bool:
    """Removes a small part of a disconnected mailbox; False when it is gone, or connected again."""
    found = find_mailbox(connection, mailbox_id)
    if found is None or found.connected:
        return False
    mailbox = found.mailbox
    row = connection.execute(statements.FOLDERS_IN, {"mailbox": mailbox}).first()
    if row is not None:
        _purge_folder_step(connection, folder_row(row).folder)
        return True
    for statement in (
        statements.DELETE_SUBSCRIPTIONS,
        statements.DELETE_THREAD_LINKS,
        statements.DELETE_MAILBOX,
    ):
        connection.execute(statement, {"mailbox": mailbox})
    return True


def collect_emails(connection: Connection, contents: Contents, limit: int = PURGED_AT_ONCE) -> int:
    """Deletes stored emails that no message shows any more, with their content; returns how many."""
    found = statements.UNREFERENCED_EMAILS.rows(connection, {"limit": limit})
    statements.DELETE_EMAIL.run_each(connection, [{"email": email} for email, _ in found])
    for _, content in found:
        contents.release(connection, content)
    return len(found)


def _purge_folder_step(connection: Connection, folder: int) -> None:
    values = {"folder": folder, "limit": PURGED_AT_ONCE}
    rows = connection.execute(statements.SOME_MESSAGES, values).all()
    if rows:
        change_references(connection, [row.email for row in rows], -1)
        window = {"folder": folder, "first": rows[0].uid, "last": rows[-1].uid}
        statements.DELETE_MESSAGES.run(connection, window)
        return
    uids = connection.execute(statements.SOME_TOMBSTONES, values).scalars().all()
    if uids:
        connection.execute(statements.DELETE_TOMBSTONES_UP_TO, {"folder": folder, "last": uids[-1]})
        return
    connection.execute(statements.DELETE_FOLDER, {"folder": folder})


def folder_row(row: Sequence[Any]) -> FolderRow:
    return FolderRow(*row)


def _mailbox_values(mailbox: Mailbox) -> dict[str, object]:
    return {
        "of_mailbox": mailbox.mailbox,
        "last_uid_validity": mailbox.last_uid_validity,
        "modseq": mailbox.modseq,
        "messages": mailbox.messages,
        "size_bytes": mailbox.size_bytes,
    }


def _folder_values(row: FolderRow) -> dict[str, object]:
    return {
        "of_folder": row.folder,
        "name": row.name,
        "role": row.role,
        "selectable": row.selectable,
        "uid_validity": row.uid_validity,
        "uid_next": row.uid_next,
        "highest_modseq": row.highest_modseq,
        "recent_from": row.recent_from,
        "messages": row.messages,
        "unseen": row.unseen,
        "deleted": row.deleted,
        "size_bytes": row.size_bytes,
    }
