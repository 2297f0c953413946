"""The simulator's event loop: virtual time, one order of events for one seed, and a host that every callback
belongs to.

Promises: callbacks run in the order they were asked for, timers of one instant too; time only passes when
nothing else can run; a callback of a crashed host never runs, nor does the clean-up of what it left. The
daemons are given it like any other loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable
from typing import Any, Protocol


class Life(Protocol):
    """One life of a server."""

    alive: bool

    @property
    def name(self) -> str: ...


class Links(Protocol):
    """Implemented by waypost/simulator/network.py."""

    async def connect(self, factory: Any, host: str, port: int, tls: Any) -> tuple[Any, Any]: ...

    def listen(self, factory: Any, host: str, port: int, tls: Any) -> Any: ...

    def listen_unix(self, factory: Any, path: str) -> Any: ...


PROCESS: contextvars.ContextVar[Any] = contextvars.ContextVar("simulated process", default=None)
"""Whose code runs; None: the simulator's own."""

CALLBACKS_AN_INSTANT_MAX = 500_000
CALLBACKS_MAX = 20_000_000
CANCELLED_TIMERS_KEPT = 1000


class Standstill(Exception):
    """Nothing can ever happen again, or one instant never ends: the simulation itself is stuck."""


class SimulatedLoop(asyncio.BaseEventLoop):
    def __init__(self, callbacks_max: float = CALLBACKS_MAX) -> None:
        """`callbacks_max`: after which a run is taken to have no end."""
        super().__init__()
        self._callbacks_max = callbacks_max
        self._now = 0.0
        self._number = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._cancelled = 0
        self._in_instant = 0
        self._over = False
        self._kept: list[object] = []
        self.callbacks = 0
        self.network: Links | None = None
        self.on_error: Callable[[dict[str, Any]], None] | None = None
        self.set_exception_handler(_report)

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._over:
            self._number += 1
            handle._scheduled = True  # type: ignore[attr-defined]
            heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def keep(self, *things: object) -> None:
        """Until the end: what a crashed host left must not be cleaned up in the middle of the run."""
        self._kept.append(things)

    def finish(self) -> None:
        """Nothing runs any more. What is left can be collected without a trace."""
        self._over = True
        self._timers.clear()
        self._ready.clear()  # type: ignore[attr-defined]
        self._kept.clear()
        self.close()

    # --- called by BaseEventLoop

    def _call_soon(
        self, callback: Callable[..., Any], args: Any, context: contextvars.Context | None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._over:
            self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _check_closed(self) -> None:
        """What ends after the end may still ask for callbacks: they are never called."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cancelled += 1
        if self._cancelled > CANCELLED_TIMERS_KEPT and self._cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            self._pass_time()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)
            if process is not None and not process.alive:
                self._kept.append(handle)
                continue
            self.callbacks += 1
            self._in_instant += 1
            handle._run()
        if self._in_instant > CALLBACKS_AN_INSTANT_MAX:
            raise Standstill(f"the instant {self._now:.6f} does not end")
        if self.callbacks > self._callbacks_max:
            raise Standstill(f"it does not end: {self._callbacks_max} callbacks")

    def _pass_time(self) -> None:
        timers, ready = self._timers, self._ready  # type: ignore[attr-defined]
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
            self._cancelled -= 1
        if not timers:
            raise Standstill("nothing is left to happen")
        if timers[0][0] > self._now:
            self._now = timers[0][0]
            self._in_instant = 0
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            handle._scheduled = False  # type: ignore[attr-defined]
            if handle.cancelled():
                self._cancelled -= 1
            else:
                ready.append(handle)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none from outside."""

    def _write_to_self(self) -> None:
        """There are no other threads."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> Any:
        raise RuntimeError("there are no threads in the simulator: blocking work goes to World.executor")

    # --- network

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        return await self._network().connect(protocol_factory, str(host), int(port), options.get("ssl"))

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        return self._network().listen(protocol_factory, str(host), int(port), options.get("ssl"))

    async def create_unix_server(self, protocol_factory: Any, path: Any = None, **options: Any) -> Any:
        return self._network().listen_unix(protocol_factory, str(path))

    def _network(self) -> Links:
        if self.network is None:
            raise RuntimeError("this loop has no network")
        return self.network


def _report(loop: asyncio.AbstractEventLoop, facts: dict[str, Any]) -> None:
    if isinstance(loop, SimulatedLoop) and not loop._over and loop.on_error is not None:
        loop.on_error(facts)
