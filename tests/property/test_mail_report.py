"""Delivery reports: whatever strangers put into them, the library of Python reads them back whole."""

import email
from email.message import Message
from email.policy import compat32

from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.mail.report import ReportedRecipient, delivery_report

STRANGE = st.text(st.one_of(st.sampled_from("\r\n\0:;<>@ -=?+\\"), st.characters(codec="utf-8")), max_size=40)
RECIPIENTS = st.builds(
    ReportedRecipient,
    address=STRANGE,
    orcpt=STRANGE,
    action=st.sampled_from(["failed", "delayed", "delivered", "relayed", "expanded"]),
    status=st.sampled_from(["5.1.1", "4.4.7", "2.0.0", "5.99.99"]),
    diagnostic=STRANGE,
    remote_mta=STRANGE,
    last_attempt_ms=st.none() | st.integers(0, 4_000_000_000_000),
    will_retry_until_ms=st.none() | st.integers(0, 4_000_000_000_000),
)
SINGLE = ("Final-Recipient", "Action", "Status")


@given(
    st.lists(RECIPIENTS, min_size=1, max_size=3),
    STRANGE,
    STRANGE,
    st.binary(max_size=100),
    st.none() | st.binary(max_size=100),
)
@settings(max_examples=100)
def test_reports_are_read_back_whole(
    recipients: list[ReportedRecipient], sender: str, envid: str, header: bytes, original: bytes | None
) -> None:
    octets = delivery_report(
        kind="failed",
        reporting_mta="hub.example",
        sender=sender,
        recipients=recipients,
        envid=envid,
        original_header=header,
        original=original,
        at_ms=0,
        message_id="m@hub.example",
        from_address="MAILER-DAEMON@example",
        arrival_ms=0,
    )
    message = email.message_from_bytes(octets, policy=compat32)
    assert message.get_content_type() == "multipart/report"
    assert message["Auto-Submitted"] == "auto-replied"
    parts = message.get_payload()
    assert isinstance(parts, list) and len(parts) == 3
    if message.get("Content-Transfer-Encoding") == "7bit":
        assert octets.split(b"\r\n\r\n", 1)[1].isascii()
    status = parts[1]
    assert isinstance(status, Message)
    body = octets.split(b"--" + message.get_boundary().encode() + b"\r\n")[2].split(b"\r\n\r\n", 1)[1]  # type: ignore[union-attr]
    groups = [group for group in body.split(b"\r\n\r\n") if group.strip()]
    assert len(groups) == 1 + len(recipients)
    for group, recipient in zip(groups[1:], recipients, strict=True):
        fields = email.message_from_bytes(group, policy=compat32)
        assert not fields.defects
        assert all(len(fields.get_all(name, [])) == 1 for name in SINGLE)
        assert fields["Action"] == recipient.action
        assert fields["Status"] == recipient.status
