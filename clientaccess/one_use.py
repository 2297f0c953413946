"""One-use credentials: how `waypost probe` logs on as a user through the real ports, without a password.

Promises: a credential works once, within a minute, for one user and one protocol; what is kept of it can't be
used to log on; whatever else is offered goes to the passwords, with their delays.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from foundation.interfaces.authentication import Authentication
from foundation.interfaces.control import OneUseCredential
from foundation.interfaces.directory import Credentials, Directory
from foundation.interfaces.world import World
from foundation.mail.errors import MailError

log = logging.getLogger("waypost.clientaccess")

Protocol = Literal["submission", "imap"]

LIFETIME_SECONDS = 60.0
OUTSTANDING_MAX = 1000
PREFIX = "waypost-once-"
TOKEN_BYTES = 32


@dataclass(frozen=True)
class _Minted:
    recipient_id: str
    protocol: Protocol
    until: float
    """Of the monotonic clock."""


class OneUseCredentials:
    """Implements foundation.interfaces.control.ProbeLogon."""

    def __init__(self, directory: Directory, world: World, certificate: Callable[[], str]) -> None:
        """`certificate`: PEM of what this server shows to mail programs."""
        self._directory = directory
        self._clock = world.clock
        self._entropy = world.entropy
        self._certificate = certificate
        self._minted: OrderedDict[bytes, _Minted] = OrderedDict()
        """By digest of the password, the oldest first."""

    async def mint(self, address: str, protocol: Protocol) -> OneUseCredential:
        """Raises MailError 550 5.1.1 (no user who may log on), 452 4.5.3 (too many at once), 451."""
        credentials = await self._directory.credentials(address)
        if credentials is None:
            raise MailError(550, "5.1.1", f"No user who may log on has the address {address}")
        self._forget_expired()
        if len(self._minted) >= OUTSTANDING_MAX:
            raise MailError(452, "4.5.3", "Too many one-use credentials at once, try again in a minute")
        token = base64.urlsafe_b64encode(self._entropy.token(TOKEN_BYTES)).rstrip(b"=").decode()
        password = PREFIX + token
        until = self._clock.monotonic() + LIFETIME_SECONDS
        self._minted[_digest(password)] = _Minted(credentials.user.recipient_id, protocol, until)
        log.info("one-use credential", extra={"user": credentials.user.address, "protocol": protocol})
        return OneUseCredential(
            login=credentials.user.address,
            password=password,
            expires_at_ms=self._clock.now_ms() + round(LIFETIME_SECONDS * 1000),
            certificate=self._certificate(),
        )

    def accepting(self, protocol: Protocol, passwords: Authentication) -> Authentication:
        """What the sessions of a protocol ask: one-use credentials first, then passwords."""
        return _Accepting(self, protocol, passwords)

    async def redeem(self, login: str, password: str, protocol: Protocol) -> Credentials | None:
        """None for what was not minted for this, is used or too old. Raises MailError 451."""
        if not password.startswith(PREFIX):
            return None
        self._forget_expired()
        minted = self._minted.pop(_digest(password), None)
        if minted is None or minted.protocol != protocol:
            return None
        credentials = await self._directory.credentials(login)
        if credentials is None or credentials.user.recipient_id != minted.recipient_id:
            return None
        return msgspec.structs.replace(credentials, probe=True)

    def _forget_expired(self) -> None:
        now = self._clock.monotonic()
        while self._minted and next(iter(self._minted.values())).until <= now:
            self._minted.popitem(last=False)


class _Accepting:
    """Implements foundation.interfaces.authentication.Authentication."""

    def __init__(self, one_use: OneUseCredentials, protocol: Protocol, passwords: Authentication) -> None:
        self._one_use = one_use
        self._protocol = protocol
        self._passwords = passwords

    async def password(self, login: str, password: str, peer: str) -> Credentials:
        found = await self._one_use.redeem(login, password, self._protocol)
        if found is None:
            return await self._passwords.password(login, password, peer)
        log.info("logon of a probe", extra={"login": login, "peer": peer, "protocol": self._protocol})
        return found


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()
