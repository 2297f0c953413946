"""Plain calls: what comes back, what failure means, and that what has begun is done."""

from __future__ import annotations

import asyncio
import logging
import socket

import msgspec
import pytest

from foundation.interfaces.mailbox_store import (
    And,
    BodyContains,
    Changes,
    Everything,
    FlagEntry,
    HasFlag,
    InUids,
    MailboxStore,
    Not,
    Or,
    Refusal,
)
from foundation.mail.errors import MailError, Unavailable
from foundation.rpc.client import RpcClient, TcpTarget, UnixTarget
from foundation.rpc.errors import CallFailed, ConnectionLost, DeadlineExceeded
from foundation.rpc.services import RpcLimits
from tests.unit.foundation.rpc.rig import FOLDER, Rig, SmallStore, until


async def test_results_come_back_with_their_types(remote: MailboxStore) -> None:
    assert await remote.folders("m") == (FOLDER,)
    assert await remote.folder(mailbox_id="m", name="INBOX") == FOLDER
    assert await remote.changes("m", "f", 2) == Changes(
        highest_modseq=9,
        uid_next=8,
        expunged=(3, 4),
        updated=(FlagEntry(0, 1, 0, ("$Junk",)), FlagEntry(1, 1, 1, ("$Junk",))),
    )


async def test_arguments_arrive_with_their_types(small_store: SmallStore, remote: MailboxStore) -> None:
    key = And((Not(HasFlag(2)), Or((BodyContains("ü"), InUids(((1, 5), (7, 9))))), Everything()))
    assert await remote.search("m", "f", key) == (1, 2, 7)
    assert small_store.keys == [key]


async def test_a_large_result(remote: MailboxStore) -> None:
    changes = await remote.changes("m", "f", 100_000)
    assert len(changes.updated) == 100_000


async def test_refusals_and_errors_cross_the_wire(remote: MailboxStore) -> None:
    with pytest.raises(Refusal) as refusal:
        await remote.folder("m", "full")
    error = refusal.value
    assert (error.reason, error.code, error.status) == ("OVERQUOTA", 552, "5.2.2")
    assert error.sentence == "The mailbox is full"
    with pytest.raises(Unavailable) as unavailable:
        await remote.folder("m", "away")
    assert (unavailable.value.code, unavailable.value.status) == (451, "4.3.2")
    assert not isinstance(unavailable.value, CallFailed)
    with pytest.raises(MailError) as other:
        await remote.folder("m", "other")
    assert (type(other.value), other.value.reason) == (MailError, "OTHER")


