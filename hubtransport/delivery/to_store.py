"""Delivery to a mailbox store of the own site: LMTP inside mutual TLS, one answer for each recipient."""

from __future__ import annotations

from collections.abc import Callable

from foundation.tls import Identity
from hubtransport.delivery.courier import HopFailed, Line
from hubtransport.delivery.to_hub import connect_inside
from hubtransport.routing.hop import Hop
from hubtransport.routing.table import RoutingTable


class StoreCourier:
    def __init__(self, table: Callable[[], RoutingTable], identity: Identity, hostname: str) -> None:
        self._table = table
        self._identity = identity
        self._hostname = hostname

    async def connect(self, hop: Hop) -> Line:
        settings = self._table().map.stores.get(hop.name)
        if settings is None:
            raise HopFailed(f"mailbox store {hop.name} is not in this topology")
        endpoint = settings.lmtp
        return await connect_inside(
            hop.name, endpoint.host, endpoint.port, self._identity, self._hostname, lmtp=True
        )
