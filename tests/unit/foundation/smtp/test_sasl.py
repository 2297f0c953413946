import base64

import pytest

from foundation.mail.errors import MailError
from foundation.smtp.sasl import decode_response, parse_plain


def status_of(function: object, argument: bytes) -> str:
    with pytest.raises(MailError) as caught:
        function(argument)  # type: ignore[operator]
    return f"{caught.value.code} {caught.value.status}"


def test_plain() -> None:
    assert parse_plain(b"\0alice\0secret") == ("alice", "secret")
    assert parse_plain("\0josé\0pässword".encode()) == ("josé", "pässword")
    assert parse_plain(b"alice\0alice\0secret") == ("alice", "secret")
    assert status_of(parse_plain, b"bob\0alice\0secret") == "535 5.7.8"


@pytest.mark.parametrize("response", [b"", b"alice\0secret", b"\0a\0b\0c", b"\0\xff\0x"])
def test_malformed_plain(response: bytes) -> None:
    assert status_of(parse_plain, response) == "501 5.5.2"


def test_responses() -> None:
    assert decode_response(base64.b64encode(b"x y") + b"\r\n") == b"x y"
    assert decode_response(b"=") == b""
    assert status_of(decode_response, b"*\r\n") == "501 5.7.0"
    assert status_of(decode_response, b"!!!!") == "501 5.5.2"
    assert status_of(decode_response, b"YWI") == "501 5.5.2"
