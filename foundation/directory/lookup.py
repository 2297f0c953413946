"""The directory as the daemons ask it: a snapshot in memory that follows the database within a second.

Promises: a daemon starts with the directory away, from the snapshot of its last run; what the snapshot does
not know is asked of the directory itself before anybody is told "unknown", and when it can't be asked the
answer is Unavailable (451 4.3.0), never "unknown".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from foundation.directory.reading import DirectorySource, DirectoryUnreachable
from foundation.directory.snapshot import FORMAT_VERSION, Changes, Snapshot
from foundation.interfaces.directory import AcceptedDomain, Credentials, DirectoryRecipient
from foundation.interfaces.world import World
from foundation.mail.address import address_key, domain_key, split_address
from foundation.mail.errors import Unavailable

log = logging.getLogger("waypost.directory")

T = TypeVar("T")

POLL_SECONDS = 0.25
POLL_FAILED_SECONDS = 1.0
SAVE_SECONDS_MIN = 5.0


class DirectoryLookup:
    """Implements foundation.interfaces.directory.Directory."""

    def __init__(self, url: str, snapshot_file: Path, world: World) -> None:
        self._file = snapshot_file
        self._world = world
        self._source = DirectorySource(url)
        self._executor = world.executor("directory", 1)
        self._snapshot = Snapshot()
        self._revision = 0
        self._callbacks: list[Callable[[], None]] = []
        self._reading = asyncio.Lock()
        self._reads_begun = 0
        self._read_done = 0
        self._failure: DirectoryUnreachable | None = DirectoryUnreachable("the directory was not read yet")
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._unsaved = False
        self._saved_at = world.clock.monotonic() - SAVE_SECONDS_MIN

    async def start(self) -> None:
        """Returns with the newest state that can be had: the directory's, else the last snapshot's."""
        await self._load()
        await self._refresh()
        if self._failure is not None:
            log.warning("started without the directory: %s", self._failure)
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        async with self._reading:
            if self._unsaved:
                await self._save()
            await self._executor.run(self._source.close)
        self._executor.close()

    @property
    def reachable(self) -> bool:
        """Whether the last question to the directory was answered."""
        return self._failure is None

    def on_change(self, callback: Callable[[], None]) -> None:
        """Called on the event loop after each change that was taken over."""
        self._callbacks.append(callback)

    def revision(self) -> int:
        return self._revision

    async def accepted_domain(self, domain: str) -> AcceptedDomain | None:
        key = domain_key(domain)
        return await self._look_up(lambda: self._snapshot.domain(key)) if key else None

    async def accepted_domains(self) -> tuple[AcceptedDomain, ...]:
        return await self._look_up(lambda: self._snapshot.domains() or None) or ()

    async def find(self, address: str) -> DirectoryRecipient | None:
        """`local+detail@domain` is found as `local@domain` where it has no address of its own (RFC 5233)."""
        keys = _keys(address)
        return await self._look_up(lambda: _first(self._snapshot.by_key, keys)) if address else None

    async def find_id(self, recipient_id: str) -> DirectoryRecipient | None:
        return await self._look_up(lambda: self._snapshot.by_id(recipient_id))

    async def members(self, group_id: str) -> tuple[DirectoryRecipient | str, ...]:
        return await self._look_up(lambda: self._snapshot.members(group_id) or None) or ()

    async def credentials(self, login: str) -> Credentials | None:
        """None also for a user who may not log on."""

        def known() -> Credentials | None:
            domain = self._snapshot.organisation.default_domain
            return self._snapshot.credentials(address_key(login if "@" in login else f"{login}@{domain}"))

        return await self._look_up(known) if login else None

    async def mailbox(self, mailbox_id: str) -> DirectoryRecipient | None:
        return await self._look_up(lambda: self._snapshot.by_mailbox(mailbox_id))

    async def mailboxes_of(self, store: str) -> tuple[str, ...]:
        return await self._look_up(lambda: self._snapshot.mailboxes_of(store) or None) or ()

    async def postmaster(self) -> DirectoryRecipient | None:
        return await self._look_up(self._snapshot.postmaster)

    async def refresh(self) -> None:
        await self._refresh()
        if self._failure is not None:
            raise Unavailable("The directory can't be asked now, try again later", 451, "4.3.0")

    async def _look_up(self, known: Callable[[], T | None]) -> T | None:
        """From the snapshot; a miss is asked of the directory. Raises Unavailable."""
        found = known()
        if found is None:
            await self.refresh()
            found = known()
        return found

    async def _refresh(self) -> None:
        """Returns after a read that began after this call, shared by all who wait for one."""
        wanted = self._reads_begun + 1
        async with self._reading:
            if self._read_done >= wanted:
                return
            self._reads_begun += 1
            number = self._reads_begun
            organisation = self._snapshot.organisation
            try:
                if self._stopped:
                    raise DirectoryUnreachable("this server is stopping")
                changes = await self._executor.run(
                    self._source.changes, organisation.organisation_id, organisation.revision
                )
            except DirectoryUnreachable as failure:
                self._failure, self._read_done = failure, number
                return
            self._failure, self._read_done = None, number
            if changes is not None:
                self._apply(changes)
                self._unsaved = True

    def _apply(self, changes: Changes) -> None:
        self._snapshot.apply(changes)
        # Also rises when the directory was put back from an older copy.
        self._revision = max(self._revision + 1, changes.organisation.revision)
        for callback in self._callbacks:
            callback()

    async def _follow(self) -> None:
        reachable = self.reachable
        while True:
            await asyncio.sleep(POLL_SECONDS if self.reachable else POLL_FAILED_SECONDS)
            try:
                await self._refresh()
                if self._unsaved and self._world.clock.monotonic() - self._saved_at >= SAVE_SECONDS_MIN:
                    async with self._reading:
                        await self._save()
            except Exception:
                log.exception("following the directory failed; it goes on")
            if reachable != self.reachable:
                reachable = self.reachable
                log.warning("directory reached again" if reachable else f"directory lost: {self._failure}")

    async def _load(self) -> None:
        try:
            data = await self._executor.run(self._world.disk.read, self._file)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("directory snapshot %s can't be read: %s", self._file, error)
            return
        try:
            changes = msgspec.msgpack.decode(data, type=Changes)
            if changes.version != FORMAT_VERSION or not changes.whole:
                raise msgspec.ValidationError(f"format {changes.version}")
        except msgspec.DecodeError as error:
            log.warning("directory snapshot %s can't be used: %s", self._file, error)
            return
        self._apply(changes)

    async def _save(self) -> None:
        self._unsaved = False
        self._saved_at = self._world.clock.monotonic()
        try:
            await self._executor.run(self._write, self._snapshot.export())
        except OSError as error:
            self._unsaved = True
            log.warning("directory snapshot %s can't be written: %s", self._file, error)

    def _write(self, changes: Changes) -> None:
        # It holds password hashes: for this user only.
        self._world.disk.write(self._file, msgspec.msgpack.encode(changes), 0o600)


def _keys(address: str) -> tuple[str, ...]:
    """Under which keys a recipient is looked for, best first."""
    key = address_key(address)
    local, domain = split_address(key)
    base = local.partition("+")[0]
    return (key,) if base in ("", local) else (key, f"{base}@{domain}")


def _first(
    find: Callable[[str], DirectoryRecipient | None], keys: tuple[str, ...]
) -> DirectoryRecipient | None:
    return next((found for found in map(find, keys) if found is not None), None)
