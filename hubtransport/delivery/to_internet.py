"""Delivery outside: by MX or to smart hosts, with STARTTLS where it is offered.

Opportunistic TLS verifies nothing, and falls back to plain text when it fails: it is better than plain text and no
more (RFC 7435). A connector with `tls = "required"` sends nothing in the clear.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Sequence

import msgspec

from config.model import SendConnector
from foundation.interfaces.world import NameNotFound, NameServiceUnavailable, World
from foundation.mail.errors import MailError
from foundation.smtp.client import ConnectionFailed, SmtpConnection, Timeouts
from hubtransport.delivery.courier import HopFailed, HopRefused, Line
from hubtransport.delivery.exchangers import order_of_hosts
from hubtransport.delivery.transfer import SmtpLine
from hubtransport.routing.hop import Hop
from hubtransport.routing.table import RoutingTable

MESSAGES_MAX = 20
IDLE_SECONDS = 5.0
ADDRESSES_MAX = 4
"""Tried of one host."""


class Target(msgspec.Struct, frozen=True):
    host: str
    port: int


class InternetCourier:
    def __init__(
        self,
        table: Callable[[], RoutingTable],
        world: World,
        hostname: str,
        own_names: frozenset[str],
        timeouts: Timeouts | None = None,
    ) -> None:
        """`own_names`: host names under which this organisation's servers are known outside."""
        self._table = table
        self._world = world
        self._hostname = hostname
        self._own_names = own_names
        self._timeouts = timeouts or Timeouts()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def connect(self, hop: Hop) -> Line:
        connector = self._table().connector(hop.connector)
        if connector is None:
            raise HopFailed(f"send connector {hop.connector} is not in this topology")
        if hop.kind == "smarthost":
            targets: Sequence[Target] = [Target(host.host, host.port) for host in connector.smart_hosts]
        else:
            targets = [Target(host, connector.port) for host in await self._hosts(hop.name)]
        problems: list[str] = []
        for target in targets:
            line = await self._try_host(target, connector, problems)
            if line is not None:
                return line
        raise HopFailed("; ".join(problems[-3:]) or f"{hop.name} has no host that could be tried")

    async def _hosts(self, domain: str) -> tuple[str, ...]:
        """Raises HopFailed, HopRefused."""
        if domain.startswith("["):
            return (_literal(domain),)
        try:
            found = await self._world.resolver.mail_exchangers(domain)
        except NameNotFound:
            found = ()
        except NameServiceUnavailable as error:
            raise HopFailed(f"the name service does not answer for {domain} (4.4.3): {error}") from error
        try:
            hosts = order_of_hosts(domain, found, self._own_names, self._world.entropy.uniform)
            if not found:
                await self._require_address(domain)
        except MailError as error:
            raise HopRefused(error) from error
        return hosts

    async def _require_address(self, domain: str) -> None:
        """Without MX the domain's own address counts; without both it can't get mail (RFC 5321 5.1)."""
        if domain in self._own_names:
            raise MailError(554, "5.4.6", f"Mail for {domain} would come back to this server")
        try:
            await self._world.resolver.addresses(domain)
        except NameNotFound:
            raise MailError(550, "5.1.2", f"The domain {domain} does not exist, or takes no mail") from None
        except NameServiceUnavailable as error:
            raise HopFailed(f"the name service does not answer for {domain} (4.4.3): {error}") from error

    async def _try_host(self, target: Target, connector: SendConnector, problems: list[str]) -> Line | None:
        try:
            addresses = await self._world.resolver.addresses(target.host)
        except (NameNotFound, NameServiceUnavailable) as error:
            problems.append(f"{target.host} has no address: {error}")
            return None
        for address in addresses[:ADDRESSES_MAX]:
            try:
                connection = await self._open(address, target.port, connector)
            except ConnectionFailed as error:
                problems.append(f"{target.host}: {error}")
                continue
            return SmtpLine(
                connection,
                target.host,
                lmtp=False,
                private=False,
                messages_max=MESSAGES_MAX,
                idle_seconds=IDLE_SECONDS,
            )
        return None

    async def _open(self, address: str, port: int, connector: SendConnector) -> SmtpConnection:
        required = connector.tls == "required"
        starttls = None if connector.tls == "none" else self._tls
        try:
            return await self._connection(address, port, starttls, required)
        except ConnectionFailed as error:
            if error.phase != "tls" or required:
                raise
        return await self._connection(address, port, None, False)

    async def _connection(
        self, address: str, port: int, starttls: ssl.SSLContext | None, required: bool
    ) -> SmtpConnection:
        return await SmtpConnection.open(
            address,
            port,
            hostname=self._hostname,
            starttls=starttls,
            require_tls=required,
            timeouts=self._timeouts,
        )


def _literal(domain: str) -> str:
    """The address in an address literal (RFC 5321 4.1.3). Raises HopRefused."""
    text = domain[1:-1]
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise HopRefused(MailError(550, "5.1.2", f"{domain} is no address")) from None
