"""Receive connectors: what kind of door a listener is, and whom it lets in."""

from __future__ import annotations

from typing import Literal

import msgspec

from config.model import HubServer, Topology
from foundation.mail.errors import MailError


class ReceiveConnector(msgspec.Struct, frozen=True, kw_only=True):
    listener: Literal["smtp", "smtp-internal"]
    trusted: bool
    """Waypost servers, by their certificate: their envelope, private fields and identifiers are believed."""
    message_size_bytes: int
    header_size_bytes: int
    hops: int
    peers: frozenset[str] = frozenset()
    """Servers that may come in, when trusted."""

    def admit(self, certificate_name: str) -> None:
        """Raises MailError 550 5.7.1 for a certificate that names no server of this topology."""
        if self.trusted and certificate_name not in self.peers:
            raise MailError(550, "5.7.1", "Only servers of this organisation are welcome here")


def outside(settings: HubServer) -> ReceiveConnector:
    return ReceiveConnector(
        listener="smtp",
        trusted=False,
        message_size_bytes=settings.limits.message_size_bytes,
        header_size_bytes=settings.limits.header_size_bytes,
        hops=settings.limits.hops,
    )


def internal(settings: HubServer, topology: Topology) -> ReceiveConnector:
    return ReceiveConnector(
        listener="smtp-internal",
        trusted=True,
        # What the prefix of one more hop adds must not stop a message that was accepted at the edge.
        message_size_bytes=settings.limits.message_size_bytes + settings.limits.header_size_bytes,
        header_size_bytes=settings.limits.header_size_bytes * 2,
        hops=settings.limits.hops,
        peers=frozenset(server.name for server in topology.servers),
    )
