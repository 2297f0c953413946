"""A case: what is done to each system in turns, and what is compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from benchmarks.load.sink import NextHops
from benchmarks.systems.system import System

if TYPE_CHECKING:
    from benchmarks.cases.sending import Load

Measures = dict[str, float]
"""What one round of one system gave, by the metrics' names."""


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    less: bool = False
    """Less is better."""
    goal: float | None = None
    """Waypost's figure divided by the other's must be at least that, or at most where less is better."""
    beyond: float | None = None
    absolute: bool = False
    """Goals are of Waypost's figure itself."""
    beyond_absolute: float | None = None
    """Beyond its goal if Waypost's figure itself is at most that."""


@dataclass(frozen=True)
class Growth:
    """A figure that is taken twice: of so much, and of ten times as much (under `tenfold(key)`)."""

    key: str
    title: str
    most: float
    """So many times the first the second may be: CONSTANT, or LINEAR where the work is ten times as much."""


CONSTANT = 2.0
LINEAR = 12.0
"""Ten, and what measuring is off by."""


def tenfold(key: str) -> str:
    return f"{key}@10"


@dataclass
class Run:
    """What all rounds of a run share."""

    hops: NextHops
    scale: float = 1.0
    known: MutableMapping[str, float] = field(default_factory=dict)
    """What a case keeps from its preparation."""
    siblings: list[System] = field(default_factory=list)
    """Systems that a case started; they are stopped after it."""

    def scaled(self, load: Load) -> Load:
        return replace(load, count=max(20, round(load.count * self.scale)))

    def count(self, whole: int) -> int:
        return max(20, round(whole * self.scale))


Measure = Callable[[Run, System], Awaitable[Measures]]


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    metrics: tuple[Metric, ...]
    measure: Measure
    prepare: Measure | None = None
    """Before the first round, on each system."""
    two_sites: bool = False
    run_in: bool = False
    """Of systems that have carried mail before: a new one is faster than it stays."""
    alone: bool = False
    """For Waypost alone: the goal is absolute."""
    growths: tuple[Growth, ...] = ()
    rounds_most: int | None = None
    """Fewer rounds, where one takes long and goals are absolute."""
