import mmap
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from foundation.mail.mime import (
    DEPTH_MAX,
    PARTS_MAX,
    Part,
    decode_parts,
    encode_parts,
    find_part,
    scan,
    searchable_texts,
)

NESTED = b"""\
From: a@x
Subject: outer
Content-Type: multipart/mixed; boundary="out er"

preamble
--out er
Content-Type: multipart/alternative; boundary=in

--in

plain
text
--in
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: Quoted-Printable

<p>gr=C3=BC=C3=9Fe</p>

--in--
inner epilogue
--out er \t
Content-Type: message/rfc822

Subject: enclosed
Content-Type: multipart/mixed; boundary=deep

--deep

deep text
--deep
Content-Type: image/png

PNG
--deep--
--out er--
epilogue
--out er
not a part
""".replace(b"\n", b"\r\n")


def tree(part: Part) -> object:
    name = f"{part.type}/{part.subtype}"
    return (name, [tree(child) for child in part.children]) if part.children else name


def body(message: bytes, part: Part) -> bytes:
    return message[part.body_start : part.body_end]


def parts(part: Part) -> Iterator[Part]:
    yield part
    for child in part.children:
        yield from parts(child)


def test_tree_and_offsets() -> None:
    root = scan(NESTED).part
    assert tree(root) == (
        "multipart/mixed",
        [
            ("multipart/alternative", ["text/plain", "text/html"]),
            ("message/rfc822", [("multipart/mixed", ["text/plain", "image/png"])]),
        ],
    )
    assert (root.header_start, root.body_end) == (0, len(NESTED))
    plain, html = root.children[0].children
    assert body(NESTED, plain) == b"plain\r\ntext"
    assert plain.lines == 1
    assert NESTED[plain.header_start : plain.body_start] == b"\r\n"
    assert body(NESTED, html) == b"<p>gr=C3=BC=C3=9Fe</p>\r\n"
    assert (html.encoding, html.params) == ("quoted-printable", (("charset", b"utf-8"),))
    enclosing = root.children[1]
    enclosed = enclosing.children[0]
    assert enclosed.header_start == enclosing.body_start
    assert enclosed.body_end == enclosing.body_end
    assert enclosing.lines == body(NESTED, enclosing).count(b"\n")
    assert enclosing.envelope == b'(NIL "enclosed" NIL NIL NIL NIL NIL NIL NIL NIL)'
    assert body(NESTED, enclosed.children[1]) == b"PNG"


def test_bare_line_feeds_give_the_same_tree() -> None:
    message = NESTED.replace(b"\r\n", b"\n")
    root = scan(message).part
    assert tree(root) == tree(scan(NESTED).part)
    assert [body(message, part) for part in parts(root)] == [
        body(NESTED, part).replace(b"\r\n", b"\n") for part in parts(scan(NESTED).part)
    ]


def test_mapped_files_are_scanned_in_place(tmp_path: Path) -> None:
    message = NESTED + b"line\r\n" * 30_000
    file = tmp_path / "message"
    file.write_bytes(message)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert scan(mapped) == scan(message)
        assert list(searchable_texts(mapped)) == list(searchable_texts(message))
    plain = b"\r\n" + message
    file.write_bytes(plain)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert scan(mapped).part.lines == plain.count(b"\n") - 1


def test_all_content_fields() -> None:
    root = scan(
        b'Content-Type: Image/PNG; name="a \\"b\\".png"; x=y (comment); empty=""\r\n'
        b"Content-ID: <i@d>\r\nContent-Description: a picture\r\n"
        b"Content-Transfer-Encoding: (which) BASE64 (c)\r\n"
        b'Content-MD5: Q2hlY2s=\r\nContent-Disposition: Attachment; filename*0="a"; filename*1=b.png\r\n'
        b"Content-Language: de, en-GB\r\nContent-Location: http://x/\r\n y\r\n\r\nAAAA\r\n"
    ).part
    assert (root.type, root.subtype, root.encoding) == ("image", "png", "base64")
    assert root.params == (("name", b'a "b".png'), ("x", b"y"), ("empty", b""))
    assert (root.id, root.description, root.md5) == (b"<i@d>", b"a picture", b"Q2hlY2s=")
    assert root.disposition == "attachment"
    assert root.disposition_params == (("filename*0", b"a"), ("filename*1", b"b.png"))
    assert (root.language, root.location) == ((b"de", b"en-GB"), b"http://x/ y")
    assert (root.size, root.lines) == (6, 0)


