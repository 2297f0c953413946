"""What a changed configuration means for a server that runs."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest

from config.listing import settings_of
from config.model import DemoUser, Domain, Endpoint, SendConnector, Site, SiteLink, Topology
from config.problems import ConfigurationError, Problem
from config.reader import read_topology
from config.reload import Changes, compare, reload
from foundation.tls import CertificateError

ELSEWHERE = Endpoint(host="127.0.0.1", port=9)


@pytest.fixture
def old() -> Topology:
    with as_file(files("config") / "two-sites.toml") as file:
        return read_topology(file, {})


def with_server(topology: Topology, name: str, **settings: Any) -> Topology:
    return topology.model_copy(
        update={
            kind: tuple(
                server.model_copy(update=settings) if server.name == name else server
                for server in getattr(topology, kind)
            )
            for kind in ("hubs", "stores", "access")
        }
    )


def without(topology: Topology, name: str) -> Topology:
    kinds = ("hubs", "stores", "access")
    lists = {kind: tuple(s for s in getattr(topology, kind) if s.name != name) for kind in kinds}
    return topology.model_copy(update=lists)


def test_nothing_changed(old: Topology) -> None:
    assert compare(old, old, "hub-a") == Changes(old)


def test_own_limits_and_retries(old: Topology) -> None:
    hub = old.hubs[0]
    new = with_server(
        old,
        "hub-a",
        limits=hub.limits.model_copy(update={"hops": 5, "recipients": 6}),
        retry=hub.retry.model_copy(update={"glitch_count": 1}),
    )
    changes = compare(old, new, "hub-a")
    assert changes.topology == new
    assert changes.applied == (
        "servers.hub-a.limits.recipients",
        "servers.hub-a.limits.hops",
        "servers.hub-a.retry.glitch_count",
    )
    assert compare(old, new, "hub-b") == Changes(new)


def test_what_needs_a_restart_keeps_its_old_value(old: Topology) -> None:
    new = with_server(old, "hub-a", smtp=ELSEWHERE, limits=old.hubs[0].limits.model_copy(update={"hops": 5}))
    new = new.model_copy(update={"data": Path("/elsewhere"), "directory_url": "postgresql://x"})
    changes = compare(old, new, "hub-a")
    assert changes.needs_restart == ("organisation.data", "organisation.directory_url", "servers.hub-a.smtp")
    assert changes.applied == ("servers.hub-a.limits.hops",)
    running = changes.topology
    assert (running.data, running.directory_url) == (old.data, "")
    assert (running.hubs[0].smtp, running.hubs[0].limits.hops) == (old.hubs[0].smtp, 5)


@pytest.mark.parametrize(
    ("changed", "server", "applied", "needs_restart"),
    [
        ("hub-b", "hub-a", ("servers.hub-b",), ()),
        ("hub-b", "access", ("servers.hub-b",), ()),
        ("hub-b", "store-a", ("servers.hub-b",), ()),
        ("hub-b", "store-b", (), ("servers.hub-b",)),
        ("store-b", "access", ("servers.store-b",), ()),
        ("access", "store-b", ("servers.access",), ()),
    ],
)
def test_another_server_that_is_reached_elsewhere(
    old: Topology, changed: str, server: str, applied: tuple[str, ...], needs_restart: tuple[str, ...]
) -> None:
    new = with_server(old, changed, rpc=ELSEWHERE)
    for after in (new, without(old, changed)):
        changes = compare(old, after, server)
        assert (changes.topology, changes.applied, changes.needs_restart) == (after, applied, needs_restart)
    back = compare(without(old, changed), old, server)
    assert (back.applied, back.needs_restart) == (applied, needs_restart)


def test_routes_are_the_hubs_business(old: Topology) -> None:
    new = old.model_copy(
        update={
            "sites": (*old.sites, Site(name="C")),
            "site_links": (SiteLink(sites=("A", "B"), cost=5),),
            "send_connectors": (SendConnector(name="out"),),
        }
    )
    assert compare(old, new, "hub-a").applied == ("sites", "site_links", "send_connectors")
    assert compare(old, new, "store-a") == Changes(new)


def test_what_counts_at_the_first_start(old: Topology) -> None:
    new = old.model_copy(
        update={
            "organisation": "Other",
            "domains": (*old.domains, Domain(domain="other.test")),
            "demo_users": (DemoUser(address="eve@example.test"),),
        }
    )
    changes = compare(old, new, "access")
    assert (changes.applied, changes.needs_restart) == ((), ())
    assert changes.first_start == ("organisation.name", "domains", "demo_users")


@pytest.mark.parametrize("name", ["hub-a", "store-a", "access"])
def test_a_server_that_is_gone_or_something_else_goes_on_as_it_was(old: Topology, name: str) -> None:
    gone = without(old, name)
    site = next(server.site for server in old.servers if server.name == name)
    other = old.stores[1] if name.startswith("hub") else old.hubs[1]
    kind = "stores" if name.startswith("hub") else "hubs"
    replaced = gone.model_copy(
        update={kind: (*getattr(gone, kind), other.model_copy(update={"name": name, "site": site}))}
    )
    for new in (gone, replaced):
        changes = compare(old, new, name)
        assert changes.needs_restart[0] == f"servers.{name}"
        before = {setting for setting in map(str, settings_of(old)) if f"servers.{name}." in setting}
        after = {
            setting for setting in map(str, settings_of(changes.topology)) if f"servers.{name}." in setting
        }
        assert after == before
        assert len({server.name for server in changes.topology.servers}) == len(changes.topology.servers)


class Certificates:
    """Takes the place of an Identity."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.reloaded = 0

    def reload(self) -> None:
        if self.error is not None:
            raise self.error
        self.reloaded += 1


def test_certificates_alone(old: Topology) -> None:
    certificates: Any = Certificates()
    topology, outcome = reload(old, "hub-a", certificates, None)
    assert (topology, outcome.applied, certificates.reloaded) == (old, ("certificates",), 1)


def test_a_fault_changes_nothing(old: Topology) -> None:
    def broken() -> Topology:
        raise ConfigurationError(Path("f"), [Problem("a", "is wrong", "mend it"), Problem("b", "too", "")])

    certificates: Any = Certificates()
    topology, outcome = reload(old, "hub-a", certificates, broken)
    assert (topology, certificates.reloaded) == (old, 0)
    assert outcome.problems == ("f: a: is wrong; mend it", "f: b: too")
    assert outcome.applied == ()


def test_a_certificate_that_can_not_be_used_changes_nothing(old: Topology) -> None:
    certificates: Any = Certificates(CertificateError(Path("c.pem"), "can't be read", "mend it"))
    new = old.model_copy(update={"site_links": (SiteLink(sites=("A", "B"), cost=5),)})
    topology, outcome = reload(old, "hub-a", certificates, lambda: new)
    assert topology is old
    assert outcome.problems == ("c.pem: can't be read; mend it",)
