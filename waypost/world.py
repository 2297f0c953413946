"""The real world that daemons are built with: this machine's clock, randomness, disk, resolver and
threads."""

from __future__ import annotations

from foundation.interfaces.world import World
from foundation.world.clock import SystemClock
from foundation.world.disk import SystemDisk
from foundation.world.dns import DnsResolver
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor
from foundation.world.resources import SystemResources


def real_world() -> World:
    return World(
        clock=SystemClock(),
        entropy=SystemEntropy(),
        disk=SystemDisk(),
        resolver=DnsResolver(),
        executor=ThreadExecutor,
        resources=SystemResources(),
    )
