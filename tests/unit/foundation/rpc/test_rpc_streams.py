"""Uploads and downloads: order, credit, bounded memory, and how each side learns that the other is gone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from foundation.interfaces.mailbox_store import Fields, MailboxStore, Notice, Refusal, Submission
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError, Unavailable
from foundation.rpc.errors import ConnectionLost
from foundation.rpc.streams import WINDOW_BYTES
from tests.unit.foundation.rpc.rig import FOLDER, Rig, SmallStore, until


def submission(key: str = "k") -> Submission:
    return Submission(
        key=key,
        network_message_id="n",
        mailbox_id="m",
        user_id="u",
        sender=Sender(address="a@a.test"),
        recipients=(Recipient(address="b@b.test", notify="NEVER"),),
        received=b"Received: x\r\n",
    )


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def test_an_upload(remote: MailboxStore, small_store: SmallStore) -> None:
    content = [b"a" * 10, b"", b"b" * (700 << 10), b"c"]
    await remote.submit(submission(), pieces(*content))
    await remote.submit(submission("second"), content=pieces())
    assert small_store.submitted == [(submission(), b"".join(content)), (submission("second"), b"")]


async def test_a_download(remote: MailboxStore, small_store: SmallStore) -> None:
    got = [piece async for piece in remote.content("m", "f", 1, 0, (2 << 20) + 5)]
    assert b"".join(got) == b"\0" * (1 << 20) + b"\1" * (1 << 20) + b"\2" * 5
    assert max(map(len, got)) <= 256 << 10
    assert small_store.closed.is_set()


async def test_ten_thousand_records(remote: MailboxStore) -> None:
    uids = [
        record.uid
        async for batch in remote.records("m", "f", ((1, 10_000),), Fields(envelope=True))
        for record in batch
    ]
    assert uids == list(range(1, 10_001))


async def test_a_watch_pushes(remote: MailboxStore, small_store: SmallStore) -> None:
    watch = remote.watch("m")
    assert await anext(watch) == Notice()
    for modseq in range(3):
        small_store.notices.put_nowait(Notice(folder_id="f", highest_modseq=modseq))
        assert await anext(watch) == Notice(folder_id="f", highest_modseq=modseq)
    await watch.aclose()  # type: ignore[attr-defined]
    await small_store.closed.wait()


async def test_many_watches_and_calls_share_a_connection(rig: Rig, remote: MailboxStore) -> None:
    watches = [remote.watch("m") for _ in range(500)]
    await asyncio.gather(*(anext(watch) for watch in watches))
    assert await remote.folders("m") == (FOLDER,)
    assert rig.server.connections == 1
    for watch in watches:
        await watch.aclose()  # type: ignore[attr-defined]


async def test_leaving_a_download_closes_it_there(remote: MailboxStore, small_store: SmallStore) -> None:
    async for _ in remote.content("m", "f", 1, 0, 1 << 30):
        break
    await small_store.closed.wait()
    assert small_store.given_bytes < 8 << 20


async def test_a_cancelled_reader_closes_it_there(remote: MailboxStore, small_store: SmallStore) -> None:
    async def read() -> None:
        async for _ in remote.watch("m"):
            small_store.entered.set()

    reader = asyncio.create_task(read())
    await small_store.entered.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await small_store.closed.wait()


async def test_a_slow_reader_makes_the_server_wait(remote: MailboxStore, small_store: SmallStore) -> None:
    download = remote.content("m", "f", 1, 0, 50 << 20)
    taken = 0
    for _ in range(20):
        taken += len(await anext(download))
        assert await remote.folders("m") == (FOLDER,)
        assert small_store.given_bytes - taken <= WINDOW_BYTES + (2 << 20)
    await download.aclose()  # type: ignore[attr-defined]


async def test_a_slow_server_makes_the_uploader_wait(remote: MailboxStore, small_store: SmallStore) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 100_000
            yield b"x" * 100_000

    upload = asyncio.create_task(remote.append("m", "slow", 0, (), 0, 0, chunks()))
    await until(lambda: small_store.taken_bytes > 0)
    for _ in range(20):
        assert await remote.folders("m") == (FOLDER,)
    assert sent <= WINDOW_BYTES * 2
    small_store.go_on.set()
    assert (await upload).uid == 10_000_000


async def test_a_refused_upload_ends_at_once(remote: MailboxStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    with pytest.raises(Refusal) as caught:
        await remote.append("m", "missing", 0, (), 0, 0, endless())
    assert caught.value.reason == "TRYCREATE"


async def test_an_upload_whose_source_fails_is_no_upload(
    remote: MailboxStore, small_store: SmallStore
) -> None:
    async def fails() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise ConnectionResetError("the client vanished")

    with pytest.raises(ConnectionResetError):
        await remote.submit(submission(), fails())
    await small_store.done.wait()
    assert isinstance(small_store.upload_error, Unavailable)
    assert small_store.submitted == []


async def test_a_cancelled_upload_is_no_upload(remote: MailboxStore, small_store: SmallStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        small_store.entered.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(remote.submit(submission(), endless()))
    await small_store.entered.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    await small_store.done.wait()
    assert small_store.submitted == []


async def test_a_complete_upload_is_done_even_when_its_caller_is_gone(
    rig: Rig, remote: MailboxStore, small_store: SmallStore
) -> None:
    upload = asyncio.create_task(remote.submit(submission("slow"), pieces(b"whole")))
    await small_store.entered.wait()
    upload.cancel()
    await until(lambda: upload.done())
    small_store.go_on.set()
    await small_store.done.wait()
    assert small_store.submitted == [(submission("slow"), b"whole")]


@pytest.mark.parametrize(("uid", "expected"), [(404, "EXPUNGED"), (500, "SERVERBUG")])
async def test_an_error_ends_a_download_after_what_came_before(
    remote: MailboxStore, uid: int, expected: str
) -> None:
    got = 0
    with pytest.raises(MailError) as caught:
        async for piece in remote.content("m", "f", uid, 0, 600_000):
            got += len(piece)
    assert got == 600_000
    assert caught.value.reason == expected
    assert "secret" not in caught.value.sentence


async def test_a_lost_connection_ends_streams_on_both_sides(rig: Rig, small_store: SmallStore) -> None:
    client = rig.client()
    store = client.interface(MailboxStore)
    watch = store.watch("m")
    await anext(watch)

    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        small_store.entered.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(store.submit(submission(), endless()))
    await small_store.entered.wait()
    (await client.connection()).abort()
    with pytest.raises(ConnectionLost):
        await anext(watch)
    with pytest.raises(ConnectionLost) as caught:
        await upload
    assert caught.value.sent
    await small_store.closed.wait()
    await small_store.done.wait()
    assert small_store.submitted == []


async def test_a_server_that_stops_ends_watches(
    rig: Rig, remote: MailboxStore, small_store: SmallStore
) -> None:
    watch = remote.watch("m")
    await anext(watch)
    stop = asyncio.create_task(rig.server.stop())
    with pytest.raises(Unavailable, match="stopping"):
        await anext(watch)
    await stop
    assert small_store.closed.is_set()


_BIG = """
import asyncio, resource
from foundation.interfaces.mailbox_store import MailboxStore
from tests.unit.foundation.rpc.rig import Rig, SmallStore

async def main():
    store = SmallStore()
    rig = Rig({MailboxStore: store})
    await rig.start()
    remote = rig.client().interface(MailboxStore)
    async def up(total):
        for _ in range(total >> 20):
            yield bytes(1 << 20)
    async for _ in remote.content("m", "f", 1, 0, 1 << 20):
        pass
    await remote.append("m", "n", 0, (), 0, 0, up(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    got = 0
    async for piece in remote.content("m", "f", 1, 0, 50 << 20):
        got += len(piece)
    assert got == 50 << 20
    await remote.append("m", "n", 0, (), 0, 0, up(50 << 20))
    assert store.taken_bytes == 51 << 20
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    await rig.stop()

asyncio.run(main())
"""


def test_fifty_mebibytes_each_way_take_little_memory() -> None:
    grown = subprocess.run([sys.executable, "-c", _BIG], check=True, capture_output=True, text=True).stdout
    assert int(grown) < 16 * 1024  # KiB
