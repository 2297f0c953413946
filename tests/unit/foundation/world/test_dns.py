"""The resolver against a small name server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from foundation.interfaces.world import MailExchanger, NameNotFound, NameServiceUnavailable
from foundation.world.dns import DnsResolver

RECORDS = {
    ("two.test.", "MX"): ["20 backup.two.test.", "10 mx.two.test."],
    ("nullmx.test.", "MX"): ["0 ."],
    ("nomx.test.", "A"): ["192.0.2.7"],
    ("mx.two.test.", "A"): ["192.0.2.2", "192.0.2.1"],
    ("mx.two.test.", "AAAA"): ["2001:db8::1"],
    ("xn--bcher-kva.test.", "MX"): ["5 mail.xn--bcher-kva.test."],
    ("half.test.", "A"): ["192.0.2.9"],
    ("empty.test.", "TXT"): ['"nothing else"'],
}
BROKEN = {("broken.test.", "MX"), ("broken.test.", "A"), ("broken.test.", "AAAA"), ("half.test.", "AAAA")}


class NameServer(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport
        self.questions = 0

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.questions += 1
        question = dns.message.from_wire(data)
        name, kind = str(question.question[0].name), dns.rdatatype.to_text(question.question[0].rdtype)
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        if (name, kind) in BROKEN:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in RECORDS:
            answer.answer.append(dns.rrset.from_text_list(name, 60, "IN", kind, RECORDS[name, kind]))
        elif not any(name == known for known, _ in [*RECORDS, *BROKEN]):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), address)


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    yield protocol
    transport.close()


@pytest.fixture
def resolver(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> DnsResolver:
    monkeypatch.setattr("foundation.world.dns._QUESTION_SECONDS", 1.0)
    return DnsResolver(["127.0.0.1"], server.transport.get_extra_info("sockname")[1])


async def test_exchangers_by_preference(resolver: DnsResolver) -> None:
    assert await resolver.mail_exchangers("two.test") == (
        MailExchanger(10, "mx.two.test"),
        MailExchanger(20, "backup.two.test"),
    )


async def test_null_mx_is_an_empty_host(resolver: DnsResolver) -> None:
    assert await resolver.mail_exchangers("nullmx.test") == (MailExchanger(0, ""),)


async def test_domain_without_exchangers(resolver: DnsResolver) -> None:
    assert await resolver.mail_exchangers("nomx.test") == ()


async def test_unicode_domain(resolver: DnsResolver) -> None:
    assert await resolver.mail_exchangers("bücher.test") == (MailExchanger(5, "mail.xn--bcher-kva.test"),)


@pytest.mark.parametrize("name", ["gone.test", "a..b", "x" * 70 + ".test", "\ud800.test", ""])
async def test_names_that_do_not_exist(resolver: DnsResolver, name: str) -> None:
    with pytest.raises(NameNotFound):
        await resolver.addresses(name)


async def test_domain_that_does_not_exist(resolver: DnsResolver) -> None:
    with pytest.raises(NameNotFound):
        await resolver.mail_exchangers("gone.test")


async def test_addresses_of_both_kinds(resolver: DnsResolver) -> None:
    assert await resolver.addresses("mx.two.test") == ("2001:db8::1", "192.0.2.1", "192.0.2.2")


async def test_one_kind_is_enough(resolver: DnsResolver) -> None:
    assert await resolver.addresses("half.test") == ("192.0.2.9",)


async def test_host_without_address(resolver: DnsResolver) -> None:
    with pytest.raises(NameNotFound):
        await resolver.addresses("empty.test")


async def test_failing_server_is_temporary(resolver: DnsResolver) -> None:
    with pytest.raises(NameServiceUnavailable):
        await resolver.addresses("broken.test")
    with pytest.raises(NameServiceUnavailable):
        await resolver.mail_exchangers("broken.test")


async def test_literals_and_localhost_are_not_asked(resolver: DnsResolver, server: NameServer) -> None:
    assert await resolver.addresses("192.0.2.3") == ("192.0.2.3",)
    assert await resolver.addresses("[2001:db8::5]") == ("2001:db8::5",)
    assert await resolver.addresses("localhost") == ("127.0.0.1", "::1")
    assert server.questions == 0


async def test_answers_are_kept(resolver: DnsResolver, server: NameServer) -> None:
    await resolver.mail_exchangers("two.test")
    asked = server.questions
    await resolver.mail_exchangers("TWO.test.")
    assert server.questions == asked


async def test_no_name_service_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    def nothing(*_: object, **__: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr("foundation.world.dns.dns.asyncresolver.Resolver", nothing)
    with pytest.raises(NameServiceUnavailable):
        await DnsResolver().addresses("two.test")
