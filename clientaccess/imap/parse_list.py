"""The arguments of LIST, LSUB and STATUS (RFC 3501 6.3.8 to 6.3.10; RFC 5258, 5819, 6154)."""

from __future__ import annotations

from clientaccess.imap import commands as c
from clientaccess.imap.scanner import Malformed, Scanner

_STATUS_ITEMS = frozenset(
    (
        "MESSAGES",
        "RECENT",
        "UIDNEXT",
        "UIDVALIDITY",
        "UNSEEN",
        "DELETED",
        "SIZE",
        "HIGHESTMODSEQ",
        "APPENDLIMIT",
        "MAILBOXID",
    )
)
_NO_ITEMS: tuple[str, ...] = ()


def _status_items(scanner: Scanner) -> tuple[str, ...]:
    scanner.expect(b"(", "Expected a list of items")
    items = [scanner.word("an item")]
    while scanner.accept(b" "):
        items.append(scanner.word("an item"))
    scanner.expect(b")")
    if not _STATUS_ITEMS.issuperset(items):
        raise Malformed("Unknown item")
    return tuple(dict.fromkeys(items))


def status(scanner: Scanner) -> c.Command:
    mailbox = scanner.astring()
    scanner.space()
    return c.Status(mailbox, _status_items(scanner))


def list_subscribed(scanner: Scanner) -> c.Command:
    reference = scanner.astring()
    scanner.space()
    return c.ListSubscribed(reference, scanner.list_mailbox())


_SELECTION = frozenset(("SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"))


def list_mailboxes(scanner: Scanner) -> c.Command:
    selections: list[str] = []
    extended = scanner.accept(b"(")
    if extended:
        selections = _words(scanner)
        if not _SELECTION.issuperset(selections):
            raise Malformed("Unknown selection option")
        if "RECURSIVEMATCH" in selections and not {"SUBSCRIBED", "SPECIAL-USE"}.intersection(selections):
            raise Malformed("RECURSIVEMATCH needs another option")  # RFC 5258 3
        scanner.space()
    reference = scanner.astring()
    scanner.space()
    if scanner.accept(b"("):
        extended = True
        patterns = [scanner.list_mailbox()]
        while scanner.accept(b" "):
            patterns.append(scanner.list_mailbox())
        scanner.expect(b")")
    else:
        patterns = [scanner.list_mailbox()]
    subscribed, status = False, _NO_ITEMS
    if scanner.accept(b" "):
        extended = True
        subscribed, status = _list_returns(scanner)
    return c.ListMailboxes(
        reference,
        tuple(patterns),
        "SUBSCRIBED" in selections,
        "RECURSIVEMATCH" in selections,
        "SPECIAL-USE" in selections,
        subscribed or "SUBSCRIBED" in selections,
        status,
        extended,
    )


def _words(scanner: Scanner) -> list[str]:
    """Words up to `)`, which may come at once."""
    words: list[str] = []
    while not scanner.accept(b")"):
        if words:
            scanner.space()
        words.append(scanner.word("an option"))
    return words


def _list_returns(scanner: Scanner) -> tuple[bool, tuple[str, ...]]:
    if scanner.word("RETURN") != "RETURN":
        raise Malformed("Expected RETURN")
    scanner.space()
    scanner.expect(b"(")
    subscribed, status, first = False, _NO_ITEMS, True
    while not scanner.accept(b")"):
        if not first:
            scanner.space()
        first = False
        option = scanner.word("an option")
        if option == "STATUS":  # RFC 5819 2
            scanner.space()
            status = _status_items(scanner)
        elif option == "SUBSCRIBED":
            subscribed = True
        elif option not in ("CHILDREN", "SPECIAL-USE"):
            raise Malformed("Unknown return option")
    return subscribed, status