@pytest.mark.parametrize("name", ["broken", "unsendable"])
async def test_an_unexpected_error_is_logged_there_and_leaks_nothing(
    remote: MailboxStore, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with pytest.raises(MailError) as caught:
        await remote.folder("m", name)
    error = caught.value
    assert (error.code, error.status) == (451, "4.3.0")
    assert "trace-1" in error.sentence
    assert "secret" not in error.sentence
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert vars(record)["trace_id"] == "trace-1"
    assert record.exc_info


async def test_a_result_beyond_the_frame_limit_is_an_error_of_this_call_only(
    remote: MailboxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foundation.rpc.frames.FRAME_LIMIT_BYTES", 1000)
    with pytest.raises(MailError) as caught:
        await remote.changes("m", "f", 1000)
    assert (caught.value.code, caught.value.status) == (451, "4.3.0")
    with pytest.raises(Refusal) as refusal:
        await remote.folder("m" * 2000, "INBOX")
    assert refusal.value.reason == "LIMIT"
    assert await remote.folders("m") == (FOLDER,)


async def test_each_call_is_authorised(rig: Rig, remote: MailboxStore) -> None:
    rig.refused.append(("", "MailboxStore", "folders"))
    with pytest.raises(MailError) as caught:
        await remote.folders("m")
    assert (caught.value.code, caught.value.status) == (451, "4.7.1")
    assert await remote.folder("m", "INBOX") == FOLDER
    assert rig.asked == [("", "MailboxStore", "folders"), ("", "MailboxStore", "folder")]


async def test_a_service_that_is_not_offered() -> None:
    rig = Rig({})
    await rig.start()
    with pytest.raises(MailError, match="does not offer MailboxStore") as caught:
        await rig.client().interface(MailboxStore).folders("m")
    assert not caught.value.permanent
    await rig.stop()


async def test_malformed_arguments_fail_this_call_only(remote: MailboxStore) -> None:
    with pytest.raises(MailError, match="malformed") as caught:
        await remote.folder("m", 17)  # type: ignore[arg-type]
    assert not caught.value.permanent
    assert await remote.folders("m") == (FOLDER,)


async def test_text_that_is_not_utf8_fails_this_call_only(remote: MailboxStore) -> None:
    with pytest.raises(MailError, match="malformed") as caught:
        await remote.folder("m", msgspec.Raw(b"\xa1\xff"))  # type: ignore[arg-type]
    assert not caught.value.permanent
    assert await remote.folders("m") == (FOLDER,)


async def test_a_call_goes_on_after_its_deadline(rig: Rig, small_store: SmallStore) -> None:
    client = rig.client(call_seconds=0.05)
    with pytest.raises(DeadlineExceeded) as caught:
        await client.interface(MailboxStore).set_subscribed("m", "INBOX", True)
    assert caught.value.sent
    assert not small_store.done.is_set()
    small_store.go_on.set()
    await small_store.done.wait()
    assert await client.interface(MailboxStore).folders("m") == (FOLDER,)


async def test_a_lost_connection_says_that_the_outcome_is_unknown(rig: Rig, small_store: SmallStore) -> None:
    client = rig.client()
    store = client.interface(MailboxStore)
    calls = [asyncio.create_task(store.set_subscribed("m", name, True)) for name in "ab"]
    await small_store.entered.wait()
    (await client.connection()).abort()
    for call in calls:
        with pytest.raises(ConnectionLost) as caught:
            await call
        assert caught.value.sent
    small_store.go_on.set()
    await small_store.done.wait()
    await until(lambda: small_store.calls_at_once == 0)
    assert await store.folders("m") == (FOLDER,)


async def test_a_cancelled_call_is_done_all_the_same(remote: MailboxStore, small_store: SmallStore) -> None:
    call = asyncio.create_task(remote.set_subscribed("m", "INBOX", True))
    await small_store.entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    small_store.go_on.set()
    await small_store.done.wait()
    assert await remote.folders("m") == (FOLDER,)


async def test_a_server_that_is_away() -> None:
    client = RpcClient(TcpTarget("127.0.0.1", 1))
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1 can't be reached") as caught:
            await client.interface(MailboxStore).folders("m")
        assert (caught.value.code, caught.value.status) == (451, "4.3.2")
        assert not caught.value.sent
    await client.close()


async def test_one_connection_carries_all_calls_and_is_made_anew(rig: Rig) -> None:
    client = rig.client()
    store = client.interface(MailboxStore)
    await asyncio.gather(*(store.folders("m") for _ in range(20)))
    assert rig.server.connections == 1
    (await client.connection()).abort()
    await until(lambda: rig.server.connections == 0)
    await asyncio.gather(*(store.folders("m") for _ in range(20)))
    assert rig.server.connections == 1


async def test_a_caller_that_is_cancelled_leaves_the_connecting_to_the_others(rig: Rig) -> None:
    store = rig.client().interface(MailboxStore)
    first = asyncio.create_task(store.folders("m"))
    second = asyncio.create_task(store.folders("m"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == (FOLDER,)


async def test_calls_wait_for_their_turn(small_store: SmallStore) -> None:
    rig = Rig({MailboxStore: small_store}, RpcLimits(calls=3))
    await rig.start()
    store = rig.client().interface(MailboxStore)
    calls = [asyncio.create_task(store.set_subscribed("m", "INBOX", True)) for _ in range(10)]
    await until(lambda: small_store.calls_at_once == 3)
    small_store.go_on.set()
    await asyncio.gather(*calls)
    assert small_store.most_at_once == 3
    await rig.stop()


async def test_too_many_connections_are_refused(small_store: SmallStore) -> None:
    rig = Rig({MailboxStore: small_store}, RpcLimits(connections=1))
    await rig.start()
    assert await rig.client().interface(MailboxStore).folders("m") == (FOLDER,)
    with pytest.raises(ConnectionLost):
        await rig.client().interface(MailboxStore).folders("m")
    await rig.stop()


async def test_a_closed_client(rig: Rig, small_store: SmallStore) -> None:
    client = rig.client()
    store = client.interface(MailboxStore)
    call = asyncio.create_task(store.set_subscribed("m", "INBOX", True))
    await small_store.entered.wait()
    await client.close()
    with pytest.raises(ConnectionLost, match="closed here"):
        await call
    with pytest.raises(ConnectionLost, match="closed here") as caught:
        await store.folders("m")
    assert not caught.value.sent
    small_store.go_on.set()


async def test_a_client_closed_while_it_connects(rig: Rig) -> None:
    client = rig.client()
    call = asyncio.create_task(client.interface(MailboxStore).folders("m"))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(ConnectionLost, match="closed here"):
        await call


async def test_a_server_that_stops_ends_what_runs_and_takes_no_more(
    rig: Rig, small_store: SmallStore
) -> None:
    store = rig.client().interface(MailboxStore)
    running = asyncio.create_task(store.set_subscribed("m", "INBOX", True))
    await small_store.entered.wait()
    stop = asyncio.create_task(rig.server.stop())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="stopping"):
        await store.folders("m")
    small_store.go_on.set()
    assert await running is None
    await stop
    with pytest.raises(ConnectionLost):
        await store.folders("m")


async def test_a_call_that_does_not_end_is_cut_at_the_stop(rig: Rig, small_store: SmallStore) -> None:
    store = rig.client().interface(MailboxStore)
    running = asyncio.create_task(store.set_subscribed("m", "INBOX", True))
    await small_store.entered.wait()
    await rig.server.stop(grace_seconds=0.01)
    with pytest.raises(CallFailed, match="stopped before the call was done") as caught:
        await running
    assert caught.value.sent


async def test_over_a_unix_socket(small_store: SmallStore, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rpc") / "s"
    for _ in range(2):
        rig = Rig({MailboxStore: small_store})
        await rig.server.serve_unix(path)
        assert path.stat().st_mode & 0o777 == 0o600
        client = RpcClient(UnixTarget(path))
        assert await client.interface(MailboxStore).folders("m") == (FOLDER,)
        await client.close()
        await rig.server.stop()
        assert not path.exists()


async def test_the_socket_of_a_dead_process_is_replaced(
    small_store: SmallStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rpc") / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    rig = Rig({MailboxStore: small_store})
    await rig.server.serve_unix(path)
    client = RpcClient(UnixTarget(path))
    assert await client.interface(MailboxStore).folders("m") == (FOLDER,)
    await client.close()
    await rig.server.stop()
