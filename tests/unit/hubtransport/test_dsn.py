"""Who is told of what (RFC 3461), and what the report is as a message."""

from __future__ import annotations

import email

import pytest

from foundation.mail.envelope import Recipient, Sender
from hubtransport.dsn import (
    ORIGINAL_BYTES_MAX,
    Action,
    Notice,
    Report,
    Reporter,
    compose,
    keep_original,
    notice_wanted,
    notify_of_members,
    reports,
    returns_content,
)
from hubtransport.queues.records import QueuedMessage, QueuedRecipient

SENDER = Sender(address="alice@example.test", ret="FULL", envid="e+2B1")


def notice(action: Action, notify: str = "", address: str = "bob@example.org") -> Notice:
    recipient = QueuedRecipient(
        position=0, recipient=Recipient(address=address, notify=notify), original=address
    )
    return Notice(recipient=recipient, action=action, status="5.0.0", at_ms=1)


def message(sender: Sender = SENDER, content_bytes: int = 100) -> QueuedMessage:
    return QueuedMessage(
        entry_id="e",
        network_message_id="n",
        sender=sender,
        content_bytes=content_bytes,
        content_sha256="",
        received_at_ms=1000,
        expires_at_ms=2000,
        probe=True,
    )


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        ("", {"failed", "delayed"}),
        ("NEVER", set()),
        ("FAILURE", {"failed"}),
        ("DELAY", {"delayed"}),
        ("SUCCESS", {"delivered", "relayed", "expanded"}),
        ("SUCCESS,FAILURE,DELAY", {"failed", "delayed", "delivered", "relayed", "expanded"}),
    ],
)
def test_notify_is_obeyed(notify: str, told: set[str]) -> None:
    actions: tuple[Action, ...] = ("failed", "delayed", "delivered", "relayed", "expanded")
    assert {action for action in actions if notice_wanted(notify, action)} == told


def test_one_report_for_each_fate_and_none_for_the_null_sender() -> None:
    notices = [notice("failed"), notice("delivered", "SUCCESS"), notice("failed"), notice("failed", "NEVER")]
    found = reports(SENDER, notices)
    assert [(report.action, len(report.notices)) for report in found] == [("failed", 2), ("delivered", 1)]
    assert reports(Sender(address=""), notices) == ()


@pytest.mark.parametrize(
    ("notify", "members"),
    [
        ("", ""),
        ("NEVER", "NEVER"),
        ("FAILURE", "FAILURE"),
        ("SUCCESS", "NEVER"),
        ("SUCCESS,FAILURE,DELAY", "FAILURE,DELAY"),
    ],
)
def test_members_of_a_group_report_no_success(notify: str, members: str) -> None:
    assert notify_of_members(notify) == members


def test_original_recipient_is_kept_when_the_address_changes() -> None:
    assert keep_original(Recipient(address="a+b@x.test")) == "rfc822;a+2Bb@x.test"
    assert keep_original(Recipient(address="a@x.test", orcpt="rfc822;z@y")) == "rfc822;z@y"
    assert keep_original(Recipient(address="jörg@x.test")) == "utf-8;j\\x{F6}rg@x.test"


def test_whole_message_goes_back_only_with_failures_and_when_it_is_small() -> None:
    failed, delayed = Report("failed", ()), Report("delayed", ())
    assert returns_content(message(), failed)
    assert not returns_content(message(), delayed)
    assert not returns_content(message(content_bytes=ORIGINAL_BYTES_MAX + 1), failed)
    assert not returns_content(message(Sender(address="a@b")), failed)


def test_report_is_a_message_of_its_own() -> None:
    reporter = Reporter(
        server="hub-a", hostname="hub-a.example.test", default_domain="example.test", expiry_ms=500
    )
    report = Report("failed", (notice("failed"),))
    queued, content = compose(
        report,
        message(),
        reporter,
        header=b"Subject: Hello\r\nMessage-ID: <m@x>\r\n\r\n",
        original=None,
        now_ms=3000,
        network_message_id="n2",
        entry_id="e2",
    )
    assert (queued.sender.address, queued.sender.ret) == ("", "")
    assert queued.recipients[0].recipient == Recipient(address="alice@example.test", notify="NEVER")
    assert (queued.network_message_id, queued.probe) == ("n2", True)
    assert (queued.expires_at_ms, queued.delay_at_ms, queued.next_position) == (3500, 0, 1)
    parsed = email.message_from_bytes(content)
    assert parsed["From"] == "Mail Delivery System <postmaster@example.test>"
    assert parsed["Message-ID"] == f"<{queued.message_id}>"
    status = parsed.get_payload()[1].as_string()  # type: ignore[index, union-attr]
    assert "Original-Envelope-Id: e+1" in status
    assert "Reporting-MTA: dns; hub-a.example.test" in status
