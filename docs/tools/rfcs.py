"""The table of RFCs, docs/rfcs.md: every pointer of the code's comments and docstrings, by RFC and section.

A pointer is `RFC 5321 4.5.3.2`; lists go on with commas (`RFC 3461 6, 3464, 6522`: a number of four digits is
the next RFC). The place is named by file and symbol, so that the table changes only when the code's rules do.

    python docs/tools/rfcs.py            writes docs/rfcs.md
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "rfcs.md"
ROOMS = ("clientaccess", "config", "foundation", "hubtransport", "mailboxstore", "waypost")

TITLES = {
    1047: "Duplicate Messages and SMTP",
    1122: "Requirements for Internet Hosts -- Communication Layers",
    1870: "SMTP Service Extension for Message Size Declaration",
    2033: "Local Mail Transfer Protocol",
    2034: "SMTP Service Extension for Returning Enhanced Error Codes",
    2045: "MIME Part One: Format of Internet Message Bodies",
    2046: "MIME Part Two: Media Types",
    2047: "MIME Part Three: Message Header Extensions for Non-ASCII Text",
    2177: "IMAP4 IDLE Command",
    2180: "IMAP4 Multi-Accessed Mailbox Practice",
    2183: "The Content-Disposition Header Field",
    2231: "MIME Parameter Value and Encoded Word Extensions",
    2342: "IMAP4 Namespace",
    2920: "SMTP Service Extension for Command Pipelining",
    2971: "IMAP4 ID Extension",
    3030: "SMTP Service Extensions for Transmission of Large and Binary MIME Messages",
    3207: "SMTP Service Extension for Secure SMTP over Transport Layer Security",
    3339: "Date and Time on the Internet: Timestamps",
    3348: "IMAP4 Child Mailbox Extension",
    3461: "SMTP Service Extension for Delivery Status Notifications (DSNs)",
    3463: "Enhanced Mail System Status Codes",
    3464: "An Extensible Message Format for Delivery Status Notifications",
    3490: "Internationalizing Domain Names in Applications (IDNA)",
    3501: "Internet Message Access Protocol, Version 4rev1",
    3516: "IMAP4 Binary Content Extension",
    3691: "IMAP UNSELECT Command",
    3834: "Recommendations for Automatic Responses to Electronic Mail",
    3848: "ESMTP and LMTP Transmission Types Registration",
    4315: "IMAP UIDPLUS Extension",
    4469: "IMAP CATENATE Extension",
    4616: "The PLAIN SASL Mechanism",
    4731: "IMAP4 Extension to SEARCH for Controlling What Is Returned (ESEARCH)",
    4865: "SMTP Submission Service Extension for Future Message Release",
    4954: "SMTP Service Extension for Authentication",
    4959: "IMAP Extension for SASL Initial Client Response",
    5032: "WITHIN Search Extension to the IMAP Protocol",
    5161: "The IMAP ENABLE Extension",
    5182: "IMAP Extension for Referencing the Last SEARCH Result",
    5233: "Sieve Email Filtering: Subaddress Extension",
    5256: "IMAP SORT and THREAD Extensions",
    5258: "IMAP4 LIST Command Extensions",
    5321: "Simple Mail Transfer Protocol",
    5322: "Internet Message Format",
    5530: "IMAP Response Codes",
    5819: "IMAP4 Extension for Returning STATUS Information in Extended LIST",
    5890: "Internationalized Domain Names for Applications: Definitions",
    5891: "Internationalized Domain Names in Applications: Protocol",
    6152: "SMTP Service Extension for 8-bit MIME Transport",
    6154: "IMAP LIST Extension for Special-Use Mailboxes",
    6409: "Message Submission for Mail",
    6522: "The Multipart/Report Media Type",
    6531: "SMTP Extension for Internationalized Email",
    6532: "Internationalized Email Headers",
    6533: "Internationalized Delivery Status and Disposition Notifications",
    6761: "Special-Use Domain Names",
    6851: "IMAP MOVE Extension",
    6855: "IMAP Support for UTF-8",
    7162: "IMAP Extensions: CONDSTORE and QRESYNC",
    7435: "Opportunistic Security",
    7505: 'A "Null MX" No Service Resource Record for Domains That Accept No Mail',
    7888: "IMAP4 Non-synchronizing Literals",
    7889: "The IMAP APPENDLIMIT Extension",
    8265: "Preparation and Comparison of Usernames and Passwords",
    8314: "Use of TLS for Email Submission and Access",
    8438: "IMAP Extension for STATUS=SIZE",
    8474: "IMAP Extension for Object Identifiers",
    8514: "IMAP SAVEDATE Extension",
    8621: "The JSON Meta Application Protocol (JMAP) for Mail",
    8689: "SMTP Require TLS Option",
    8996: "Deprecating TLS 1.0 and TLS 1.1",
    9051: "Internet Message Access Protocol, Version 4rev2",
    9293: "Transmission Control Protocol (TCP)",
    9525: "Service Identity in TLS",
    9562: "Universally Unique IDentifiers (UUIDs)",
}

HEAD = """# The RFCs that Waypost obeys, and where

