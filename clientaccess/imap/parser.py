"""A whole command's text → its type (RFC 3501 6 and 9; each extension's own RFC), strict: what the grammar
does not know is Malformed, and the session answers BAD."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import cast

import msgspec

from clientaccess.imap import commands as c
from clientaccess.imap.parse_fetch import fetch
from clientaccess.imap.parse_list import list_mailboxes, list_subscribed, status
from clientaccess.imap.parse_search import UnknownCharset, search
from clientaccess.imap.scanner import Malformed, Scanner

_NO_ITEMS: tuple[str, ...] = ()
_TAG = re.compile(rb"([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,128}) ")


class Tagged(msgspec.Struct, frozen=True):
    tag: bytes
    command: c.Command


class BadCharset(Exception):
    """SEARCH in a charset nobody knows: NO [BADCHARSET]."""

    def __init__(self, tag: bytes) -> None:
        super().__init__()
        self.tag = tag


def parse(text: bytes, literals: tuple[bytes, ...] = (), utf8: bool = False) -> Tagged:
    """Raises Malformed, BadCharset. `utf8`: quoted strings may hold UTF-8 (RFC 6855 3)."""
    tagged = _parse(text, literals, utf8)
    if isinstance(tagged.command, c.Append):
        raise Malformed("Expected a message as a literal", tagged.tag)
    return tagged


def _parse(text: bytes, literals: tuple[bytes, ...], utf8: bool) -> Tagged:
    match = _TAG.match(text)
    if match is None:
        raise Malformed("A command starts with a tag and a space")
    tag = match.group(1)
    scanner = Scanner(text, literals, utf8)
    scanner.position = match.end()
    try:
        command = _command(scanner)
        scanner.end()
    except Malformed as error:
        raise Malformed(error.sentence, tag) from error
    except UnknownCharset as error:
        raise BadCharset(tag) from error
    return Tagged(tag, command)


def parse_append(text: bytes, literals: tuple[bytes, ...] = (), utf8: bool = False) -> Tagged:
    """An APPEND up to its message's literal. Raises Malformed."""
    tagged = _parse(text.removesuffix(b"~"), literals, utf8)
    if not isinstance(tagged.command, c.Append):
        raise Malformed("A message has no place here", tagged.tag)
    if tagged.command.utf8 != text.endswith(b"~"):
        raise Malformed("A binary literal stands in UTF8 ( ) only", tagged.tag)
    return tagged


def plain_response(response: bytes) -> tuple[str, str, str]:
    """RFC 4616 2: authorization id, login, password from base64. Raises Malformed."""
    try:
        fields = base64.b64decode(response, validate=True).decode("utf-8").split("\0")
    except (binascii.Error, UnicodeError) as error:
        raise Malformed("Not base64 of UTF-8") from error
    if len(fields) != 3:
        raise Malformed("Not a PLAIN response")
    return fields[0], fields[1], fields[2]


def _command(scanner: Scanner) -> c.Command:
    name = scanner.word("a command")
    plain = _PLAIN.get(name)
    if plain is not None:
        return plain
    arguments = _WITH_ARGUMENTS.get(name)
    if arguments is None:
        raise Malformed("Unknown command")
    scanner.space()
    return arguments(scanner)


def _uid(scanner: Scanner) -> c.Command:
    name = scanner.word("a command")
    arguments = _UID.get(name)
    if arguments is None:
        raise Malformed("Unknown command")
    scanner.space()
    return arguments(scanner)


def _login(scanner: Scanner) -> c.Command:
    user = scanner.astring(eight_bit=True)
    scanner.space()
    return c.Login(user, scanner.astring(eight_bit=True))


def _authenticate(scanner: Scanner) -> c.Command:
    mechanism = scanner.word("a mechanism")
    if not scanner.accept(b" "):
        return c.Authenticate(mechanism)
    initial = scanner.text[scanner.position :]
    scanner.position = len(scanner.text)
    if not initial or b" " in initial:
        raise Malformed("Expected base64 or =")
    return c.Authenticate(mechanism, b"" if initial == b"=" else initial)  # RFC 4959 3


def _identify(scanner: Scanner) -> c.Command:
    if not scanner.accept(b"("):
        if scanner.word("a list or NIL") != "NIL":
            raise Malformed("Expected a list or NIL")
        return c.Identify()
    fields: list[tuple[bytes, bytes | None]] = []
    while not scanner.accept(b")"):
        if fields:
            scanner.space()
        name = scanner.string()
        scanner.space()
        value = scanner.nstring()
        fields.append((name, value))
        if len(fields) > 30 or len(name) > 30 or len(value or b"") > 1024:  # RFC 2971 3.3
            raise Malformed("The list of ID is too long")
    return c.Identify(tuple(fields))


def _enable(scanner: Scanner) -> c.Command:
    names = [scanner.word("a capability")]
    while scanner.accept(b" "):
        names.append(scanner.word("a capability"))
    return c.Enable(tuple(names))


def _select(scanner: Scanner, read_only: bool = False) -> c.Command:
    mailbox = scanner.astring()
    condstore = False
    if scanner.accept(b" "):
        scanner.expect(b"(")
        if scanner.word("a parameter") != "CONDSTORE":  # RFC 7162 3.1.8
            raise Malformed("Unknown parameter")
        condstore = True
        scanner.expect(b")")
    return c.Select(mailbox, read_only, condstore)


