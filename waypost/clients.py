"""What a mail program has to be told to read and send mail here, and Thunderbird's file that tells it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from config.model import AccessServer, Endpoint, Topology

Use = Literal["read", "send"]
Protocol = Literal["imap", "smtp"]
Security = Literal["SSL", "STARTTLS"]

EVERY_USER = "%EMAILADDRESS%"
"""Stands for the user's whole address in Thunderbird's file."""


class NoHostName(Exception):
    """A listener on all addresses says nothing of the name that its public certificate is for."""

    def __init__(self, server: str) -> None:
        super().__init__(server)
        self.server = server


@dataclass(frozen=True)
class Account:
    """One way to connect."""

    use: Use
    protocol: Protocol
    host: str
    port: int
    security: Security
    """`SSL` is the mail programs' word for TLS from the first byte."""
    private_authority: bool
    """The certificate is one of the organisation's own CA, whose `ca.pem` has to be trusted first."""
    server: str


def accounts(topology: Topology, host: str = "") -> tuple[Account, ...]:
    """TLS from the first byte before STARTTLS (RFC 8314 3), reading before sending. Raises NoHostName."""
    found = [each for server in topology.access for each in _of_server(server, host)]
    return tuple(sorted(found, key=lambda each: (each.use, each.security)))


def _of_server(server: AccessServer, host: str) -> Iterator[Account]:
    private = not server.certificate_file
    ways: tuple[tuple[Endpoint | None, Use, Protocol, Security], ...] = (
        (server.imaps, "read", "imap", "SSL"),
        (server.imap, "read", "imap", "STARTTLS"),
        (server.submissions, "send", "smtp", "SSL"),
        (server.submission, "send", "smtp", "STARTTLS"),
    )
    for endpoint, use, protocol, security in ways:
        if endpoint is not None:
            name = host or _host_of(server, endpoint, private)
            yield Account(use, protocol, name, endpoint.port, security, private, server.name)


def _host_of(server: AccessServer, endpoint: Endpoint, private: bool) -> str:
    try:
        address = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return endpoint.host
    if address.is_unspecified and not private:
        raise NoHostName(server.name)
    return "localhost" if address.is_unspecified or address.is_loopback else endpoint.host


def thunderbird(
    organisation: str, domains: Sequence[str], ways: Sequence[Account], user: str = EVERY_USER
) -> str:
    """The file `config-v1.1.xml` of Mozilla's autoconfiguration, which other mail programs read, too."""
    root = ElementTree.Element("clientConfig", version="1.1")
    provider = ElementTree.SubElement(root, "emailProvider", id=domains[0])
    for domain in domains:
        _text(provider, "domain", domain)
    _text(provider, "displayName", organisation)
    _text(provider, "displayShortName", organisation)
    for way in ways:
        tag = "incomingServer" if way.use == "read" else "outgoingServer"
        server = ElementTree.SubElement(provider, tag, type=way.protocol)
        _text(server, "hostname", way.host)
        _text(server, "port", str(way.port))
        _text(server, "socketType", way.security)
        _text(server, "authentication", "password-cleartext")  # PLAIN, which TLS protects
        _text(server, "username", user)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, "unicode")}\n'


def _text(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text
