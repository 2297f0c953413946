"""A network in memory: machines by address, who listens on them, and who can reach whom.

Each connection has its fate from the seed when it is made (waypost/simulator/connections.py).
"""

from __future__ import annotations

import asyncio
import contextvars
from pathlib import Path
from random import Random
from typing import Any, Protocol

from waypost.simulator.connections import PROBE_SECONDS, Ending, Fate
from waypost.simulator.journal import Journal
from waypost.simulator.loop import PROCESS, SimulatedLoop
from waypost.simulator.machine import Machine, Process

CONNECT_SECONDS = 127.0
"""When the kernel gives up on a connection nobody answers."""


class Weather(Protocol):
    """What the seed says about the network."""

    def fate(self, client: str, server: str) -> Fate: ...

    def blocked(self, source: str, target: str) -> bool:
        """Whether packets from one machine to the other are lost now."""
        ...


class _Socket:
    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        return self._address


class Listener:
    """What create_server returns."""

    def __init__(self, network: Network, key: tuple[str, int], factory: Any, tls: Any) -> None:
        self._network = network
        self.key = key
        self.factory = factory
        self.tls = tls
        self.process = PROCESS.get()
        self.context = contextvars.copy_context()
        self.sockets = (_Socket(key),)

    @property
    def open(self) -> bool:
        return self._network.listeners.get(self.key) is self and (self.process is None or self.process.alive)

    def is_serving(self) -> bool:
        return self.open

    def close(self) -> None:
        if self._network.listeners.get(self.key) is self:
            del self._network.listeners[self.key]

    async def wait_closed(self) -> None:
        """Connections outlive it."""


class Network:
    def __init__(self, loop: SimulatedLoop, random: Random, journal: Journal, weather: Weather) -> None:
        self.loop = loop
        self.random = random
        self.journal = journal
        self.weather = weather
        self.context = contextvars.copy_context()
        self.machines: dict[str, Machine] = {}
        self.listeners: dict[tuple[str, int], Listener] = {}
        self._ports = 40_000
        self._connections = 0
        loop.network = self

    def add(self, machine: Machine) -> Machine:
        self.machines[machine.address] = machine
        return machine

    def blocked(self, source: Machine, target: Machine) -> bool:
        return not target.powered or self.weather.blocked(source.name, target.name)

    # --- for the loop

    def listen(self, factory: Any, host: str, port: int, tls: Any) -> Listener:
        key = (host, port)
        before = self.listeners.get(key)
        if before is not None and before.open:
            raise OSError(98, f"{host}:{port} is in use")
        listener = self.listeners[key] = Listener(self, key, factory, tls)
        return listener

    def listen_unix(self, factory: Any, path: str) -> Listener:
        """A file that stands for the socket; nobody in the simulation connects to it."""
        Path(path).touch()
        return Listener(self, (path, 0), factory, None)

    async def connect(self, factory: Any, host: str, port: int, tls: Any) -> tuple[Ending, Any]:
        """Raises OSError as the kernel would."""
        process = PROCESS.get()
        if process is None:
            raise RuntimeError("only processes connect")
        source, target = process.machine, self.machines.get(host)
        self._connections += 1
        name = f"#{self._connections} {source.name}>{target.name if target else host}:{port}"
        fate = self.weather.fate(source.name, target.name if target else host)
        if target is None:
            await asyncio.sleep(CONNECT_SECONDS)
            raise TimeoutError(110, f"Connect call failed ({host!r}, {port})")
        await self._get_through(source, target, fate, f"({host!r}, {port})")
        listener = self.listeners.get((host, port))
        if listener is None or not listener.open:
            await asyncio.sleep(fate.latency_seconds)
            raise ConnectionRefusedError(111, f"Connect call failed ({host!r}, {port})")
        if (tls is None) != (listener.tls is None):
            raise ConnectionResetError(104, "one end speaks TLS, the other does not")
        client = self._pair(process, listener, tls, name, fate)
        self.journal.note(source.name, f"{name} connects")
        try:
            await self._get_through(target, source, fate, f"({host!r}, {port})")
        except BaseException:
            client.abort()
            raise
        protocol = factory()
        client.connected(protocol)
        return client, protocol

    async def _get_through(self, source: Machine, target: Machine, fate: Fate, place: str) -> None:
        until = self.loop.time() + CONNECT_SECONDS
        await asyncio.sleep(fate.latency_seconds)
        while self.blocked(source, target) or self.blocked(target, source):
            if self.loop.time() >= until:
                raise TimeoutError(110, f"Connect call failed {place}")
            await asyncio.sleep(PROBE_SECONDS)

    def _pair(self, process: Process, listener: Listener, tls: Any, name: str, fate: Fate) -> Ending:
        """The client's end; the server's is the other."""
        target = self.machines[listener.key[0]]
        self._ports += 1
        local, remote = (process.machine.address, self._ports), listener.key
        client = Ending(self, process.machine, process, contextvars.copy_context(), local, remote, tls)
        context = listener.context.copy()
        server = Ending(self, target, listener.process, context, remote, local, listener.tls)
        client.other, server.other = server, client
        client.label, server.label = f"{name} →", f"{name} ←"
        client.begin(fate, fate.cut_after_bytes if fate.cut_towards == "server" else None)
        server.begin(fate, fate.cut_after_bytes if fate.cut_towards == "client" else None)
        client.wait_for_protocol()
        server.serve(listener.factory)
        return client

    def calm(self) -> None:
        """Connections that stand will hold."""
        for machine in self.machines.values():
            for ending in machine.process.endings if machine.process else ():
                ending.hold()

    # --- breaking

    def forsake(self, process: Process, deliver: bool) -> None:
        """A process is gone: its machine resets its connections; without power they fall silent."""
        for ending in list(process.endings):
            ending.forsake(deliver)
        process.endings.clear()
