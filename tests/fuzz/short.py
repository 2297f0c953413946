"""The short form for the suite: each target in a process of its own, so that its memory is its own, and all
at once, so that each has its time by the clock while tests beside it wait for servers."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from tests.harness.patience import patient

SECONDS = float(os.environ.get("WAYPOST_FUZZ_SECONDS", "3"))
"""For each target, beside its corpus; `make test` gives a minute."""
SEED = 1
"""The suite repeats itself; `make fuzz` begins elsewhere each time."""


@asynccontextmanager
async def fuzzing(targets: Sequence[str]) -> AsyncIterator[dict[str, Process]]:
    """The processes by target."""
    async with AsyncExitStack() as stack:
        yield {target: await stack.enter_async_context(_fuzzing(target)) for target in targets}


@asynccontextmanager
async def _fuzzing(target: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fuzz", target, "--seconds", str(SECONDS), "--seed", str(SEED)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def printed_by(process: Process) -> str:
    """Once it has ended."""
    printed, _ = await asyncio.wait_for(process.communicate(), SECONDS + patient(60))
    return printed.decode()
