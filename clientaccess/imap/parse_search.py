"""SEARCH's arguments: return options, charset, keys (RFC 3501 6.4.4, 4731, 5032, 5182, 7162, 8474, 8514)."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Literal

from clientaccess.imap.commands import (
    AllOf,
    AnyOf,
    Command,
    MessageNumbers,
    MessageUids,
    Negated,
    Recent,
    Search,
    SearchKey,
)
from clientaccess.imap.scanner import Malformed, Scanner
from foundation.interfaces.mailbox_store import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    SEEN,
    BodyContains,
    DateIs,
    Everything,
    HasFlag,
    HasKeyword,
    HeaderContains,
    IdIs,
    ModseqFrom,
    SizeIs,
    TextContains,
    YoungerThan,
)

_DEPTH_MAX = 60
_KEYS_MAX = 2000
_RETURNS = frozenset(("MIN", "MAX", "ALL", "COUNT", "SAVE"))
_NOT_CHARSETS = frozenset(
    ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem")
)


class UnknownCharset(Exception):
    pass


def search(scanner: Scanner, uid: bool = False) -> Command:
    returns = None
    start = scanner.position
    if scanner.peek() in b"Rr" and scanner.word() == "RETURN":
        scanner.space()
        returns = _returns(scanner)
        scanner.space()
    else:
        scanner.position = start
    program = _Program(scanner, _charset(scanner))
    key = program.keys()
    return Search(key, uid, returns, program.modseq)


def _returns(scanner: Scanner) -> tuple[str, ...]:
    scanner.expect(b"(")
    options: list[str] = []
    while not scanner.accept(b")"):
        if options:
            scanner.space()
        options.append(scanner.word("an option"))
    if not _RETURNS.issuperset(options):
        raise Malformed("Unknown return option")
    return tuple(dict.fromkeys(options)) or ("ALL",)  # RFC 4731 3.1


def _charset(scanner: Scanner) -> str:
    start = scanner.position
    if scanner.peek() not in b"Cc" or scanner.word() != "CHARSET":
        scanner.position = start
        return "utf-8"
    if scanner.utf8:
        raise Malformed("There is one charset after ENABLE UTF8=ACCEPT")  # RFC 6855 3
    scanner.space()
    name = scanner.astring()
    scanner.space()
    try:
        charset = codecs.lookup(name.decode("ascii")).name
        if charset.replace("-", "_") in _NOT_CHARSETS:
            raise UnknownCharset
        "a".encode(charset)  # LookupError for what codes no text, like zlib
    except (LookupError, UnicodeError, ValueError) as error:
        raise UnknownCharset from error
    return charset


class _Program:
    __slots__ = ("_charset", "_count", "_scanner", "modseq")

    def __init__(self, scanner: Scanner, charset: str) -> None:
        self._scanner = scanner
        self._charset = charset
        self._count = 0
        self.modseq = False

    def keys(self, depth: int = 0) -> SearchKey:
        """Keys parted by spaces: all must hold."""
        keys = [self._key(depth)]
        while self._scanner.accept(b" "):
            keys.append(self._key(depth))
        return keys[0] if len(keys) == 1 else AllOf(tuple(keys))

    def _key(self, depth: int) -> SearchKey:
        scanner = self._scanner
        self._count += 1
        if depth > _DEPTH_MAX or self._count > _KEYS_MAX:
            raise Malformed("The search is too complex")
        if scanner.accept(b"("):
            inner = self.keys(depth + 1)
            scanner.expect(b")")
            return inner
        if scanner.at_sequence_set():
            return MessageNumbers(scanner.sequence_set())
        name = scanner.word("a search key")
        plain = _PLAIN.get(name)
        if plain is not None:
            return plain
        if name == "NOT":
            scanner.space()
            return Negated(self._key(depth + 1))
        if name == "OR":
            scanner.space()
            left = self._key(depth + 1)
            scanner.space()
            return AnyOf(left, self._key(depth + 1))
        return self._with_argument(name)

    def _with_argument(self, name: str) -> SearchKey:
        scanner = self._scanner
        header = _HEADERS.get(name)
        dated = _DATES.get(name)
        other = _OTHERS.get(name)
        if (
            header is None
            and dated is None
            and other is None
            and name not in ("BODY", "TEXT", "HEADER", "MODSEQ")
        ):
            raise Malformed("Unknown search key")
        scanner.space()
        if header is not None:
            return HeaderContains(header, self._text())
        if dated is not None:
            return DateIs(*dated, *scanner.date())
        if other is not None:
            return other(scanner)
        if name == "MODSEQ":
            return self._modseq()
        if name == "HEADER":
            return self._header()
        return BodyContains(self._text()) if name == "BODY" else TextContains(self._text())

    def _text(self) -> str:
        try:
            return self._scanner.astring(eight_bit=True).decode(self._charset)
        except ValueError as error:  # UnicodeError is one
            raise Malformed("A string is not in the search's charset") from error

    def _header(self) -> SearchKey:
        name = self._scanner.astring()
        self._scanner.space()
        try:
            return HeaderContains(name.decode("ascii"), self._text())
        except UnicodeError as error:
            raise Malformed("Not a header field's name") from error

    def _modseq(self) -> SearchKey:
        """RFC 7162 3.1.5: an entry's name and type may stand before the number; there is one modseq for all
        flags."""
        scanner = self._scanner
        self.modseq = True
        if scanner.peek() == b'"':
            scanner.string()
            scanner.space()
            if scanner.word("a type") not in ("PRIV", "SHARED", "ALL"):
                raise Malformed("Expected priv, shared or all")
            scanner.space()
        return ModseqFrom(scanner.modseq())


def _keyword(scanner: Scanner) -> SearchKey:
    return HasKeyword(scanner.atom("a keyword").decode("ascii"))


def _seconds(scanner: Scanner) -> YoungerThan:
    return YoungerThan(scanner.nz_number())


def _identifier(scanner: Scanner) -> str:
    try:
        return scanner.astring().decode("ascii")
    except UnicodeError as error:
        raise Malformed("Not an object id") from error


_PLAIN: dict[str, SearchKey] = {
    "ALL": Everything(),
    "ANSWERED": HasFlag(ANSWERED),
    "DELETED": HasFlag(DELETED),
    "DRAFT": HasFlag(DRAFT),
    "FLAGGED": HasFlag(FLAGGED),
    "SEEN": HasFlag(SEEN),
    "UNANSWERED": Negated(HasFlag(ANSWERED)),
    "UNDELETED": Negated(HasFlag(DELETED)),
    "UNDRAFT": Negated(HasFlag(DRAFT)),
    "UNFLAGGED": Negated(HasFlag(FLAGGED)),
    "UNSEEN": Negated(HasFlag(SEEN)),
    "RECENT": Recent(),
    "NEW": AllOf((Recent(), Negated(HasFlag(SEEN)))),
    "OLD": Negated(Recent()),
    "SAVEDATESUPPORTED": Everything(),
}
_HEADERS = {"BCC": "Bcc", "CC": "Cc", "FROM": "From", "SUBJECT": "Subject", "TO": "To"}
_Dated = tuple[Literal["internal", "sent", "saved"], Literal["before", "on", "since"]]
_DATES: dict[str, _Dated] = {
    "BEFORE": ("internal", "before"),
    "ON": ("internal", "on"),
    "SINCE": ("internal", "since"),
    "SENTBEFORE": ("sent", "before"),
    "SENTON": ("sent", "on"),
    "SENTSINCE": ("sent", "since"),
    "SAVEDBEFORE": ("saved", "before"),
    "SAVEDON": ("saved", "on"),
    "SAVEDSINCE": ("saved", "since"),
}
_OTHERS: dict[str, Callable[[Scanner], SearchKey]] = {
    "KEYWORD": _keyword,
    "UNKEYWORD": lambda scanner: Negated(_keyword(scanner)),
    "LARGER": lambda scanner: SizeIs("larger", scanner.number()),
    "SMALLER": lambda scanner: SizeIs("smaller", scanner.number()),
    "UID": lambda scanner: MessageUids(scanner.sequence_set()),
    "YOUNGER": _seconds,
    "OLDER": lambda scanner: Negated(_seconds(scanner)),
    "EMAILID": lambda scanner: IdIs("email", _identifier(scanner)),
    "THREADID": lambda scanner: IdIs("thread", _identifier(scanner)),
}
