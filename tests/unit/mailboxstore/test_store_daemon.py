"""The daemon as a whole: real certificates, RPC and LMTP listeners, a hub, a directory, a restart."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.model import AccessServer, Domain, Endpoint, HubServer, Site, StoreServer, Topology
from foundation.certificates import issue_certificate, make_authority
from foundation.directory.changes import DirectoryChanges
from foundation.interfaces.control import Control
from foundation.interfaces.mailbox_store import MailboxStore, Notice, Submission
from foundation.interfaces.world import World
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.rpc.client import RpcClient, TcpTarget, UnixTarget
from foundation.smtp.client import SmtpConnection
from foundation.smtp.server import SmtpServer
from foundation.smtp.session import ServerOptions
from foundation.tls import Identity
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from foundation.world.dns import DnsResolver
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor
from mailboxstore.daemon import MailboxStoreDaemon
from tests.unit.mailboxstore.bench import PLAIN, pieces
from tests.unit.mailboxstore.hub import TestHub, _Session
from tests.unit.mailboxstore.test_outbox_agent import told_when_down

HERE = "127.0.0.1"


class TlsHub(TestHub):
    """A hub with a certificate."""

    def __init__(self, name: str, identity: Identity) -> None:
        super().__init__(name)
        self.identity = identity

    async def start(self) -> None:
        options = ServerOptions(
            hostname=self.name, private=True, implicit_tls=self.identity.internal_server()
        )
        self._server = SmtpServer(options, lambda peer: _Session(self, peer), SystemEntropy())
        self.port = await self._server.start(HERE, self.port)


class StoreSite:
    """One store with the servers around it, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(
            clock=SystemClock(),
            entropy=SystemEntropy(),
            disk=SystemDisk(),
            resolver=DnsResolver(),
            executor=ThreadExecutor,
        )
        certificates = folder / "certificates"
        certificates.mkdir()
        make_authority(certificates, "Test", now_ms=self.world.clock.now_ms(), disk=self.world.disk)
        for name in ("hub-a", "store-a", "access", "impostor"):
            issue_certificate(certificates, name, now_ms=self.world.clock.now_ms(), disk=self.world.disk)
        self.hub = TlsHub("hub-a", self.identity("hub-a"))

    def identity(self, name: str) -> Identity:
        return Identity(self.folder / "certificates", name)

    async def start(self) -> None:
        await self.hub.start()
        nowhere = Endpoint(host=HERE, port=0)
        self.topology = Topology(
            organisation="Test",
            data=self.folder,
            default_domain="example.org",
            domains=(Domain(domain="example.org"),),
            sites=(Site(name="a"),),
            hubs=(
                HubServer(
                    name="hub-a",
                    site="a",
                    smtp_internal=Endpoint(host=HERE, port=self.hub.port),
                    rpc=nowhere,
                ),
            ),
            stores=(StoreServer(name="store-a", site="a", lmtp=nowhere, rpc=nowhere),),
            access=(AccessServer(name="access", site="a", rpc=nowhere),),
        )
        self.directory = DirectoryChanges(
            self.topology.directory_database, self.world.clock, self.world.entropy
        )
        self.directory.create_organisation("Test", "example.org", [])
        self.alice = self.directory.add_user(
            "alice@example.org", "hash", store="store-a", stores={"store-a": "default"}
        )
        await self.start_store()

    async def start_store(self) -> None:
        self.store = MailboxStoreDaemon(self.topology, "store-a", self.world, self.identity("store-a"))
        await self.store.start()
        ports = {listener.protocol: listener.port for listener in self.store.listeners}
        self.lmtp_port = ports["lmtp"]
        context = self.identity("access").internal_client()
        self.client = RpcClient(TcpTarget(HERE, ports["rpc"], context))
        self.mailboxes = self.client.interface(MailboxStore)
        self.rpc_port = ports["rpc"]

    async def stop_store(self) -> None:
        await self.client.close()
        await self.store.stop()

    async def stop(self) -> None:
        await self.stop_store()
        await self.hub.stop()
        self.directory.close()

    async def deliver(self, key: str) -> str:
        connection = await SmtpConnection.open(
            HERE,
            self.lmtp_port,
            hostname="hub-a",
            protocol="lmtp",
            implicit_tls=self.identity("hub-a").internal_client(),
        )
        result = await connection.send(
            Sender(address="dora@example.net"),
            Transfer(
                network_message_id=f"n-{key}",
                transfer_key=key,
                content_sha256=hashlib.sha256(PLAIN).hexdigest(),
            ),
            [Recipient(address="alice@example.org", recipient_id=self.alice.recipient_id)],
            lambda: pieces(PLAIN),
            len(PLAIN),
        )
        await connection.quit()
        return str(result.final[0])

    def submission(self, key: str) -> Submission:
        return Submission(
            key=key,
            network_message_id=f"n-{key}",
            mailbox_id=self.alice.mailbox_id,
            user_id=self.alice.recipient_id,
            sender=Sender(address="alice@example.org"),
            recipients=(Recipient(address="bob@example.org"),),
        )


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[StoreSite]:
    made = StoreSite(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def test_the_way_through_a_store(site: StoreSite) -> None:
    mailbox_id = site.alice.mailbox_id
    watch = site.mailboxes.watch(mailbox_id)
    assert await anext(watch) == Notice()
    assert await site.deliver("d1") == "250 2.1.5 Delivered"
    inbox = await site.mailboxes.folder(mailbox_id, "INBOX")
    assert (await anext(watch)).folder_id == inbox.folder_id
    stream = site.mailboxes.content(mailbox_id, inbox.folder_id, 1, 0, 10_000)
    content = b"".join([piece async for piece in stream])
    assert content.startswith(b"Return-Path: <dora@example.net>") and content.endswith(PLAIN)
    assert b"with LMTPS id n-d1" in content
    await site.mailboxes.submit(site.submission("s1"), pieces(PLAIN))
    taken = await site.hub.message()
    assert taken.content == PLAIN
    async with asyncio.timeout(10):
        async for _ in watch:
            if (await site.mailboxes.folder(mailbox_id, "Outbox")).uid_next == 2 and (
                await site.mailboxes.folder(mailbox_id, "Outbox")
            ).messages == 0:
                break


async def test_control_on_the_unix_socket(site: StoreSite) -> None:
    await site.deliver("d1")
    operator = RpcClient(UnixTarget(site.topology.control_socket("store-a")))
    control = operator.interface(Control)
    status = await control.status()
    assert (status.name, status.role, status.site, status.state) == ("store-a", "store", "a", "ready")
    assert {listener.protocol for listener in status.listeners} == {"lmtp", "rpc", "control"}
    assert status.details["queued"] == 0
    events = [event async for batch in control.trace("one@example.org", ()) for event in batch]
    assert [event.event for event in events] == ["DELIVER"]
    assert (await control.reload()).applied == ("certificates",)
    with pytest.raises(MailError, match="may not call"):
        await operator.interface(MailboxStore).folders(site.alice.mailbox_id)
    await operator.close()


async def test_mailboxes_are_for_access_servers_and_lmtp_for_hubs(site: StoreSite) -> None:
    context = site.identity("impostor").internal_client()
    client = RpcClient(TcpTarget(HERE, site.rpc_port, context))
    with pytest.raises(MailError, match="may not call"):
        await client.interface(MailboxStore).folders(site.alice.mailbox_id)
    assert (await client.interface(Control).status()).name == "store-a"
    await client.close()
    with pytest.raises(Exception, match=r"550 5\.7\.1"):
        await SmtpConnection.open(
            HERE, site.lmtp_port, hostname="impostor", protocol="lmtp", implicit_tls=context
        )


async def test_only_the_hub_itself_gets_the_outbox(site: StoreSite) -> None:
    site.hub.identity = site.identity("impostor")
    await site.hub.stop()
    await site.hub.start()
    agent = site.store._agent
    assert agent is not None
    down = told_when_down(agent)
    await site.mailboxes.submit(site.submission("s1"), pieces(PLAIN))
    await down.wait()
    assert "not hub-a" in agent.last_failure("hub-a") and not site.hub.taken


async def test_restart_keeps_everything(site: StoreSite) -> None:
    mailbox_id = site.alice.mailbox_id
    await site.hub.stop()
    await site.deliver("d1")
    await site.mailboxes.submit(site.submission("s1"), pieces(PLAIN))
    await site.stop_store()
    await site.hub.start()
    await site.start_store()
    taken = await site.hub.message()
    assert taken.transfer.network_message_id == "n-s1"
    assert await site.deliver("d1") == "250 2.1.5 Delivered"
    assert (await site.mailboxes.folder(mailbox_id, "INBOX")).messages == 1


async def test_directory_change_reaches_the_store(site: StoreSite) -> None:
    bob = site.directory.add_user("bob@example.org", "hash", store="store-a", stores={"store-a": "default"})
    assert len(await site.mailboxes.folders(bob.mailbox_id)) == 7
    changed = asyncio.Event()
    lookup = site.store._directory
    assert lookup is not None
    lookup.on_change(changed.set)
    site.directory.remove_user("bob@example.org")
    await changed.wait()
    with pytest.raises(MailError, match=r"5\.1\.1"):
        await site.mailboxes.folders(bob.mailbox_id)


async def test_disk_failure_is_told(site: StoreSite) -> None:
    site.store._disk_failed(OSError("disk"))
    assert site.store.failed.is_set()