@pytest.mark.parametrize("value", [b"", b"nonsense", b"text", b"/plain", b"te xt/plain", b"\xff/\xff"])
def test_an_invalid_type_is_plain_text(value: bytes) -> None:
    root = scan(b"Content-Type: " + value + b"\r\n\r\nx").part
    assert (root.type, root.subtype, root.params) == ("text", "plain", (("charset", b"us-ascii"),))


@pytest.mark.parametrize("message", [b"", b"\r\n", b"no header at all", b"A: b", b"A: b\r\n", b"\0" * 10])
def test_messages_that_are_hardly_any(message: bytes) -> None:
    scanned = scan(message)
    assert tree(scanned.part) == "text/plain"
    assert scanned.part.body_end == len(message)
    assert scanned.header_end == scanned.part.body_start


def multipart(content: bytes, type_: bytes = b"multipart/mixed; boundary=b") -> tuple[bytes, Part]:
    message = b"Content-Type: " + type_ + b"\r\n\r\n" + content
    return message, scan(message).part


def test_a_missing_end_delimiter_ends_with_the_message() -> None:
    message, root = multipart(b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n")
    assert [body(message, part) for part in root.children] == [b"one", b"two\r\n"]


def test_a_missing_inner_end_delimiter_ends_with_the_outer_part() -> None:
    message, root = multipart(
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"
        b"--c\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--c\r\n\r\n--b--"
    )
    assert tree(root) == ("multipart/mixed", [("multipart/mixed", ["text/plain"]), "text/plain"])
    assert body(message, root.children[0].children[0]) == b"one"
    assert body(message, root.children[1]) == b"two\r\n--c\r\n"


def test_a_boundary_may_begin_with_another() -> None:
    message, root = multipart(
        b"--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n"
        b"--bb\r\n\r\none\r\n--bb--\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    )
    assert tree(root) == ("multipart/mixed", [("multipart/mixed", ["text/plain"]), "text/plain"])
    assert body(message, root.children[1]) == b"two"


def test_a_boundary_may_end_like_a_closing_one() -> None:
    _, root = multipart(b"--b--\r\n\r\none\r\n--b----\r\n", b'multipart/mixed; boundary="b--"')
    assert tree(root) == ("multipart/mixed", ["text/plain"])


def test_an_inner_boundary_that_is_the_outer_one_divides_the_outer_part() -> None:
    _, root = multipart(
        b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n"
    )
    assert tree(root) == ("multipart/mixed", [("multipart/mixed", ["text/plain"]), "text/plain"])


def test_a_boundary_in_sections_is_joined() -> None:
    _, root = multipart(b"--abc\r\n\r\none\r\n--abc--\r\n", b'multipart/mixed; boundary*0="a"; boundary*1=bc')
    assert tree(root) == ("multipart/mixed", ["text/plain"])
    assert root.children[0].size == 3


def test_a_line_with_more_than_the_boundary_is_no_delimiter() -> None:
    message, root = multipart(
        b"--b\r\n\r\n--bx\r\n --b\r\n--b x\r\n" + b"--b" + b"b" * 5000 + b"\r\n--b--\r\n"
    )
    assert len(root.children) == 1
    assert body(message, root.children[0]).startswith(b"--bx\r\n --b\r\n--b x\r\n--bbbb")


@pytest.mark.parametrize(
    "type_", [b"multipart/mixed", b'multipart/mixed; boundary=""', b"multipart/mixed; boundary=z"]
)
def test_a_multipart_that_cannot_be_divided_shows_its_body_as_text(type_: bytes) -> None:
    message, root = multipart(b"--b\r\n\r\none\r\n", type_)
    assert tree(root) == ("multipart/mixed", ["text/plain"])
    assert body(message, root.children[0]) == body(message, root)
    assert root.children[0].header_start == root.children[0].body_start
    assert root.children[0].lines == 3


def test_an_empty_multipart_has_an_empty_part() -> None:
    _, root = multipart(b"preamble\r\n--b--\r\nepilogue")
    assert tree(root) == ("multipart/mixed", ["text/plain"])
    assert root.children[0].size == 0


def test_parts_without_content() -> None:
    message, root = multipart(
        b"--b\r\n--b\r\nContent-Type: image/png\r\n--b\r\n\r\n--b\r\nX: y\r\n\r\n\r\n--b--"
    )
    assert [body(message, part) for part in root.children] == [b"", b"", b"", b""]
    assert [part.type for part in root.children] == ["text", "image", "text", "text"]


def test_digest_parts_are_messages() -> None:
    _, root = multipart(
        b"--b\r\n\r\nSubject: one\r\n\r\ntext\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--",
        b"multipart/digest; boundary=b",
    )
    assert tree(root) == ("multipart/digest", [("message/rfc822", ["text/plain"]), "text/plain"])
    assert b'"one"' in root.children[0].envelope


def test_boundaries_nested_beyond_the_limit_are_cut_off() -> None:
    message = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(10_000)
    )
    root = scan(message).part
    depth = 0
    while root.children:
        root, depth = root.children[0], depth + 1
    assert DEPTH_MAX <= depth <= DEPTH_MAX + 1
    assert decode_parts(encode_parts(scan(message).part)) == scan(message).part


def test_messages_nested_beyond_the_limit_are_cut_off() -> None:
    message = b"Content-Type: message/rfc822\r\n\r\n" * 10_000
    root = scan(message).part
    assert sum(1 for _ in parts(root)) <= DEPTH_MAX + 2
    assert [part.lines for part in parts(root) if part.is_message] == [
        message[part.body_start :].count(b"\n") for part in parts(root) if part.is_message
    ]


def test_more_parts_than_the_limit_stay_in_the_last() -> None:
    message, root = multipart(b"--b\r\n\r\nx\r\n" * (PARTS_MAX + 500) + b"--b--\r\n")
    assert len(root.children) < PARTS_MAX
    assert root.children[-1].body_end == len(message)


def test_part_round_trip() -> None:
    root = scan(NESTED).part
    assert decode_parts(encode_parts(root)) == root
    with pytest.raises(msgspec.DecodeError):
        decode_parts(b"\x93\x01\x02\x03")


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ((), b"preamble\r\n--out"),
        ((1,), b"--in\r\n"),
        ((1, 1), b"plain\r\ntext"),
        ((1, 2), b"<p>"),
        ((2,), b"Subject: enclosed"),
        ((2, 1), b"deep text"),
        ((2, 2), b"PNG"),
        ((3,), None),
        ((0,), None),
        ((1, 1, 1), None),
        ((2, 1, 1), None),
        ((2, 3), None),
    ],
)
def test_part_numbers(numbers: tuple[int, ...], found: bytes | None) -> None:
    part = find_part(scan(NESTED).part, numbers)
    assert (part is None) if found is None else (part is not None and body(NESTED, part).startswith(found))


