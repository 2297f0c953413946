import pytest

from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.smtp.command import (
    MailCommand,
    encode_mail,
    encode_rcpt,
    line_limit,
    parse_mail,
    parse_rcpt,
    split_command,
)

ALL = frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "DSN", "AUTH"})
FEATURES = dict.fromkeys(("SIZE", "8BITMIME", "SMTPUTF8", "DSN", "PIPELINING"), "")
PRIVATE = FEATURES | {"XWAYPOST": "1"}


def mail(argument: bytes, announced: frozenset[str] = ALL, private: bool = False) -> MailCommand:
    return parse_mail(argument, announced=announced, private=private)


def rcpt(argument: bytes, **options: bool) -> Recipient:
    return parse_rcpt(argument, announced=ALL, **options)


def status_of(function: object, *arguments: object, **options: object) -> str:
    with pytest.raises(MailError) as caught:
        function(*arguments, **options)  # type: ignore[operator]
    return f"{caught.value.code} {caught.value.status}"


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        (b"EHLO host", "EHLO", b"host"),
        (b"mail FROM:<a@b.example>", "MAIL", b"FROM:<a@b.example>"),
        (b"QUIT", "QUIT", b""),
        (b"NOOP  \t", "NOOP", b""),
        (b"RCPT \t TO:<x@y.example>  ", "RCPT", b"TO:<x@y.example>"),
    ],
)
def test_splits_commands(line: bytes, verb: str, argument: bytes) -> None:
    assert split_command(line) == (verb, argument)


@pytest.mark.parametrize("line", [b"", b"  ", b"250 ok", b"\xc3\xa9hlo", b"M@IL x", b"A", b"X" * 20])
def test_what_is_no_command_is_500(line: bytes) -> None:
    assert status_of(split_command, line) == "500 5.5.2"


@pytest.mark.parametrize("line", [b"EHLO a\x00b", b"MA\x00IL", b"NOOP \x07", b"NOOP a\rb"])
def test_control_characters_are_501(line: bytes) -> None:
    assert status_of(split_command, line) == "501 5.5.2"


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (b"<a@b.example>", "a@b.example"),
        (b" <a@b.example>", "a@b.example"),
        (b"<>", ""),
        (b"<A.b+tag@Sub.Example.COM>", "A.b+tag@Sub.Example.COM"),
        (b'<"a b"@c.example>', '"a b"@c.example'),
        (b'<"a>b"@c.example>', '"a>b"@c.example'),
        (b'<"a\\"b"@c.example>', '"a\\"b"@c.example'),
        (b"<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        (b"<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
        (b"<@one.example,@two.example:a@b.example>", "a@b.example"),
    ],
)
def test_paths(path: bytes, address: str) -> None:
    assert mail(b"FROM:" + path).sender.address == address
    if address:
        assert rcpt(b"TO:" + path).address == address


@pytest.mark.parametrize(
    "path",
    [
        b"a@b.example",
        b"<a@b.example",
        b"a@b.example>",
        b"<a>",
        b"<a@>",
        b"<@b.example>",
        b"<a@b@c.example>",
        b"<a..b@c.example>",
        b"<.a@c.example>",
        b"<a b@c.example>",
        b"<a@-b.example>",
        b"<a@b_c.example>",
        b'<"a@b.example>',
        b"<a@b.example, c@d.example>",
        b"<" + b"a" * 65 + b"@b.example>",
        b"<a@" + b"b." * 130 + b"example>",
        b"<a@b.example:x>",
        b"",
        b"<\xff@b.example>",
    ],
)
def test_malformed_paths(path: bytes) -> None:
    assert status_of(mail, b"FROM:" + path) == "501 5.1.7"
    assert status_of(rcpt, b"TO:" + path) == "501 5.1.3"


def test_recipient_is_never_empty() -> None:
    assert status_of(rcpt, b"TO:<>") == "501 5.1.3"


@pytest.mark.parametrize("path", [b"<postmaster>", b"<PostMaster>"])
def test_postmaster_needs_no_domain(path: bytes) -> None:
    assert rcpt(b"TO:" + path) == Recipient(address="postmaster")
    assert status_of(mail, b"FROM:" + path) == "501 5.1.7"


@pytest.mark.parametrize("argument", [b"<a@b.example>", b"TO:<a@b.example>", b"", b"FROM <a@b.example>"])
def test_the_keyword_is_needed(argument: bytes) -> None:
    assert status_of(mail, argument) == "501 5.5.4"