Made from the code by `docs/tools/rfcs.py` (`make docs`); a test fails when it is not up to date. A place is
a file with the function, class or constant whose comment or docstring names the rule. It is what somebody
looked up and pointed to, not all that is done.
"""

_RFC = re.compile(r"\bRFC (\d{3,5})\b")
_NEXT = re.compile(r"(?:,|,? and)? (appendix [A-Z]|\d{1,4}(?:\.\d+)*)(?: \(\w\))?(?![\w*-])")


class Pointer(NamedTuple):
    rfc: int
    section: str
    """Empty: the RFC as a whole."""


class Place(NamedTuple):
    file: str
    symbol: str
    """Empty: the module."""

    def __str__(self) -> str:
        return f"`{self.file}:{self.symbol}`" if self.symbol else f"`{self.file}`"


class _Span(NamedTuple):
    first: int
    last: int
    name: str


def pointers_in(text: str) -> Iterator[Pointer]:
    text = " ".join(text.split())
    for found in _RFC.finditer(text):
        rfc, sections, at = int(found[1]), 0, found.end()
        while following := _NEXT.match(text, at):
            at = following.end()
            if len(following[1]) == 4 and following[1].isdigit():
                if not sections:
                    yield Pointer(rfc, "")
                rfc, sections = int(following[1]), 0
            else:
                sections += 1
                yield Pointer(rfc, following[1])
        if not sections:
            yield Pointer(rfc, "")


def pointers_of(file: Path) -> Iterator[tuple[Pointer, Place]]:
    source = file.read_text("utf-8")
    name = file.relative_to(ROOT).as_posix()
    module = ast.parse(source)
    spans = [_Span(0, 10**9, ""), *_spans(module, "")]
    texts = [*_docstrings(module, ""), *_comments(source, spans)]
    for symbol, text in texts:
        for pointer in pointers_in(text):
            yield pointer, Place(name, symbol)


def _spans(owner: ast.AST, prefix: str) -> Iterator[_Span]:
    """Lines of every named statement, outer ones before those within them."""
    for node in getattr(owner, "body", ()):
        name = _name(node)
        if not name:
            continue
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
        yield _Span(first, node.end_lineno or node.lineno, prefix + name)
        if isinstance(node, ast.ClassDef):
            yield from _spans(node, f"{prefix}{name}.")


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return targets[0].id if isinstance(targets[0], ast.Name) else ""


def _docstrings(owner: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """(symbol, text): of modules, classes, functions, and those that stand below an assignment."""
    described = name
    for node in getattr(owner, "body", ()):
        if (text := _string(node)) is not None:
            yield described, text
            continue
        inner = _name(node)
        described = ".".join(filter(None, (name, inner)))
        if isinstance(node, ast.ClassDef):
            yield from _docstrings(node, described)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for text in _strings(node):
                yield described, text


def _string(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else None
    return None


def _strings(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """The docstring, and those of the attributes that are set here."""
    return (text for node in function.body if (text := _string(node)) is not None)


def _comments(source: str, spans: list[_Span]) -> Iterator[tuple[str, str]]:
    """(symbol, text); comments on lines of their own that follow each other are one text."""
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, text = token.start[0], token.string.lstrip("# ")
        if token.line.strip() != token.string:
            yield _inner(spans, line).name, text
            continue
        if block and line != last + 1:
            yield _described(spans, last), " ".join(block)
            block = []
        block.append(text)
        last = line
    if block:
        yield _described(spans, last), " ".join(block)


def _inner(spans: list[_Span], line: int) -> _Span:
    return [span for span in spans if span.first <= line <= span.last][-1]


def _described(spans: list[_Span], line: int) -> str:
    """What a comment on lines of its own is about: where it stands, or between statements the next one."""
    here, below = _inner(spans, line), _inner(spans, line + 1)
    return below.name if below.name.startswith(here.name) else here.name


def table() -> str:
    """The whole file."""
    places: dict[int, dict[str, dict[Place, None]]] = {}
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for pointer, place in pointers_of(file):
                places.setdefault(pointer.rfc, {}).setdefault(pointer.section, {})[place] = None
    untold = sorted(rfc for rfc in places if rfc not in TITLES)
    if untold:
        raise SystemExit(f"docs/tools/rfcs.py: TITLES has no title for RFC {', '.join(map(str, untold))}")
    parts = [HEAD]
    for rfc in sorted(places):
        parts.append(f"\n## RFC {rfc}: {TITLES[rfc]}\n\n| section | where |\n|---|---|\n")
        for section in sorted(places[rfc], key=_order):
            found = ", ".join(str(place) for place in sorted(places[rfc][section]))
            parts.append(f"| {section or 'the whole'} | {found} |\n")
    return "".join(parts)


def _order(section: str) -> tuple[int, tuple[int, ...], str]:
    if section[:1].isdigit():
        return 1, tuple(map(int, section.split("."))), ""
    return (2 if section else 0), (), section


if __name__ == "__main__":
    FILE.write_text(table(), "utf-8")
