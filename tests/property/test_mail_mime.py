"""Body structure: the library of Python agrees on generated messages; anything at all gives a sound tree."""

import email
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.policy import compat32
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.mail import mime
from foundation.mail.mime import Part, decode_parts, encode_parts, scan, searchable_texts
from foundation.mail.rendering import render_body_structure, summarise

WORDS = st.text("abc -=.", max_size=10)
TEXT = st.lists(WORDS, max_size=4).map("\r\n".join).map(str.encode)
TYPES = st.sampled_from(["text/plain", "text/html", "application/pdf", "image/png", ""])
MULTIPARTS = st.sampled_from(["mixed", "alternative", "digest", "related"])


@dataclass
class Node:
    """A part to be written: `children` for multipart, `enclosed` for message/rfc822, else a leaf."""

    type: str
    body: bytes = b""
    children: list["Node"] = field(default_factory=list)
    enclosed: "Node | None" = None
    closed: bool = True


def nodes() -> st.SearchStrategy[Node]:
    leaves = st.builds(Node, type=TYPES, body=TEXT)

    def extend(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        multipart = st.builds(
            lambda subtype, body, children, closed: Node(
                f"multipart/{subtype}", body, children, None, closed
            ),
            MULTIPARTS,
            TEXT,
            st.lists(inner, min_size=1, max_size=3),
            st.booleans(),
        )
        return st.one_of(multipart, st.builds(lambda inside: Node("message/rfc822", enclosed=inside), inner))

    return st.recursive(leaves, extend, max_leaves=6)


def written(node: Node, names: Iterator[int], line_end: bytes) -> bytes:
    boundary = f"=_{next(names)}"
    lines = [b"Subject: x"]
    if node.type:
        lines.append(f"Content-Type: {node.type}".encode())
    if node.children:
        lines[-1] += f'; boundary="{boundary}"'.encode()
    head = line_end.join([*lines, b"", b""])
    if node.enclosed:
        return head + written(node.enclosed, names, line_end)
    body = node.body.replace(b"\r\n", line_end)
    if not node.children:
        return head + body
    delimiter = b"--" + boundary.encode()
    pieces = [body + line_end]
    for child in node.children:
        pieces += [delimiter, b" \t" if len(node.body) % 2 else b"", line_end]
        pieces += [written(child, names, line_end), line_end]
    if node.closed:
        pieces += [delimiter, b"--", line_end, body]
    return head + b"".join(pieces)


def library_tree(message: Message) -> Any:
    children = message.get_payload() if message.is_multipart() else []
    assert isinstance(children, list)
    if children:
        return message.get_content_type(), [library_tree(child) for child in children]  # type: ignore[arg-type]
    payload = message.get_payload()
    assert isinstance(payload, str)
    return message.get_content_type(), payload.encode("ascii", "surrogateescape")


def own_tree(octets: bytes, part: Part) -> Any:
    name = f"{part.type}/{part.subtype}"
    if part.children:
        return name, [own_tree(octets, child) for child in part.children]
    return name, octets[part.body_start : part.body_end]


def all_closed(node: Node) -> bool:
    inner = [*node.children, *([node.enclosed] if node.enclosed else [])]
    return node.closed and all(all_closed(child) for child in inner)


def without_bodies(tree: Any) -> Any:
    name, content = tree
    return (name, [without_bodies(child) for child in content]) if isinstance(content, list) else name


@given(nodes(), st.sampled_from([b"\r\n", b"\n"]))
@settings(max_examples=150, deadline=None)
def test_structure_is_what_the_library_sees(node: Node, line_end: bytes) -> None:
    octets = written(node, iter(range(1000)), line_end)
    expected = library_tree(email.message_from_bytes(octets, policy=compat32))
    found = own_tree(octets, scan(octets).part)
    if all_closed(node):
        assert found == expected
    else:  # the library takes the last line end off a part that no delimiter ends
        assert without_bodies(found) == without_bodies(expected)


PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b"--",
        b"--a",
        b"--a--",
        b"--aa",
        b"\r\n--a\r\n",
        b"\r\n--aa--\r\n",
        b"Content-Type: multipart/mixed; boundary=a\r\n",
        b'Content-Type: multipart/digest; boundary="aa"\r\n\r\n',
        b"Content-Type: message/rfc822\r\n\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1*=%BC\r\n",
        b"Subject: =?utf-8?B?w7w=?=\r\n",
        b"From: a <b@c>, d: e@f;\r\n",
        b"Date: Mon, 5 Jan 2026 10:00:00 +0100\r\n",
        b"text",
        b'\0\xff"\\(',
        b" ",
    ]
)
ANYTHING = st.one_of(st.lists(PIECES, max_size=25).map(b"".join), st.binary(max_size=200))


