"""FETCH: records streamed from the store in batches, rendered, written in pieces (RFC 3501 6.4.5)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence

import msgspec

from clientaccess.imap import responses
from clientaccess.imap.columns import table
from clientaccess.imap.commands import Fetch
from clientaccess.imap.context import Context, Done, Farewell, Rejected
from clientaccess.imap.fetch import Piece, Plan, Token
from clientaccess.imap.listing import show_columns
from clientaccess.imap.messages import chosen, selected_of
from clientaccess.imap.selected import Selected, synchronise
from foundation.interfaces.mailbox_store import SEEN, FlagChange, FlagEntry, Record, Refusal
from foundation.mail.errors import MailError
from foundation.mail.mime import Part
from foundation.streaming import streaming

_log = logging.getLogger("waypost.clientaccess")


async def fetch(context: Context, command: Fetch) -> Done:
    selected = selected_of(context)
    if command.changed_since is not None or "MODSEQ" in command.items:
        context.condstore = True  # RFC 7162 3.1
    plan, by_column = Plan(command.items), table(command.items)
    if plan.sees and not selected.read_only:
        by_column = None
    told = by_column is not None and (not by_column.stored or "FLAGS" in command.items)
    if told or "MODSEQ" in command.items or command.changed_since is not None or selected.dirty:
        await synchronise(context, selected, expunge=False, uid=command.uid)
    numbers = chosen(selected, command.messages, command.uid)
    if command.changed_since is not None:
        numbers = selected.view.changed_since(numbers, command.changed_since)
    if not numbers:
        return Done("Nothing to fetch")
    given, others = 0, numbers
    if by_column is not None:
        given, others = await show_columns(context, selected, by_column, numbers)
    if others:
        given += await _from_store(context, selected, plan, others)
    if given < len(numbers) and not command.uid:  # RFC 2180 4.1.2
        raise Rejected("Some of the messages no longer exist", b"EXPUNGEISSUED")
    return Done("Fetched")


async def _from_store(context: Context, selected: Selected, plan: Plan, numbers: Sequence[int]) -> int:
    """How many of the messages were there."""
    view = selected.view
    marks = plan.sees and not selected.read_only
    given = 0
    records = context.store.records(context.mailbox_id, selected.folder_id, view.ranges(numbers), plan.fields)
    async with streaming(records) as batches:
        async for batch in batches:
            seen = await _mark_seen(context, selected, batch) if marks else {}
            for record in batch:
                number = view.number(record.uid)
                if number:
                    given += await _one(context, selected, plan, number, record, seen.get(record.uid))
            await context.out.flush()
    return given


async def _mark_seen(context: Context, selected: Selected, batch: Sequence[Record]) -> dict[int, FlagEntry]:
    """Sets \\Seen where it is not yet; the mail is shown even when that can't be kept."""
    unseen = tuple((record.uid, record.uid) for record in batch if not record.flags & SEEN)
    if not unseen:
        return {}
    change = FlagChange(operation="add", flags=SEEN)
    try:
        outcome = await context.store.change_flags(context.mailbox_id, selected.folder_id, unseen, change)
    except MailError as error:
        _log.warning("\\Seen not set", extra={"mailbox_id": context.mailbox_id, "reason": str(error)})
        return {}
    return {entry.uid: entry for entry in outcome.updated}


async def _one(
    context: Context,
    selected: Selected,
    plan: Plan,
    number: int,
    record: Record,
    seen: FlagEntry | None,
) -> bool:
    """Writes one response; False when the message is gone before its first octet."""
    view = selected.view
    entry = seen or FlagEntry(record.uid, record.flags, record.modseq, record.keywords)
    tells_flags = "FLAGS" in plan.items or seen is not None
    flags = responses.flags(entry.flags, entry.keywords, view.is_recent(number)) if tells_flags else b""
    if tells_flags:
        view.update(number, entry)
        context.out.write(selected.new_keywords())
    extra = b""
    if seen is not None:
        record = msgspec.structs.replace(
            record, modseq=entry.modseq, flags=entry.flags, keywords=entry.keywords
        )
        if "FLAGS" not in plan.items:  # RFC 3501 6.4.5: the change is told with the response
            extra = b" FLAGS (%b)" % flags
            if context.condstore and "MODSEQ" not in plan.items:
                extra += b" MODSEQ (%d)" % entry.modseq
    try:
        root = plan.root(record)
        nested = await _nested(context, selected, plan, record, root)
        tokens = plan.render(number, record, flags, root, nested, extra)
        await _write(context, selected, record.uid, tokens)
    except Refusal as refusal:
        if refusal.reason != "EXPUNGED":
            raise
        return False
    return True


async def _nested(
    context: Context, selected: Selected, plan: Plan, record: Record, root: Part | None
) -> dict[Piece, bytes]:
    found: dict[Piece, bytes] = {}
    for piece in plan.nested_headers(record, root):
        async with streaming(_content(context, selected, record.uid, piece)) as chunks:
            found[piece] = b"".join([chunk async for chunk in chunks])
    return found


def _content(context: Context, selected: Selected, uid: int, piece: Piece) -> AsyncIterator[bytes]:
    return context.store.content(context.mailbox_id, selected.folder_id, uid, piece.offset, piece.length)


async def _write(context: Context, selected: Selected, uid: int, tokens: Sequence[Token]) -> None:
    """Copies pieces through. Raises Refusal EXPUNGED before anything is written, Farewell after."""
    out = context.out
    held: list[bytes] | None = []  # nothing is said before the first piece is surely there
    for token in tokens:
        if isinstance(token, bytes):
            if held is None:
                out.write(token)
            else:
                held.append(token)
            continue
        left = token.length
        try:
            async with streaming(_content(context, selected, uid, token)) as chunks:
                async for chunk in chunks:
                    if held is not None:
                        out.write(b"".join(held))
                        held = None
                    out.write(responses.char8(chunk))
                    left -= len(chunk)
                    await out.flush()
        except MailError as error:
            if held is not None:
                raise
            raise Farewell("A message could not be read to its end", b"UNAVAILABLE") from error
        if left:  # the literal's size is said already
            raise Farewell("A message is shorter than the store said", b"SERVERBUG")
    if held is not None:
        out.write(b"".join(held))
