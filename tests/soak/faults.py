"""Faults at random on real processes, a few seconds each, chosen by a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.harness.faulty import FaultyOrganisation
from tests.harness.proxy import Direction, FaultProxy

DIRECTIONS: tuple[Direction, ...] = ("to server", "to client")
CLOCK_STEPS_MS = (-7_200_000, -60_000, 30_000, 3_600_000)


class Faults:
    def __init__(self, organisation: FaultyOrganisation, seed: int, *, short: bool = False) -> None:
        self.injected: Counter[str] = Counter()
        self._organisation = organisation
        self._random = random.Random(seed)
        self._longest = 1.5 if short else 6.0
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "connections cut": self._cut,
            "lost answers": self._lose_answers,
            "delay": self._delay,
            "black hole": self._swallow,
            "SIGKILL": self._kill,
            "SIGKILL, garbage in the WAL": self._kill_with_garbage,
            "SIGSTOP": self._suspend,
            "full disk": self._fill,
            "clock step": self._step_clock,
        }
        self.turns = list(self._kinds)

    @property
    def every_kind_came(self) -> bool:
        return len(self.injected) == len(self._kinds)

    async def once(self) -> None:
        """The next fault; each kind has its turn before one comes again."""
        if not self.turns:
            self.turns = list(self._kinds)
        kind = self.turns.pop(self._random.randrange(len(self.turns)))
        await self._kinds[kind]()
        self.injected[kind] += 1

    async def heal(self) -> None:
        """Nothing is broken any more, every server runs."""
        organisation = self._organisation
        organisation.heal_network()
        organisation.resume_all()
        for name in organisation.small_disks:
            await organisation.empty_disk(name)
        for name in organisation.names:
            organisation.step_clock(name, 0)
            await organisation.start(name)

    # --- kinds

    async def _cut(self) -> None:
        for _ in range(3):
            self._proxy().cut(self._random.randint(0, 4000), self._random.choice(DIRECTIONS))
            await asyncio.sleep(self._random.uniform(0.1, 0.4))

    async def _lose_answers(self) -> None:
        """What the server says after so few bytes of commands is lost: the 250 above all."""
        for proxy in self._organisation.proxies.values():
            proxy.cut(self._random.randint(0, 400), "to client")
        await asyncio.sleep(0.5)

    async def _delay(self) -> None:
        proxy = self._proxy()
        proxy.delay_seconds = self._random.uniform(0.05, 0.3)
        await self._a_while()
        proxy.heal()

    async def _swallow(self) -> None:
        proxy = self._proxy()
        proxy.swallow()
        await self._a_while()
        proxy.heal()

    async def _kill(self) -> None:
        await self._kill_one(self._organisation.names, garbage=False)

    async def _kill_with_garbage(self) -> None:
        await self._kill_one(("hub-a", "hub-b", "store-a", "store-b"), garbage=True)

    async def _kill_one(self, names: tuple[str, ...], *, garbage: bool) -> None:
        name = self._random.choice(names)
        await self._organisation.kill(name)
        if garbage:
            self._organisation.append_to_wal(name, self._random)
        await asyncio.sleep(self._random.uniform(0, 1))
        await self._organisation.start(name)

    async def _suspend(self) -> None:
        name = self._random.choice(self._organisation.names)
        self._organisation.suspend(name)
        await self._a_while()
        self._organisation.resume(name)

    async def _step_clock(self) -> None:
        name = self._random.choice(self._organisation.names)
        self._organisation.step_clock(name, self._random.choice(CLOCK_STEPS_MS))
        await self._a_while()
        self._organisation.step_clock(name, 0)

    async def _fill(self) -> None:
        name = self._random.choice(self._organisation.small_disks)
        await self._organisation.fill_disk(name)
        await self._a_while()
        await self._organisation.empty_disk(name)
        await self._organisation.start(name)  # a disk that failed under a commit ends the process

    async def _a_while(self) -> None:
        await asyncio.sleep(self._random.uniform(0.5, 1) * self._longest)

    def _proxy(self) -> FaultProxy:
        return self._random.choice(list(self._organisation.proxies.values()))
