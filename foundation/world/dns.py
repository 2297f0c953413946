"""The machine's name service, asked without blocking the event loop. Only door to dnspython.

Answers are kept for their time to live. A machine without any name service starts all the same: each question
is then "unavailable", and the settings are read again at the next question.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from foundation.interfaces.world import MailExchanger, NameNotFound, NameServiceUnavailable

_TRY_SECONDS = 4.0
_QUESTION_SECONDS = 15.0
_CACHED_ANSWERS = 10_000


class DnsResolver:
    """Uses the machine's name servers, or those given (addresses, with their port)."""

    def __init__(self, nameservers: Sequence[str] = (), port: int = 53) -> None:
        self._nameservers = tuple(nameservers)
        self._port = port
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def mail_exchangers(self, domain: str) -> tuple[MailExchanger, ...]:
        """MX records by preference; empty when the domain exists without any.

        The null MX (RFC 7505) is one record with an empty host. Raises NameNotFound, NameServiceUnavailable.
        """
        answer = await self._ask(domain, dns.rdatatype.MX)
        if answer is None:
            return ()
        found = [MailExchanger(record.preference, _host(record.exchange)) for record in answer]
        return tuple(sorted(found, key=lambda exchanger: (exchanger.preference, exchanger.host)))

    async def addresses(self, host: str) -> tuple[str, ...]:
        """IPv6 and IPv4 addresses as text. Raises NameNotFound, NameServiceUnavailable."""
        try:
            return (str(ipaddress.ip_address(host.strip("[]"))),)
        except ValueError:
            pass
        if host.rstrip(".").lower() == "localhost":
            return ("127.0.0.1", "::1")  # RFC 6761 6.3: never asked of a name server
        outcomes = await asyncio.gather(
            self._ask(host, dns.rdatatype.AAAA), self._ask(host, dns.rdatatype.A), return_exceptions=True
        )
        found: list[str] = []
        for outcome in outcomes:
            if outcome is not None and not isinstance(outcome, BaseException):
                found.extend(sorted(str(record.address) for record in outcome))
        if found:
            return tuple(found)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, NameNotFound):
                raise outcome
        raise NameNotFound(f"{host} has no address")

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> dns.resolver.Answer | None:
        """The records; None when the name exists without any of this kind."""
        try:
            absolute = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError, ValueError) as error:
            raise NameNotFound(f"{name!r} is no host name") from error
        try:
            return await self._made().resolve(absolute, kind, search=False)
        except dns.resolver.NXDOMAIN as error:
            raise NameNotFound(f"{name} does not exist") from error
        except dns.resolver.NoAnswer:
            return None
        except (dns.exception.DNSException, OSError) as error:
            raise NameServiceUnavailable(f"no answer from the name service about {name}: {error}") from error

    def _made(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                resolver.nameservers = list(self._nameservers)
                resolver.port = self._port
            resolver.timeout = _TRY_SECONDS
            resolver.lifetime = _QUESTION_SECONDS
            resolver.cache = dns.resolver.LRUCache(_CACHED_ANSWERS)
            self._resolver = resolver
        return self._resolver


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True) if name != dns.name.root else ""
