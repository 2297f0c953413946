"""How long tests wait at most: every time-out goes through here, so one setting fits a slow machine.

WAYPOST_TEST_PATIENCE=3 waits three times as long before giving up; what arrives in time is never slowed down.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("WAYPOST_TEST_PATIENCE", "1"))

POLL_SECONDS = 0.02
"""Between two looks at something that announces nothing."""


def patient(seconds: float) -> float:
    return seconds * PATIENCE


async def turns() -> None:
    """Whoever can run now has run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until(look: Callable[[], Awaitable[T]], what: str, seconds: float = 10) -> T:
    """The first true answer of `look`; for states that no event tells of. Raises AssertionError."""
    deadline = asyncio.get_running_loop().time() + patient(seconds)
    while not (found := await look()):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"waited {patient(seconds):g} s in vain: {what}; last: {found!r}")
        await asyncio.sleep(POLL_SECONDS)
    return found
