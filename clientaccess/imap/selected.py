"""The selected folder of a session: opened once, then kept in step with the store by its changes, told to the
client when the protocol allows (RFC 3501 5.2, 5.5, 7.4.1)."""

from __future__ import annotations

from clientaccess.imap import responses
from clientaccess.imap.commands import FetchItem
from clientaccess.imap.context import Context, Farewell
from clientaccess.imap.fetch import local_response
from clientaccess.imap.kept import KeptFolder
from clientaccess.imap.view import View
from foundation.interfaces.mailbox_store import Changes, FlagEntry, Folder, Notice
from foundation.streaming import streaming


class Selected:
    __slots__ = (
        "dirty",
        "folder_id",
        "kept",
        "modseq",
        "pending",
        "read_only",
        "saved",
        "shown_keywords",
        "uid_validity",
        "view",
    )

    def __init__(self, folder: Folder, read_only: bool, kept: KeptFolder, view: View) -> None:
        self.folder_id = folder.folder_id
        self.uid_validity = folder.uid_validity
        self.kept = kept
        self.read_only = read_only
        self.modseq = folder.highest_modseq
        """Everything up to this modseq is known."""
        self.view = view
        self.pending: list[int] = []
        """UIDs that are gone from the store and still have their number here."""
        self.saved: list[int] = []
        """What `$` stands for (RFC 5182)."""
        self.dirty = False
        """The store has news."""
        self.shown_keywords = 0

    def notice(self, notice: Notice) -> bool:
        """True when there is something to ask the store for."""
        if notice.folder_id == "" or (
            notice.folder_id == self.folder_id and notice.highest_modseq > self.modseq
        ):
            self.dirty = True
        return self.dirty

    def flags_response(self) -> bytes:
        keywords = self.view.keywords
        self.shown_keywords = len(keywords)
        return b"* FLAGS (%b)\r\n" % b" ".join(
            [responses.SYSTEM_FLAGS, *(word.encode("ascii") for word in keywords)]
        )

    def new_keywords(self) -> bytes:
        """The FLAGS response again when keywords came up that it did not name (RFC 3501 7.2.6); else
        empty."""
        return self.flags_response() if len(self.view.keywords) != self.shown_keywords else b""

    def forget(self, uid: int) -> bytes:
        """A message is gone: its EXPUNGE response; empty when the client never knew it."""
        number = self.view.remove(uid)
        if not number:
            return b""
        if uid in self.saved:
            self.saved.remove(uid)  # RFC 5182 2.1
        return b"* %d EXPUNGE\r\n" % number


async def open_folder(context: Context, folder: Folder, read_only: bool) -> Selected:
    """With UIDs and flags of every message: what changed since a session left the folder, or all in
    batches.
    """
    view = await _left_view(context, folder)
    if view is None:
        view = View()
        async with streaming(context.store.flags(context.mailbox_id, folder.folder_id)) as batches:
            async for batch in batches:
                view.extend(batch, folder.first_recent_uid)
    kept = context.kept.folder(folder.folder_id, folder.uid_validity)
    return Selected(folder, read_only, kept, view)


async def _left_view(context: Context, folder: Folder) -> View | None:
    """None: there is none, or it does not become what the store says of the folder (one that was restored
    counts modseqs anew; one that others change just now is read).
    """
    left = context.kept.left.take(folder.folder_id, folder.uid_validity)
    if left is None or left[1] > folder.highest_modseq:
        return None
    view, modseq = left
    changes = await context.store.changes(context.mailbox_id, folder.folder_id, modseq)
    for uid in changes.expunged:
        view.remove(uid)
    for entry in sorted(changes.updated, key=lambda entry: entry.uid):
        number = view.number(entry.uid)
        if number:
            view.update(number, entry)
        else:
            view.append(entry, recent=False)
    if changes.gone or (changes.highest_modseq, len(view)) != (folder.highest_modseq, folder.messages):
        return None
    view.begin_again(folder.first_recent_uid)
    return view


def leave(context: Context) -> None:
    """Nothing is selected any more; what was known of the folder is kept for who selects it next."""
    selected, context.selected = context.selected, None
    if selected is not None:
        for uid in selected.pending:
            selected.view.remove(uid)
        context.kept.left.keep(selected.folder_id, selected.uid_validity, selected.view, selected.modseq)


async def synchronise(context: Context, selected: Selected, *, expunge: bool, uid: bool = False) -> None:
    """Asks the store what changed and tells it; EXPUNGE only where allowed. Raises Farewell when the folder
    is gone."""
    selected.dirty = False
    try:
        changes = await context.store.changes(context.mailbox_id, selected.folder_id, selected.modseq)
    except BaseException:
        selected.dirty = True
        raise
    if changes.gone:
        raise Farewell("The selected mailbox was deleted", b"NONEXISTENT")
    tell_changes(context, selected, changes, expunge=expunge, uid=uid)


def tell_changes(context: Context, selected: Selected, changes: Changes, *, expunge: bool, uid: bool) -> None:
    selected.modseq = max(selected.modseq, changes.highest_modseq)
    view = selected.view
    selected.pending.extend(gone for gone in changes.expunged if view.number(gone))
    if expunge:
        tell_expunged(context, selected)
    count, recent = len(view), view.recent
    changed: list[FlagEntry] = []
    for entry in sorted(changes.updated, key=lambda entry: entry.uid):
        number = view.number(entry.uid)
        if number:
            if view.update(number, entry):
                changed.append(entry)
        else:
            view.append(entry, recent=True)  # RFC 3501 2.3.2: none can tell, so it is recent
    out = context.out
    out.write(selected.new_keywords())
    if len(view) != count:
        out.write(b"* %d EXISTS\r\n" % len(view))
    if view.recent != recent:
        out.write(b"* %d RECENT\r\n" % view.recent)
    for entry in changed:
        tell_flags(context, selected, entry.uid, uid=uid)


def tell_expunged(context: Context, selected: Selected) -> None:
    """Says every EXPUNGE that had to wait."""
    gone, selected.pending = sorted(set(selected.pending)), []
    for uid in gone:
        context.out.write(selected.forget(uid))


def tell_flags(context: Context, selected: Selected, uid_number: int, *, uid: bool) -> None:
    """An untagged FETCH with the flags known (and UID, MODSEQ where the session's state asks for them)."""
    number = selected.view.number(uid_number)
    items: tuple[FetchItem, ...] = ("UID", "FLAGS") if uid else ("FLAGS",)
    if context.condstore:
        items += ("MODSEQ",)  # RFC 7162 3.2
    context.out.write(selected.new_keywords())
    entry = selected.view.entry(number)
    context.out.write(local_response(items, number, entry, selected.view.is_recent(number)))
