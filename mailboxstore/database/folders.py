"""Units of work on folders: made, deleted, renamed, subscribed, selected."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from foundation.interfaces.mailbox_store import Folder, Notice, Refusal
from mailboxstore.database import statements
from mailboxstore.database.changes import FolderRow, MailboxChange
from mailboxstore.database.emails import change_references
from mailboxstore.database.mailboxes import add_folder, folder_by_name, folder_row
from mailboxstore.database.messages import EVERYTHING, copy_messages, messages_in, remove_messages
from mailboxstore.database.names import INBOX, NAME_LENGTH_MAX, canonical, checked, parents

FOLDERS_MAX = 10_000


def to_interface(row: FolderRow, first_recent_uid: int = 0) -> Folder:
    return Folder(
        folder_id=row.folder_id,
        name=row.name,
        role=row.role,  # type: ignore[arg-type]  # the column holds what Role allows
        selectable=row.selectable,
        uid_validity=row.uid_validity,
        uid_next=row.uid_next,
        highest_modseq=row.highest_modseq,
        messages=row.messages,
        unseen=row.unseen,
        deleted=row.deleted,
        size_bytes=row.size_bytes,
        first_recent_uid=first_recent_uid,
    )


def recent_uid(row: FolderRow) -> int:
    return row.recent_from if row.recent_from < row.uid_next else 0


def list_folders(connection: Connection, mailbox_id: str) -> tuple[Folder, ...]:
    rows = connection.execute(statements.FOLDERS_OF, {"mailbox_id": mailbox_id})
    return tuple(to_interface(row, recent_uid(row)) for row in map(folder_row, rows))


def find_folder(connection: Connection, mailbox_id: str, name: str) -> FolderRow:
    """Refusal NONEXISTENT."""
    values = {"mailbox_id": mailbox_id, "name": canonical(name)}
    row = connection.execute(statements.FOLDER_BY_NAME_IN, values).first()
    if row is None:
        raise Refusal("NONEXISTENT", "There is no such folder")
    return folder_row(row)


def claim_recent(connection: Connection, mailbox_id: str, name: str) -> Folder:
    """The folder as selected: its new messages are \\Recent to this session alone (RFC 3501 2.3.2)."""
    row = find_folder(connection, mailbox_id, name)
    first = recent_uid(row)
    if first:
        values = {"of_folder": row.folder, "recent_from": row.uid_next}
        connection.execute(statements.CLAIM_RECENT, values)
    return to_interface(row, first)


def create_folder(
    connection: Connection,
    change: MailboxChange,
    name: str,
    role: str,
    now_ms: int,
    identifier: Callable[[], str],
) -> FolderRow:
    """Refusal ALREADYEXISTS, CANNOT, LIMIT."""
    name = checked(name)
    if role in ("inbox", "outbox"):
        raise Refusal("CANNOT", "There is one inbox and one outbox")
    existing = _by_name(connection, change)
    if role and any(row.role == role for row in existing.values()):
        raise Refusal("ALREADYEXISTS", f"Another folder is the mailbox's {role} folder")
    present = existing.get(name)
    if present is not None:
        return _revive(change, present, role)
    missing = [parent for parent in parents(name) if parent not in existing]
    _refuse_under_outbox(existing, name)
    if len(existing) + len(missing) + 1 > FOLDERS_MAX:
        raise Refusal("LIMIT", f"A mailbox has at most {FOLDERS_MAX} folders")
    for parent in missing:
        add_folder(connection, change, parent, "", now_ms, identifier())
    return add_folder(connection, change, name, role, now_ms, identifier())


def delete_folder(
    connection: Connection, change: MailboxChange, name: str, now_ms: int, identifier: Callable[[], str]
) -> None:
    """Refusal NONEXISTENT, CANNOT. With children its messages go and its name stays (RFC 3501 6.3.4)."""
    existing = _by_name(connection, change)
    row = existing.get(canonical(name))
    if row is None:
        raise Refusal("NONEXISTENT", "There is no such folder")
    if row.role in ("inbox", "outbox"):
        raise Refusal("CANNOT", f"The {row.role} can't be deleted")
    has_children = any(other.startswith(row.name + "/") for other in existing)
    if has_children and not row.selectable:
        raise Refusal("CANNOT", "The folder is only a name, and has folders in it")
    _drop_messages(connection, change, row)
    change.dirty.pop(row.folder, None)
    change.folder_list_changed = True
    change.notices.append(Notice(folder_id=row.folder_id, highest_modseq=change.modseq()))
    connection.execute(statements.DELETE_FOLDER, {"folder": row.folder})
    if has_children:
        # With an id of its own: sessions that had the folder selected learn that it is gone.
        placeholder = add_folder(connection, change, row.name, "", now_ms, identifier())
        placeholder.selectable = False
        change.touch(placeholder)


def rename_folder(
    connection: Connection,
    change: MailboxChange,
    name: str,
    new_name: str,
    now_ms: int,
    identifier: Callable[[], str],
) -> None:
    """Refusal NONEXISTENT, ALREADYEXISTS, CANNOT, LIMIT."""
    new_name = checked(new_name)
    existing = _by_name(connection, change)
    row = existing.get(canonical(name))
    if row is None:
        raise Refusal("NONEXISTENT", "There is no such folder")
    if row.role == "outbox":
        raise Refusal("CANNOT", "The outbox can't be renamed")
    if new_name in existing:
        raise Refusal("ALREADYEXISTS", "A folder has this name already")
    if row.name == INBOX:
        target = create_folder(connection, change, new_name, "", now_ms, identifier)
        rows = messages_in(connection, row.folder, EVERYTHING)
        copy_messages(connection, change, rows, target, now_ms)
        remove_messages(connection, change, row, rows, change.mailbox.user_id, now_ms)
        return
    if new_name.startswith(row.name + "/"):
        raise Refusal("CANNOT", "A folder can't be moved into itself")
    _refuse_under_outbox(existing, new_name)
    moving = [row] + [other for other in existing.values() if other.name.startswith(row.name + "/")]
    old_length = len(row.name)
    renamed = {other.folder: new_name + other.name[old_length:] for other in moving}
    if any(len(path) > NAME_LENGTH_MAX for path in renamed.values()):
        raise Refusal("LIMIT", "A folder's name would become too long")
    taken = set(existing) - {other.name for other in moving}
    if any(path in taken for path in renamed.values()):
        raise Refusal("ALREADYEXISTS", "A folder has this name already")
    missing = [parent for parent in parents(new_name) if parent not in existing]
    if len(existing) + len(missing) > FOLDERS_MAX:
        raise Refusal("LIMIT", f"A mailbox has at most {FOLDERS_MAX} folders")
    for parent in missing:
        add_folder(connection, change, parent, "", now_ms, identifier())
    for other in moving:
        other.name = renamed[other.folder]
        change.touch(other)
    change.folder_list_changed = True


def set_subscribed(connection: Connection, change: MailboxChange, name: str, subscribed: bool) -> None:
    values = {"mailbox": change.mailbox.mailbox, "name": canonical(name)}
    present = connection.execute(statements.IS_SUBSCRIBED, values).scalar() is not None
    if subscribed and not present:
        checked(name)
        connection.execute(statements.SUBSCRIBE, values)
    elif not subscribed and present:
        connection.execute(statements.UNSUBSCRIBE, values)
    change.folder_list_changed = subscribed != present


def list_subscriptions(connection: Connection, mailbox_id: str) -> tuple[str, ...]:
    values = {"mailbox_id": mailbox_id}
    return tuple(connection.execute(statements.SUBSCRIPTIONS_OF, values).scalars())


def target_folder(connection: Connection, change: MailboxChange, name: str) -> FolderRow:
    """Where messages are put by a user. Refusal TRYCREATE, CANNOT."""
    row = folder_by_name(connection, change.mailbox.mailbox, canonical(name))
    if row is None or not row.selectable:
        raise Refusal("TRYCREATE", "There is no such folder")
    if row.role == "outbox":
        raise Refusal("CANNOT", "Messages enter the outbox by being submitted")
    return change.dirty.get(row.folder, row)


def _by_name(connection: Connection, change: MailboxChange) -> dict[str, FolderRow]:
    rows = connection.execute(statements.FOLDERS_IN, {"mailbox": change.mailbox.mailbox})
    return {row.name: row for row in map(folder_row, rows)}


def _refuse_under_outbox(existing: dict[str, FolderRow], name: str) -> None:
    if any(existing[parent].role == "outbox" for parent in parents(name) if parent in existing):
        raise Refusal("CANNOT", "The outbox holds no folders")


def _revive(change: MailboxChange, present: FolderRow, role: str) -> FolderRow:
    """Makes a name that could not be selected a folder again."""
    if present.selectable:
        raise Refusal("ALREADYEXISTS", "There is such a folder already")
    present.selectable = True
    present.role = role
    present.uid_validity = change.next_uid_validity()
    change.touch(present)
    change.folder_list_changed = True
    return present


def _drop_messages(connection: Connection, change: MailboxChange, row: FolderRow) -> None:
    rows = messages_in(connection, row.folder, EVERYTHING)
    change_references(connection, [message.email for message in rows], -1)
    for message in rows:
        change.remove(row, message.flags, message.size_bytes)
    window = {"folder": row.folder, "first": EVERYTHING[0][0], "last": EVERYTHING[0][1]}
    statements.DELETE_MESSAGES.run(connection, window)
    connection.execute(statements.DELETE_TOMBSTONES, {"folder": row.folder})
