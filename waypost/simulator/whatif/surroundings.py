"""The user's topology made ready to be simulated, and what is around it: who writes, where mail outside goes.

Nothing of the user's is touched: data lies in the run's folder, databases are files there, no secret is
needed, since no TLS is spoken and nobody is logged on to. Each server has a machine of its own, with an
address from the range that is reserved and that nobody uses, so no smart host can be mistaken for one.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from config.model import AccessServer, Endpoint, HubServer, SendConnector, Topology
from waypost.servers import servers_of, with_endpoints

OUTSIDE_DOMAIN = "outside.example"
_NETWORK = int(ipaddress.IPv4Address("240.0.0.0"))
_USERS, _OUTSIDE, _STRANGERS = 1 << 16, 2 << 16, 3 << 16
_SIMULATED = re.compile(r"\b(240(?:\.[0-9]{1,3}){3})(?::[0-9]{1,5})?\b")
_PORTS = {
    "smtp": 25,
    "smtp_internal": 2625,
    "lmtp": 2626,
    "rpc": 2727,
    "submission": 587,
    "submissions": 465,
    "imap": 143,
    "imaps": 993,
}


class Impossible(Exception):
    """No mail can come with this topology, as it was asked for."""

    def __init__(self, place: str, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.place = place
        self.problem = problem
        self.mend = mend


def user_address(number: int) -> str:
    return _address(_USERS + number)


def stranger_address(number: int) -> str:
    return _address(_STRANGERS + number)


def _address(number: int) -> str:
    return str(ipaddress.IPv4Address(_NETWORK + number))


def harmless(topology: Topology, data: Path) -> Topology:
    """The same organisation, without the user's files, databases, ports and secrets."""
    ours = {"database_url": "", "database_password_file": ""}
    access = {"certificate_file": "", "key_file": ""}
    changed = topology.model_copy(
        update={
            "data": data,
            "directory_url": "",
            "directory_password_file": "",
            "nearest_free_port": False,
            "demo_users": (),
            "hubs": tuple(hub.model_copy(update=ours) for hub in topology.hubs),
            "stores": tuple(store.model_copy(update=ours) for store in topology.stores),
            "access": tuple(server.model_copy(update=access) for server in topology.access),
            "send_connectors": tuple(_in_the_clear(each) for each in topology.send_connectors),
        }
    )
    return with_endpoints(changed, _endpoints(changed))


def _in_the_clear(connector: SendConnector) -> SendConnector:
    update = {"tls": "none", "implicit_tls": False, "ca_file": "", "username": "", "password_file": ""}
    return connector.model_copy(update=update)


def _endpoints(topology: Topology) -> dict[tuple[str, str], Endpoint]:
    found = {}
    for number, server in enumerate(servers_of(topology), 1):
        fields = dict.fromkeys(server.endpoints())
        if "submission" in fields:  # STARTTLS is not spoken here: who offers that gets mail this way
            fields["submissions"] = None
        for name in fields:
            found[server.name, name] = Endpoint(host=_address(number), port=_PORTS[name])
    return found


class Names:
    """Puts the names of servers and hosts where replies have the simulation's addresses."""

    def __init__(self, topology: Topology, outside: Outside) -> None:
        """`topology`: made harmless."""
        self._names = {address: name for name, address in outside.names.items()}
        for server in topology.servers:
            self._names[server.rpc.host] = server.name

    def shown(self, text: str) -> str:
        return _SIMULATED.sub(lambda found: self._names.get(found[1], found[0]), text)


@dataclass(frozen=True)
class Doors:
    """Where mail comes in."""

    submission: tuple[AccessServer, ...]
    smtp: tuple[HubServer, ...]


def doors(topology: Topology) -> Doors:
    """Raises Impossible."""
    submission = tuple(each for each in topology.access if each.submission or each.submissions)
    if not submission:
        raise Impossible(
            f"servers.{topology.access[0].name}",
            "no Client Access server takes mail from users",
            'give one submissions, like submissions = "127.0.0.1:1465"',
        )
    return Doors(submission, tuple(hub for hub in topology.hubs if hub.smtp))


def authoritative_domain(topology: Topology) -> str:
    """Where the users that are made up live. Raises Impossible."""
    kinds = {domain.domain: domain.kind for domain in topology.domains}
    ours = [domain for domain, kind in kinds.items() if kind == "authoritative"]
    if not ours:
        raise Impossible(
            "domains", "no domain is authoritative: nobody lives here", 'give one kind = "authoritative"'
        )
    return topology.default_domain if topology.default_domain in ours else ours[0]


@dataclass
class Outside:
    """Hosts outside that take this organisation's mail."""

    domains: tuple[str, ...] = ()
    """That users write to; empty: no send connector leads out."""
    hosts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Address of each host to the ports where it listens."""
    names: dict[str, str] = field(default_factory=dict)
    """Host name to address."""
    exchangers: dict[str, str] = field(default_factory=dict)
    """Domain to the name of its host."""


def outside_of(topology: Topology) -> Outside:
    """A domain for each address space with a host that its MX names, and every smart host."""
    found = Outside()
    accepted = {domain.domain for domain in topology.domains}
    ports = tuple(dict.fromkeys((25, *(each.port for each in topology.send_connectors))))
    domains: list[str] = []
    for connector in topology.send_connectors:
        for host in connector.smart_hosts:
            _smart_host(found, host)
        for space in connector.address_spaces:
            domain = OUTSIDE_DOMAIN if space == "*" else space.replace("*.", "somewhere.", 1)
            if domain in accepted or domain in domains:
                continue
            domains.append(domain)
            name = found.exchangers[domain] = f"mx.{domain}"
            address = found.names.setdefault(name, _address(_OUTSIDE + len(found.names)))
            found.hosts[address] = ports
    found.domains = tuple(domains)
    return found


def _smart_host(found: Outside, host: Endpoint) -> None:
    try:
        address = str(ipaddress.ip_address(host.host))
    except ValueError:
        address = found.names.setdefault(host.host.lower(), _address(_OUTSIDE + len(found.names)))
    else:
        found.names[host.host] = address
    ports = found.hosts.get(address, ())
    found.hosts[address] = tuple(dict.fromkeys((*ports, host.port)))
