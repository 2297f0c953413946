"""Servers of one machine reach each other by local sockets, and by TLS where there are none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.mail import User
from tests.harness.organisation import Organisation
from tests.harness.topologies import ready_topology

pytestmark = pytest.mark.slow

SENT_WITH = re.compile(rb"\r\nReceived: .*?\sby (\S+) with (\S+)", re.DOTALL)
LOCAL = {b"hub-a": b"ESMTP", b"hub-b": b"ESMTP", b"store-b": b"LMTP"}
OVER_TLS = {b"hub-a": b"ESMTPS", b"hub-b": b"ESMTPS", b"store-b": b"LMTPS"}


async def way(alice: User, bob: User) -> dict[bytes, bytes]:
    """How each server behind the store got a message from one site to the other (RFC 3848)."""
    arrived = await bob.wait_for(await alice.send(bob))
    header, _, _ = arrived.partition(b"\r\n\r\n")
    return {
        by.partition(b".")[0]: protocol
        for by, protocol in SENT_WITH.findall(header)
        if not by.startswith(b"access")
    }


async def test_by_local_sockets_or_by_tls(tmp_path: Path) -> None:
    topology = ready_topology("two-sites", tmp_path / "data")
    async with Organisation(topology) as organisation:
        alice, bob = organisation.user("alice@example.test"), organisation.user("bob@example.test")
        assert await way(alice, bob) == LOCAL
        sockets = topology.data / "run"
        for name in ("hub-a.smtp-internal", "hub-b.smtp-internal", "store-b.lmtp"):
            (sockets / f"{name}.sock").unlink()
        for name in ("store-a", "hub-a", "hub-b"):
            await organisation.stop(name)
            await organisation.start(name)
            (sockets / f"{name}.smtp-internal.sock").unlink(missing_ok=True)
        assert await way(alice, bob) == OVER_TLS
        await organisation.kill("store-b")
        await organisation.start("store-b")
        assert await way(alice, bob) == {**OVER_TLS, b"store-b": b"LMTP"}, "a dead server's is replaced"


async def test_told_to_use_tls(tmp_path: Path) -> None:
    topology = ready_topology("two-sites", tmp_path / "data", local_sockets=False)
    async with Organisation(topology) as organisation:
        alice, bob = organisation.user("alice@example.test"), organisation.user("bob@example.test")
        assert await way(alice, bob) == OVER_TLS
        assert {file.name for file in (topology.data / "run").iterdir()} == {
            f"{name}.sock" for name in organisation.names
        }
