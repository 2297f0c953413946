import email
import email.policy
from email.message import EmailMessage, Message

import pytest

from foundation.mail.report import Kind, ReportedRecipient, delivery_report

HEADER = (
    b"From: alice@a.example\r\nSubject: Hello\r\nMessage-ID: <orig@a.example>\r\n"
    b"X-Waypost-Key: secret\r\n\r\n"
)
FAILED = ReportedRecipient(
    address="bob@x.example",
    orcpt="rfc822;Bob+2Btag@x.example",
    action="failed",
    status="5.1.1",
    diagnostic="550 5.1.1 no such user",
    remote_mta="mx.x.example",
    last_attempt_ms=1767603600000,
)


def report(
    *recipients: ReportedRecipient,
    kind: Kind = "failed",
    header: bytes = HEADER,
    original: bytes | None = None,
    sender: str = "alice@a.example",
    envid: str = "",
) -> bytes:
    return delivery_report(
        kind=kind,
        reporting_mta="hub-a.example",
        sender=sender,
        recipients=recipients or (FAILED,),
        envid=envid,
        original_header=header,
        original=original,
        at_ms=1767603600000,
        message_id="report@hub-a.example",
        from_address="MAILER-DAEMON@a.example",
        arrival_ms=1767600000000,
        network_message_id="0198-77",
    )


def read(octets: bytes) -> tuple[EmailMessage, str, list[Message], Message]:
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    parts = message.get_payload()
    assert isinstance(parts, list)
    human, status, returned = parts
    assert (
        isinstance(human, EmailMessage)
        and isinstance(status, EmailMessage)
        and isinstance(returned, EmailMessage)
    )
    groups = status.get_payload()
    assert isinstance(groups, list)
    return message, human.get_content(), [group for group in groups if isinstance(group, Message)], returned


def test_header_and_shape() -> None:
    message, human, groups, returned = read(report())
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@a.example>"
    assert message["To"] == "alice@a.example"
    assert message["Subject"] == "Not delivered: Hello"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["In-Reply-To"] == message["References"] == "<orig@a.example>"
    assert message["Message-ID"] == "<report@hub-a.example>"
    assert message["Date"] == "Mon, 05 Jan 2026 09:00:00 +0000"
    assert len(groups) == 2
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "Subject: Hello" in str(returned.get_payload())
    assert "Waypost-Key" not in str(returned.get_payload())
    for expected in (
        "could not be delivered to bob@x.example",
        "You wrote to Bob+tag@x.example.",
        "There is no mailbox of this address. (5.1.1)",
        "The server mx.x.example said: 550 5.1.1 no such user",
        "Check the address for typing errors",
        "Message-ID <orig@a.example>",
        "0198-77",
    ):
        assert expected in " ".join(human.split())


def test_status_fields_are_exact() -> None:
    _, _, (message_group, recipient_group), _ = read(report(envid="QQ+2B314"))
    assert message_group.items() == [
        ("Original-Envelope-Id", "QQ+314"),
        ("Reporting-MTA", "dns; hub-a.example"),
        ("Arrival-Date", "Mon, 5 Jan 2026 08:00:00 +0000"),
    ]
    assert recipient_group.items() == [
        ("Original-Recipient", "rfc822; Bob+tag@x.example"),
        ("Final-Recipient", "rfc822; bob@x.example"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; mx.x.example"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 no such user"),
        ("Last-Attempt-Date", "Mon, 5 Jan 2026 09:00:00 +0000"),
    ]


def test_a_delay_says_how_long_it_is_tried() -> None:
    delayed = ReportedRecipient(
        address="bob@x.example",
        action="delayed",
        status="4.4.1",
        diagnostic="no answer from mx.x.example",
        will_retry_until_ms=1767776400000,
    )
    message, human, groups, _ = read(report(delayed, kind="delayed"))
    assert message["Subject"] == "Delayed: Hello"
    assert groups[1]["Will-Retry-Until"] == "Wed, 7 Jan 2026 09:00:00 +0000"
    assert groups[1]["Diagnostic-Code"] == "X-Waypost; no answer from mx.x.example"
    assert groups[1]["Remote-MTA"] is None
    text = " ".join(human.split())
    assert "You need not send it again" in text
    assert "It will be tried until Wed, 7 Jan 2026 09:00:00 +0000." in text


def test_a_failure_never_says_to_wait() -> None:
    gave_up = ReportedRecipient(
        address="bob@x.example", action="failed", status="4.4.1", will_retry_until_ms=1
    )
    _, human, groups, _ = read(report(gave_up))
    assert "Nothing needs to be done" not in " ".join(human.split())
    assert groups[1]["Will-Retry-Until"] is None


