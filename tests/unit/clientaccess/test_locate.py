"""From a user to the store that has the mailbox, over real RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clientaccess.locate import Locator
from config.model import Endpoint, Site, StoreServer, Topology
from foundation.certificates import issue_certificate, make_authority
from foundation.interfaces.directory import DirectoryRecipient
from foundation.interfaces.mailbox_store import Folder, MailboxStore
from foundation.mail.errors import Unavailable
from foundation.rpc.server import RpcServer
from foundation.tls import Identity
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk


class StoreOfOneFolder:
    """Knows its folders only."""

    def __getattr__(self, name: str) -> object:
        return self.folders

    async def folders(self, mailbox_id: str) -> tuple[Folder, ...]:
        return (Folder(folder_id="f", name=mailbox_id, uid_validity=1, uid_next=1, highest_modseq=1),)


@dataclass
class Place:
    folder: Path
    server: RpcServer
    port: int
    callers: list[str]

    def locator(self, store: str) -> Locator:
        endpoint = Endpoint(host="127.0.0.1", port=self.port)
        topology = Topology(
            organisation="Example",
            default_domain="example.test",
            domains=(),
            sites=(Site(name="A"),),
            hubs=(),
            stores=(StoreServer(name=store, site="A", lmtp=endpoint, rpc=endpoint),),
            access=(),
        )
        return Locator(topology, Identity(self.folder, "access"))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    now = SystemClock().now_ms()
    make_authority(tmp_path, "Example", now_ms=now, disk=SystemDisk())
    for name in ("access", "store-a"):
        issue_certificate(tmp_path, name, now_ms=now, disk=SystemDisk())
    callers: list[str] = []

    def authorise(peer: str, service: str, method: str) -> bool:
        callers.append(peer)
        return True

    identity = Identity(tmp_path, "store-a")
    server = RpcServer(
        {MailboxStore: StoreOfOneFolder()},
        authorise=authorise,
        trace_id=lambda: "trace",
        peer_name=identity.peer_name,
    )
    port = await server.serve_tls("127.0.0.1", 0, identity.internal_server())
    yield Place(tmp_path, server, port, callers)
    await server.stop()


def user(store: str) -> DirectoryRecipient:
    return DirectoryRecipient(recipient_id="id", kind="user", address="alice@example.test", store=store)


async def test_way_to_the_store(place: Place) -> None:
    locator = place.locator("store-a")
    store = locator.store_of(user("store-a"))
    assert [folder.name for folder in await store.folders("mailbox")] == ["mailbox"]
    assert locator.store_of(user("store-a")) is store
    assert place.callers == ["access"]
    await locator.close()
    with pytest.raises(Unavailable):
        await store.folders("mailbox")


async def test_another_server_at_the_stores_address_is_not_trusted(place: Place) -> None:
    locator = place.locator("store-b")
    with pytest.raises(Unavailable):
        await locator.store_of(user("store-b")).folders("mailbox")
    assert place.callers == []
    await locator.close()


async def test_store_that_is_not_there(place: Place) -> None:
    locator = place.locator("store-a")
    await place.server.stop()
    with pytest.raises(Unavailable) as told:
        await locator.store_of(user("store-a")).folders("mailbox")
    assert (told.value.code, told.value.status) == (451, "4.3.2")
    await locator.close()


async def test_unknown_store(place: Place) -> None:
    locator = place.locator("store-a")
    with pytest.raises(Unavailable, match="store-z") as told:
        locator.store_of(user("store-z"))
    assert (told.value.code, told.value.status) == (451, "4.3.2")
    await locator.close()