def test_all_mail_parameters() -> None:
    command = mail(
        b"from:<a@b.example> size=1000 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=x+2Dy AUTH=c+40d.example"
    )
    assert command == MailCommand(
        sender=Sender(
            address="a@b.example",
            size_bytes=1000,
            body="8BITMIME",
            smtputf8=True,
            ret="HDRS",
            envid="x+2Dy",
        ),
        auth="c@d.example",
    )
    assert mail(b"FROM:<> AUTH=<>").auth == ""


@pytest.mark.parametrize(
    "parameters",
    [
        b"SIZE",
        b"SIZE=",
        b"SIZE=x",
        b"SIZE=-1",
        b"SIZE=" + b"1" * 21,
        b"SIZE=1 size=2",
        b"BODY",
        b"BODY=BINARYMIME",
        b"BODY=9BIT",
        b"SMTPUTF8=yes",
        b"RET=ALL",
        b"RET",
        b"ENVID=",
        b"ENVID=a=b",
        b"ENVID=+4g",
        b"ENVID=" + b"x" * 101,
        b"AUTH=a+4",
        b"=x",
        b"-A=1",
        b"SI\xc3\xa9E=1",
        b"ENVID=\xc3\xa9",
    ],
)
def test_malformed_mail_parameters(parameters: bytes) -> None:
    assert status_of(mail, b"FROM:<a@b.example> " + parameters) == "501 5.5.4"


def test_a_space_stands_before_parameters() -> None:
    assert status_of(mail, b"FROM:<a@b.example>SIZE=1") == "501 5.5.4"


@pytest.mark.parametrize(
    "parameter", [b"FOO", b"MT-PRIORITY=3", b"REQUIRETLS", b"XWAYPOST-ID=x", b"NOTIFY=NEVER"]
)
def test_unknown_mail_parameters(parameter: bytes) -> None:
    assert status_of(mail, b"FROM:<a@b.example> " + parameter) == "555 5.5.4"


@pytest.mark.parametrize(
    "parameter", [b"SIZE=1", b"BODY=7BIT", b"SMTPUTF8", b"RET=FULL", b"ENVID=x", b"AUTH=<>"]
)
def test_nothing_is_supported_that_was_not_announced(parameter: bytes) -> None:
    assert status_of(mail, b"FROM:<a@b.example> " + parameter, frozenset()) == "555 5.5.4"


def test_rcpt_parameters() -> None:
    recipient = rcpt(b"TO:<a@b.example> NOTIFY=delay,SUCCESS ORCPT=rfc822;a+2Bx@b.example")
    assert recipient.notify == "SUCCESS,DELAY"
    assert recipient.orcpt == "rfc822;a+2Bx@b.example"
    assert rcpt(b"TO:<a@b.example> NOTIFY=NEVER").notify == "NEVER"


@pytest.mark.parametrize(
    "parameters",
    [
        b"NOTIFY",
        b"NOTIFY=",
        b"NOTIFY=NEVER,FAILURE",
        b"NOTIFY=SOMETIMES",
        b"NOTIFY=SUCCESS,,DELAY",
        b"NOTIFY=SUCCESS NOTIFY=DELAY",
        b"ORCPT=a@b.example",
        b"ORCPT=rfc822;",
        b"ORCPT=;x",
        b"ORCPT=rfc822;a=b",
        b"ORCPT=rfc822;\xc3\xa9@b.example",
        b"ORCPT=rfc822;" + b"x" * 501,
    ],
)
def test_malformed_rcpt_parameters(parameters: bytes) -> None:
    assert status_of(rcpt, b"TO:<a@b.example> " + parameters) == "501 5.5.4"


@pytest.mark.parametrize("parameter", [b"SIZE=1", b"FOO=1", b"XWAYPOST-RID=x"])
def test_unknown_rcpt_parameters(parameter: bytes) -> None:
    assert status_of(rcpt, b"TO:<a@b.example> " + parameter) == "555 5.5.4"


def test_non_ascii_addresses_need_smtputf8() -> None:
    path = "<josé@exämple.example>".encode()
    assert status_of(mail, b"FROM:" + path) == "553 5.6.7"
    assert mail(b"FROM:" + path + b" SMTPUTF8").sender.address == "josé@exämple.example"
    assert status_of(rcpt, b"TO:" + path) == "553 5.6.7"
    assert rcpt(b"TO:" + path, smtputf8=True).address == "josé@exämple.example"


