"""Commands on the messages of the selected folder but FETCH (RFC 3501 6.4; RFC 4315, 5182, 6851, 7162)."""

from __future__ import annotations

from collections.abc import Sequence

from clientaccess.imap import responses
from clientaccess.imap.commands import Append, Copy, Expunge, FetchItem, Search, SequenceSet, Store
from clientaccess.imap.context import Context, Done, Incoming, Misused, Rejected
from clientaccess.imap.listing import tell_known
from clientaccess.imap.mailboxes import existing
from clientaccess.imap.search import response, saved_uids, store_key
from clientaccess.imap.selected import Selected, tell_expunged
from clientaccess.imap.view import NoSuchMessage
from foundation.interfaces.mailbox_store import Copied, FlagChange, FlagEntry, FlagOutcome


def selected_of(context: Context) -> Selected:
    if context.selected is None:
        raise Misused("No mailbox is selected")
    return context.selected


def writable(context: Context) -> Selected:
    selected = selected_of(context)
    if selected.read_only:
        raise Rejected("The mailbox is selected read-only", b"READ-ONLY")
    return selected


def chosen(selected: Selected, messages: SequenceSet, uid: bool) -> Sequence[int]:
    """Message numbers that a command speaks of, rising. Raises Misused (RFC 3501 9: a number that does not
    exist)."""
    if uid:
        return selected.view.numbers_of_uids(messages, selected.saved)
    try:
        return selected.view.numbers(messages, selected.saved)
    except NoSuchMessage as error:
        raise Misused("There is no message of that number") from error


async def store_flags(context: Context, command: Store) -> Done:
    selected = writable(context)
    numbers = chosen(selected, command.messages, command.uid)
    if command.unchanged_since is not None:
        context.condstore = True  # RFC 7162 3.1
    if not numbers:
        return Done("Nothing to change")
    before = {entry.uid: entry for entry in map(selected.view.entry, numbers)} if command.silent else {}
    change = FlagChange(
        operation=command.operation,
        flags=command.flags,
        keywords=command.keywords,
        unchanged_since=command.unchanged_since,
    )
    outcome = await context.store.change_flags(
        context.mailbox_id, selected.folder_id, selected.view.ranges(numbers), change
    )
    await _tell_stored(context, selected, command, before, outcome)
    if outcome.refused:
        view = selected.view
        shown: Sequence[int] = outcome.refused
        if not command.uid:
            shown = [number for number in map(view.number, outcome.refused) if number]
        return Done("Some messages had changed", b"MODIFIED " + responses.number_set(shown))
    if len(outcome.updated) < len(numbers) and not command.uid:
        raise Rejected("Some of the messages no longer exist", b"EXPUNGEISSUED")  # RFC 2180 4.2
    return Done("Flags changed")


async def _tell_stored(
    context: Context,
    selected: Selected,
    command: Store,
    before: dict[int, FlagEntry],
    outcome: FlagOutcome,
) -> None:
    refused = frozenset(outcome.refused)
    view = selected.view
    changed: list[int] = []
    silent: list[int] = []
    for entry in outcome.updated:
        number = view.number(entry.uid)
        if not number or entry.uid in refused:
            continue
        view.update(number, entry)
        # RFC 3501 6.4.6: what another session changed is told even so; RFC 7162 3.1.3: the modseq is, too
        if not command.silent or _others_changed(before[entry.uid], entry, command):
            changed.append(number)
        elif command.unchanged_since is not None:
            silent.append(number)
    context.out.write(selected.new_keywords())
    flags: tuple[FetchItem, ...] = ("FLAGS", "MODSEQ") if context.condstore else ("FLAGS",)
    uid: tuple[FetchItem, ...] = ("UID",) if command.uid else ()
    await tell_known(context, selected, (*flags, *uid), changed)
    await tell_known(context, selected, ("MODSEQ", *uid), silent)


def _others_changed(before: FlagEntry, now: FlagEntry, command: Store) -> bool:
    return _expected(before, command) != (now.flags, frozenset(now.keywords))


def _expected(entry: FlagEntry, command: Store) -> tuple[int, frozenset[str]]:
    """The flags that the client takes a message to have after its own change."""
    keywords = frozenset(entry.keywords)
    if command.operation == "add":
        return entry.flags | command.flags, keywords.union(command.keywords)
    if command.operation == "remove":
        return entry.flags & ~command.flags, keywords.difference(command.keywords)
    return command.flags, frozenset(command.keywords)


async def copy(context: Context, command: Copy) -> Done:
    selected = writable(context) if command.move else selected_of(context)
    numbers = chosen(selected, command.messages, command.uid)
    target = existing(context, command.mailbox)
    if not numbers:
        return Done("Nothing to copy")
    ranges = selected.view.ranges(numbers)
    call = context.store.move if command.move else context.store.copy
    copied = await call(context.mailbox_id, selected.folder_id, ranges, target)
    if not copied.source_uids:
        if not command.uid:
            raise Rejected("The messages no longer exist", b"EXPUNGEISSUED")
        return Done("Nothing to copy")
    selected.dirty = True  # the target may be this folder
    code = _copyuid(copied)
    if not command.move:
        return Done("Copied", code)
    context.out.write(responses.status(b"*", b"OK", "Moved", code))  # RFC 6851 4.3: before the EXPUNGEs
    selected.pending.extend(copied.source_uids)
    tell_expunged(context, selected)
    return Done("Moved")


def _copyuid(copied: Copied) -> bytes:
    sources, targets = responses.ordered_set(copied.source_uids), responses.ordered_set(copied.target_uids)
    return b"COPYUID %d %b %b" % (copied.uid_validity, sources, targets)


async def expunge(context: Context, command: Expunge) -> Done:
    selected = writable(context)
    uids = None
    if command.uids is not None:
        numbers = selected.view.numbers_of_uids(command.uids, selected.saved)
        if not numbers:
            return Done("Nothing to expunge")
        uids = selected.view.ranges(numbers)
    gone = await context.store.expunge(context.mailbox_id, selected.folder_id, uids)
    selected.pending.extend(gone)
    tell_expunged(context, selected)
    return Done("Expunged")


async def search(context: Context, command: Search, tag: bytes) -> Done:
    selected = selected_of(context)
    if command.modseq:
        context.condstore = True  # RFC 7162 3.1
    saving = "SAVE" in (command.returns or ())
    try:
        key = store_key(command.key, selected.view, selected.saved)
        found = await context.store.search(context.mailbox_id, selected.folder_id, key)
    except Exception:
        if saving:
            selected.saved = []  # RFC 5182 2.1: a SEARCH that fails empties it
        raise
    numbers = selected.view.numbers_among(found)
    if saving:
        selected.saved = saved_uids(command, selected.view.uids_of(numbers))
    context.out.write(response(tag, command, numbers, selected.view))
    return Done("Searched")


async def append(context: Context, command: Append, content: Incoming) -> Done:
    name = existing(context, command.mailbox)
    try:
        appended = await context.store.append(
            context.mailbox_id,
            name,
            command.flags,
            command.keywords,
            command.date_ms,
            command.offset_minutes,
            content,
        )
    except Exception:
        if content.problem is not None:  # the store may have told it in words of its own
            raise content.problem from None
        raise
    if context.selected is not None:
        context.selected.dirty = True  # RFC 3501 6.3.11: the client hears of it at once
    return Done("Appended", b"APPENDUID %d %d" % (appended.uid_validity, appended.uid))
