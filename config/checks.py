"""Checks of a whole topology: what no single setting can know. Nothing starts before they pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from config.model import (
    AccessServer,
    HubServer,
    Limits,
    Pressure,
    Retry,
    SendConnector,
    Settings,
    StoreServer,
    Topology,
)
from config.ports import check_ports, is_wildcard
from config.problems import Problem, quoted, unknown
from foundation.mail.address import address_key, domain_key, split_address, valid_address, valid_domain

Server = HubServer | StoreServer | AccessServer

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_RESERVED = ("certificates", "directory", "run")
"""Folders beside those of the servers."""
_COMMAND_LINE = "operator"
"""foundation.tls.OPERATOR, whose certificate may do what no server's may (pure modules import no TLS)."""
_NONE_ALLOWED = frozenset({"glitch_count", "transient_count"})


def check(topology: Topology) -> list[Problem]:
    """All problems, in the order of the file's sections."""
    return [
        *_organisation(topology),
        *_domains(topology),
        *_sites(topology),
        *_site_links(topology),
        *_servers(topology),
        *_needed_roles(topology),
        *check_ports(topology),
        *_send_connectors(topology),
        *_demo_users(topology),
    ]


def _organisation(topology: Topology) -> Iterator[Problem]:
    if not topology.organisation.strip():
        yield Problem("organisation.name", "is empty", "give the organisation a name")
    yield from _database("organisation.directory", topology.directory_url, topology.directory_password_file)
    accepted = [domain_key(domain.domain) for domain in topology.domains]
    if domain_key(topology.default_domain) not in accepted:
        yield Problem(
            "organisation.default_domain",
            f'"{topology.default_domain}" is not an accepted domain',
            f"accepted domains are {quoted(accepted)}",
        )


def _database(place: str, url: str, password_file: str) -> Iterator[Problem]:
    """`place`: what both settings begin with."""
    if url and not re.match(r"(sqlite|postgresql(\+psycopg)?)://", url):
        yield Problem(
            f"{place}_url",
            "is no database URL that Waypost knows",
            "write it like sqlite:///data/directory/directory.db or postgresql://user@host/name",
        )
    if password_file and not url.startswith("postgresql"):
        yield Problem(
            f"{place}_password_file",
            f"there is no database to log on to: {place.rpartition('.')[2]}_url is none of PostgreSQL",
            "remove it, or give the URL",
        )


def _database_size(place: str, server: HubServer | StoreServer) -> Iterator[Problem]:
    if server.database_size_bytes < 0:
        yield Problem(place, "is negative", "take 0 for a database as large as the disk lets it be")
    elif server.database_size_bytes and server.database_url.startswith("postgresql"):
        yield Problem(
            place,
            "PostgreSQL has no such bound for a database",
            "remove it, and bound the disk or tablespace of the database there",
        )


def _domains(topology: Topology) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, domain in enumerate(topology.domains):
        place = f"domains[{index}].domain"
        key = domain_key(domain.domain)
        if domain.domain.startswith("[") or not valid_domain(domain.domain, smtputf8=True):
            yield Problem(place, f'"{domain.domain}" is not a valid domain', "write it like example.org")
        elif key in seen:
            yield Problem(
                place, f'"{domain.domain}" is there twice', f"remove it here or at domains[{seen[key]}]"
            )
        seen.setdefault(key, index)


def _sites(topology: Topology) -> Iterator[Problem]:
    names = [site.name for site in topology.sites]
    if not names:
        yield Problem("sites", "there is no site", "add one: [sites.A]")
    for name in names:
        yield from _name(f"sites.{name}", name)
    yield from _twice("sites", names)


def _site_links(topology: Topology) -> Iterator[Problem]:
    known = [site.name for site in topology.sites]
    linked: dict[str, list[str]] = {name: [] for name in known}
    seen: dict[frozenset[str], int] = {}
    for index, link in enumerate(topology.site_links):
        place = f"site_links[{index}].sites"
        strangers = [name for name in link.sites if name not in linked]
        for name in strangers:
            yield Problem(place, f'unknown site "{name}"', unknown(name, known, "sites"))
        if link.sites[0] == link.sites[1]:
            yield Problem(place, f'links site "{link.sites[0]}" to itself', "name two different sites")
        pair = frozenset(link.sites)
        if pair in seen:
            yield Problem(
                place, "these two sites are linked already", f"remove it here or at site_links[{seen[pair]}]"
            )
        seen.setdefault(pair, index)
        if link.cost < 1:
            yield Problem(f"site_links[{index}].cost", "is below 1", "give the link a cost of 1 or more")
        if not strangers:
            linked[link.sites[0]].append(link.sites[1])
            linked[link.sites[1]].append(link.sites[0])
    reached = known[:1]
    for name in reached:
        reached.extend(other for other in linked[name] if other not in reached)
    for name in known:
        if name not in reached:
            yield Problem(
                f"sites.{name}",
                f'no way leads from site "{known[0]}" to site "{name}"',
                f'add a link: [[site_links]] with sites = ["{known[0]}", "{name}"]',
            )


