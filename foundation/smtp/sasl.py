"""SASL in SMTP (RFC 4954): what the lines of AUTH PLAIN (RFC 4616) and AUTH LOGIN say."""

from __future__ import annotations

import base64
import binascii

from foundation.mail.errors import MailError

MECHANISMS = ("PLAIN", "LOGIN")
USERNAME_CHALLENGE = b"334 VXNlcm5hbWU6\r\n"
PASSWORD_CHALLENGE = b"334 UGFzc3dvcmQ6\r\n"
EMPTY_CHALLENGE = b"334 \r\n"


def decode_response(line: bytes) -> bytes:
    """One base64 response. Raises MailError 501 5.7.0 when the client gives up, 501 5.5.2 for bad base64."""
    text = line.strip(b" \r\n")
    if text == b"*":
        raise MailError(501, "5.7.0", "Authentication cancelled")
    if text == b"=":
        return b""  # RFC 4954 4: an empty initial response
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise MailError(501, "5.5.2", "The response is not base64") from None


def decode_text(response: bytes) -> str:
    try:
        return response.decode("utf-8")
    except UnicodeDecodeError:
        raise MailError(501, "5.5.2", "The response is not UTF-8") from None


def parse_plain(response: bytes) -> tuple[str, str]:
    """Login and password. Raises MailError 501 5.5.2; 535 5.7.8 for a foreign authorization identity."""
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise MailError(501, "5.5.2", "The response is not that of AUTH PLAIN")
    authorization, login, password = map(decode_text, parts)
    if authorization not in ("", login):
        raise MailError(535, "5.7.8", "Nobody may act for another user here")
    return login, password