def _examine(scanner: Scanner) -> c.Command:
    return _select(scanner, read_only=True)


def _create(scanner: Scanner) -> c.Command:
    mailbox = scanner.astring()
    uses: list[str] = []
    if scanner.accept(b" "):
        scanner.expect(b"(")
        if scanner.word("USE") != "USE":
            raise Malformed("Unknown parameter")
        scanner.space()
        scanner.expect(b"(")
        while not scanner.accept(b")"):
            if uses:
                scanner.space()
            scanner.expect(b"\\")
            uses.append(scanner.word("an attribute").lower())
        scanner.expect(b")")
    return c.Create(mailbox, tuple(uses))


def _delete(scanner: Scanner) -> c.Command:
    return c.Delete(scanner.astring())


def _rename(scanner: Scanner) -> c.Command:
    mailbox = scanner.astring()
    scanner.space()
    return c.Rename(mailbox, scanner.astring())


def _subscribe(scanner: Scanner) -> c.Command:
    return c.Subscribe(scanner.astring())


def _unsubscribe(scanner: Scanner) -> c.Command:
    return c.Subscribe(scanner.astring(), subscribed=False)


def _append(scanner: Scanner) -> c.Command:
    mailbox = scanner.astring()
    scanner.space()
    flags, keywords = 0, _NO_ITEMS
    if scanner.peek() == b"(":
        flags, keywords = scanner.flag_list()
        scanner.space()
    date_ms, offset = 0, 0
    if scanner.peek() == b'"':
        date_ms, offset = scanner.date_time()
        scanner.space()
    utf8 = False
    if scanner.peek() in b"Uu" and scanner.peek():
        if scanner.word("UTF8") != "UTF8":
            raise Malformed("Expected a message")
        scanner.space()
        scanner.expect(b"(")
        utf8 = True
    return c.Append(mailbox, flags, keywords, date_ms, offset, utf8)


def _store(scanner: Scanner, uid: bool = False) -> c.Command:
    messages = scanner.sequence_set()
    scanner.space()
    unchanged_since = None
    if scanner.accept(b"("):
        if scanner.word("a modifier") != "UNCHANGEDSINCE":  # RFC 7162 3.1.3
            raise Malformed("Unknown modifier")
        scanner.space()
        unchanged_since = scanner.modseq()
        scanner.expect(b")")
        scanner.space()
    sign = scanner.peek()
    operation = {b"+": "add", b"-": "remove"}.get(sign, "replace")
    if operation != "replace":
        scanner.position += 1
    name = scanner.word("FLAGS")
    if name not in ("FLAGS", "FLAGS.SILENT"):
        raise Malformed("Expected FLAGS")
    scanner.space()
    flags, keywords = scanner.flag_list() if scanner.peek() == b"(" else scanner.flags()
    return c.Store(
        messages,
        cast("c.Operation", operation),
        flags,
        keywords,
        silent=name.endswith(".SILENT"),
        uid=uid,
        unchanged_since=unchanged_since,
    )


def _copy(scanner: Scanner, uid: bool = False, move: bool = False) -> c.Command:
    messages = scanner.sequence_set()
    scanner.space()
    return c.Copy(messages, scanner.astring(), uid, move)


_PLAIN: dict[str, c.Command] = {
    "CAPABILITY": c.Capability(),
    "NOOP": c.Noop(),
    "LOGOUT": c.Logout(),
    "STARTTLS": c.StartTls(),
    "NAMESPACE": c.Namespace(),
    "IDLE": c.Idle(),
    "CHECK": c.Check(),
    "CLOSE": c.Close(),
    "UNSELECT": c.Close(expunge=False),
    "EXPUNGE": c.Expunge(),
}

_WITH_ARGUMENTS: dict[str, Callable[[Scanner], c.Command]] = {
    "ID": _identify,
    "LOGIN": _login,
    "AUTHENTICATE": _authenticate,
    "ENABLE": _enable,
    "SELECT": _select,
    "EXAMINE": _examine,
    "CREATE": _create,
    "DELETE": _delete,
    "RENAME": _rename,
    "SUBSCRIBE": _subscribe,
    "UNSUBSCRIBE": _unsubscribe,
    "LIST": list_mailboxes,
    "LSUB": list_subscribed,
    "STATUS": status,
    "APPEND": _append,
    "FETCH": fetch,
    "STORE": _store,
    "SEARCH": search,
    "COPY": _copy,
    "MOVE": lambda scanner: _copy(scanner, move=True),
    "UID": _uid,
}

_UID: dict[str, Callable[[Scanner], c.Command]] = {
    "FETCH": lambda scanner: fetch(scanner, uid=True),
    "STORE": lambda scanner: _store(scanner, uid=True),
    "SEARCH": lambda scanner: search(scanner, uid=True),
    "COPY": lambda scanner: _copy(scanner, uid=True),
    "MOVE": lambda scanner: _copy(scanner, uid=True, move=True),
    "EXPUNGE": lambda scanner: c.Expunge(scanner.sequence_set()),
}