@pytest.mark.parametrize("kind", ["delivered", "relayed", "expanded"])
def test_good_news(kind: Kind) -> None:
    told = ReportedRecipient(address="bob@x.example", action=kind, status="2.0.0")
    _, human, groups, _ = read(report(told, kind=kind))
    assert groups[1]["Action"] == kind
    assert "bob@x.example" in human
    assert "What you can do" not in human


def test_several_recipients_have_a_group_each() -> None:
    other = ReportedRecipient(address="carol@x.example", action="failed", status="5.2.2", diagnostic="full")
    _, human, groups, _ = read(report(FAILED, other))
    assert [group["Final-Recipient"] for group in groups[1:]] == [
        "rfc822; bob@x.example",
        "rfc822; carol@x.example",
    ]
    assert "2 recipients" in human
    assert "The recipient's mailbox is full. (5.2.2)" in human


def test_the_whole_message_is_returned_when_given() -> None:
    content = HEADER + b"body\r\n--=_report_x\r\n"
    _, _, _, returned = read(report(original=content))
    assert returned.get_content_type() == "message/rfc822"
    enclosed = returned.get_payload(0)
    assert isinstance(enclosed, Message)
    assert enclosed["X-Waypost-Key"] is None
    assert enclosed.get_payload() == "body\r\n--=_report_x\r\n"


def test_content_beyond_ascii_is_marked_8bit_and_ascii_is_7bit() -> None:
    assert read(report())[0]["Content-Transfer-Encoding"] == "7bit"
    octets = report(original=HEADER + "Grüße\r\n".encode())
    assert read(octets)[0]["Content-Transfer-Encoding"] == "8bit"
    assert "Grüße".encode() in octets


def test_global_variants() -> None:
    utf8 = ReportedRecipient(
        address="bü@x.example", orcpt="utf-8;b\\x{FC}@x.example", action="failed", status="5.6.7"
    )
    octets = report(utf8, header="Subject: Grüße\r\n\r\n".encode(), sender="älice@a.example")
    assert b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n" in octets
    assert b"Content-Type: message/global-headers\r\n" in octets
    assert (
        "Original-Recipient: utf-8; bü@x.example\r\nFinal-Recipient: utf-8; bü@x.example\r\n".encode()
        in octets
    )
    assert "To: <älice@a.example>\r\n".encode() in octets
    assert b"Subject: Not delivered: =?utf-8?B?R3LDvMOfZQ==?=\r\n" in octets
    whole = report(utf8, header="Subject: ü\r\n\r\n".encode(), original="Subject: ü\r\n\r\nx\r\n".encode())
    assert b"Content-Type: message/global\r\n" in whole


def test_an_original_recipient_beyond_ascii_in_a_report_of_ascii() -> None:
    moved = ReportedRecipient(
        address="b@x.example", orcpt="utf-8;b\\x{FC}@x.example", action="failed", status="5.1.1"
    )
    octets = report(moved)
    assert b"Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: 7bit\r\n" in octets
    assert b"Original-Recipient: utf-8; b\\x{FC}@x.example\r\n" in octets


def test_legacy_eight_bit_headers_are_not_called_global() -> None:
    octets = report(header=b"Subject: \xfc\r\n\r\n")
    assert b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n" in octets


def test_the_same_values_give_the_same_octets_and_the_boundary_is_in_no_part() -> None:
    first = report()
    assert first == report()
    boundary = first.split(b'boundary="')[1].split(b'"')[0]
    second = report(original=HEADER + b"--" + boundary + b"--\r\n")
    assert second.split(b'boundary="')[1].split(b'"')[0] != boundary
    assert len(read(second)[2]) == 2


@pytest.mark.parametrize(
    "hostile", ["a\r\nBcc: x@y", "a\n\nbody", "\x85\u2028x", "y" * 5000, "ä" * 3000, "x y " * 2000]
)
def test_no_stranger_can_break_out_of_a_field(hostile: str) -> None:
    recipient = ReportedRecipient(
        address=hostile,
        orcpt=hostile,
        action="failed",
        status="5.0.0",
        diagnostic=hostile,
        remote_mta=hostile,
    )
    octets = report(
        recipient,
        sender="x" + hostile[:250],
        envid=hostile,
        header=b"Subject: x\rBcc: y\r\n",
    )
    lines = octets.split(b"\r\n")
    assert [line for line in lines if b"\n" in line or b"\r" in line] == [b"Subject: x\rBcc: y"]
    assert max(map(len, lines)) <= 998
    assert not any(line.startswith(b"Bcc:") for line in lines)
