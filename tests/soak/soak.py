"""One soak: the two-site topology as processes, load, faults, then peace, then the ledger."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config.model import Retry, SendConnector
from tests.harness.faulty import FaultyOrganisation
from tests.harness.mail import User
from tests.harness.patience import patient, until
from tests.harness.sink import SinkServer
from tests.harness.topologies import ready_topology, with_server_settings
from tests.soak import ledger as books
from tests.soak.faults import Faults
from tests.soak.ledger import Found, Ledger
from tests.soak.load import ALIAS, ALIAS_OF, GROUP, NOBODY, USERS, Load
from waypost.audit import Audited
from waypost.cli.audit import examine
from waypost.cli.control import Servers as Controls
from waypost.servers import servers_of

RETRY = Retry(
    glitch_interval_seconds=1,
    transient_interval_seconds=2,
    outbound_interval_seconds=2,
    message_interval_seconds=2,
    probe_longest_seconds=4,
)
"""Sooner than in service, so that an hour of waiting fits into seconds."""


DISK_BYTES = 256 * 1024 * 1024
DISK_BYTES_A_SECOND = 2 * 1024 * 1024
"""What a small disk may hold of the load; only the fault fills it."""


@dataclass(frozen=True)
class Outcome:
    ledger: Ledger
    audited: Audited
    injected: Counter[str]
    permanent_errors: list[str]
    connections_cut: int
    refused_full: int
    """Commits that failed because the disk or the database was full."""
    levels_changed: int
    """Times that back pressure rose or fell."""
    errors: Counter[str]
    """What the servers logged as errors."""
    waiting: list[str]
    """What still waits in the end: nothing should."""


async def soak(
    folder: Path,
    seconds: float,
    *,
    seed: int,
    clients: int,
    pause_seconds: float = 0.05,
    settle_seconds: float = 120,
    short: bool = False,
    mount: bool | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """At least so long, and until each kind of fault came. `mount`: see FaultyOrganisation."""
    async with SinkServer() as sink:
        sink.replies[NOBODY] = "550 5.1.1 No such user"
        connector = SendConnector(name="out", smart_hosts=(sink.endpoint,), source_hubs=("hub-b",))
        topology = ready_topology("two-sites", folder / "data", send_connectors=(connector,))
        topology = with_server_settings(topology, "hubs", retry=RETRY)
        began_ms = time.time_ns() // 1_000_000
        async with FaultyOrganisation(
            topology,
            small_disks=("hub-b", "store-a"),
            mount=mount,
            disk_bytes=DISK_BYTES + round(seconds) * DISK_BYTES_A_SECOND,
        ) as organisation:
            organisation.directory.add_alias(ALIAS, ALIAS_OF)
            organisation.directory.add_group(GROUP, members=list(USERS))
            await _known(organisation)
            load, faults = Load(organisation, seed, pause_seconds), Faults(organisation, seed, short=short)
            until_time = time.monotonic() + seconds
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(clients))
                try:
                    while time.monotonic() < until_time or not faults.every_kind_came:
                        await faults.once()
                        say(f"{_left(until_time)} left, {len(load.entries)} submissions, {_kinds(faults)}")
                        await asyncio.sleep(0.3 if short else 1)
                finally:
                    load.stop.set()
                    await faults.heal()
            say("faults are over, waiting until nothing waits")
            waiting = await _settled(organisation, settle_seconds)
            found = await _found(organisation, sink)
            ledger = books.balance(load.entries, found)
            audited, away = await examine(Controls(topology), servers_of(topology), began_ms - 2 * 3_600_000)
            assert not away, away
            cuts = sum(proxy.cut_count for proxy in organisation.proxies.values())
            log = organisation.log
    return Outcome(
        ledger,
        audited,
        faults.injected,
        load.client_errors,
        cuts,
        sum("database or disk is full" in entry.get("exception", "") for entry in log),
        sum(str(entry.get("message", "")).startswith("back pressure") for entry in log),
        Counter(str(entry["message"]) for entry in log if entry.get("level") in ("error", "critical")),
        waiting,
    )


async def _known(organisation: FaultyOrganisation) -> None:
    async def known() -> bool:
        try:
            return not (await organisation.user(USERS[0]).send(GROUP, ALIAS, subject="Known")).refused
        except OSError:
            return False

    await until(known, "group and alias are known", 20)


async def _settled(organisation: FaultyOrganisation, patience_seconds: float) -> list[str]:
    """Waits until nothing waits, or nothing has gone on for so long; what waits then, for people."""
    fewest, since = -1, time.monotonic()
    while queued := await organisation.queued():
        if fewest < 0 or len(queued) < fewest:
            fewest, since = len(queued), time.monotonic()
        elif time.monotonic() - since > patient(patience_seconds):
            break
        await asyncio.sleep(0.2)
    return [f"waits on {name}: {entry}" for name, entry in queued]


async def _found(organisation: FaultyOrganisation, sink: SinkServer) -> Found:
    inboxes: dict[str, Counter[str]] = {}
    sent: dict[str, Counter[str]] = {}
    reports: dict[str, Counter[str]] = {}
    damaged: set[str] = set()
    for address in USERS:
        user: User = organisation.user(address)
        inboxes[address], reports[address], sent[address] = Counter(), Counter(), Counter()
        for content in await user.messages("INBOX"):
            if about := books.told_of(content):
                reports[address][about] += 1
                continue
            message = books.parsed(content)
            inboxes[address][books.message_id_of(message)] += 1
            if message[books.DIGEST] and not books.undamaged(message):
                damaged.add(books.message_id_of(message))
        for content in await user.messages("Sent"):
            sent[address][books.message_id_of(books.parsed(content))] += 1
    outside = Counter(books.message_id_of(books.parsed(each.content)) for each in sink.all_received())
    return Found(inboxes, sent, reports, outside, frozenset(damaged))


def _left(until_time: float) -> str:
    return f"{max(until_time - time.monotonic(), 0):4.0f} s"


def _kinds(faults: Faults) -> str:
    return f"{sum(faults.injected.values())} faults"
