import time

import pytest

from foundation.mail.decoding import decode_header, decode_text, parameter
from foundation.mail.mime import scan


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        ("grün".encode(), "grün"),
        (b"\xff", "\ufffd"),
        (b"=?utf-8?Q?gr=C3=BCn?=", "grün"),
        (b"=?UTF-8?b?Z3LDvG4=?=", "grün"),
        (b"=?utf-8?B?Z3LDvG4?=", "grün"),
        (b"=?iso-8859-1?q?a_b=5F?= c", "a b_ c"),
        (b"x =?utf-8?Q?a?= =?utf-8?Q?b?= y", "x ab y"),
        (b"=?utf-8?Q?a?=\t =?iso-8859-1?Q?=FC?=", "aü"),
        (b"=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "ü"),
        (b"=?utf-8?Q?a?= and =?utf-8?Q?b?=", "a and b"),
        (b"=?utf-8*de?Q?a?=", "a"),
        (b"=?unknown?Q?a=C3=BC=FF?=", "aü\ufffd"),
        (b"=?koi8-r?B?8NLJ18XU?=", "Привет"),
        (b"=?gb2312?B?xOO6ww==?=", "你好"),
        (b"=?utf-8?X?a?=", "=?utf-8?X?a?="),
        (b"=?utf-8?Q?open", "=?utf-8?Q?open"),
        (b"=?utf-8?B?!!!?=", ""),
        (b"=?hex?B?QUFB?= =?idna?Q?b?=", "AAAb"),
        (b"a =?us-ascii?Q?b?=", "a b"),
    ],
)
def test_headers(raw: bytes, text: str) -> None:
    assert decode_header(raw) == text


def text_of(fields: bytes, content: bytes) -> str:
    message = fields + b"\r\n\r\n" + content
    return decode_text(message, scan(message).part)


@pytest.mark.parametrize(
    ("fields", "content", "text"),
    [
        (b"A: b", b"as\xc3\xbc", "asü"),
        (b"Content-Type: text/plain; charset=iso-8859-15", b"\xa4", "€"),
        (b'Content-Type: text/plain; charset="windows-1252"', b"\x80", "€"),
        (b"Content-Type: text/plain; charset=nonsense", b"\xc3\xbc\xff", "ü\ufffd"),
        (b"Content-Type: text/plain; charset=utf-16le", b"a\0b\0c", "ab\ufffd"),
        (b"Content-Transfer-Encoding: quoted-printable", b"a=C3=BC=\r\nb=3D=zz", "aüb==zz"),
        (b"Content-Transfer-Encoding: BASE64", b"w7\r\nw=\r\n", "ü"),
        (b"Content-Transfer-Encoding: base64", b"w7w", "ü"),
        (b"Content-Transfer-Encoding: base64", b"QUJDR", "ABC"),
        (b"Content-Transfer-Encoding: base64", b"*** no ***", "\ufffd"),
        (b"Content-Transfer-Encoding: x-unknown", b"as it is", "as it is"),
    ],
)
def test_bodies(fields: bytes, content: bytes, text: str) -> None:
    assert text_of(fields, content) == text


def test_only_so_much_is_decoded() -> None:
    message = b"\r\n" + b"x" * 1000
    assert decode_text(message, scan(message).part, 10) == "x" * 10


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ((("name", b"plain.txt"),), "plain.txt"),
        ((("name", b"=?utf-8?Q?=C3=BC.txt?="),), "ü.txt"),
        ((("name*", b"utf-8'de'%C3%BC.txt"),), "ü.txt"),
        ((("name*0*", b"iso-8859-1''%FC"), ("name*1", b"%20"), ("name*2*", b"%FC")), "ü%20ü"),
        ((("name*1", b"b"), ("name*0", b"a"), ("name*x", b"c"), ("name*99999", b"d")), "ab"),
        ((("other", b"x"),), ""),
        ((("name*", b"%ZZ"),), "%ZZ"),
    ],
)
def test_parameters(params: tuple[tuple[str, bytes], ...], text: str) -> None:
    assert parameter(params, "name") == text


@pytest.mark.parametrize(
    "piece", [b"=?utf-8?Q?a?= ", b"=?", b"=?a?b?", b"=?utf-8?B?", b"=?idna?Q?xn--?=", b"=?utf-7?Q?+AAA?="]
)
def test_hostile_headers_take_linear_time(piece: bytes) -> None:
    started = time.process_time()
    decode_header(piece * (500_000 // len(piece)))
    assert time.process_time() - started < 5