def _servers(topology: Topology) -> Iterator[Problem]:
    known = [site.name for site in topology.sites]
    yield from _twice("servers", [server.name for server in topology.servers])
    urls: dict[str, str] = {}
    for server in topology.servers:
        place = f"servers.{server.name}"
        yield from _name(place, server.name)
        if server.name.lower() == _COMMAND_LINE:
            yield Problem(place, "this name is that of the command line's certificate", "choose another name")
        if server.name.lower() in _RESERVED:
            yield Problem(
                place, "this name is the name of a folder of the organisation", "choose another name"
            )
        if server.site not in known:
            yield Problem(
                f"{place}.site", f'unknown site "{server.site}"', unknown(server.site, known, "sites")
            )
        yield from _limits(f"{place}.limits", server.limits)
        if isinstance(server, AccessServer):
            yield from _access(place, server)
            continue
        yield from _pressure(f"{place}.pressure", server.pressure)
        yield from _database(f"{place}.database", server.database_url, server.database_password_file)
        yield from _database_size(f"{place}.database_size_bytes", server)
        if server.database_url and server.database_url in urls:
            yield Problem(
                f"{place}.database_url",
                f"is the database of {urls[server.database_url]}, too",
                "give each hub and store a database of its own",
            )
        urls.setdefault(server.database_url, server.name)
        if isinstance(server, HubServer):
            yield from _retry(f"{place}.retry", server.retry)
        else:
            yield from _store(place, server)


def _store(place: str, store: StoreServer) -> Iterator[Problem]:
    if store.mailbox_quota_bytes < 0:
        yield Problem(f"{place}.mailbox_quota_bytes", "is negative", "take 0 for no quota")
    if store.disconnected_keep_days < 0:
        yield Problem(f"{place}.disconnected_keep_days", "is negative", "take 0 or more days")
    if not store.database:
        yield Problem(f"{place}.database", "is empty", "name the mailbox database")


def _access(place: str, access: AccessServer) -> Iterator[Problem]:
    if not any((access.submission, access.submissions, access.imap, access.imaps)):
        yield Problem(place, "has no listener for mail programs", "add submissions or imaps, or both")
    if bool(access.certificate_file) != bool(access.key_file):
        missing = "key_file" if access.certificate_file else "certificate_file"
        yield Problem(f"{place}.{missing}", "is missing", "a certificate and its key come together")


def _limits(place: str, limits: Limits) -> Iterator[Problem]:
    yield from _positive(place, limits)
    if limits.header_size_bytes > limits.message_size_bytes:
        yield Problem(f"{place}.header_size_bytes", "is over message_size_bytes", "make it smaller")


def _retry(place: str, retry: Retry) -> Iterator[Problem]:
    yield from _positive(place, retry)
    if retry.probe_first_seconds > retry.probe_longest_seconds:
        yield Problem(f"{place}.probe_first_seconds", "is over probe_longest_seconds", "make it smaller")
    tries = (
        retry.glitch_count * retry.glitch_interval_seconds
        + retry.transient_count * retry.transient_interval_seconds
    )
    # Exchange's rule for DelayNotificationTimeout.
    if retry.delay_notice_seconds <= tries:
        yield Problem(
            f"{place}.delay_notice_seconds",
            f"is {retry.delay_notice_seconds:g}, but glitch and transient retries take {tries:g} seconds",
            "make it longer, or the retries fewer or faster",
        )
    if retry.delay_notice_seconds >= retry.expiry_seconds:
        yield Problem(
            f"{place}.delay_notice_seconds",
            f"is not below expiry_seconds ({retry.expiry_seconds:g})",
            "a message must be late before it is given up",
        )


def _pressure(place: str, pressure: Pressure) -> Iterator[Problem]:
    if pressure.disk_enough_bytes < 0:
        yield Problem(f"{place}.disk_enough_bytes", "is negative", "take 0 to go by the percentage alone")
    for key, value in pressure:
        if isinstance(value, tuple):
            medium, high, back_to_medium, back_to_normal = value
            if not 0 < back_to_normal < medium < high or not back_to_normal < back_to_medium < high:
                yield Problem(
                    f"{place}.{key}",
                    "does not rise and fall in order",
                    "give four values: above it medium, above it high, back to medium, back to normal",
                )


def _positive(place: str, settings: Settings) -> Iterator[Problem]:
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if value < 0 or (value == 0 and key not in _NONE_ALLOWED):
            allowed = "0 or more" if key in _NONE_ALLOWED else "a number above 0"
            yield Problem(f"{place}.{key}", f"is {value:g}", f"take {allowed}")


