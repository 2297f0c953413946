"""Routing, the map: which sites there are, what a link between two costs, which servers stand where.

Built once from the settings; everything is in a fixed order, so that every hub draws the same map.
"""

from __future__ import annotations

import msgspec

from config.model import HubServer, StoreServer, Topology


class RoutingMap(msgspec.Struct, frozen=True, kw_only=True):
    sites: tuple[str, ...]
    """By name."""
    links: dict[str, tuple[tuple[str, int], ...]]
    """Site -> (neighbour, cost) by neighbour's name; the cheapest of several links."""
    hubs: dict[str, HubServer]
    stores: dict[str, StoreServer]

    def hubs_of(self, site: str) -> tuple[str, ...]:
        """Names of the hubs at a site, in name order."""
        return tuple(sorted(name for name, hub in self.hubs.items() if hub.site == site))


def routing_map(topology: Topology) -> RoutingMap:
    costs: dict[tuple[str, str], int] = {}
    for link in topology.site_links:
        left, right = link.sites
        for edge in ((left, right), (right, left)):
            costs[edge] = min(link.cost, costs.get(edge, link.cost))
    sites = tuple(sorted(site.name for site in topology.sites))
    return RoutingMap(
        sites=sites,
        links={
            site: tuple(sorted((b, cost) for (a, b), cost in costs.items() if a == site)) for site in sites
        },
        hubs={hub.name: hub for hub in topology.hubs},
        stores={store.name: store for store in topology.stores},
    )


def hub_host_names(topology: Topology) -> frozenset[str]:
    """Under which names the hubs of this organisation are known outside."""
    return frozenset(topology.host_name(hub.name).lower() for hub in topology.hubs)
