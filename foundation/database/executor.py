"""Where blocking database work runs: handed in, daemons use threads, a simulator runs it inline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Executor(Protocol):
    """The part of `foundation.interfaces.world.Executor` that databases need."""

    async def run(self, function: Callable[..., T], *arguments: object) -> T: ...
