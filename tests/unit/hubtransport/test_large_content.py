"""Large messages in a hub's queue are in files beside its database, as long as they wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foundation.database.files import ContentFile
from foundation.database.spool import Spool
from tests.harness.patience import until
from tests.unit.hubtransport.lab import CONTENT, Lab

LARGE = CONTENT + b"x" * 100_000 + b"\r\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foundation.database.keeping.PAUSE_SECONDS", 0.01)


def files(lab: Lab, hub: str = "hub-a") -> list[Path]:
    return list((lab.topology.server_folder(hub) / "queue.db-content").iterdir())


async def gone(lab: Lab, *hubs: str) -> bool:
    return not any(files(lab, hub) for hub in hubs)


async def test_a_file_while_it_waits_and_none_afterwards(lab: Lab) -> None:
    await lab.start("hub-a")
    await lab.send("bob@example.test", content=LARGE)  # hub-b is not there
    [file] = files(lab)
    assert file.read_bytes() == LARGE
    await lab.stop("hub-a")
    (file.parent / "0190-left-by-a-crash").write_bytes(b"half")
    await lab.start("hub-b", "hub-a")
    assert files(lab) == [file]
    (delivered,) = await lab.stores["store-b"].wait()
    assert delivered.content.endswith(LARGE)
    await until(lambda: gone(lab, "hub-a", "hub-b"), "no files are left")


async def test_private_fields_are_removed_from_large_messages_too(lab: Lab) -> None:
    await lab.start("hub-a")
    connection = await lab.connect_outside()
    private = b"X-Waypost-Anything: 1\r\n"
    await lab.send("carol@example.test", content=private + LARGE, connection=connection)
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.content.endswith(LARGE) and private not in delivered.content
    await until(lambda: gone(lab, "hub-a"), "no file is left")


async def test_a_copy_without_them_that_finds_no_room_is_refused_and_leaves_no_file(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.start("hub-a")
    store = lab.hubs["hub-a"]._store

    def write(piece: Any) -> None:
        raise OSError(28, "No space left on device")

    def full() -> ContentFile:
        assert store._files is not None
        file = store._files.create()
        file.write = write  # type: ignore[method-assign]
        return file

    monkeypatch.setattr(store, "spool", lambda: Spool(full, in_memory_bytes=10))
    connection = await lab.connect_outside()
    content = b"X-Waypost-Anything: 1\r\n" + LARGE
    result = await lab.send("carol@example.test", content=content, connection=connection)
    assert [(reply.code, reply.status) for reply in result.final] == [(452, "4.3.1")]
    await until(lambda: gone(lab, "hub-a"), "no file is left")


async def test_one_that_can_t_be_read_waits_and_says_why(lab: Lab) -> None:
    await lab.start("hub-a")
    await lab.send("bob@example.test", content=LARGE)
    [file] = files(lab)
    file.unlink()
    await lab.start("hub-b")

    async def told() -> bool:
        return any("could not be read" in entry.last_reply for entry in await lab.queued())

    await until(told, "the unit waits for its content")
    file.write_bytes(LARGE)
    (delivered,) = await lab.stores["store-b"].wait()
    assert delivered.content.endswith(LARGE)


async def test_a_database_with_a_bound_keeps_all_content_in_itself(lab: Lab) -> None:
    hubs = [hub.model_copy(update={"database_size_bytes": 1 << 30}) for hub in lab.topology.hubs]
    lab.topology = lab.topology.model_copy(update={"hubs": tuple(hubs)})
    await lab.start("hub-a")
    await lab.send("carol@example.test", content=LARGE)
    assert files(lab) == []
    (delivered,) = await lab.stores["store-a"].wait()
    assert delivered.content.endswith(LARGE)
