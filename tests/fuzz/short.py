"""The short form for the suite: each target in a process of its own, so that its memory is its own."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.harness.patience import patient

SECONDS = float(os.environ.get("WAYPOST_FUZZ_SECONDS", "3"))
"""For each target, beside its corpus; `make test` gives a minute."""
SEED = 1
"""The suite repeats itself; `make fuzz` begins elsewhere each time."""


async def fuzzed(target: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fuzz", target, "--seconds", str(SECONDS), "--seed", str(SEED)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), SECONDS + patient(60))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    print(printed.decode())
    assert process.returncode == 0, printed.decode()
