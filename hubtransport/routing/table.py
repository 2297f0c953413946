"""Routing, the table: a destination becomes the next hop, with the reason.

One table per hub, built from the settings and never changed; a reload builds a new one. The same table
answers the categorizer and `explain`.
"""

from __future__ import annotations

import zlib
from collections.abc import Container

import msgspec

from config.model import SendConnector, Topology
from foundation.mail.address import domain_key
from hubtransport.routing.connectors import Choice, select_connector
from hubtransport.routing.hop import Hop
from hubtransport.routing.paths import Path, least_cost_paths
from hubtransport.routing.topology import RoutingMap, routing_map


class DeliveryGroup(msgspec.Struct, frozen=True):
    """Hubs of one site, any of which may take the message."""

    site: str
    hubs: tuple[str, ...]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    hop: Hop
    """Names the queue; for a delivery group the concrete server is chosen with `choose_hub`."""
    group: DeliveryGroup | None = None
    path: tuple[str, ...] = ()
    """Sites from here to the destination."""
    cost: int = 0
    rule: str
    why: str


def choose_hub(hubs: tuple[str, ...], network_message_id: str, failing: Container[str]) -> str:
    """One hub of a group, spread by the message's id, the failing ones last."""
    start = zlib.crc32(network_message_id.encode()) % len(hubs)
    turned = hubs[start:] + hubs[:start]
    return next((hub for hub in turned if hub not in failing), turned[0])


class RoutingTable:
    def __init__(self, topology: Topology, server: str) -> None:
        self.map: RoutingMap = routing_map(topology)
        self.server = server
        self.site = self.map.hubs[server].site
        self._paths: dict[str, Path] = least_cost_paths(self.map.links, self.site)
        self._connectors: tuple[SendConnector, ...] = topology.send_connectors

    def connector(self, name: str) -> SendConnector | None:
        return next((connector for connector in self._connectors if connector.name == name), None)

    def to_store(self, store: str) -> Route:
        """To the server that holds a mailbox: LMTP inside the site, else a hub of the store's site."""
        settings = self.map.stores.get(store)
        if settings is None:
            return _unreachable("unknown-store", f"mailbox store {store or '(none)'} is not in this topology")
        if settings.site == self.site:
            return Route(
                hop=Hop(kind="store", name=store),
                path=(self.site,),
                rule="same-site",
                why=f"mailbox store {store} is in this site ({self.site}): delivered by LMTP",
            )
        return self._to_site(settings.site, f"mailbox store {store} is in site {settings.site}")

    def to_domain(self, domain: str) -> Route:
        """Outside the organisation, by the send connector for the domain."""
        choice = select_connector(self._connectors, domain_key(domain))
        if choice is None:
            return _unreachable(
                "no-connector", f"no send connector has an address space for {domain}", "5.4.4"
            )
        connector = choice.connector
        if connector.source_hubs and self.server not in connector.source_hubs:
            return self._to_source_hub(choice, domain)
        if connector.smart_hosts:
            hosts = ", ".join(f"{host.host}:{host.port}" for host in connector.smart_hosts)
            return Route(
                hop=Hop(kind="smarthost", connector=connector.name, name=connector.name),
                rule="send-connector",
                why=f"send connector {connector.name}: {choice.why}; to smart host {hosts}",
            )
        return Route(
            hop=Hop(kind="mx", connector=connector.name, name=domain_key(domain)),
            rule="send-connector",
            why=f"send connector {connector.name}: {choice.why}; by MX of {domain}",
        )

    def leads_outside(self, hop: Hop) -> bool:
        """Whether a next hop outside is still one that this table gives; true for those inside."""
        if hop.kind == "mx":
            return self.to_domain(hop.name).hop == hop
        connector = self.connector(hop.connector) if hop.kind == "smarthost" else None
        return hop.kind != "smarthost" or (connector is not None and bool(connector.smart_hosts))

    def fallbacks(self, site: str) -> tuple[DeliveryGroup, ...]:
        """Where to queue while no hub of `site` can be reached: the sites of the least-cost path backwards
        from it (queue at point of failure), without this one and without sites that have no hub."""
        path = self._paths.get(site)
        if path is None:
            return ()
        between = reversed(path.sites[1:-1])
        return tuple(DeliveryGroup(name, hubs) for name in between if (hubs := self.map.hubs_of(name)))

    def _to_site(self, site: str, why: str) -> Route:
        path = self._paths.get(site)
        if path is None:
            return _unreachable(
                "no-site-link", f"{why}, and no site links lead there from {self.site}", "4.4.4"
            )
        hubs = self.map.hubs_of(site)
        if not hubs:
            return _unreachable("no-hub", f"{why}, which has no hub", "4.4.4")
        way = " - ".join(path.sites)
        return Route(
            hop=Hop(kind="hub", name=hubs[0]),
            group=DeliveryGroup(site, hubs),
            path=path.sites,
            cost=path.cost,
            rule="least-cost-path",
            why=f"{why}: relayed directly to one of its hubs ({', '.join(hubs)}); least-cost path {way}, "
            f"cost {path.cost}",
        )

    def _to_source_hub(self, choice: Choice, domain: str) -> Route:
        """The connector belongs to other hubs: relay to the nearest of them."""
        near: list[tuple[Path, str]] = []
        for name in choice.connector.source_hubs:
            hub = self.map.hubs.get(name)
            path = self._paths.get(hub.site) if hub else None
            if path is not None:
                near.append((path, name))
        if not near:
            reason = (
                f"no source hub of send connector {choice.connector.name} can be reached from {self.site}"
            )
            return _unreachable("no-source-hub", reason, "4.4.4")
        best = min(near)[0]
        hubs = tuple(sorted(name for path, name in near if path.sites[-1] == best.sites[-1]))
        return Route(
            hop=Hop(kind="hub", name=hubs[0]),
            group=DeliveryGroup(best.sites[-1], hubs),
            path=best.sites,
            cost=best.cost,
            rule="source-hub",
            why=f"send connector {choice.connector.name} for {domain} ({choice.why}) sends from "
            f"{', '.join(hubs)} in site {best.sites[-1]}",
        )


def _unreachable(rule: str, why: str, status: str = "5.4.4") -> Route:
    return Route(hop=Hop(kind="unreachable", name=rule, connector=status), rule=rule, why=why)
