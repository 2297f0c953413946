"""Mail addresses as text: whether they are valid, and under which key an address or a domain is looked up.

Every station uses the same keys, so an address means the same mailbox at Client Access, hub and store.
The given form is never changed: it is what is shown and what ORCPT carries.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata

import msgspec

LOCAL_OCTETS_MAX = 64  # RFC 5321 4.5.3.1.1
DOMAIN_OCTETS_MAX = 255  # RFC 5321 4.5.3.1.2
ADDRESS_OCTETS_MAX = 254  # RFC 5321 4.5.3.1.3: a path has 256 octets, two of them are the angle brackets

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_UTF8 = "\u00a0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

_PLAIN = re.compile(rf"(?=[^@]{{1,64}}@)[{_ATEXT}]+(?:\.[{_ATEXT}]+)*@{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_DOT_STRING = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*")
_DOT_STRING_UTF8 = re.compile(rf"[{_ATEXT}{_UTF8}]+(?:\.[{_ATEXT}{_UTF8}]+)*")
_QUOTED_STRING = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*"')
_QUOTED_STRING_UTF8 = re.compile(rf'"(?:[ !#-\[\]-~{_UTF8}]|\\[ -~])*"')
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_LABEL_SEPARATORS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 3.1
_PASSED_CATEGORIES = ("L", "M", "Nd")
_JOINERS = "\u200c\u200d"


class Address(msgspec.Struct, frozen=True):
    """An address cut at its last `@`; `domain` is empty when there is none."""

    local: str
    domain: str

    @classmethod
    def of(cls, address: str) -> Address:
        return cls(*split_address(address))

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}" if self.domain else self.local


def split_address(address: str) -> tuple[str, str]:
    """(local part, domain), cut at the last `@`; without one the domain is empty."""
    local, at, domain = address.rpartition("@")
    return (local, domain) if at else (address, "")


def is_ascii(address: str) -> bool:
    """Whether the address can be used without SMTPUTF8 (RFC 6531)."""
    return address.isascii()


def valid_address(address: str, *, smtputf8: bool) -> bool:
    """Whether it is a `Mailbox` of RFC 5321 4.1.2 within its lengths; with smtputf8 of RFC 6531 3.3."""
    if len(address) > ADDRESS_OCTETS_MAX or not address:
        return False
    if _PLAIN.fullmatch(address):
        return True
    if not address.isascii() and (not smtputf8 or _octets(address) > ADDRESS_OCTETS_MAX):
        return False
    local, domain = split_address(address)
    return valid_local(local, smtputf8=smtputf8) and valid_domain(domain, smtputf8=smtputf8)


def valid_local(local: str, *, smtputf8: bool) -> bool:
    """Whether it is a `Local-part` of RFC 5321 4.1.2."""
    if not 0 < _octets(local) <= LOCAL_OCTETS_MAX:
        return False
    dot_string = _DOT_STRING_UTF8 if smtputf8 else _DOT_STRING
    quoted_string = _QUOTED_STRING_UTF8 if smtputf8 else _QUOTED_STRING
    return bool(dot_string.fullmatch(local) or quoted_string.fullmatch(local))


def valid_domain(domain: str, *, smtputf8: bool) -> bool:
    """Whether it is a `Domain` or an IPv4 or IPv6 `address-literal` of RFC 5321 4.1.2 and 4.1.3."""
    if domain.startswith("["):
        return _valid_literal(domain)
    if not domain.isascii():
        if not smtputf8:
            return False
        domain = to_a_labels(domain) or ""
    return len(domain) <= DOMAIN_OCTETS_MAX and _DOMAIN.fullmatch(domain) is not None


def to_a_labels(domain: str) -> str | None:
    """The domain in lower case with every U-label as A-label (RFC 5890 2.3.2.1); None if it has no such form.

    Letters that IDNA 2003 mapped away (`ß`, `ς`) are kept, as registries do since RFC 5891.
    """
    if domain.isascii():
        return domain.lower()
    labels = []
    for label in _LABEL_SEPARATORS.split(domain):
        if not label.isascii():
            encoded = _a_label(label)
            if encoded is None:
                return None
            labels.append(encoded)
        else:
            labels.append(label.lower())
    return ".".join(labels)


def domain_key(domain: str) -> str:
    """Under which a domain is looked up; a domain without A-label form is only put into lower case."""
    return to_a_labels(domain) or domain.lower()


def address_key(address: str) -> str:
    """Under which an address is looked up: local part unquoted, NFC, casefolded; domain as `domain_key`."""
    if address.isascii() and not address.startswith('"'):
        return address.lower()
    local, domain = split_address(address)
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = _QUOTED_PAIR.sub(r"\1", local[1:-1])  # RFC 5321 4.1.2: quoting does not change who is meant
    # RFC 8265 3.3.2: map case first, then NFC; casefolding may leave a form that is not normal
    local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).casefold())
    return f"{local}@{domain_key(domain)}" if domain else local


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _valid_literal(domain: str) -> bool:
    if not domain.endswith("]"):
        return False
    inner = domain[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            return "%" not in inner and bool(ipaddress.IPv6Address(inner[5:]))
        return bool(ipaddress.IPv4Address(inner))
    except ValueError:
        return False


def _a_label(label: str) -> str | None:
    if len(label) > 63:
        return None  # punycode is never shorter, and its cost grows with the square of the length
    mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).lower())
    if mapped.isascii():
        return mapped if _DOMAIN.fullmatch(mapped) else None
    if len(mapped) > 63 or mapped.startswith("-") or mapped.endswith("-") or mapped[2:4] == "--":
        return None  # RFC 5891 4.2.3.1
    if unicodedata.category(mapped[0]).startswith("M"):  # RFC 5891 4.2.3.2
        return None
    for character in mapped:
        if character.isascii():
            if not (character.isalnum() or character == "-"):
                return None
        elif character not in _JOINERS and not unicodedata.category(character).startswith(_PASSED_CATEGORIES):
            return None
    encoded = "xn--" + mapped.encode("punycode").decode("ascii")
    return encoded if len(encoded) <= 63 else None
