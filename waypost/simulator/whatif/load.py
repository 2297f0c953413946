"""The load: who writes to whom, when, and how much, all from the seed.

Messages come as those of many people do, each on its own (a Poisson process). The mix is in the constants,
and in docs/what-if.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

SIZES_BYTES = ((2 * 1024, 60), (8 * 1024, 30), (32 * 1024, 9), (256 * 1024, 1))
"""Sizes of messages, and of a hundred how many have it."""
RECIPIENTS = ((1, 80), (2, 14), (5, 5), (20, 1))
FROM_OUTSIDE_SHARE = 0.2
"""Of messages, where a hub takes mail from outside."""
TO_OUTSIDE_SHARE = 0.2
"""Of recipients that users write to, where a send connector leads out."""
UNKNOWN_SHARE = 0.01
"""Of recipients outside, how many nobody has there; of those inside, how many strangers mistype."""
NOBODY = "nobody"
"""Local part of who does not exist."""


@dataclass(frozen=True)
class Draft:
    """A message that somebody writes."""

    number: int
    at: float
    sender: int
    """Number of the user; negative: a stranger, -1 the first."""
    recipients: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class Mix:
    users: Sequence[str]
    domain: str
    """Of the users."""
    strangers: int
    """How many hosts outside send mail; 0: none is taken."""
    outside: Sequence[str]
    """Domains that users write to."""
    size_bytes: int = 0
    """Of every message; 0: as in SIZES_BYTES."""


def drafts(seed: int, rate: float, until_seconds: float, mix: Mix) -> Iterator[Draft]:
    """In the order of time."""
    random = Random(f"{seed} load")
    at, number = random.expovariate(rate), 0
    while at < until_seconds:
        number += 1
        yield _draft(random, number, at, mix)
        at += random.expovariate(rate)


def _draft(random: Random, number: int, at: float, mix: Mix) -> Draft:
    from_outside = mix.strangers > 0 and random.random() < FROM_OUTSIDE_SHARE
    sender = -1 - random.randrange(mix.strangers) if from_outside else random.randrange(len(mix.users))
    count = _chosen(random, RECIPIENTS)
    recipients = dict.fromkeys(_recipient(random, mix, from_outside) for _ in range(count))
    return Draft(number, at, sender, tuple(recipients), mix.size_bytes or _chosen(random, SIZES_BYTES))


def _recipient(random: Random, mix: Mix, from_outside: bool) -> str:
    if not from_outside and mix.outside and random.random() < TO_OUTSIDE_SHARE:
        local = NOBODY if random.random() < UNKNOWN_SHARE else f"friend{random.randrange(1000)}"
        return f"{local}@{random.choice(mix.outside)}"
    if from_outside and random.random() < UNKNOWN_SHARE:
        return f"{NOBODY}@{mix.domain}"
    return random.choice(mix.users)


def _chosen(random: Random, weighted: Sequence[tuple[int, int]]) -> int:
    values = [value for value, _ in weighted]
    return random.choices(values, cum_weights=list(accumulate(weight for _, weight in weighted)))[0]
