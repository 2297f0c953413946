"""Mail to the outside: hosts by MX, TLS, smart hosts, and servers that can do less."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from config.model import Endpoint, SendConnector
from foundation.interfaces.world import MailExchanger, NameNotFound, NameServiceUnavailable
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError
from foundation.smtp.reply import Reply
from foundation.tls import Identity
from hubtransport.delivery.exchangers import HOSTS_MAX, order_of_hosts
from tests.unit.hubtransport.lab import CONTENT, LOCALHOST, Lab

OWN = frozenset({"hub-a.example.test"})


def order(*found: tuple[int, str], draws: Sequence[float] = ()) -> tuple[str, ...]:
    chances = iter(draws or [0.5] * len(found))
    exchangers = [MailExchanger(preference, host) for preference, host in found]
    return order_of_hosts("example.org", exchangers, OWN, lambda low, high: next(chances))


def test_hosts_by_preference_and_equal_ones_by_chance() -> None:
    assert order((20, "c"), (10, "b"), (10, "A."), draws=(0.5, 0.1, 0.9)) == ("b", "a", "c")
    assert order((20, "c"), (10, "b"), (10, "a"), draws=(0.5, 0.9, 0.1)) == ("a", "b", "c")
    assert len(order(*((1, f"h{number}") for number in range(30)))) == HOSTS_MAX


def test_no_mx_is_the_domain_itself() -> None:
    assert order() == ("example.org",)


def test_null_mx_takes_no_mail() -> None:
    with pytest.raises(MailError) as refused:
        order((0, ""))
    assert (refused.value.code, refused.value.status) == (556, "5.1.10")


def test_own_name_cuts_the_list_and_is_a_loop_when_nothing_is_better() -> None:
    assert order((10, "a"), (20, "Hub-A.example.test."), (30, "c")) == ("a",)
    with pytest.raises(MailError) as refused:
        order((10, "hub-a.example.test"), (10, "b"))
    assert refused.value.status == "5.4.6"


@pytest.mark.parametrize(
    ("exchangers", "status"),
    [
        ((MailExchanger(0, ""),), "5.1.10"),
        (NameNotFound("x"), "5.1.2"),
        ((MailExchanger(1, "hub-a.example.test"),), "5.4.6"),
    ],
)
async def test_domain_that_can_never_take_it_is_reported_at_once(
    lab: Lab, exchangers: tuple[MailExchanger, ...] | Exception, status: str
) -> None:
    lab.names.exchangers["example.net"] = exchangers
    await lab.start("hub-a")
    await lab.send("friend@example.net")
    (report,) = await lab.stores["store-a"].wait()
    assert f"Status: {status}".encode() in report.content
    await lab.until_idle()


async def test_name_service_down_is_tried_again(lab: Lab) -> None:
    lab.names.exchangers["example.net"] = NameServiceUnavailable("no answer")
    await lab.start("hub-a")
    await lab.send("friend@example.net")
    assert "4.4.3" in (await lab.until_event("DEFER")).reply
    lab.names.exchangers["example.net"] = ()
    lab.names.hosts["example.net"] = (LOCALHOST,)
    (delivered,) = await lab.outside.wait()
    assert delivered.addresses == ("friend@example.net",)


async def test_next_host_is_tried_when_the_best_is_away(lab: Lab) -> None:
    lab.names.exchangers["example.net"] = (
        MailExchanger(1, "gone.example.net"),
        MailExchanger(2, "mx.example.org"),
    )
    await lab.start("hub-a")
    await lab.send("friend@example.net")
    await lab.outside.wait()


async def test_opportunistic_tls_falls_back_and_required_does_not(tmp_path: Path) -> None:
    async with Lab(tmp_path) as lab:
        await lab.start("hub-a")
        await lab.outside.stop()
        context = Identity(lab.topology.certificates, "stranger").public_server()
        await lab.outside.start(protocol="smtp", starttls=context)
        await lab.send("friend@example.org")
        await lab.outside.wait()
        assert lab.outside.sessions[-1].facts.tls
        await lab.outside.stop()
        without_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        await lab.outside.start(protocol="smtp", starttls=without_certificate)
        await lab.send("friend@example.org")
        await lab.outside.wait(2)
        assert not lab.outside.sessions[-1].facts.tls


async def test_required_tls_sends_nothing_in_the_clear(tmp_path: Path) -> None:
    async with Lab(tmp_path) as lab:
        (connector,) = lab.topology.send_connectors
        required = connector.model_copy(update={"tls": "required"})
        lab.topology = lab.topology.model_copy(update={"send_connectors": (required,)})
        await lab.start("hub-a")
        await lab.send("friend@example.org")
        assert "TLS is required" in (await lab.until_event("DEFER")).reply
        assert not lab.outside.delivered


async def test_smart_host_takes_every_domain_over_one_connection(tmp_path: Path) -> None:
    async with Lab(tmp_path) as lab:
        smart = SendConnector(name="smart", smart_hosts=(Endpoint(host=LOCALHOST, port=lab.outside_port),))
        lab.topology = lab.topology.model_copy(update={"send_connectors": (smart,)})
        await lab.start("hub-a")
        await lab.send("a@one.test", "b@two.test")
        (delivered,) = await lab.outside.wait()
        assert delivered.addresses == ("a@one.test", "b@two.test")


async def test_internationalised_mail_is_not_squeezed_through(lab: Lab) -> None:
    host = await lab.plain_host("8BITMIME", "DSN")
    await lab.start("hub-a")
    content = (
        "From: <alice@example.test>\r\nSubject: Grüße\r\nMessage-ID: <m1@example.test>\r\n\r\nHi\r\n".encode()
    )
    sender = Sender(address="alice@example.test", smtputf8=True, body="8BITMIME")
    await lab.send("friend@example.org", sender=sender, content=content)
    (report,) = await lab.stores["store-a"].wait()
    assert b"Status: 5.6.7" in report.content
    ascii_only = Sender(address="alice@example.test", smtputf8=True, body="8BITMIME")
    await lab.send("friend@example.org", sender=ascii_only)
    await host.wait()
    assert host.lines[0] == "MAIL FROM:<alice@example.test> BODY=8BITMIME"


async def test_8bit_content_needs_8bitmime(lab: Lab) -> None:
    host = await lab.plain_host("DSN")
    await lab.start("hub-a")
    sender = Sender(address="alice@example.test", body="8BITMIME")
    await lab.send("friend@example.org", sender=sender, content=CONTENT + b"\xe4\r\n")
    (report,) = await lab.stores["store-a"].wait()
    assert b"Status: 5.6.3" in report.content
    await lab.send("friend@example.org", sender=sender)
    await host.wait()
    assert host.lines[0] == "MAIL FROM:<alice@example.test>"


async def test_message_larger_than_the_server_says_is_not_sent(lab: Lab) -> None:
    await lab.outside.stop()
    await lab.outside.start(protocol="smtp", message_size_bytes=1000)
    await lab.start("hub-a")
    await lab.send("friend@example.org", content=CONTENT + b"x" * 2000 + b"\r\n")
    (report,) = await lab.stores["store-a"].wait()
    assert b"Status: 5.3.4" in report.content


async def test_too_many_recipients_go_on_at_once_in_another_transaction(lab: Lab) -> None:
    await lab.outside.stop()
    await lab.outside.start(protocol="smtp", recipients=2)
    await lab.start("hub-a")
    await lab.send(*(f"friend{number}@example.org" for number in range(5)))
    delivered = await lab.outside.wait(3)
    assert sorted(address for each in delivered for address in each.addresses) == [
        f"friend{number}@example.org" for number in range(5)
    ]


async def test_relayed_is_reported_where_the_next_server_reports_nothing(lab: Lab) -> None:
    await lab.plain_host("8BITMIME")
    await lab.start("hub-a")
    await lab.send(Recipient(address="friend@example.org", notify="SUCCESS"))
    (report,) = await lab.stores["store-a"].wait()
    assert b"Action: relayed" in report.content


async def test_lost_final_reply_outside_may_double_and_is_counted(lab: Lab) -> None:
    lab.outside.lose_replies = 1
    await lab.start("hub-a")
    await lab.send("friend@example.org")
    await lab.outside.wait(2)
    await lab.until_idle()
    assert lab.hubs["hub-a"].status().details["possible_doubles"] == 1
    assert "double" in (await lab.until_event("DEFER")).reason


async def test_a_permanent_refusal_outside_is_reported_with_its_words(lab: Lab) -> None:
    lab.outside.recipient_replies["friend@example.org"] = [Reply.of(550, "5.1.1", "No friend here")]
    await lab.start("hub-a")
    await lab.send("friend@example.org")
    (report,) = await lab.stores["store-a"].wait()
    assert b"No friend here" in report.content
    assert b"Remote-MTA: dns; mx.example.org" in report.content
