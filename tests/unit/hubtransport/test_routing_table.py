"""Destination -> next hop, and why."""

from __future__ import annotations

from config.model import Endpoint, HubServer, SendConnector, Site, SiteLink, StoreServer, Topology
from hubtransport.routing.table import RoutingTable, choose_hub

ANY = Endpoint(host="127.0.0.1", port=0)


def hub(name: str, site: str) -> HubServer:
    return HubServer(name=name, site=site, smtp_internal=ANY, rpc=ANY)


def organisation(**changes: object) -> Topology:
    """Sites A - B - C in a row, a hub and a store each, and two hubs at C; D stands alone."""
    settings: dict[str, object] = {
        "organisation": "Example",
        "default_domain": "example.com",
        "domains": ({"domain": "example.com"},),
        "sites": tuple(Site(name=name) for name in "ABCD"),
        "site_links": (SiteLink(sites=("A", "B"), cost=2), SiteLink(sites=("B", "C"), cost=3)),
        "hubs": (
            hub("hub-a", "A"),
            hub("hub-b", "B"),
            hub("hub-c2", "C"),
            hub("hub-c1", "C"),
            hub("hub-d", "D"),
        ),
        "stores": tuple(
            StoreServer(name=f"store-{site.lower()}", site=site, lmtp=ANY, rpc=ANY) for site in "ABCD"
        ),
        "access": (),
    }
    return Topology.model_validate(settings | changes)


def test_store_of_own_site_by_lmtp() -> None:
    route = RoutingTable(organisation(), "hub-a").to_store("store-a")
    assert (route.hop.key, route.rule) == ("store::store-a", "same-site")
    assert "store-a" in route.why


def test_store_of_another_site_by_its_hubs_directly() -> None:
    route = RoutingTable(organisation(), "hub-a").to_store("store-c")
    assert route.group is not None
    assert route.group.hubs == ("hub-c1", "hub-c2")
    assert (route.path, route.cost) == (("A", "B", "C"), 5)
    assert "A - B - C" in route.why


def test_no_site_link_is_unreachable_with_its_status() -> None:
    route = RoutingTable(organisation(), "hub-a").to_store("store-d")
    assert (route.hop.kind, route.hop.connector, route.rule) == ("unreachable", "4.4.4", "no-site-link")


def test_site_without_hub_and_unknown_store_are_unreachable() -> None:
    hubs = (hub("hub-a", "A"),)
    assert RoutingTable(organisation(hubs=hubs), "hub-a").to_store("store-b").rule == "no-hub"
    assert RoutingTable(organisation(), "hub-a").to_store("store-x").rule == "unknown-store"


def test_point_of_failure_is_sought_backwards_from_the_target() -> None:
    groups = RoutingTable(organisation(), "hub-a").fallbacks("C")
    assert [(group.site, group.hubs) for group in groups] == [("B", ("hub-b",))]
    assert RoutingTable(organisation(), "hub-a").fallbacks("B") == ()
    assert RoutingTable(organisation(), "hub-a").fallbacks("D") == ()


def test_connector_by_longest_address_space_then_cost_then_name() -> None:
    connectors = (
        SendConnector(name="everything", cost=1),
        SendConnector(name="tree", address_spaces=("*.example.org",), cost=9),
        SendConnector(name="domain-2", address_spaces=("example.org",), cost=2),
        SendConnector(name="domain-1", address_spaces=("example.org",), cost=2),
        SendConnector(name="dear", address_spaces=("example.org",), cost=3),
    )
    table = RoutingTable(organisation(send_connectors=connectors), "hub-a")
    assert table.to_domain("Example.ORG").hop.key == "mx:domain-1:example.org"
    assert table.to_domain("mail.example.org").hop.connector == "tree"
    assert table.to_domain("example.net").hop.connector == "everything"


def test_no_connector_is_unreachable() -> None:
    route = RoutingTable(organisation(), "hub-a").to_domain("example.org")
    assert (route.hop.kind, route.hop.connector, route.rule) == ("unreachable", "5.4.4", "no-connector")


def test_smart_host_is_one_queue_for_all_domains() -> None:
    connectors = (SendConnector(name="out", smart_hosts=(Endpoint(host="relay.example.net", port=26),)),)
    table = RoutingTable(organisation(send_connectors=connectors), "hub-a")
    assert table.to_domain("a.test").hop == table.to_domain("b.test").hop
    assert "relay.example.net:26" in table.to_domain("a.test").why


def test_connector_of_other_hubs_is_reached_through_the_nearest() -> None:
    connectors = (SendConnector(name="out", source_hubs=("hub-c1", "hub-b", "hub-d")),)
    topology = organisation(send_connectors=connectors)
    route = RoutingTable(topology, "hub-a").to_domain("a.test")
    assert (route.hop.key, route.rule, route.cost) == ("hub::hub-b", "source-hub", 2)
    assert RoutingTable(topology, "hub-c1").to_domain("a.test").hop.kind == "mx"
    alone = organisation(send_connectors=(SendConnector(name="out", source_hubs=("hub-d",)),))
    assert RoutingTable(alone, "hub-a").to_domain("a.test").rule == "no-source-hub"


def test_hub_of_a_group_is_spread_by_message_and_failing_ones_come_last() -> None:
    hubs = ("h1", "h2", "h3")
    chosen = {choose_hub(hubs, f"message-{number}", ()) for number in range(50)}
    assert chosen == set(hubs)
    assert choose_hub(hubs, "m", ("h1", "h3")) == "h2"
    assert choose_hub(hubs, "m", hubs) == choose_hub(hubs, "m", ())
