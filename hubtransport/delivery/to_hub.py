"""Delivery to another hub of the organisation: SMTP inside mutual TLS, to its listener for Waypost
servers."""

from __future__ import annotations

from collections.abc import Callable

from foundation.smtp.client import ConnectionFailed, SmtpConnection, Timeouts
from foundation.tls import Identity
from hubtransport.delivery.courier import HopFailed, Line
from hubtransport.delivery.transfer import SmtpLine
from hubtransport.routing.hop import Hop
from hubtransport.routing.table import RoutingTable

MESSAGES_MAX = 1_000_000
IDLE_SECONDS = 120.0
TIMEOUTS = Timeouts(connect=5, greeting=30, handshake=15, hello=30)
"""Inside, a server that does not answer soon is down; transfers keep the RFC's times, while it lives."""


class HubCourier:
    def __init__(self, table: Callable[[], RoutingTable], identity: Identity, hostname: str) -> None:
        self._table = table
        self._identity = identity
        self._hostname = hostname

    async def connect(self, hop: Hop) -> Line:
        settings = self._table().map.hubs.get(hop.name)
        if settings is None:
            raise HopFailed(f"hub {hop.name} is not in this topology")
        endpoint = settings.smtp_internal
        return await connect_inside(
            hop.name, endpoint.host, endpoint.port, self._identity, self._hostname, lmtp=False
        )


async def connect_inside(
    name: str, host: str, port: int, identity: Identity, hostname: str, *, lmtp: bool
) -> Line:
    """To a Waypost server that proves by its certificate to be `name`. Raises HopFailed."""
    try:
        connection = await SmtpConnection.open(
            host,
            port,
            hostname=hostname,
            protocol="lmtp" if lmtp else "smtp",
            implicit_tls=identity.internal_client(),
            timeouts=TIMEOUTS,
            watched=True,
        )
    except ConnectionFailed as error:
        raise HopFailed(str(error)) from error
    if connection.peer.certificate_name != name:
        found = connection.peer.certificate_name or "nobody"
        connection.abort()
        raise HopFailed(f"{host}:{port} should be {name}, its certificate says {found}")
    return SmtpLine(
        connection, name, lmtp=lmtp, private=True, messages_max=MESSAGES_MAX, idle_seconds=IDLE_SECONDS
    )
