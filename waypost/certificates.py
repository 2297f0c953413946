"""Between a server and whoever issues its certificate: `waypost init` may run beside it, in no set order."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from foundation.tls import CertificateError, Identity

log = logging.getLogger("waypost.service")

WAIT_SECONDS = 60
POLL_SECONDS = 0.25


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