def test_part_one_of_a_simple_message() -> None:
    root = scan(b"\r\ntext").part
    assert find_part(root, (1,)) is root
    assert find_part(root, (2,)) is None
    assert find_part(root, (1, 1)) is None
    enclosing = scan(b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ntext").part
    assert find_part(enclosing, (1,)) is enclosing
    assert find_part(enclosing, (1, 1)) is enclosing.children[0]


def test_searchable_texts() -> None:
    assert list(searchable_texts(NESTED)) == [
        'From: a@x\r\nSubject: outer\r\nContent-Type: multipart/mixed; boundary="out er"\r\n\r\n',
        "plain\r\ntext",
        "<p>grüße</p>\r\n",
        "Subject: enclosed\r\nContent-Type: multipart/mixed; boundary=deep\r\n\r\n",
        "deep text",
    ]
    assert "outer" not in "".join(searchable_texts(NESTED, header=False, root=scan(NESTED).part))
    folded = b"Subject: =?utf-8?Q?gr=C3?=\r\n =?utf-8?Q?=BC=C3=9Fe?=\r\n all\r\n\r\n"
    assert next(searchable_texts(folded)) == "Subject: grüße all\r\n\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"\n--" * 700_000,
        b"--b\r\n" * 400_000,
        b"\r\n--bb" * 300_000,
        b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 40_000,
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" * 50_000,
        b"--b\r\n" + b"To: a@b\r\n" * 200_000,
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + b"To: a@b\r\n" * 200_000,
        b"--b\r\nContent-Type: text/plain" + b'; a="\\' * 300_000,
        b"--b\r\nContent-Type: text/plain; a=" + b"x " * 1_000_000 + b"(",
        b"--b\r\nContent-Type: multipart/mixed; boundary*0=a" + b"; boundary*1=a" * 100_000,
        b"--b\r\nContent-Transfer-Encoding: " + b"(a) " * 500_000,
    ],
)
def test_hostile_content_takes_linear_time(content: bytes) -> None:
    started = time.process_time()
    multipart(content)
    assert time.process_time() - started < 5


def test_search_is_bounded() -> None:
    message = b"A: b\r\n\r\n" + b"x" * 10_000
    assert sum(map(len, searchable_texts(message, limit_octets=100))) <= 100


def test_a_header_ended_by_a_delimiter_lies_within_the_message_that_encloses_it() -> None:
    message = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n--b--\r\n"
    )
    enclosing = scan(message).part.children[0]
    (enclosed,) = enclosing.children
    assert message[enclosed.header_start : enclosed.body_start] == b"Subject: x\r\n"
    assert enclosed.body_start == enclosed.body_end == enclosing.body_end
