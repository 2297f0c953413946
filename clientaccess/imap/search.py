"""Search keys of the protocol → the store's key tree, and found UIDs → responses (RFC 3501 6.4.4, 4731, 5182,
7162)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from clientaccess.imap import responses
from clientaccess.imap.commands import (
    AllOf,
    AnyOf,
    MessageNumbers,
    MessageUids,
    Negated,
    Recent,
    Search,
    SearchKey,
    SequenceSet,
)
from clientaccess.imap.view import View
from foundation.interfaces.mailbox_store import And, InUids, Key, Not, Or, Ranges


def store_key(key: SearchKey, view: View, saved: Sequence[int]) -> Key:
    """The key with message numbers, `*`, `$` and \\Recent resolved against what the session knows."""
    match key:
        case AllOf():
            return And(tuple(store_key(inner, view, saved) for inner in key.keys))
        case AnyOf():
            return Or((store_key(key.left, view, saved), store_key(key.right, view, saved)))
        case Negated():
            return Not(store_key(key.key, view, saved))
        case Recent():
            return InUids(as_ranges(view.recent_uids()))
        case MessageNumbers():
            return InUids(_numbers(key.messages, view, saved))
        case MessageUids():
            return InUids(as_ranges(saved) if key.uids.saved else view.uid_ranges(key.uids))
    return key


def _numbers(messages: SequenceSet, view: View, saved: Sequence[int]) -> Ranges:
    return view.ranges(view.numbers(messages, saved, strict=False))


def as_ranges(uids: Sequence[int]) -> Ranges:
    """Rising UIDs as ranges."""
    pairs: list[tuple[int, int]] = []
    for uid in uids:
        if pairs and pairs[-1][1] == uid - 1:
            pairs[-1] = (pairs[-1][0], uid)
        else:
            pairs.append((uid, uid))
    return tuple(pairs)


def saved_uids(command: Search, found: Sequence[int]) -> list[int]:
    """What `$` becomes (RFC 5182 2.1: MIN and MAX alone save only what they return)."""
    returns = command.returns or ()
    if "ALL" in returns or "COUNT" in returns or not found:
        return list(found)
    chosen = [found[0]] if "MIN" in returns else []
    if "MAX" in returns and (not chosen or found[-1] != chosen[0]):
        chosen.append(found[-1])
    return chosen or list(found)


def response(tag: bytes, command: Search, numbers: Sequence[int], view: View) -> bytes:
    """The untagged response for the message numbers found; empty when only SAVE was asked for."""
    shown: Sequence[int] = view.uids_of(numbers) if command.uid else numbers
    modseq = _modseq(command, numbers, view)
    if command.returns is None:
        return b"* SEARCH%b%b\r\n" % (_listed(shown), b" (MODSEQ %d)" % modseq if modseq else b"")
    if command.returns == ("SAVE",):
        return b""
    pieces = [b'* ESEARCH (TAG "%b")' % tag]
    if command.uid:
        pieces.append(b"UID")
    if shown:
        if "MIN" in command.returns:
            pieces.append(b"MIN %d" % shown[0])
        if "MAX" in command.returns:
            pieces.append(b"MAX %d" % shown[-1])
        if "ALL" in command.returns:
            pieces.append(b"ALL " + responses.number_set(shown))
    if "COUNT" in command.returns:
        pieces.append(b"COUNT %d" % len(shown))
    if modseq:
        pieces.append(b"MODSEQ %d" % modseq)
    return b" ".join(pieces) + b"\r\n"


def _listed(numbers: Sequence[int]) -> bytes:
    """Each with a space before it. As JSON, since that is written in one go."""
    return b" " + msgspec.json.encode(list(numbers))[1:-1].replace(b",", b" ") if numbers else b""


def _modseq(command: Search, numbers: Sequence[int], view: View) -> int:
    """The greatest modseq of what is returned (RFC 7162 3.1.5, 3.1.10); 0: not asked for, or nothing
    found."""
    if not command.modseq or not numbers:
        return 0
    returns = command.returns
    if returns is None or "ALL" in returns or "COUNT" in returns:
        return max(view.modseq(number) for number in numbers)
    ends = ([numbers[0]] if "MIN" in returns else []) + ([numbers[-1]] if "MAX" in returns else [])
    return max(view.modseq(number) for number in ends or numbers)
