import pytest

from foundation.mail.address import (
    Address,
    address_key,
    domain_key,
    is_ascii,
    split_address,
    to_a_labels,
    valid_address,
    valid_domain,
)


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.org",
        "a@b",
        "first.last+tag@sub.example.org",
        "!#$%&'*+-/=?^_`{|}~@example.org",
        '"quoted string"@example.org',
        '"with \\" and \\\\"@example.org',
        '"at@inside"@example.org',
        '""@example.org',
        "user@[192.0.2.1]",
        "user@[IPv6:2001:db8::1]",
        "user@[ipv6:::ffff:192.0.2.1]",
        "x" * 64 + "@example.org",
        "a@" + "b" * 63 + ".org",
        "postmaster@1.example",
    ],
)
def test_valid_addresses(address: str) -> None:
    assert valid_address(address, smtputf8=False)
    assert valid_address(address, smtputf8=True)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@",
        "alice",
        "alice@",
        "@example.org",
        ".alice@example.org",
        "alice.@example.org",
        "al..ice@example.org",
        "al ice@example.org",
        "alice@exa mple.org",
        "alice@-example.org",
        "alice@example-.org",
        "alice@example..org",
        "alice@example.org.",
        "alice@exa_mple.org",
        '"unterminated@example.org',
        '"bad"quote"@example.org',
        '"new\nline"@example.org',
        "alice@example.org\n",
        "alice\r\nRCPT TO:<x@y>@example.org",
        "alice\0@example.org",
        "<alice@example.org>",
        "user@[192.0.2.256]",
        "user@[192.0.2]",
        "user@[IPv6:fe80::1%eth0]",
        "user@[2001:db8::1]",
        "user@[IPv6:2001:db8::1",
        "user@[tag:content]",
        "x" * 65 + "@example.org",
        "a@" + "b" * 64 + ".org",
        "x" * 60 + "@" + "b" * 60 + "." + "c" * 60 + "." + "d" * 60 + "." + "e" * 30,
    ],
)
def test_refused_addresses(address: str) -> None:
    assert not valid_address(address, smtputf8=False)
    assert not valid_address(address, smtputf8=True)


@pytest.mark.parametrize(
    "address",
    ["ünï@example.org", "alice@bücher.example", '"ü ber"@example.org', "用户@例え.テスト", "é@[192.0.2.1]"],
)
def test_beyond_ascii_needs_smtputf8(address: str) -> None:
    assert valid_address(address, smtputf8=True)
    assert not valid_address(address, smtputf8=False)
    assert not is_ascii(address)


@pytest.mark.parametrize(
    "address",
    [
        "ü" * 33 + "@example.org",  # 66 octets
        "a\x85b@example.org",
        "a\u2028b@example.org",
        "a\ud800@example.org",
        "alice@\u0301combining.example",
        "alice@ü b.example",
        "alice@" + "ü" * 63 + ".example",
    ],
)
def test_refused_even_with_smtputf8(address: str) -> None:
    assert not valid_address(address, smtputf8=True)


def test_split_is_at_the_last_at() -> None:
    assert split_address('"a@b"@example.org') == ('"a@b"', "example.org")
    assert split_address("postmaster") == ("postmaster", "")
    assert str(Address.of("a@b")) == "a@b"
    assert str(Address.of("postmaster")) == "postmaster"


def test_domain_key_is_the_lower_case_a_label() -> None:
    assert domain_key("EXAMPLE.Org") == "example.org"
    assert domain_key("Bücher.Example") == "xn--bcher-kva.example"
    assert domain_key("BÜCHER.example") == domain_key("bu\u0308cher.EXAMPLE") == "xn--bcher-kva.example"
    assert domain_key("bücher\u3002example") == "xn--bcher-kva.example"
    assert domain_key("XN--Bcher-KVA.example") == "xn--bcher-kva.example"
    assert domain_key("[IPv6:2001:DB8::1]") == "[ipv6:2001:db8::1]"


def test_sharp_s_is_a_letter_of_its_own() -> None:
    assert domain_key("faß.example") == "xn--fa-hia.example"
    assert domain_key("fass.example") == "fass.example"


def test_a_domain_without_a_labels_still_has_a_key() -> None:
    assert to_a_labels("a b.ü b") is None
    assert domain_key("A B.Ü B") == "a b.ü b"
    assert not valid_domain("-ü.example", smtputf8=True)


def test_address_key_joins_spellings_of_one_address() -> None:
    assert address_key("Alice@Example.ORG") == "alice@example.org"
    assert address_key('"Alice"@example.org') == "alice@example.org"
    assert address_key('"al\\ice"@example.org') == "alice@example.org"
    assert address_key("JOSÉ@example.org") == address_key("jose\u0301@example.org") == "josé@example.org"
    assert address_key("STRASSE@x") == address_key("straße@x")
    assert address_key("postmaster") == "postmaster"