def _needed_roles(topology: Topology) -> Iterator[Problem]:
    roles: tuple[tuple[str, Sequence[Server], str], ...] = (
        ("hub", topology.hubs, "nobody would route mail"),
        ("store", topology.stores, "there would be no mailboxes"),
        ("access", topology.access, "no mail program could connect"),
    )
    for role, servers, consequence in roles:
        if not servers:
            yield Problem(
                "servers", f"there is no {role}: {consequence}", f'add a server with role = "{role}"'
            )
    with_hub = [hub.site for hub in topology.hubs]
    for store in topology.stores:
        if topology.hubs and store.site not in with_hub:
            yield Problem(
                f"servers.{store.name}.site",
                f'site "{store.site}" has a store but no hub',
                f"add a hub there, or move the store to a site with one ({quoted(sorted(set(with_hub)))})",
            )


def _send_connectors(topology: Topology) -> Iterator[Problem]:
    hubs = [hub.name for hub in topology.hubs]
    yield from _twice("send_connectors", [connector.name for connector in topology.send_connectors])
    for index, connector in enumerate(topology.send_connectors):
        yield from _send_connector(f"send_connectors[{index}]", connector, hubs)


def _send_connector(place: str, connector: SendConnector, hubs: Sequence[str]) -> Iterator[Problem]:
    if not connector.name:
        yield Problem(f"{place}.name", "is empty", "give the connector a name")
    if not connector.address_spaces:
        yield Problem(f"{place}.address_spaces", "is empty", 'take ["*"] for every domain')
    for space in connector.address_spaces:
        bare = space.removeprefix("*.")
        if space != "*" and (bare.startswith("[") or not valid_domain(bare, smtputf8=True)):
            yield Problem(
                f"{place}.address_spaces",
                f'"{space}" is no address space',
                "write *, example.org or *.example.org",
            )
    if connector.cost < 1:
        yield Problem(f"{place}.cost", "is below 1", "give the connector a cost of 1 or more")
    if not 1 <= connector.port <= 65535:
        yield Problem(f"{place}.port", f"is {connector.port}", "a port is a number from 1 to 65535")
    for host in connector.smart_hosts:
        if host.port == 0 or is_wildcard(host.host):
            yield Problem(
                f"{place}.smart_hosts", f"nothing can be reached at {host}", "give its host and port"
            )
    yield from _connector_security(place, connector)
    for name in connector.source_hubs:
        if name not in hubs:
            yield Problem(f"{place}.source_hubs", f'unknown hub "{name}"', unknown(name, hubs, "hubs"))


def _connector_security(place: str, connector: SendConnector) -> Iterator[Problem]:
    verified, smart = connector.tls == "verified", bool(connector.smart_hosts)
    if verified and not smart:
        yield Problem(
            f"{place}.tls",
            'is "verified", but by MX a host\'s name is not known beforehand',
            'take "required", or name smart_hosts',
        )
    if connector.implicit_tls and not smart:
        yield Problem(f"{place}.implicit_tls", "is for smart hosts", "remove it, or name smart_hosts")
    if connector.implicit_tls and connector.tls in ("none", "opportunistic"):
        yield Problem(
            f"{place}.implicit_tls",
            f'there is no way around TLS with it, but tls is "{connector.tls}"',
            'take tls = "required" or "verified"',
        )
    if connector.ca_file and not verified:
        yield Problem(f"{place}.ca_file", "nothing is verified", 'take tls = "verified", or remove it')
    if bool(connector.username) != bool(connector.password_file):
        missing = "password_file" if connector.username else "username"
        yield Problem(f"{place}.{missing}", "is missing", "username and password_file come together")
    elif connector.username and not verified:
        yield Problem(
            f"{place}.username",
            f'a password is for a host whose certificate was verified, but tls is "{connector.tls}"',
            'take tls = "verified", with ca_file if the certificate is of a CA of your own',
        )


def _demo_users(topology: Topology) -> Iterator[Problem]:
    accepted = [domain_key(domain.domain) for domain in topology.domains]
    stores = [store.name for store in topology.stores]
    seen: dict[str, int] = {}
    for index, user in enumerate(topology.demo_users):
        place = f"demo_users[{index}].address"
        key = address_key(user.address)
        domain = split_address(key)[1]
        if not valid_address(user.address, smtputf8=True):
            yield Problem(place, f'"{user.address}" is not a valid address', "write it as local@domain")
        elif domain not in accepted:
            mend = f"accepted domains are {quoted(accepted)}"
            yield Problem(place, f'"{domain}" is not an accepted domain', mend)
        elif key in seen:
            yield Problem(
                place, f'"{user.address}" is there twice', f"remove it here or at demo_users[{seen[key]}]"
            )
        seen.setdefault(key, index)
        if user.store and user.store not in stores:
            yield Problem(
                f"demo_users[{index}].store",
                f'unknown store "{user.store}"',
                unknown(user.store, stores, "stores"),
            )


def _name(place: str, name: str) -> Iterator[Problem]:
    if not _NAME.fullmatch(name):
        yield Problem(place, f'"{name}" is no name', "take up to 63 letters, digits and hyphens")


def _twice(place: str, names: Sequence[str]) -> Iterator[Problem]:
    seen: list[str] = []
    for name in names:
        if name.casefold() in seen:
            yield Problem(f"{place}.{name}", f'the name "{name}" is there twice', "give one another name")
        seen.append(name.casefold())
