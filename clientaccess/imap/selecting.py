"""Opening and leaving a mailbox, and what a session switches on (RFC 3501 6.3.1, 6.3.2, 6.4.2; RFC 3691,
5161)."""

from __future__ import annotations

import logging

from clientaccess.imap import responses
from clientaccess.imap.commands import Close, Enable, Namespace, Select
from clientaccess.imap.context import Context, Done, Misused, Rejected
from clientaccess.imap.mailboxes import existing
from clientaccess.imap.messages import selected_of
from clientaccess.imap.selected import leave, open_folder
from foundation.interfaces.mailbox_store import Folder, Refusal

_log = logging.getLogger("waypost.clientaccess")


async def namespace(context: Context, command: Namespace) -> Done:
    context.out.write(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return Done("Told")


async def enable(context: Context, command: Enable) -> Done:
    if context.selected is not None:
        raise Misused("ENABLE is for the time before a mailbox is selected")  # RFC 5161 3.1
    enabled = []
    for name in dict.fromkeys(command.capabilities):
        if name == "CONDSTORE":
            context.condstore = True
            enabled.append(b" CONDSTORE")
        elif name == "UTF8=ACCEPT":
            context.utf8 = True
            enabled.append(b" UTF8=ACCEPT")
    context.out.write(b"* ENABLED%b\r\n" % b"".join(enabled))
    return Done("Enabled")


async def select(context: Context, command: Select) -> Done:
    out = context.out
    if context.selected is not None:
        leave(context)  # RFC 3501 6.3.1: also when this SELECT fails
        out.write(responses.status(b"*", b"OK", "The previous mailbox is closed", b"CLOSED"))
    name = existing(context, command.mailbox)
    if command.condstore:
        context.condstore = True
    folder = await context.store.select(context.mailbox_id, name, command.read_only)
    if not folder.selectable:
        raise Rejected("The mailbox holds no messages", b"NONEXISTENT")
    selected = await open_folder(context, folder, command.read_only)
    view = selected.view
    out.write(selected.flags_response())
    out.write(b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(view), view.recent))
    unseen = view.first_unseen()
    if unseen:
        out.write(responses.status(b"*", b"OK", "First unseen message", b"UNSEEN %d" % unseen))
    _write_codes(context, folder, command.read_only, max(folder.uid_next, view.last_uid + 1))
    context.selected = selected
    if command.read_only:
        return Done("Examined", b"READ-ONLY")
    return Done("Selected", b"READ-WRITE")


def _write_codes(context: Context, folder: Folder, read_only: bool, uid_next: int) -> None:
    flags = b"" if read_only else b"%b \\*" % responses.SYSTEM_FLAGS
    for sentence, code in (
        ("Flags that can be changed", b"PERMANENTFLAGS (%b)" % flags),
        ("UIDs are valid", b"UIDVALIDITY %d" % folder.uid_validity),
        ("Predicted next UID", b"UIDNEXT %d" % uid_next),
        ("Highest modseq", b"HIGHESTMODSEQ %d" % folder.highest_modseq),
        ("Id of the mailbox", b"MAILBOXID (%b)" % folder.folder_id.encode("ascii")),
    ):
        context.out.write(responses.status(b"*", b"OK", sentence, code))


async def close(context: Context, command: Close) -> Done:
    """CLOSE and UNSELECT: the mailbox is left in any case, what was \\Deleted goes without a word."""
    selected = selected_of(context)
    leave(context)
    if command.expunge and not selected.read_only:
        try:
            await context.store.expunge(context.mailbox_id, selected.folder_id, None)
        except Refusal as refusal:  # RFC 3501 6.4.2 knows no NO: what can't go now keeps its flag
            _log.info("not expunged at CLOSE", extra={"reason": refusal.reason})
    return Done("Closed")
