"""The `waypost` command as a process, for tests of what it prints."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.patience import patient


@dataclass(frozen=True)
class Printed:
    code: int
    out: str
    errors: str

    @property
    def document(self) -> dict[str, Any]:
        """What `--json` printed."""
        found: dict[str, Any] = json.loads(self.out)
        assert found["version"] == 1
        return found


async def waypost(config: Path, *arguments: str, seconds: float = 60) -> Printed:
    """Runs `waypost ARGUMENTS --config CONFIG` to its end, in a pipe."""
    environment = {key: value for key, value in os.environ.items() if key != "WAYPOST_CONFIG"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "waypost", *arguments, "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, errors = await asyncio.wait_for(process.communicate(), patient(seconds))
    assert process.returncode is not None
    return Printed(process.returncode, out.decode(), errors.decode())
