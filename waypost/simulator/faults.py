"""What goes wrong in a run, and when: drawn from the seed before anything starts, so a run can be told again.

Faults end before the run does; what comes then must be a healthy organisation with empty queues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Literal

from waypost.simulator.connections import Fate

FaultKind = Literal[
    "kill",
    "power",
    "power in a commit",
    "stop",
    "partition",
    "full",
    "io",
    "io-kept",
    "slow",
    "clock",
    "names",
    "outside",
    "directory",
    "disk short",
    "memory short",
    "move",
]

SEEDS_WITHOUT_FAULTS = 8
"""One in so many runs has calm weather, so that what was explained beforehand can be compared."""
SEEDS_WITH_CROWD = 10
"""In one of so many runs somebody writes to 200 recipients."""
SEEDS_WITH_DAY = 25
"""One in so many runs lasts a day, with faults that last as long as retries and delay notices need."""
DAY_SECONDS = 24 * 3600.0
FAULT_SECONDS, DAY_FAULT_SECONDS = 20.0, 2 * 3600.0
"""How long a fault lasts on average."""
DAY_DIRECTORY_SECONDS = 20.0
DISK_SHORT_PERCENT = (97.0, 98.5, 99.3, 99.6)
"""Medium and high by Exchange's bounds; at the last a hub has hardly any room."""
MEMORY_SHORT_PERCENT = (74.0, 80.0)
MEMORY_NOTICED_SECONDS = 60.0
"""A process may have much memory for so long before anything is refused."""
MOVES_FROM_SECONDS = 5.0


@dataclass(frozen=True)
class Fault:
    at: float
    kind: FaultKind
    target: str
    seconds: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        detail = f" {self.detail}" if self.detail else ""
        return f"{self.kind} {self.target}{detail} for {self.seconds:.1f} s"


@dataclass(frozen=True)
class Plan:
    seed: int
    seconds: float
    """How long people write and faults come."""
    messages: int
    crowd: int
    """Users beyond the usual ones, all of them in one message."""
    faults: tuple[Fault, ...]
    cut_share: float
    """Of connections, how many break."""
    stall_share: float
    pieces_share: float
    latency_seconds: float
    client_nonsense_share: float
    """Of submissions, how many are broken off by the client."""

    directory_seconds: float = 0.0
    """How long it takes at most to ask the directory: what is asked seldom makes a day short."""

    @property
    def calm(self) -> bool:
        return not (self.faults or self.cut_share or self.stall_share)


def plan_of(seed: int, servers: tuple[str, ...], clients: tuple[str, ...]) -> Plan:
    random = Random(f"{seed} plan")
    calm = seed % SEEDS_WITHOUT_FAULTS == 0
    day = seed % SEEDS_WITH_DAY == 13 and not calm
    seconds = DAY_SECONDS if day else random.choice((60.0, 120.0, 120.0, 300.0, 600.0))
    crowd = 200 if seed % SEEDS_WITH_CROWD == 7 else 0
    messages = random.randint(8, 24)
    if calm:
        return Plan(seed, seconds, messages, crowd, (), 0.0, 0.0, 0.2, 0.002, 0.0)
    lasting = DAY_FAULT_SECONDS if day else FAULT_SECONDS
    faults = [_fault(random, seconds, lasting, servers, clients) for _ in range(random.randint(0, 9))]
    further = Random(f"{seed} further faults")
    faults += [_further_fault(further, seconds, lasting, servers) for _ in range(further.randint(0, 4))]
    faults.sort(key=lambda fault: fault.at)
    return Plan(
        seed,
        seconds,
        messages,
        crowd,
        tuple(faults),
        cut_share=random.choice((0.0, 0.05, 0.15, 0.35)),
        stall_share=random.choice((0.0, 0.05)),
        pieces_share=random.choice((0.0, 0.2, 0.6)),
        latency_seconds=random.choice((0.0005, 0.005, 0.08)),
        client_nonsense_share=random.choice((0.0, 0.1, 0.3)),
        directory_seconds=DAY_DIRECTORY_SECONDS if day else 0.0,
    )


