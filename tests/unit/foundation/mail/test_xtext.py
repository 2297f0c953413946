from foundation.mail.xtext import (
    decode_orcpt,
    decode_utf8_address,
    decode_xtext,
    encode_utf8_address,
    encode_xtext,
    valid_xtext,
)


def test_xtext_encodes_what_rfc_3461_4_says() -> None:
    assert encode_xtext("a+b=c d\r\nü") == "a+2Bb+3Dc+20d+0D+0A+C3+BC"
    assert decode_xtext("a+2Bb+3Dc+20d+0D+0A+C3+BC") == "a+b=c d\r\nü"


def test_valid_xtext() -> None:
    assert valid_xtext("QQ314159+2B")
    assert valid_xtext("")
    for text in ("a b", "a=b", "a+2b", "a+", "a\r\nb", "ü"):
        assert not valid_xtext(text)


def test_decoding_of_what_is_not_xtext_never_fails() -> None:
    assert decode_xtext("a+ZZ+") == "a+ZZ+"
    assert decode_xtext("+FF") == "\ufffd"


def test_utf8_addresses() -> None:
    assert encode_utf8_address("ü+b@x", ascii_only=True) == "\\x{FC}\\x{2B}b@x"
    assert encode_utf8_address("ü+b@x", ascii_only=False) == "ü\\x{2B}b@x"
    assert decode_utf8_address("\\x{FC}\\x{2B}b@x") == "ü+b@x"
    assert decode_utf8_address("\\x{D800}\\x{FFFFFF}") == "\ufffd\ufffd"


def test_orcpt_says_its_type() -> None:
    assert decode_orcpt("rfc822;Bob+2Bx@example.org") == ("rfc822", "Bob+x@example.org")
    assert decode_orcpt("UTF-8;b\\x{FC}@x") == ("utf-8", "bü@x")
    assert decode_orcpt("nonsense") == ("", "nonsense")
