"""Addresses and address lists: no input raises, and the library of Python agrees on well-formed ones."""

from email.headerregistry import AddressHeader
from email.policy import default

from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.mail.address import address_key, domain_key, valid_address
from foundation.mail.address_list import Mailbox, parse_addresses
from foundation.mail.xtext import (
    decode_utf8_address,
    decode_xtext,
    encode_utf8_address,
    encode_xtext,
    valid_xtext,
)

ATOMS = st.text("abcXYZ019!#$%&'*+-/=?^_`{|}~", min_size=1, max_size=8)
LOCALS = st.lists(ATOMS, min_size=1, max_size=3).map(".".join)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
NAMES = st.lists(st.text("abcdeXYZ", min_size=1, max_size=6), max_size=3).map(" ".join)
HOSTILE = st.text(
    st.one_of(st.sampled_from('@.,:;<>()[]"\\ \t\r\n\0=?'), st.characters(codec=None)), max_size=60
)


@given(HOSTILE, st.booleans())
def test_validity_and_keys_of_anything(address: str, smtputf8: bool) -> None:
    valid = valid_address(address, smtputf8=smtputf8)
    key = address_key(address)
    assert address_key(key) == key or not valid
    if valid:
        assert not any(character in address for character in "\r\n\0")
        assert smtputf8 or address.isascii()
        assert domain_key(address.rpartition("@")[2]).isascii()


@given(LOCALS, DOMAINS)
def test_dot_strings_are_valid(local: str, domain: str) -> None:
    assert valid_address(f"{local}@{domain}", smtputf8=False)
    assert address_key(f"{local}@{domain}".upper()) == f"{local}@{domain}".lower()


@given(st.binary(max_size=200))
def test_any_value_is_an_address_list(value: bytes) -> None:
    depth = 0
    for mailbox in parse_addresses(value):
        if mailbox.domain is None:
            depth += -1 if mailbox.local is None else 1
        assert depth in (0, 1)
    assert depth == 0


@given(st.lists(st.tuples(NAMES, LOCALS, DOMAINS), min_size=1, max_size=4))
@settings(max_examples=50)
def test_well_formed_lists_are_read_as_the_library_reads_them(entries: list[tuple[str, str, str]]) -> None:
    value = ",\r\n ".join(f"{name} <{local}@{domain}>".strip() for name, local, domain in entries)
    header = default.header_factory("To", value.replace("\r\n", ""))
    assert isinstance(header, AddressHeader)
    assert parse_addresses(value.encode()) == [
        Mailbox(
            address.display_name.encode() or None,
            address.username.encode() or None,
            address.domain.encode() or None,
        )
        for address in header.addresses
    ]


@given(st.text(st.characters(codec="utf-8")))
def test_xtext_round_trip(text: str) -> None:
    assert valid_xtext(encode_xtext(text))
    assert decode_xtext(encode_xtext(text)) == text
    for ascii_only in (True, False):
        encoded = encode_utf8_address(text, ascii_only=ascii_only)
        assert encoded.isascii() or not ascii_only
        assert decode_utf8_address(encoded) == text