def _fault(
    random: Random, seconds: float, lasting: float, servers: tuple[str, ...], clients: tuple[str, ...]
) -> Fault:
    kinds: tuple[FaultKind, ...] = (
        *("kill", "kill", "kill", "power", "stop"),
        *("partition", "partition", "full", "io", "io-kept", "slow", "clock", "names", "outside"),
        *("directory", "directory"),
    )
    kind = random.choice(kinds)
    at = random.uniform(1.0, seconds)
    target = random.choice(servers)
    lasts = min(random.expovariate(1 / lasting) + 0.05, 15 * lasting)
    if kind == "partition":
        other = random.choice([name for name in servers + clients if name != target])
        pair = [target, other]
        random.shuffle(pair)
        return Fault(at, kind, pair[0], lasts, pair[1] + random.choice((" one way", " both ways")))
    if kind in ("full", "io", "io-kept"):
        return Fault(at, kind, target, min(lasts, 30.0))
    if kind == "slow":
        return Fault(at, kind, target, lasts, f"{random.uniform(0.1, 12.0):.2f}")
    if kind == "clock":
        jump = random.choice((-1, 1)) * round(math.exp(random.uniform(2.0, 15.5)))
        return Fault(at, kind, target, 0.0, str(jump))
    if kind == "names":
        return Fault(at, kind, "names", lasts, random.choice(("away", "denies", "lies")))
    if kind == "outside":
        return Fault(at, kind, "outside", lasts, random.choice(("451", "421", "mute", "garbage")))
    if kind == "directory":
        detail = random.choice(("add", "remove", "join", "leave", "alias"))
        return Fault(at, kind, "directory", 0.0, detail)
    return Fault(at, kind, target, lasts)


def _further_fault(random: Random, seconds: float, lasting: float, servers: tuple[str, ...]) -> Fault:
    """Those that came to the simulation later: drawn apart, so that the others stay as they were."""
    kinds: tuple[FaultKind, ...] = ("disk short", "memory short", "power in a commit", "move", "move")
    kind = random.choice(kinds)
    at = random.uniform(MOVES_FROM_SECONDS, seconds)
    target = random.choice(servers)
    lasts = min(random.expovariate(1 / lasting) + 5.0, 15 * lasting)
    if kind == "disk short":
        return Fault(at, kind, target, lasts, str(random.choice(DISK_SHORT_PERCENT)))
    if kind == "memory short":
        percent = random.choice(MEMORY_SHORT_PERCENT)
        return Fault(at, kind, target, MEMORY_NOTICED_SECONDS + lasts, str(percent))
    if kind == "move":
        return Fault(at, kind, "directory", 0.0, str(random.randrange(8)))
    return Fault(at, kind, target, lasts)


class SeededWeather:
    """Implements waypost.simulator.network.Weather."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = Random(f"{plan.seed} weather")
        self.clear = False
        """From now on connections hold."""
        self.partitions: dict[tuple[str, str], int] = {}

    def blocked(self, source: str, target: str) -> bool:
        return bool(self.partitions) and (source, target) in self.partitions

    def fate(self, client: str, server: str) -> Fate:
        random, plan = self._random, self._plan
        latency = plan.latency_seconds * math.exp(random.uniform(-1.0, 1.0))
        pieces = int(math.exp(random.uniform(0.0, 7.0))) if random.random() < plan.pieces_share else 0
        if self.clear:
            return Fate(latency, latency / 2, pieces)
        cut, stall = random.random() < plan.cut_share, random.random() < plan.stall_share
        towards = ""
        after = 0
        if cut:
            towards = "client" if random.random() < 0.6 else "server"
            near = random.random() < 0.6
            after = random.randint(0, 900) if near else int(math.exp(random.uniform(0.0, 11.0)))
        return Fate(
            latency,
            latency * random.choice((0.0, 0.5, 4.0)),
            pieces,
            cut_towards=towards,
            cut_after_bytes=after,
            cut_silently=random.random() < 0.25,
            stall_at_piece=random.randint(1, 12) if stall else 0,
            stall_seconds=math.exp(random.uniform(-1.0, 5.0)) if stall else 0.0,
        )

    def part(self, source: str, target: str, both: bool) -> None:
        for pair in ((source, target), (target, source)) if both else ((source, target),):
            self.partitions[pair] = self.partitions.get(pair, 0) + 1

    def join(self, source: str, target: str, both: bool) -> None:
        for pair in ((source, target), (target, source)) if both else ((source, target),):
            self.partitions[pair] -= 1
            if not self.partitions[pair]:
                del self.partitions[pair]
