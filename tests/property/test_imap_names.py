"""Mailbox names: what is encoded comes back, what comes back has one spelling; patterns against an oracle."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from clientaccess.imap.names import InvalidName, decode_name, decode_utf7, encode_utf7, matches

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(texts)
def test_modified_utf7_comes_back(text: str) -> None:
    encoded = encode_utf7(text)
    assert all(0x20 <= octet <= 0x7E for octet in encoded)
    assert decode_utf7(encoded) == text


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=30), st.text("&-Aa+,/9_", max_size=12).map(str.encode)), st.booleans())
def test_any_bytes_are_one_name_or_refused(raw: bytes, utf8: bool) -> None:
    try:
        name = decode_name(raw, utf8)
    except InvalidName:
        return
    assert name
    assert not name.startswith("/")
    assert "//" not in name
    assert decode_name(encode_utf7(name), False) == name


@settings(max_examples=300, deadline=None)
@given(st.text("ab/", max_size=8), st.text("ab/*%", max_size=8))
def test_patterns_match_as_a_regular_expression(name: str, pattern: str) -> None:
    oracle = "".join({"*": ".*", "%": "[^/]*"}.get(letter, re.escape(letter)) for letter in pattern)
    assert matches(name, pattern) == (re.fullmatch(oracle, name, re.DOTALL) is not None)
