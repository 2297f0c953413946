"""Passwords at Client Access: the cache, the throttle, and what a client is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from clientaccess import authenticate as module
from clientaccess.authenticate import NOBODY_HASH, Authenticator
from foundation.interfaces.directory import Credentials, DirectoryRecipient
from foundation.interfaces.world import World
from foundation.mail.errors import MailError, Unavailable
from foundation.passwords import hash_password, needs_rehash
from foundation.world.disk import SystemDisk
from foundation.world.dns import DnsResolver
from foundation.world.entropy import SystemEntropy
from foundation.world.executor import ThreadExecutor

HASHES = {"alice": hash_password("right"), "bob": hash_password("other")}


class Clock:
    at = 1000.0

    def now_ms(self) -> int:
        return 1_800_000_000_000

    def monotonic(self) -> float:
        return self.at


class FakeDirectory:
    """Only what a logon asks."""

    def __init__(self) -> None:
        self.hashes = dict(HASHES)
        self.away = False

    async def credentials(self, login: str) -> Credentials | None:
        if self.away:
            raise Unavailable("away", 451, "4.3.0")
        if login.lower() not in self.hashes:
            return None
        address = f"{login.lower()}@example.test"
        user = DirectoryRecipient(recipient_id=f"id-{login.lower()}", kind="user", address=address)
        return Credentials(user=user, password_hash=self.hashes[login.lower()], addresses=(address,))


class Checked(ThreadExecutor):
    """Counts the hashes, and can be held up."""

    checks: list[str] = []
    gate: asyncio.Event | None = None

    async def run(self, function: Callable[..., Any], *arguments: object) -> Any:
        self.checks.append(str(arguments[0]))
        if self.gate is not None:
            await self.gate.wait()
        return await super().run(function, *arguments)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    monkeypatch.setattr("clientaccess.authenticate.asyncio.sleep", sleep)
    return delays


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory() -> FakeDirectory:
    return FakeDirectory()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(Checked, "checks", [])
    monkeypatch.setattr(Checked, "gate", None)
    return Checked.checks


@pytest.fixture
async def authenticator(
    directory: FakeDirectory, clock: Clock, checks: list[str], slept: list[float]
) -> AsyncIterator[Authenticator]:
    made = Authenticator(
        directory,  # type: ignore[arg-type]
        World(clock, SystemEntropy(), SystemDisk(), DnsResolver(), Checked),
    )
    yield made
    made.close()


async def refused(
    authenticator: Authenticator, login: str, password: str, peer: str = "192.0.2.1"
) -> MailError:
    with pytest.raises(MailError) as told:
        await authenticator.password(login, password, peer)
    return told.value


async def test_right_password(authenticator: Authenticator, slept: list[float]) -> None:
    credentials = await authenticator.password("alice", "right", "192.0.2.1")
    assert credentials.addresses == ("alice@example.test",)
    assert slept == []


async def test_second_logon_is_not_hashed_again(
    authenticator: Authenticator, checks: list[str], clock: Clock
) -> None:
    for _ in range(3):
        await authenticator.password("alice", "right", "192.0.2.1")
    assert len(checks) == 1
    clock.at += module.VERIFIED_SECONDS_MAX
    await authenticator.password("alice", "right", "192.0.2.1")
    assert len(checks) == 2


async def test_changed_password_is_refused_at_once(
    authenticator: Authenticator, directory: FakeDirectory
) -> None:
    await authenticator.password("alice", "right", "192.0.2.1")
    directory.hashes["alice"] = directory.hashes["bob"]
    assert (await refused(authenticator, "alice", "right")).code == 535
    await authenticator.password("alice", "other", "192.0.2.1")
    del directory.hashes["alice"]
    assert (await refused(authenticator, "alice", "other")).code == 535


async def test_cached_password_of_one_user_is_not_anothers(authenticator: Authenticator) -> None:
    await authenticator.password("alice", "right", "192.0.2.1")
    assert (await refused(authenticator, "bob", "right")).code == 535


async def test_cache_is_bounded(
    authenticator: Authenticator, checks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "VERIFIED_MAX", 1)
    for login, password in [("alice", "right"), ("bob", "other"), ("alice", "right")]:
        await authenticator.password(login, password, "192.0.2.1")
    assert len(checks) == 3


async def test_delay_grows_and_is_forgotten_at_success(
    authenticator: Authenticator, slept: list[float]
) -> None:
    for _ in range(7):
        answer = await refused(authenticator, "Alice", "wrong")
        assert (answer.code, answer.status) == (535, "5.7.8")
    assert slept == [0.5, 1, 2, 4, 8, 8, 8]
    await refused(authenticator, "alice", "wrong", "192.0.2.2")
    await refused(authenticator, "bob", "wrong")
    assert slept[7:] == [0.5, 0.5]
    await authenticator.password("ALICE", "right", "192.0.2.1")
    await refused(authenticator, "alice", "wrong")
    assert slept[9:] == [0.5]


async def test_failures_are_forgotten_in_time(
    authenticator: Authenticator, slept: list[float], clock: Clock
) -> None:
    await refused(authenticator, "alice", "wrong")
    clock.at += module.FAILURES_FORGOTTEN_SECONDS
    await refused(authenticator, "alice", "wrong")
    assert slept == [0.5, 0.5]


async def test_failures_are_bounded(
    authenticator: Authenticator, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAILURES_MAX", 2)
    for login in ("alice", "x", "y", "alice"):
        await refused(authenticator, login, "")
    assert slept == [0.5] * 4


async def test_unknown_user_costs_a_hash_and_hears_the_same(
    authenticator: Authenticator, checks: list[str]
) -> None:
    unknown = await refused(authenticator, "nobody", "right")
    wrong = await refused(authenticator, "alice", "wrong")
    assert checks == [NOBODY_HASH, HASHES["alice"]]
    assert (unknown.code, unknown.status, unknown.sentence) == (wrong.code, wrong.status, wrong.sentence)
    assert not needs_rehash(NOBODY_HASH)


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("alice", ""),
        ("alice", "right\0"),
        ("alice", "x" * 100_000),
        ("", "right"),
        ("a\0", "right"),
        ("a" * 600, "x"),
    ],
)
async def test_unusable_is_refused_without_a_hash(
    authenticator: Authenticator, checks: list[str], slept: list[float], login: str, password: str
) -> None:
    assert (await refused(authenticator, login, password)).code == 535
    assert checks == []
    assert slept == [0.5]


async def test_directory_away_is_temporary(
    authenticator: Authenticator, directory: FakeDirectory, slept: list[float]
) -> None:
    directory.away = True
    answer = await refused(authenticator, "alice", "right")
    assert (answer.code, answer.status) == (454, "4.7.0")
    assert slept == []


async def test_too_many_waiting(authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    monkeypatch.setattr(Checked, "gate", asyncio.Event())
    waiting = [asyncio.create_task(authenticator.password("alice", "right", "192.0.2.1")) for _ in range(2)]
    while len(Checked.checks) < 2:
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    answer = await refused(authenticator, "bob", "other")
    assert (answer.code, answer.status) == (454, "4.7.0")
    assert Checked.gate is not None
    Checked.gate.set()
    assert [credentials.user.recipient_id for credentials in await asyncio.gather(*waiting)] == [
        "id-alice"
    ] * 2
    await authenticator.password("bob", "other", "192.0.2.1")


async def test_secrets_stay_out_of_the_log(
    authenticator: Authenticator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await refused(authenticator, "alice", "s3cret-guess")
    await authenticator.password("alice", "right", "192.0.2.1")
    logged = " ".join(str(record.__dict__) for record in caplog.records)
    assert "alice" in logged
    assert "s3cret-guess" not in logged
    assert "right" not in logged
