"""Routing, the way out: which send connector takes a domain outside the organisation.

The most specific address space wins, then the lowest cost, then the first name (Exchange's connector
selection, without its scopes).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from config.model import SendConnector
from foundation.mail.address import domain_key


class Choice(msgspec.Struct, frozen=True):
    connector: SendConnector
    address_space: str
    why: str


def matches(address_space: str, domain: str) -> bool:
    """Whether a domain (as its key) is in an address space: `*`, `example.org`, or `*.example.org` (only
    below it)."""
    if address_space == "*":
        return True
    if address_space.startswith("*."):
        return domain.endswith("." + domain_key(address_space[2:]))
    return domain == domain_key(address_space)


def specificity(address_space: str) -> tuple[int, int]:
    """Greater is more specific: a domain itself, then the longest tree, then everything."""
    if address_space == "*":
        return (0, 0)
    if address_space.startswith("*."):
        return (1, len(address_space))
    return (2, len(address_space))


def select_connector(connectors: Sequence[SendConnector], domain: str) -> Choice | None:
    candidates = [
        (specificity(space), connector, space)
        for connector in connectors
        for space in connector.address_spaces
        if matches(space, domain)
    ]
    if not candidates:
        return None
    candidates.sort(key=lambda item: ((-item[0][0], -item[0][1]), item[1].cost, item[1].name, item[2]))
    _, connector, space = candidates[0]
    rivals = sorted({other.name for _, other, _ in candidates if other.name != connector.name})
    why = f"address space {space} is the most specific for {domain}"
    if rivals:
        why += f" (cost {connector.cost}; also possible: {', '.join(rivals)})"
    return Choice(connector, space, why)
