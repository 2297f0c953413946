"""The messages of the load: the shape of common mail (text, HTML, an attachment), of a wanted size."""

from __future__ import annotations

import random
from base64 import encodebytes
from functools import lru_cache

_VOCABULARY = (
    "the of and to in is that for it as was with be by on not he this are or his from at which but have an "
    "had they you were there one all we can her has more when who will would about their some them then two "
    "people water long very words where most through back much before right means another meeting project "
    "budget report attached regards please review deadline customer invoice schedule travel question answer"
)
_WORDS = _VOCABULARY.split()
_HEADER_ALLOWANCE = 420
VARIANTS = 16
"""So many bodies of a size; each message has a header of its own."""


def prepare(size: int) -> None:
    """Makes all bodies of this size, so that none is made while the clock runs."""
    for variant in range(VARIANTS):
        _body(variant, size)


def letter(number: int, size: int, *, sender: str, recipient: str) -> bytes:
    """Ready for DATA: CRLF, dots doubled, the final dot. The same number gives the same body."""
    body = _body(number % VARIANTS, size)
    subject = " ".join(_WORDS[(number * 7 + place * 13) % len(_WORDS)] for place in range(5))
    date = f"Tue, 3 Mar 2026 10:{number // 60 % 60:02}:{number % 60:02} +0000"
    header = (
        "Received: from mail.elsewhere.example (mail.elsewhere.example [192.0.2.25])\r\n"
        f"\tby mx.example with ESMTPS id {number:08x}; {date}\r\n"
        f"Date: {date}\r\n"
        f"From: Load Generator <{sender}>\r\n"
        f"To: Recipient <{recipient}>\r\n"
        f"Subject: {subject} {number}\r\n"
        f"Message-ID: <{number}.{size}.{random.getrandbits(64):016x}@load.example>\r\n"
    )
    return header.encode() + body


@lru_cache(maxsize=256)
def _body(variant: int, size: int) -> bytes:
    chance = random.Random(variant)
    room = max(size - _HEADER_ALLOWANCE, 100)
    boundary = f"=_{variant}_{size}"
    if room < 1500:
        return (
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
            + _text(chance, room)
            + ".\r\n"
        ).encode()
    text = _text(chance, room // 4)
    html = f"<html><body><p>{_text(chance, room // 4)}</p></body></html>"
    parts = [
        f"--{boundary}a\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n",
        f"--{boundary}a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n",
        f"--{boundary}a--\r\n",
    ]
    inner = f'Content-Type: multipart/alternative; boundary="{boundary}a"\r\n\r\n{"".join(parts)}'
    attachment = encodebytes(chance.randbytes(room * 36 // 100)).replace(b"\n", b"\r\n").decode()
    return (
        f'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\n{inner}"
        f'--{boundary}\r\nContent-Type: application/pdf; name="report.pdf"\r\n'
        'Content-Disposition: attachment; filename="report.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        f"{attachment}--{boundary}--\r\n.\r\n"
    ).encode()


def _text(chance: random.Random, size: int) -> str:
    lines, length = [], 0
    while length < size:
        line = " ".join(chance.choice(_WORDS) for _ in range(11))
        lines.append(line)
        length += len(line) + 2
    return "\r\n".join(lines)[:size] + "\r\n"
