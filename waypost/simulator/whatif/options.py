"""What a what-if is asked, as text: how much mail comes, what fails and when."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from config.model import Topology

FailureKind = Literal["power", "stop", "full", "apart"]

INTERNET = "internet"
"""Every host outside, in a failure."""
RATE_MAX = 10_000.0

_RATE = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)/(s|min|h)")
_RATE_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_DURATION_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_KINDS: Mapping[str, FailureKind] = {"power": "power", "stop": "stop", "full": "full"}
_FORMS = "write it like hub-b@60s-300s, hub-b:stop@60s-300s, store-b:full@1m-5m, A~B@60s-300s or hub-b@10m"


class BadOption(ValueError):
    """What is wrong with the text, and what to write."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.mend = mend


@dataclass(frozen=True)
class Failure:
    text: str
    """As it was asked for."""
    kind: FailureKind
    targets: tuple[str, ...]
    """Servers that fail, or those on one side of what is parted."""
    others: tuple[str, ...]
    """Those on the other side; `internet` is all hosts outside."""
    begin_seconds: float
    end_seconds: float
    """Infinite: for good."""


def parse_rate(text: str) -> float:
    """Messages a second of 20/s, 300/min, 5000/h. Raises BadOption."""
    found = _RATE.fullmatch(text.strip())
    rate = float(found[1]) / _RATE_SECONDS[found[2]] if found else 0.0
    if found is None:
        raise BadOption(f"{text!r} is no rate", "write it like 20/s, 300/min or 5000/h")
    if not 0 < rate <= RATE_MAX:
        raise BadOption(f"{text!r} is no load", f"take more than 0 and at most {RATE_MAX:.0f}/s")
    return rate


def parse_seconds(text: str) -> float:
    """Seconds of 90s, 30m, 24h, 2d. Raises BadOption."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise BadOption(f"{text!r} is no duration", "write it like 90s, 30m, 24h or 2d")
    return float(found[1]) * _DURATION_SECONDS[found[2]]


def parse_failure(text: str, topology: Topology, until_seconds: float) -> Failure:
    """WHAT@BEGIN-END or WHAT@BEGIN. Raises BadOption."""
    what, at, times = text.strip().rpartition("@")
    if not at or not what:
        raise BadOption(f"{text!r} does not say what fails when", _FORMS)
    begin, end = _times(text, times)
    if begin >= until_seconds:
        raise BadOption(f"{text!r} begins after the end of the run", "let it begin earlier, or run longer")
    first, tilde, second = what.partition("~")
    if not tilde:
        name, colon, word = what.partition(":")
        kind = _KINDS.get(word) if colon else "power"
        if kind is None:
            raise BadOption(f"{text!r} has the unknown kind {word!r}", f"kinds are {', '.join(_KINDS)}")
        return Failure(text, kind, _servers(text, name, topology, one_side=False), (), begin, end)
    sides = [_servers(text, side, topology, one_side=True) for side in (first, second)]
    common = [name for name in sides[0] if name in sides[1]]
    if common:
        raise BadOption(f"{text!r} parts {common[0]} from itself", "name two different servers or sites")
    return Failure(text, "apart", sides[0], sides[1], begin, end)


def parse_failures(texts: Sequence[str], topology: Topology, until_seconds: float) -> tuple[Failure, ...]:
    """All of a run: a server fails in one way at a time. Raises BadOption."""
    found = tuple(parse_failure(text, topology, until_seconds) for text in texts)
    failing = sorted((each for each in found if each.kind != "apart"), key=lambda each: each.begin_seconds)
    for number, later in enumerate(failing):
        for earlier in failing[:number]:
            both = [name for name in earlier.targets if name in later.targets]
            if both and later.begin_seconds < earlier.end_seconds:
                problem = (
                    f"{later.text!r} begins before {earlier.text!r} has ended, and both are of {both[0]}"
                )
                raise BadOption(problem, "let one begin after the other has ended")
    return found


def _times(text: str, times: str) -> tuple[float, float]:
    begin, dash, end = times.partition("-")
    try:
        seconds = parse_seconds(begin), parse_seconds(end) if dash else float("inf")
    except BadOption as error:
        raise BadOption(f"{text!r}: {error.problem}", _FORMS) from error
    if seconds[1] <= seconds[0]:
        raise BadOption(f"{text!r} ends before it begins", _FORMS)
    return seconds


def _servers(text: str, name: str, topology: Topology, *, one_side: bool) -> tuple[str, ...]:
    """The server of that name, or all of the site of that name."""
    servers = [server.name for server in topology.servers]
    if name in servers:
        return (name,)
    at_site = tuple(server.name for server in topology.servers if server.site == name)
    if at_site:
        return at_site
    if one_side and name == INTERNET:
        return (INTERNET,)
    sites = [site.name for site in topology.sites]
    more = [INTERNET] if one_side else []
    raise BadOption(f"{text!r} names {name!r}, which is no server and no site", _known(servers, sites, more))


def _known(servers: Sequence[str], sites: Sequence[str], more: Sequence[str]) -> str:
    known = f"servers are {', '.join(servers)}; sites are {', '.join(sites)}"
    return known + (f"; {more[0]} is all outside" if more else "")
