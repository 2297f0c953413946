"""Password hashes."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from foundation.passwords import (
    UnusablePassword,
    hash_password,
    needs_rehash,
    prepare_password,
    verify_password,
)


def test_hash_and_verify() -> None:
    hashed = hash_password("correct horse")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password(hashed, "correct horse")
    assert not verify_password(hashed, "Correct horse")
    assert hash_password("correct horse") != hashed
    assert not needs_rehash(hashed)


def test_spellings_of_one_password() -> None:
    assert verify_password(hash_password("pa\u00df\u00e9 x"), "pa\u00dfe\u0301\u00a0x")


@pytest.mark.parametrize("bad", ["", "a\0b", "a\r\nb", "x" * 1025, "é" * 513, "\ud800"])
def test_unusable(bad: str) -> None:
    with pytest.raises(UnusablePassword):
        prepare_password(bad)
    assert not verify_password(hash_password("x"), bad)


@pytest.mark.parametrize("damaged", ["", "nonsense", "$argon2id$v=19$m=1$", "$2b$12$abc"])
def test_damaged_hash_fits_nobody(damaged: str) -> None:
    assert not verify_password(damaged, "x")
    assert needs_rehash(damaged)


def test_other_cost_asks_for_a_new_hash() -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(b"x")
    assert verify_password(old, "x")
    assert needs_rehash(old)
