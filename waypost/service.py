"""One server as a process: its event loop, its signals, the lock of its folder, and word to whoever waits
for it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

import msgspec

from config.model import Topology
from config.reload import ReadAgain
from foundation.database.engine import SchemaError
from foundation.interfaces.control import Listener, ReloadOutcome, ServerStatus
from foundation.tls import CertificateError, Identity
from waypost.certificates import follow_certificates, wait_for_certificate
from waypost.lock import FolderHeld, FolderLock
from waypost.logs import configure_logging
from waypost.migrations.upgrade import upgrade
from waypost.servers import Role, Server
from waypost.world import real_world

log = logging.getLogger("waypost.service")

_DAEMONS: dict[Role, tuple[str, str]] = {
    "hub": ("hubtransport.daemon", "HubTransport"),
    "store": ("mailboxstore.daemon", "MailboxStoreDaemon"),
    "access": ("clientaccess.daemon", "ClientAccess"),
}

LOCK_WAIT_SECONDS = 5
"""A predecessor that was told to stop may still be giving up its folder."""

NEW_OBJECTS_BEFORE_COLLECTION = 5000
"""The interpreter's own 700 suit programs that make cycles; a server's garbage goes by reference count."""

FREED_BYTES_KEPT = 16 * 1024 * 1024
"""Of each of the C library's heaps, before it gives memory back to the system."""
OWN_MAPPING_BYTES = 4 * 1024 * 1024
"""What is as large as this has a mapping of its own, given back at once."""

STOP_WITHIN_SECONDS = 40
"""What a stop may take; every part of it is bounded, but for what runs in a thread and can't be ended."""


class Daemon(Protocol):
    """What the three daemon classes have in common."""

    listeners: tuple[Listener, ...]
    failed: asyncio.Event
    """Set when it can't go on, the disk having failed under a commit: end the process, and start it again."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def status(self) -> ServerStatus: ...

    async def reload(self) -> ReloadOutcome: ...


def make_daemon(
    topology: Topology,
    server: Server,
    identity: Identity,
    world: Any = None,
    read_again: ReadAgain | None = None,
) -> Daemon:
    """Builds the daemon of a server, not yet started; only its own package is imported.

    `read_again`: where a reload gets the settings from; without it certificates alone are read anew.
    """
    module, name = _DAEMONS[server.role]
    daemon: Daemon = getattr(importlib.import_module(module), name)(
        topology, server.name, world or real_world(), identity, upgrade=upgrade, read_again=read_again
    )
    return daemon


def identity_of(topology: Topology, server: Server) -> Identity:
    return Identity(
        topology.certificates,
        server.name,
        certificate_file=getattr(server.settings, "certificate_file", ""),
        key_file=getattr(server.settings, "key_file", ""),
    )


class Notification:
    """Tells the supervisor, over an inherited pipe, that the server is ready: its status as one line of
    JSON."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def ready(self, status: ServerStatus) -> None:
        if self._descriptor < 0:
            return
        os.write(self._descriptor, msgspec.json.encode(status) + b"\n")
        os.close(self._descriptor)
        self._descriptor = -1


