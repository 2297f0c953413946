"""Delivery outside: by MX or to smart hosts, with STARTTLS where it is offered.

Opportunistic TLS verifies nothing, and falls back to plain text when it fails: it is better than plain text
and no more (RFC 7435). A connector with `tls = "required"` sends nothing in the clear, one with "verified"
only to hosts whose certificate is good for their name; none but those gets a user name and password.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from config.model import SendConnector
from foundation.interfaces.world import NameNotFound, NameServiceUnavailable, World
from foundation.mail.errors import MailError
from foundation.smtp.client import ConnectionFailed, SmtpConnection, Timeouts
from foundation.tls import CertificateError, verifying_client
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
        self._verifying: dict[tuple[str, str], ssl.SSLContext] = {}

    def reload(self, own_names: frozenset[str]) -> None:
        """Files of those who issue certificates are read anew, for new connections."""
        self._own_names = own_names
        self._verifying.clear()

    async def connect(self, hop: Hop) -> Line:
        connector = self._table().connector(hop.connector)
        if connector is None:
            raise HopFailed(f"send connector {hop.connector} is not in this topology")
        if hop.kind == "smarthost":
            targets: Sequence[Target] = [Target(host.host, host.port) for host in connector.smart_hosts]
        else:
            targets = [Target(host, connector.port) for host in await self.hosts(hop.name)]
        problems: list[str] = []
        for target in targets:
            line = await self._try_host(target, connector, problems)
            if line is not None:
                return line
        raise HopFailed("; ".join(problems[-3:]) or f"{hop.name} has no host that could be tried")

    async def hosts(self, domain: str) -> tuple[str, ...]:
        """Who takes mail for a domain, in the order they are tried. Raises HopFailed, HopRefused."""
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
                connection = await self._open(address, target, connector)
            except ConnectionFailed as error:
                if error.phase == "authentication":  # wrong here is wrong at its other addresses
                    raise HopFailed(f"{target.host}: {error}") from error
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

    async def _open(self, address: str, target: Target, connector: SendConnector) -> SmtpConnection:
        if connector.tls != "opportunistic":
            tls = self._context(connector, target.host) if connector.tls != "none" else None
            return await self._connection(address, target.port, connector, tls)
        try:
            return await self._connection(address, target.port, connector, self._tls)
        except ConnectionFailed as error:
            if error.phase != "tls":
                raise
        return await self._connection(address, target.port, connector, None)

    def _context(self, connector: SendConnector, host: str) -> ssl.SSLContext:
        """Raises HopFailed."""
        if connector.tls != "verified":
            return self._tls
        key = (host, connector.ca_file)
        try:
            if key not in self._verifying:
                self._verifying[key] = verifying_client(*key)
        except CertificateError as error:
            raise HopFailed(f"send connector {connector.name}: {error}") from error
        return self._verifying[key]

    async def _connection(
        self, address: str, port: int, connector: SendConnector, tls: ssl.SSLContext | None
    ) -> SmtpConnection:
        return await SmtpConnection.open(
            address,
            port,
            hostname=self._hostname,
            implicit_tls=tls if connector.implicit_tls else None,
            starttls=None if connector.implicit_tls else tls,
            require_tls=connector.tls in ("required", "verified"),
            timeouts=self._timeouts,
            authentication=self._logon(connector),
        )

    def _logon(self, connector: SendConnector) -> tuple[str, str] | None:
        """User name and password, as they stand in the file now. Raises HopFailed."""
        if not connector.username:
            return None
        file = Path(connector.password_file)
        try:
            password = self._world.disk.read(file).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise HopFailed(
                f"send connector {connector.name}: its password file {file} can't be read ({reason})"
            ) from error
        return connector.username, password


def _literal(domain: str) -> str:
    """The address in an address literal (RFC 5321 4.1.3). Raises HopRefused."""
    text = domain[1:-1]
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise HopRefused(MailError(550, "5.1.2", f"{domain} is no address")) from None
