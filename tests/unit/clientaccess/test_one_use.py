"""One-use credentials: once, for a minute, for one user and one protocol."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clientaccess.daemon import LOCAL, NAMELESS, _may_call
from clientaccess.one_use import LIFETIME_SECONDS, OUTSTANDING_MAX, OneUseCredentials, Protocol
from foundation.certificates import issue_certificate
from foundation.interfaces.control import ProbeLogon
from foundation.interfaces.directory import Credentials
from foundation.mail.errors import MailError
from foundation.rpc.client import RpcClient, TcpTarget, UnixTarget
from foundation.tls import OPERATOR, Identity
from foundation.world.disk import SystemDisk
from tests.unit.clientaccess.test_authenticate import Clock, FakeDirectory
from tests.unit.clientaccess.test_daemon import WORLD, daemon_of, data

__all__ = ["data"]


class Passwords:
    """Knows none, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def password(self, login: str, password: str, peer: str) -> Credentials:
        self.asked.append(password)
        raise MailError(535, "5.7.8", "Wrong login name or password")


class Desk:
    def __init__(self) -> None:
        self.clock = Clock()
        self.directory = FakeDirectory()
        self.passwords = Passwords()
        world = dataclasses.replace(WORLD, clock=self.clock)
        self.one_use = OneUseCredentials(self.directory, world, lambda: "PEM")  # type: ignore[arg-type]

    async def log_on(self, login: str, password: str, protocol: Protocol = "imap") -> Credentials:
        accepting = self.one_use.accepting(protocol, self.passwords)
        return await accepting.password(login, password, "192.0.2.1")


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_credential_counts_once_and_marks_a_probe(desk: Desk) -> None:
    minted = await desk.one_use.mint("alice", "imap")
    assert (minted.login, minted.certificate) == ("alice@example.test", "PEM")
    assert minted.expires_at_ms == desk.clock.now_ms() + 60_000
    credentials = await desk.log_on("alice", minted.password)
    assert credentials.probe
    assert credentials.user.recipient_id == "id-alice"
    assert desk.passwords.asked == []
    with pytest.raises(MailError) as refused:
        await desk.log_on("alice", minted.password)
    assert refused.value.code == 535
    assert desk.passwords.asked == [minted.password]


@pytest.mark.parametrize("login, protocol", [("alice", "submission"), ("bob", "imap"), ("nobody", "imap")])
async def test_it_counts_for_its_user_and_protocol_alone(desk: Desk, login: str, protocol: Protocol) -> None:
    minted = await desk.one_use.mint("alice", "imap")
    with pytest.raises(MailError):
        await desk.log_on(login, minted.password, protocol)
    with pytest.raises(MailError):  # and a wrong use is its one use
        await desk.log_on("alice", minted.password)


async def test_it_counts_for_a_minute(desk: Desk) -> None:
    minted = await desk.one_use.mint("alice", "imap")
    desk.clock.at += LIFETIME_SECONDS
    with pytest.raises(MailError):
        await desk.log_on("alice", minted.password)


async def test_who_was_removed_meanwhile_does_not_get_in(desk: Desk) -> None:
    minted = await desk.one_use.mint("alice", "imap")
    del desk.directory.hashes["alice"]
    with pytest.raises(MailError):
        await desk.log_on("alice", minted.password)


async def test_nobody_unknown_gets_one(desk: Desk) -> None:
    with pytest.raises(MailError) as refused:
        await desk.one_use.mint("nobody", "imap")
    assert (refused.value.code, refused.value.status) == (550, "5.1.1")


async def test_there_are_only_so_many_at_once(desk: Desk) -> None:
    for _ in range(OUTSTANDING_MAX):
        await desk.one_use.mint("alice", "imap")
    with pytest.raises(MailError) as refused:
        await desk.one_use.mint("alice", "imap")
    assert refused.value.code == 452
    desk.clock.at += LIFETIME_SECONDS
    assert (await desk.one_use.mint("alice", "imap")).password


async def test_other_passwords_are_left_to_those_who_know_them(desk: Desk) -> None:
    with pytest.raises(MailError):
        await desk.log_on("alice", "a password")
    assert desk.passwords.asked == ["a password"]


def test_the_operator_alone_may_mint() -> None:
    may = {
        peer: _may_call(peer, "ProbeLogon", "mint")
        for peer in (LOCAL, OPERATOR, NAMELESS, "hub-a", "store-b")
    }
    assert may == {LOCAL: True, OPERATOR: True, NAMELESS: False, "hub-a": False, "store-b": False}
    assert _may_call("hub-a", "Control", "status")


@pytest.fixture
async def minting(data: Path) -> AsyncIterator[dict[str, ProbeLogon]]:
    """Client Access, reached by its socket, by the operator and by a hub."""
    issue_certificate(data / "certificates", OPERATOR, now_ms=WORLD.clock.now_ms(), disk=SystemDisk())
    daemon = daemon_of(data)
    await daemon.start()
    clients = {"local": RpcClient(UnixTarget(data / "run" / "access.sock"))}
    (rpc,) = [each for each in daemon.listeners if each.protocol == "rpc"]
    for name in (OPERATOR, "hub-a"):
        context = Identity(data / "certificates", name).internal_client()
        clients[name] = RpcClient(TcpTarget(rpc.host, rpc.port, context))
    yield {name: client.interface(ProbeLogon) for name, client in clients.items()}
    await asyncio.gather(*(client.close() for client in clients.values()))
    await daemon.stop()


async def test_a_server_of_the_organisation_gets_no_logon_over_the_wire(
    minting: dict[str, ProbeLogon],
) -> None:
    reasons = {}
    for name, logons in minting.items():
        with pytest.raises(MailError) as refused:
            await logons.mint("nobody@home.example", "imap")
        reasons[name] = refused.value.reason or refused.value.status
    assert reasons["hub-a"] == "NOTALLOWED"
    assert reasons["local"] == reasons[OPERATOR] != "NOTALLOWED"