def test_utf8_orcpt() -> None:
    argument = "TO:<a@b.example> ORCPT=utf-8;josé@b.example".encode()
    assert rcpt(argument, smtputf8=True).orcpt == "utf-8;josé@b.example"
    assert status_of(rcpt, argument) == "501 5.5.4"


TRANSFER = Transfer(
    network_message_id="0190-ab",
    transfer_key="k=1 +x",
    assessed="7",
    prefix_bytes=120,
    content_sha256="0" * 64,
    probe=True,
    first_attempt=True,
    may_be_held=True,
)


def test_a_transfer_goes_over_and_comes_back() -> None:
    sender = Sender(address="a@b.example", ret="FULL", envid="e", body="8BITMIME", smtputf8=True)
    line = encode_mail(sender, TRANSFER, PRIVATE, size_bytes=99)
    verb, argument = split_command(line.rstrip(b"\r\n"))
    command = mail(argument, private=True)
    assert verb == "MAIL"
    assert command.transfer == TRANSFER
    assert command.sender == Sender(
        address="a@b.example", ret="FULL", envid="e", body="8BITMIME", smtputf8=True, size_bytes=99
    )
    assert len(line) <= line_limit("MAIL", extended=True, private=True)


def test_a_recipient_goes_over_and_comes_back() -> None:
    recipient = Recipient(
        address='"a b"@c.example',
        notify="SUCCESS,FAILURE",
        orcpt="rfc822;x",
        recipient_id="r 1",
        expanded_from="g=1",
    )
    line = encode_rcpt(recipient, PRIVATE)
    assert rcpt(split_command(line.rstrip(b"\r\n"))[1], private=True) == recipient


def test_unknown_private_parameters_are_skipped_between_servers() -> None:
    command = mail(b"FROM:<a@b.example> XWAYPOST-ID=n XWAYPOST-NEWER=7", private=True)
    assert command.transfer == Transfer(network_message_id="n")
    assert rcpt(b"TO:<a@b.example> XWAYPOST-NEWER=7", private=True) == Recipient(address="a@b.example")


@pytest.mark.parametrize("parameter", [b"XWAYPOST-SHA256=zz", b"XWAYPOST-PREFIX=x", b"XWAYPOST-KEY=a+b"])
def test_malformed_private_parameters(parameter: bytes) -> None:
    assert status_of(mail, b"FROM:<> XWAYPOST-ID=n " + parameter, private=True) == "501 5.5.4"


def test_only_what_the_server_announced_is_said() -> None:
    sender = Sender(address="", ret="FULL", envid="e", body="8BITMIME", requiretls=True)
    recipient = Recipient(address="a@b.example", notify="NEVER", orcpt="rfc822;x", recipient_id="r")
    assert encode_mail(sender, TRANSFER, {}, size_bytes=5) == b"MAIL FROM:<>\r\n"
    assert encode_rcpt(recipient, {}) == b"RCPT TO:<a@b.example>\r\n"
    assert encode_rcpt(Recipient(address="postmaster"), {}) == b"RCPT TO:<postmaster>\r\n"
    assert b"BODY" not in encode_mail(Sender(address="", body="BINARYMIME"), None, FEATURES)


def test_internationalised_mail_needs_the_servers_consent() -> None:
    sender = Sender(address="josé@b.example", smtputf8=True)
    assert status_of(encode_mail, sender, None, {}) == "550 5.6.7"
    assert status_of(encode_mail, Sender(address="josé@b.example"), None, FEATURES) == "550 5.6.7"
    assert status_of(encode_rcpt, Recipient(address="josé@b.example"), FEATURES) == "550 5.6.7"
    assert "josé".encode() in encode_mail(sender, None, FEATURES)


@pytest.mark.parametrize(
    "address", ["a@b.example>\r\nRCPT TO:<x@y.example", "a", "a@b c.example", "a\x00@b.example"]
)
def test_nothing_is_injected_into_commands(address: str) -> None:
    assert status_of(encode_mail, Sender(address=address), None, FEATURES) == "501 5.1.7"
    assert status_of(encode_rcpt, Recipient(address=address), FEATURES) == "501 5.1.3"
    assert status_of(encode_mail, Sender(address="", envid="x\r\nDATA"), None, FEATURES) == "501 5.5.2"


def test_line_limits() -> None:
    assert line_limit("MAIL", extended=False, private=False) == 512
    assert line_limit("EHLO", extended=True, private=True) == 512
    assert line_limit("MAIL", extended=True, private=False) == 1196
    assert line_limit("AUTH", extended=True, private=False) == 12288
