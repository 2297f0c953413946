"""Header fields that are taken out of a message for lists and searches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from foundation.mail.headers import find_fields, header_block, select_fields, unfold
from foundation.mail.listed_fields import (
    LISTED,
    LISTED_BYTES_MAX,
    Listed,
    choose_fields,
    list_fields,
    searched_values,
)

HEADER = (
    b"Received: by x\r\nSUBJECT: Hello\r\n World\r\nx-other: no\r\nFrom : =?utf-8?q?J=C3=9Crgen?= <j@e>\r\n"
    b"Subject: =?utf-8?q?two=0Alines?=\r\n\r\n"
)


def test_fields_as_they_stand_and_as_they_are_searched() -> None:
    listed = list_fields(HEADER)
    assert listed.fields == (
        b"SUBJECT: Hello\r\n World\r\nFrom : =?utf-8?q?J=C3=9Crgen?= <j@e>\r\n"
        b"Subject: =?utf-8?q?two=0Alines?=\r\n"
    )
    searched = listed.searched.decode()
    assert list(searched_values(searched, "subject")) == ["hello world", "two\rlines"]
    assert list(searched_values(searched, "from")) == ["jürgen <j@e>"]


def test_too_much_is_not_kept() -> None:
    assert list_fields(b"To: " + b"a@b, " * LISTED_BYTES_MAX + b"\r\n\r\n") == Listed()


def test_half_a_character_is_not_searched() -> None:
    listed = list_fields(b"Subject: =?utf-7?q?+2AA-?=\r\n\r\n")
    assert listed.searched == b"" and listed.fields


names = st.sampled_from([b"From", b"subject", b"SUBJECT ", b"X-Odd", b"Date\t", b"Received", b"To"])
values = st.lists(st.sampled_from([b" a", b"\r\n b", b"\n\tc", b" From: x", b"%", b"="]), max_size=4).map(
    b"".join
)
fields = st.lists(
    st.builds(lambda n, v: n + b":" + v + b"\r\n", names, values)
    | st.sampled_from([b"no field\r\n", b"--x: y\r\n", b" z\r\n"])
)


@given(fields.map(b"".join), st.sets(st.sampled_from(sorted(LISTED))))
def test_chosen_among_the_listed_is_chosen_from_the_header(header: bytes, wanted: set[bytes]) -> None:
    wanted |= {b"subject"}
    block = header[: header_block(header)]
    chosen = select_fields(block, frozenset(wanted), False)
    listed = list_fields(block)
    assert choose_fields([listed.fields] * 2, wanted) == [chosen] * 2
    found = [field for field in find_fields(block, 0, len(block)) if field.name in LISTED]
    lines = [f.name + b":" + unfold(block[f.value_start : f.end]).lower() for f in found]
    assert listed.searched == b"\n".join(lines)
