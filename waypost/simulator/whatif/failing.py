"""Makes what was asked to fail do so, and ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from waypost.simulator.organisation import Organisation
from waypost.simulator.whatif.options import INTERNET, Failure
from waypost.simulator.whatif.weather import PlannedWeather


class Failing:
    def __init__(
        self, organisation: Organisation, weather: PlannedWeather, outside_machines: Sequence[str]
    ) -> None:
        self._organisation = organisation
        self._weather = weather
        self._outside_machines = outside_machines

    async def happen(self, failure: Failure) -> None:
        """From now on; returns when it is over."""
        await asyncio.sleep(failure.begin_seconds)
        seconds = failure.end_seconds - failure.begin_seconds
        if failure.kind == "apart":
            await self._apart(failure, seconds)
        else:
            await asyncio.gather(*(self._server(failure, name, seconds) for name in failure.targets))

    async def _apart(self, failure: Failure, seconds: float) -> None:
        sides = [self._machines(side) for side in (failure.targets, failure.others)]
        pairs = [(one, other) for one in sides[0] for other in sides[1]]
        self._weather.part(pairs)
        await _sleep(seconds)
        self._weather.join(pairs)

    def _machines(self, side: Sequence[str]) -> list[str]:
        if side == (INTERNET,) and INTERNET not in self._organisation.servers:
            return list(self._outside_machines)
        return list(side)

    async def _server(self, failure: Failure, name: str, seconds: float) -> None:
        organisation, loop = self._organisation, asyncio.get_running_loop()
        if failure.kind == "full":
            organisation.machines[name].commit_fault = "full"
            await _sleep(seconds)
            organisation.machines[name].commit_fault = ""
            return
        until = loop.time() + seconds
        if failure.kind == "stop":
            await organisation.stop(name)
        else:
            organisation.crash(name, power=True)
        await _sleep(until - loop.time())
        organisation.start(name)


async def _sleep(seconds: float) -> None:
    """For ever, if it is infinite."""
    if seconds == float("inf"):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(max(seconds, 0.0))
