"""Listeners of a topology: no two may take one port of one machine, and servers must reach each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from config.model import Endpoint, Topology
from config.problems import Problem

_LISTENERS = ("smtp", "smtp_internal", "lmtp", "submission", "submissions", "imap", "imaps", "rpc")
_INTERNAL = ("smtp_internal", "lmtp", "rpc")


def check_ports(topology: Topology) -> Iterator[Problem]:
    taken: list[tuple[str, str, Endpoint]] = []
    for server in topology.servers:
        machine = "" if _is_loopback(server.rpc.host) else server.rpc.host
        for listener in _LISTENERS:
            endpoint: Endpoint | None = getattr(server, listener, None)
            if endpoint is None:
                continue
            place = f"servers.{server.name}.{listener}"
            if listener in _INTERNAL and is_wildcard(endpoint.host):
                yield Problem(
                    place,
                    f"other servers connect to this address, and {endpoint.host} is none",
                    "give the address or the name under which they reach it",
                )
            if listener in _INTERNAL and endpoint.port == 0:
                yield Problem(place, "other servers must know this port, and 0 is none", "give it a port")
            if endpoint.port == 0:
                continue
            for other_machine, other_place, other in taken:
                if _clash(machine, endpoint, other_machine, other):
                    yield Problem(
                        place,
                        f"{endpoint} clashes with {other_place} ({other})",
                        "give one of them another port",
                    )
                    break
            taken.append((machine, place, endpoint))


def _clash(machine: str, one: Endpoint, other_machine: str, other: Endpoint) -> bool:
    if one.port != other.port:
        return False
    if is_wildcard(one.host) or is_wildcard(other.host):
        return machine == other_machine
    if _is_loopback(one.host) and _is_loopback(other.host) and machine != other_machine:
        return False
    return _address(one.host) == _address(other.host)


def _address(host: str) -> str:
    return "127.0.0.1" if host.lower() == "localhost" else host.lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
