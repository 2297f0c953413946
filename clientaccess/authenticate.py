"""Who a client is: passwords checked against the directory, cheap at every later logon, slow for guessers.

Promises: a password that was checked lately is not hashed again, and a changed one is refused at once; a
wrong one is answered after a delay that grows with each failure of the login from the peer; an unknown user
costs what a wrong password costs. Hashing runs in two threads, and who would wait too long is told so.

Hashes of an older cost are only reported: Client Access does not write to the directory.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections import OrderedDict

from foundation.interfaces.directory import Credentials, Directory
from foundation.interfaces.world import World
from foundation.mail.errors import MailError, Unavailable
from foundation.passwords import UnusablePassword, needs_rehash, prepare_password, verify_password

log = logging.getLogger("waypost.clientaccess")

THREADS = 2
WAITING_MAX = 64
"""Logons that may wait for a thread: about 2 seconds' worth."""
LOGIN_CHARACTERS_MAX = 512

VERIFIED_SECONDS_MAX = 600.0
VERIFIED_MAX = 10_000

DELAY_FIRST_SECONDS = 0.5
DELAY_SECONDS_MAX = 8.0
FAILURES_FORGOTTEN_SECONDS = 900.0
FAILURES_MAX = 10_000

NOBODY_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$0kHCF0zPimhywuq3MIVd2Q$3r0nWBBVtODl9jdagGnp0LtDt20ovi29scj1wbETdSE"
)
"""Of no known password: what the password of an unknown user is compared with."""


class Authenticator:
    """Implements foundation.interfaces.authentication.Authentication."""

    def __init__(self, directory: Directory, world: World) -> None:
        self._directory = directory
        self._clock = world.clock
        self._executor = world.executor("passwords", THREADS)
        self._waiting = 0
        self._verified = _Verified(world.entropy.token(32))
        self._failures = _Failures()

    def close(self) -> None:
        self._executor.close()

    async def password(self, login: str, password: str, peer: str) -> Credentials:
        """The user behind login and password; `peer` is the client's address, without its port.

        Raises MailError 535 5.7.8 (wrong, after a delay), 454 4.7.0 (can't be checked now).
        """
        try:
            prepared = prepare_password(password)
        except UnusablePassword as error:
            raise await self._refuse(login, peer, str(error)) from None
        if not 0 < len(login) <= LOGIN_CHARACTERS_MAX or "\0" in login:
            raise await self._refuse(login, peer, "no usable login name")
        credentials = await self._credentials(login)
        now = self._clock.monotonic()
        if credentials is not None and self._verified.holds(credentials, prepared, now):
            return credentials
        fits = await self._verify(credentials.password_hash if credentials else NOBODY_HASH, password)
        if credentials is None or not fits:
            raise await self._refuse(login, peer, "wrong password" if credentials else "unknown user")
        self._verified.add(credentials, prepared, now)
        self._failures.forget(login, peer)
        log.info("logon", extra={"login": login, "peer": peer})
        if needs_rehash(credentials.password_hash):
            log.info("the password is hashed at an older cost; set it anew", extra={"login": login})
        return credentials

    async def _credentials(self, login: str) -> Credentials | None:
        try:
            return await self._directory.credentials(login)
        except Unavailable as error:
            # RFC 4954 6: the client may try again; 535 would make it ask the user for another password.
            raise MailError(454, "4.7.0", "Passwords can't be checked now, try again later") from error

    async def _verify(self, password_hash: str, password: str) -> bool:
        if self._waiting >= WAITING_MAX:
            raise MailError(454, "4.7.0", "Too many logons at once, try again later")
        self._waiting += 1
        try:
            return await self._executor.run(verify_password, password_hash, password)
        finally:
            self._waiting -= 1

    async def _refuse(self, login: str, peer: str, reason: str) -> MailError:
        delay = self._failures.add(login, peer, self._clock.monotonic())
        shown = login[:LOGIN_CHARACTERS_MAX]
        log.warning("logon refused: %s", reason, extra={"login": shown, "peer": peer, "delay_seconds": delay})
        await asyncio.sleep(delay)
        return MailError(535, "5.7.8", "Wrong login name or password")


class _Verified:
    """Passwords that were found right lately: not they, but a MAC of them under a key of this process.

    The MAC covers the stored hash, so an entry is void with the old password.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def holds(self, credentials: Credentials, password: bytes, now: float) -> bool:
        until = self._until.get(self._mac(credentials, password))
        return until is not None and now < until

    def add(self, credentials: Credentials, password: bytes, now: float) -> None:
        mac = self._mac(credentials, password)
        self._until[mac] = now + VERIFIED_SECONDS_MAX
        self._until.move_to_end(mac)
        while len(self._until) > VERIFIED_MAX or next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)

    def _mac(self, credentials: Credentials, password: bytes) -> bytes:
        parts = (credentials.user.recipient_id.encode(), credentials.password_hash.encode(), password)
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, message, hashlib.sha256)


class _Failures:
    """Failed logons by login and peer; at the bound the oldest are forgotten."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def add(self, login: str, peer: str, now: float) -> float:
        """Counts one more; how many seconds its answer waits."""
        key = self._key(login, peer)
        count, last = self._counts.pop(key, (0, now))
        if now - last >= FAILURES_FORGOTTEN_SECONDS:
            count = 0
        self._counts[key] = (count + 1, now)
        while len(self._counts) > FAILURES_MAX:
            self._counts.popitem(last=False)
        doubled: float = DELAY_FIRST_SECONDS * 2 ** min(count, 16)
        return min(doubled, DELAY_SECONDS_MAX)

    def forget(self, login: str, peer: str) -> None:
        self._counts.pop(self._key(login, peer), None)

    def _key(self, login: str, peer: str) -> tuple[str, str]:
        return login[:LOGIN_CHARACTERS_MAX].casefold(), peer
