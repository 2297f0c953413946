"""Password hashes: argon2id in PHC form, at the cost measured for a mail server's logons (about 40 ms each).

Blocking: call in an executor where others wait. Used by the command line and by clientaccess/authenticate.py.
"""

from __future__ import annotations

import unicodedata

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

LONGEST_BYTES = 1024

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, type=Type.ID)


class UnusablePassword(ValueError):
    """The text can't be a password; says why."""


def prepare_password(password: str) -> bytes:
    """The bytes that are hashed: RFC 8265 4.2 (OpaqueString), every client's spelling being one password.

    Raises UnusablePassword: empty, over 1024 bytes, NUL or another control character.
    """
    if not password:
        raise UnusablePassword("the password is empty")
    if len(password) > LONGEST_BYTES:
        raise UnusablePassword(f"the password is longer than {LONGEST_BYTES} bytes")
    spaced = "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in password)
    normal = unicodedata.normalize("NFC", spaced)
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in normal):
        raise UnusablePassword("the password has a control character")
    prepared = normal.encode("utf-8")
    if len(prepared) > LONGEST_BYTES:
        raise UnusablePassword(f"the password is longer than {LONGEST_BYTES} bytes")
    return prepared


def hash_password(password: str) -> str:
    """Raises UnusablePassword."""
    return _HASHER.hash(prepare_password(password))


def verify_password(password_hash: str, password: str) -> bool:
    """False also for a hash that is none, and for what can't be a password."""
    try:
        return _HASHER.verify(password_hash, prepare_password(password))
    except (VerificationError, InvalidHashError, UnusablePassword):
        return False


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made at another cost than today's."""
    try:
        return _HASHER.check_needs_rehash(password_hash)
    except InvalidHashError:
        return True
