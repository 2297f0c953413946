"""A server and a client on loopback for the tests of this folder, with stores that do little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from foundation.interfaces.mailbox_store import (
    Appended,
    Changes,
    FlagEntry,
    Folder,
    Key,
    MailboxStore,
    Notice,
    Record,
    Refusal,
    Submission,
)
from foundation.mail.errors import MailError, Unavailable
from foundation.rpc.client import RpcClient, TcpTarget
from foundation.rpc.server import RpcServer
from foundation.rpc.services import RpcLimits

FOLDER = Folder(folder_id="f1", name="INBOX", role="inbox", uid_validity=1, uid_next=8, highest_modseq=9)


class SmallStore(MailboxStore):
    """Some methods of a mailbox store, and what they saw."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Submission, bytes]] = []
        self.keys: list[Key] = []
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.done = asyncio.Event()
        self.closed = asyncio.Event()
        self.given_bytes = 0
        self.taken_bytes = 0
        self.calls_at_once = 0
        self.most_at_once = 0
        self.upload_error: BaseException | None = None
        self.notices: asyncio.Queue[Notice] = asyncio.Queue()

    async def submit(self, submission: Submission, content: AsyncIterator[bytes]) -> None:
        taken = []
        try:
            async for piece in content:
                taken.append(piece)
        except MailError as error:
            self.upload_error = error
            self.done.set()
            raise
        self.submitted.append((submission, b"".join(taken)))
        if submission.key == "slow":
            self.entered.set()
            await self.go_on.wait()
        self.done.set()

    async def folders(self, mailbox_id: str) -> tuple[Folder, ...]:
        return (FOLDER,)

    async def folder(self, mailbox_id: str, name: str) -> Folder:
        match name:
            case "missing":
                raise Refusal("NONEXISTENT", "There is no such folder")
            case "full":
                raise Refusal("OVERQUOTA", "The mailbox is full", 552, "5.2.2")
            case "away":
                raise Unavailable("The database is away")
            case "other":
                raise MailError(554, "5.6.0", "Something else", "OTHER")
            case "broken":
                raise ValueError("secret detail")
            case "unsendable":
                return object()  # type: ignore[return-value]
        return FOLDER

    async def set_subscribed(self, mailbox_id: str, name: str, subscribed: bool) -> None:
        """Waits until told to go on."""
        self.calls_at_once += 1
        self.most_at_once = max(self.most_at_once, self.calls_at_once)
        self.entered.set()
        await self.go_on.wait()
        self.calls_at_once -= 1
        self.done.set()

    async def changes(self, mailbox_id: str, folder_id: str, since_modseq: int) -> Changes:
        updated = tuple(FlagEntry(uid, 1, uid, ("$Junk",)) for uid in range(since_modseq))
        return Changes(highest_modseq=9, uid_next=8, expunged=(3, 4), updated=updated)

    async def search(self, mailbox_id: str, folder_id: str, key: Key) -> tuple[int, ...]:
        self.keys.append(key)
        return (1, 2, 7)

    async def append(
        self,
        mailbox_id: str,
        name: str,
        flags: int,
        keywords: tuple[str, ...],
        internal_date_ms: int,
        internal_offset_minutes: int,
        content: AsyncIterator[bytes],
    ) -> Appended:
        if name == "missing":
            raise Refusal("TRYCREATE", "There is no such folder")
        async for piece in content:
            self.taken_bytes += len(piece)
            if name == "slow":
                await self.go_on.wait()
        return Appended(uid_validity=1, uid=self.taken_bytes)

    async def records(
        self, mailbox_id: str, folder_id: str, uids: object, fields: object
    ) -> AsyncIterator[tuple[Record, ...]]:
        for first in range(1, 10_001, 100):
            yield tuple(
                Record(
                    uid=uid,
                    modseq=uid,
                    flags=1,
                    internal_date_ms=uid,
                    save_date_ms=uid,
                    size_bytes=uid,
                    email_id=f"e{uid}",
                    thread_id=f"t{uid}",
                    envelope=b"(%d)" % uid,
                )
                for uid in range(first, first + 100)
            )

    async def content(
        self, mailbox_id: str, folder_id: str, uid: int, offset: int, length: int
    ) -> AsyncIterator[bytes]:
        try:
            for start in range(offset, offset + length, 1 << 20):
                piece = bytes([start >> 20 & 255]) * min(1 << 20, offset + length - start)
                self.given_bytes += len(piece)
                yield piece
            if uid == 404:
                raise Refusal("EXPUNGED", "The message is gone")
            if uid == 500:
                raise ValueError("secret detail")
        finally:
            self.closed.set()

    async def watch(self, mailbox_id: str) -> AsyncIterator[Notice]:
        try:
            yield Notice()
            while True:
                yield await self.notices.get()
        finally:
            self.closed.set()


class Rig:
    """One server, and clients of it."""

    def __init__(self, services: Mapping[Any, object], limits: RpcLimits | None = None) -> None:
        self.refused: list[tuple[str, str, str]] = []
        self.asked: list[tuple[str, str, str]] = []
        self.server = RpcServer(
            services, authorise=self._authorise, trace_id=lambda: "trace-1", limits=limits
        )
        self.port = 0
        self._clients: list[RpcClient] = []

    def _authorise(self, *question: str) -> bool:
        self.asked.append(question)  # type: ignore[arg-type]
        return question not in self.refused

    async def start(self) -> None:
        self.port = await self.server.serve_tls("127.0.0.1", 0, None)

    def client(self, **options: Any) -> RpcClient:
        made = RpcClient(TcpTarget("127.0.0.1", self.port), **options)
        self._clients.append(made)
        return made

    async def stop(self) -> None:
        for client in self._clients:
            await client.close()
        await self.server.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until something is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