def check(part: Part, start: int, end: int) -> None:
    assert start <= part.header_start <= part.body_start <= part.body_end <= end
    at = part.body_start
    for child in part.children:
        check(child, at, part.body_end)
        at = child.body_end
    assert bool(part.children) == (part.is_multipart or part.is_message)
    assert not part.is_message or len(part.children) == 1


@given(ANYTHING)
@settings(max_examples=300)
def test_any_octets_have_a_sound_tree(octets: bytes) -> None:
    root = scan(octets).part
    check(root, 0, len(octets))
    assert (root.header_start, root.body_end) == (0, len(octets))
    assert decode_parts(encode_parts(root)) == root
    assert all(isinstance(text, str) for text in searchable_texts(octets))


@given(ANYTHING)
def test_headers_too_large_to_be_copied_give_the_same(octets: bytes) -> None:
    found = scan(octets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mime, "_HEADER_AT_ONCE_OCTETS", -1)
        assert scan(octets) == found


class Reader:
    """Reads what RFC 3501 calls a parenthesised list, to see that what is rendered can be read."""

    def __init__(self, rendered: bytes) -> None:
        self.rendered = rendered
        self.at = 0

    def value(self) -> Any:
        first = self.rendered[self.at : self.at + 1]
        if first == b"(":
            self.at += 1
            values = []
            while self.rendered[self.at : self.at + 1] != b")":
                values.append(self.value())
                if self.rendered[self.at : self.at + 1] == b" ":
                    self.at += 1
            self.at += 1
            return values
        if first == b'"':
            text = b""
            self.at += 1
            while (octet := self.rendered[self.at : self.at + 1]) != b'"':
                assert octet not in (b"\r", b"\n", b"\0", b"") and octet < b"\x80"
                self.at += 2 if octet == b"\\" else 1
                text += self.rendered[self.at - 1 : self.at]
            self.at += 1
            return text
        if first == b"{":
            close = self.rendered.index(b"}\r\n", self.at)
            size = int(self.rendered[self.at + 1 : close])
            self.at = close + 3 + size
            return self.rendered[close + 3 : self.at]
        start = self.at
        while self.rendered[self.at : self.at + 1] not in (b" ", b")", b"(", b""):
            self.at += 1
        atom = self.rendered[start : self.at]
        assert atom == b"NIL" or atom.isdigit()
        return None if atom == b"NIL" else int(atom)

    def whole(self) -> Any:
        value = self.value()
        assert self.at == len(self.rendered)
        return value


def check_structure(read: list[Any], part: Part) -> None:
    """RFC 3501 9, body-ext-mpart and body-ext-1part."""
    if part.is_multipart:
        count = len(part.children)
        for child, inner in zip(part.children, read[:count], strict=True):
            check_structure(inner, child)
        assert read[count] == part.subtype.encode()
        assert len(read) == count + 5
        return
    assert read[0] == part.type.encode() and read[1] == part.subtype.encode()
    assert read[6] == part.size
    assert len(read) == (14 if part.is_message else 12 if part.type == "text" else 11)
    if part.is_message:
        assert len(read[7]) == 10
        check_structure(read[8], part.children[0])


@given(ANYTHING)
@settings(max_examples=300)
def test_what_is_rendered_of_any_octets_can_be_read(octets: bytes) -> None:
    summary = summarise(octets)
    root = decode_parts(summary.parts)
    envelope = Reader(summary.envelope).whole()
    assert len(envelope) == 10
    for addresses in envelope[2:8]:
        assert addresses is None or (addresses and all(len(address) == 4 for address in addresses))
    check_structure(Reader(summary.body_structure).whole(), root)
    assert Reader(render_body_structure(root, extensible=False)).whole()
