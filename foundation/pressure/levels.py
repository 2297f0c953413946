"""Back pressure, the levels: how much of a resource is used becomes normal, medium or high, with hysteresis.

Exchange's back pressure: each level is entered above one value and left at a lower one, so that a server on
the edge does not change its mind with every sample; some resources rise only after several samples.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from foundation.mail.errors import MailError

Level = Literal["normal", "medium", "high"]

LEVELS: tuple[Level, ...] = ("normal", "medium", "high")


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """`medium` and `high` are entered above these values, left at or below the others."""

    medium: float
    high: float
    back_to_medium: float
    back_to_normal: float
    samples: int = 1
    """So many in a row before the level rises."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that is at another level now."""

    resource: str
    before: Level
    after: Level
    value: float
    unit: str


class Gauge:
    """One resource."""

    def __init__(self, resource: str, unit: str, bounds: Bounds) -> None:
        self.resource = resource
        self.unit = unit
        self.bounds = bounds
        self.level: Level = "normal"
        self.value = 0.0
        self._over = 0
        """Samples in a row that asked for a higher level."""

    def sample(self, value: float) -> Change | None:
        self.value = value
        wanted = self._wanted(value)
        if LEVELS.index(wanted) > LEVELS.index(self.level):
            self._over += 1
            if self._over < self.bounds.samples:
                return None
        self._over = 0
        if wanted == self.level:
            return None
        before, self.level = self.level, wanted
        return Change(resource=self.resource, before=before, after=wanted, value=value, unit=self.unit)

    def _wanted(self, value: float) -> Level:
        bounds = self.bounds
        if value > bounds.high or (self.level == "high" and value > bounds.back_to_medium):
            return "high"
        if value > bounds.medium or (self.level != "normal" and value > bounds.back_to_normal):
            return "medium"
        return "normal"


def worst(levels: list[Level]) -> Level:
    return max(levels, key=LEVELS.index, default="normal")


def refuse_outsiders(level: Level) -> None:
    """Mail from outside waits first. Raises MailError 452 4.3.1."""
    if level != "normal":
        raise MailError(452, "4.3.1", "The server is short of resources, try again later")


def refuse_all(level: Level) -> None:
    """What is under way is finished, nothing new begun. Raises MailError 452 4.3.1."""
    if level == "high":
        raise MailError(452, "4.3.1", "The server is short of resources, try again later")
