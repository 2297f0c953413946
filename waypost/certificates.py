"""Between a server and whoever issues its certificates: `waypost init` may run beside it, in no set order,
and renewed files are taken over without a word.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from foundation.tls import CertificateError, Identity

log = logging.getLogger("waypost.service")

WAIT_SECONDS = 60
POLL_SECONDS = 0.25
FOLLOW_SECONDS = 30.0


async def wait_for_certificate(
    identity: Identity, stopping: asyncio.Event, seconds: float = WAIT_SECONDS
) -> bool:
    """True once the server's certificate can be used; False when `stopping` comes first.

    Raises CertificateError after this long.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    told = False
    while not stopping.is_set():
        try:
            identity.internal_server()
            return True
        except CertificateError as error:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            if not told:
                log.warning(
                    "waiting up to %g s for `waypost init` to make %s, which %s",
                    seconds,
                    error.file,
                    error.problem,
                )
                told = True
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), POLL_SECONDS)
    return False


async def follow_certificates(
    files: Sequence[Path], renewed: Callable[[], None], seconds: float = FOLLOW_SECONDS
) -> None:
    """Calls `renewed` after one of the files was replaced; looks this often. Runs until it is cancelled."""
    seen = [_state(file) for file in files]
    while True:
        await asyncio.sleep(seconds)
        now = [_state(file) for file in files]
        if now != seen:
            seen = now
            renewed()


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
