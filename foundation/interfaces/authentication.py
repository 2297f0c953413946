"""Who a client is: asked by the submission and the IMAP sessions, answered by
clientaccess/authenticate.py."""

from __future__ import annotations

from typing import Protocol

from foundation.interfaces.directory import Credentials


class Authentication(Protocol):
    async def password(self, login: str, password: str, peer: str) -> Credentials:
        """The user behind login and password.

        Raises MailError 535 5.7.8 (wrong, after a delay that grows per login and peer),
        454 4.7.0 (can't be checked now).
        """
        ...
