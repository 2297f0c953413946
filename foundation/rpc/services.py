"""What an RPC server offers, to whom, and how much of it at once: shared by its connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from foundation.mail.errors import MailError, Unavailable
from foundation.rpc.methods import Method, methods_of, service_name

log = logging.getLogger("waypost.rpc")


@dataclass(frozen=True)
class RpcLimits:
    connections: int = 1000
    calls: int = 256
    """Plain calls at once on one connection; a client waits for its turn."""
    streams: int = 10_000
    """Uploads and downloads at once on one connection: every watched mailbox is one."""


class Services:
    def __init__(
        self,
        services: Mapping[Any, object],
        authorise: Callable[[str, str, str], bool],
        trace_id: Callable[[], str],
        limits: RpcLimits,
    ) -> None:
        self.limits = limits
        self.trace_id = trace_id
        self.stopping = False
        self.tasks: dict[asyncio.Task[None], None] = {}
        """Calls that run, also those whose connection is gone."""
        self._authorise = authorise
        self._methods: dict[tuple[str, str], tuple[Method, Callable[..., Any]]] = {}
        for interface, implementation in services.items():
            for name, method in methods_of(interface).items():
                self._methods[service_name(interface), name] = method, getattr(implementation, name)

    def method(self, peer: str, service: str, name: str) -> tuple[Method, Callable[..., Any]]:
        """Raises MailError when it is unknown, not allowed, or the server stops."""
        if self.stopping:
            raise stopping()
        found = self._methods.get((service, name))
        if found is None:
            raise MailError(451, "4.3.5", f"This server does not offer {service}.{name}", "UNKNOWNMETHOD")
        if not self._authorise(peer, service, name):
            log.warning("an RPC call is not allowed", extra={"peer": peer, "method": f"{service}.{name}"})
            raise MailError(451, "4.7.1", f"{peer or 'The peer'} may not call {service}.{name}", "NOTALLOWED")
        return found


def stopping() -> Unavailable:
    return Unavailable("The server is stopping, try again later")