def _end_within(seconds: float) -> None:
    """Ends the process if it has not ended by then: nothing that was answered is lost by that."""

    def end() -> None:
        log.error("not stopped within %g s, ends without it", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def die_with(supervisor: int) -> None:
    """This process is killed when its parent ends, however that ends (Linux; elsewhere it finds itself
    orphaned)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # prctl(2) PR_SET_PDEATHSIG
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != supervisor:  # it ended before the line above
        sys.exit(1)


def serve(
    topology: Topology, server: Server, notification: Notification, read_again: ReadAgain | None = None
) -> int:
    """Runs the server until it is told to stop; returns the exit code."""
    import uvloop

    configure_logging(server.name)
    keep_freed_memory()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(topology, server, notification, read_again))
    except Exception:
        log.exception("ended by an error that nobody foresaw")
        return 1


async def _serve(
    topology: Topology, server: Server, notification: Notification, read_again: ReadAgain | None
) -> int:
    loop = asyncio.get_running_loop()
    stopping, reload_wanted = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload_wanted.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    identity = identity_of(topology, server)
    try:
        lock = await _hold(topology, server)
        if not await wait_for_certificate(identity, stopping):
            log.info("stopped")
            return 0
        daemon = make_daemon(topology, server, identity, read_again=read_again)
    except (FolderHeld, CertificateError) as error:
        log.error("can't start: %s", error)
        return 1
    following = asyncio.create_task(
        follow_certificates(_certificate_files(topology, server), lambda: _take_certificates(identity)),
        name="certificates",
    )
    try:
        return await _run(daemon, stopping, reload_wanted, notification)
    finally:
        following.cancel()
        _end_within(STOP_WITHIN_SECONDS)
        await daemon.stop()
        lock.release()
        log.info("stopped")


async def _run(
    daemon: Daemon, stopping: asyncio.Event, reload_wanted: asyncio.Event, notification: Notification
) -> int:
    """From the start to the word to stop; returns the exit code."""
    starting = asyncio.create_task(daemon.start(), name="start")
    told_to_stop = asyncio.create_task(stopping.wait(), name="stop signal")
    failing = asyncio.create_task(daemon.failed.wait(), name="failure")
    reloading: asyncio.Task[None] | None = None
    try:
        await asyncio.wait((starting, told_to_stop), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        await starting
        spare_what_stays()
        notification.ready(daemon.status())
        log.info("ready", extra={"listeners": _described(daemon.listeners)})
        reloading = asyncio.create_task(_reload_when_wanted(daemon, reload_wanted), name="reload")
        await asyncio.wait((told_to_stop, failing), return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        return 1 if failing.done() else 0
    except asyncio.CancelledError:
        return 0
    except (OSError, CertificateError, SchemaError) as error:
        log.error("can't start: %s", error)
        return 1
    finally:
        told_to_stop.cancel()
        failing.cancel()
        if reloading is not None:
            reloading.cancel()


def spare_what_stays() -> None:
    """The garbage collector leaves alone what the start made, and looks at new objects by the thousand: a
    look at everything stops a server for 50 ms.
    """
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_BEFORE_COLLECTION)


def keep_freed_memory() -> None:
    """Memory of a page of contents, or of a large message, is used again as it is: else the C library gives
    it back to the system, which clears it page by page for the next one (glibc only).
    """
    trim_threshold, mapping_threshold = -1, -3  # mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(trim_threshold, FREED_BYTES_KEPT)
        mallopt(mapping_threshold, OWN_MAPPING_BYTES)


async def _hold(topology: Topology, server: Server) -> FolderLock:
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_SECONDS
    while True:
        try:
            return FolderLock(
                topology.server_folder(server.name), f"waypost run {server.role} --name {server.name}"
            )
        except FolderHeld:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.05)


def _certificate_files(topology: Topology, server: Server) -> list[Path]:
    """What renewal replaces last: the server's own certificate, and the one that the public sees."""
    public = getattr(server.settings, "certificate_file", "")
    return [topology.certificates / f"{server.name}.pem", *([Path(public)] if public else [])]


def _take_certificates(identity: Identity) -> None:
    try:
        identity.reload()
    except CertificateError as error:
        log.error("the renewed certificate can't be used: %s", error)
    else:
        log.info("takes its renewed certificate")


async def _reload_when_wanted(daemon: Daemon, wanted: asyncio.Event) -> None:
    """One reload after the other, each with what the files say then."""
    while True:
        await wanted.wait()
        wanted.clear()
        try:
            _tell(await daemon.reload())
        except Exception:
            log.exception("the reload failed")


def _tell(outcome: ReloadOutcome) -> None:
    for problem in outcome.problems:
        log.error("nothing was reloaded: %s", problem)
    if outcome.problems:
        return
    log.info("reloaded", extra={"applied": outcome.applied})
    if outcome.needs_restart:
        log.warning("changed, but counts after a restart", extra={"settings": outcome.needs_restart})
    if outcome.first_start:
        log.warning(
            "changed, but counts only in a new directory: use `waypost domain` and `waypost user`",
            extra={"settings": outcome.first_start},
        )


def _described(listeners: tuple[Listener, ...]) -> list[str]:
    return [f"{listener.protocol} {listener.host}:{listener.port}" for listener in listeners]
