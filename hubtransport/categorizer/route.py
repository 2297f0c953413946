"""Categorizer, route and bifurcate: each recipient gets its next hop, each next hop its share of the
recipients."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from foundation.mail.address import split_address
from hubtransport.categorizer.decision import Candidate, Context, Decision
from hubtransport.routing.table import Route

RECIPIENTS_MAX = 1000
"""Of one transfer unit (ExpansionSizeLimit)."""


class Share(msgspec.Struct, frozen=True):
    """What one transfer unit will carry."""

    route: Route
    recipients: tuple[Candidate, ...]


def route(candidate: Candidate, context: Context) -> tuple[Candidate, Decision]:
    if candidate.external or candidate.entry is None:
        chosen = context.table.to_domain(split_address(candidate.recipient.address)[1])
    else:
        chosen = context.table.to_store(candidate.entry.store)
    decision = Decision(
        stage="route",
        rule=chosen.rule,
        what=f"{candidate.recipient.address} goes by {_shown(chosen)}",
        why=chosen.why,
        recipients=(candidate.recipient.address,),
    )
    return msgspec.structs.replace(candidate, route=chosen), decision


def returns(candidate: Candidate, source: str) -> bool:
    """Whether the recipient would go back to the hub that the message came from, as the same recipient: one
    of the two hubs has read the directory before the other.
    """
    stays = candidate.entry is not None and candidate.position is not None and not candidate.brought_by
    group = candidate.route.group if candidate.route is not None else None
    return stays and group is not None and source in group.hubs


def bifurcate(candidates: Sequence[Candidate]) -> tuple[Share, ...]:
    """One share for each next hop in the order of its first recipient, at most RECIPIENTS_MAX in each."""
    by_hop: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.route is None:
            raise ValueError("bifurcate is for recipients that were routed")
        by_hop.setdefault(candidate.route.hop.key, []).append(candidate)
    shares: list[Share] = []
    for together in by_hop.values():
        chosen = together[0].route
        if chosen is not None:
            shares += [
                Share(chosen, tuple(together[start : start + RECIPIENTS_MAX]))
                for start in range(0, len(together), RECIPIENTS_MAX)
            ]
    return tuple(shares)


def _shown(chosen: Route) -> str:
    hop = chosen.hop
    if hop.kind == "hub" and chosen.group is not None:
        return f"a hub of site {chosen.group.site} ({', '.join(chosen.group.hubs)})"
    return {
        "store": f"LMTP to {hop.name}",
        "mx": f"MX of {hop.name}",
        "smarthost": f"the smart hosts of send connector {hop.name}",
        "hub": hop.name,
        "unreachable": "no way: it waits in the unreachable queue",
    }[hop.kind]
