"""`python -m tests.harness.stepped` is `waypost` with a clock that the test sets: the file that
WAYPOST_TEST_CLOCK_FILE names holds by how many milliseconds the wall clock is off."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import waypost.service
from foundation.interfaces.world import World
from foundation.world.clock import SystemClock
from waypost.cli.main import main
from waypost.world import real_world


class SteppedClock(SystemClock):
    def __init__(self, file: Path) -> None:
        self._file = file

    def now_ms(self) -> int:
        try:
            return super().now_ms() + int(self._file.read_text() or "0")
        except FileNotFoundError:
            return super().now_ms()


def stepped_world() -> World:
    world = real_world()
    fields = {name: getattr(world, name) for name in world.__dataclass_fields__}
    return World(**{**fields, "clock": SteppedClock(Path(os.environ["WAYPOST_TEST_CLOCK_FILE"]))})


if __name__ == "__main__":
    waypost.service.real_world = stepped_world
    sys.argv[0] = "waypost"
    main()
