"""`waypost probe`: a real message from one mailbox to another, its way and the time at each hop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from foundation.interfaces.control import Control, Listener, OneUseCredential, ProbeLogon, QueueEntry
from waypost.cli.control import Servers
from waypost.cli.directory import directory_of
from waypost.cli.options import ConfigOption, JsonOption
from waypost.cli.output import (
    NOT_SO,
    CommandFailed,
    console,
    duration,
    print_json,
    print_table,
    progress,
    rfc3339,
)
from waypost.cli.trace import collect
from waypost.cli.units import parse_duration
from waypost.probe import Probe, ProbeFailed, Traveller, Wanted, failure_in, new_probe, send_probe
from waypost.servers import find_server
from waypost.trace import Trace, Visit, build_trace, every_visit

if TYPE_CHECKING:
    from config.model import AccessServer, Topology
    from foundation.directory.changes import DirectoryChanges
    from foundation.directory.records import UserRecord

application = typer.Typer(add_completion=False, rich_markup_mode="markdown")

TIMEOUT_SECONDS = 30.0
TRACE_SECONDS = 3.0
"""How long the events of the last hops are waited for, once the message has arrived."""
TRACE_LOOK_SECONDS = 0.05


@application.command(
    epilog="Examples:\n\n"
    "- `waypost probe`\n"
    "- `waypost probe --from alice@example.org --to bob@example.org --timeout 10s`\n"
    "- `waypost probe --json`"
)
def probe(
    sender: Annotated[str, typer.Option("--from", help="Address of a user here; else one is chosen.")] = "",
    to: Annotated[str, typer.Option("--to", help="Address of a user here; else one at another site.")] = "",
    timeout_seconds: Annotated[
        float,
        typer.Option("--timeout", parser=parse_duration, metavar="DURATION", help="How long it may take."),
    ] = f"{TIMEOUT_SECONDS:g}s",  # type: ignore[assignment]  # typer parses the default, too
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Send a real message through the real ports, and show its way with the time at each hop.

    No password is needed: Client Access mints a logon that counts once, for a minute. The copies in Inbox and
    Sent are removed. Exit code 1: it did not arrive in time; the reason is shown.
    """
    with directory_of(config) as (directory, topology):
        ends = _ends(directory, topology, sender, to)
    sent, trace = asyncio.run(_probe(topology, *ends, timeout_seconds))
    if as_json:
        print_json(_document(topology, sent, trace))
    else:
        _print(topology, sent, trace)
    return 0 if sent.arrived else NOT_SO


# --- who writes to whom ---


def _ends(
    directory: DirectoryChanges, topology: Topology, sender: str, to: str
) -> tuple[tuple[Traveller, UserRecord], tuple[Traveller, UserRecord]]:
    """Raises CommandFailed, DirectoryError."""
    users = () if sender and to else directory.users()
    first = directory.user(sender) if sender else None
    second = directory.user(to) if to else None
    firsts = _first_of_each_store(users, topology)
    if first is None:
        first = _furthest(firsts, topology, second)
    if second is None:
        second = _furthest(firsts, topology, first)
    return _end(sender, first), _end(to, second)


def _end(given: str, user: UserRecord) -> tuple[Traveller, UserRecord]:
    return Traveller(given or user.address, user.address), user


def _first_of_each_store(users: tuple[UserRecord, ...], topology: Topology) -> list[UserRecord]:
    found: dict[str, UserRecord] = {}
    for user in users:
        if not user.disabled:
            found.setdefault(user.store, user)
    return [found[store.name] for store in topology.stores if store.name in found]


def _furthest(choices: list[UserRecord], topology: Topology, other: UserRecord | None) -> UserRecord:
    """One at another site, else on another store, else the same user again. Raises CommandFailed."""
    if other is None:
        if not choices:
            raise CommandFailed(
                "no_users",
                "there is no user to send a probe from",
                mend="waypost user add ADDRESS --password-stdin makes one",
                exit_code=NOT_SO,
            )
        return choices[0]
    site = _site(topology, other)
    elsewhere = [user for user in choices if _site(topology, user) != site]
    nearby = [user for user in choices if user.store != other.store]
    return (elsewhere or nearby or [other])[0]


def _site(topology: Topology, user: UserRecord) -> str:
    store = find_server(topology, user.store)
    return store.site if store is not None else ""


# --- the servers ---


class _Gate:
    """Implements waypost.probe.Gate: the Client Access server at the user's site, else the first one."""

    def __init__(self, topology: Topology, servers: Servers, sites: dict[str, str]) -> None:
        self._topology = topology
        self._servers = servers
        self._sites = sites
        """By login."""

    async def mint(self, user: str, protocol: Wanted) -> tuple[OneUseCredential, tuple[Listener, ...]]:
        server = self._nearest(self._sites[user])
        minted = await self._servers.ask_one(
            server.name, ProbeLogon, lambda logons: logons.mint(user, protocol)
        )
        status = await self._servers.ask_one(server.name, Control, lambda control: control.status())
        if minted.value is None or status.value is None:
            reason = minted.reason or status.reason
            raise ProbeFailed(f"{server.name} gives no logon for {user}: {reason}")
        return minted.value, tuple(_reached(each, server) for each in status.value.listeners)

    def _nearest(self, site: str) -> AccessServer:
        """Raises ProbeFailed."""
        if not self._topology.access:
            raise ProbeFailed("there is no Client Access server in this topology")
        near = [server for server in self._topology.access if server.site == site]
        return (near or self._topology.access)[0]


def _reached(listener: Listener, server: AccessServer) -> Listener:
    """Where a listener is reached that listens everywhere."""
    if listener.host not in ("0.0.0.0", "::", ""):
        return listener
    host = server.rpc.host if server.rpc.host not in ("0.0.0.0", "::", "") else "localhost"
    return msgspec.structs.replace(listener, host=host)


async def _probe(
    topology: Topology,
    sender: tuple[Traveller, UserRecord],
    recipient: tuple[Traveller, UserRecord],
    timeout_seconds: float,
) -> tuple[Probe, Trace]:
    from waypost.world import real_world

    world = real_world()
    made = new_probe(sender[0], recipient[0], world, topology.default_domain)
    sites = {end.login: _site(topology, user) for end, user in (sender, recipient)}

    async with Servers(topology) as servers:
        gate = _Gate(topology, servers, sites)
        with progress() as tell:
            await send_probe(
                made, gate, world, _Watch(topology), timeout_seconds=timeout_seconds, progress=tell
            )
    return made, await _trace(topology, made)


async def _trace(topology: Topology, made: Probe) -> Trace:
    """Once every server has noted its part, or after a while."""
    until = time.monotonic() + (TRACE_SECONDS if made.arrived else 0)
    while True:
        servers = Servers(topology)
        events, gaps = await collect(servers, made.message_id)
        trace = build_trace(events, servers.names)
        visits = [visit for message in trace.messages for visit in every_visit(message)]
        if gaps or (visits and not any(visit.waiting or visit.missing for visit in visits)):
            return trace
        if time.monotonic() >= until:
            return trace
        await asyncio.sleep(TRACE_LOOK_SECONDS)


class _Watch:
    """Implements waypost.probe.Watch."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    async def failure(self, message_id: str) -> str:
        return failure_in((await collect(Servers(self._topology), message_id))[0])

    async def delay(self, message_id: str) -> str:
        async def waiting(control: Control) -> list[QueueEntry]:
            entries = [entry async for batch in control.queue() for entry in batch]
            return [entry for entry in entries if entry.message_id == message_id]

        async with Servers(self._topology, roles=("hub", "store")) as servers:
            answers = await servers.ask(waiting)
        held = [_held(answer.server.name, entry) for answer in answers for entry in answer.value or ()]
        away = [answer for answer in answers if answer.value is None]
        return "; ".join([*held, *(f"{each.server.name} can't be reached: {each.reason}" for each in away)])


def _held(server: str, entry: QueueEntry) -> str:
    where = f"it waits on {server} ({entry.queue})"
    if entry.next_hop:
        where += f" for {entry.next_hop}"
    if entry.last_reply:
        where += f": {entry.last_reply}"
    if entry.next_attempt_at_ms:
        where += f"; next try {rfc3339(entry.next_attempt_at_ms)}"
    return where


# --- what is shown ---


def _visits(trace: Trace) -> list[Visit]:
    return [visit for message in trace.messages for visit in every_visit(message)]


def _print(topology: Topology, sent: Probe, trace: Trace) -> None:
    from rich.text import Text

    out = console()
    out.print(Text.assemble((sent.sender.address, "bold"), " → ", (sent.recipient.address, "bold")))
    if sent.accepted:
        out.print(f"accepted after {_seconds(sent.accepted_seconds)}: {sent.accepted}", soft_wrap=True)
    if sent.arrived:
        out.print(
            Text.assemble(("arrived", "green"), f" in the Inbox after {_seconds(sent.arrived_seconds)}")
        )
    else:
        out.print(Text.assemble(("did not arrive", "red"), f": {sent.reason}"), soft_wrap=True)
    visits = _visits(trace)
    if visits:
        began_ms = visits[0].received_at_ms
        headings = ("server", "site", "got it after", "spent", "did")
        print_table(headings, (_row(topology, visit, began_ms) for visit in visits))
    if sent.removed:
        out.print(f"removed from {', '.join(sent.removed)}")
    for left in sent.left:
        out.print(Text.assemble(("left behind: ", "yellow"), left), soft_wrap=True)
    if sent.accepted:
        out.print(f"each event: waypost trace {sent.message_id}", soft_wrap=True)


def _row(topology: Topology, visit: Visit, began_ms: int) -> tuple[str, ...]:
    server = find_server(topology, visit.server)
    did = list(dict.fromkeys(event.event for event in visit.events))
    return (
        visit.server,
        server.site if server is not None else "",
        duration(visit.received_at_ms - began_ms),
        "waits" if visit.waiting else duration(visit.spent_ms),
        ", ".join(did),
    )


def _seconds(seconds: float) -> str:
    return duration(round(seconds * 1000))


def _document(topology: Topology, sent: Probe, trace: Trace) -> dict[str, Any]:
    visits = _visits(trace)
    began_ms = visits[0].received_at_ms if visits else 0
    return {
        "arrived": sent.arrived,
        "reason": sent.reason,
        "sender": sent.sender.address,
        "recipient": sent.recipient.address,
        "message_id": sent.message_id,
        "network_message_id": trace.messages[0].network_message_id if trace.messages else "",
        "accepted": sent.accepted,
        "accepted_seconds": round(sent.accepted_seconds, 3) if sent.accepted else None,
        "arrived_seconds": round(sent.arrived_seconds, 3) if sent.arrived else None,
        "hops": [_hop_document(topology, visit, began_ms) for visit in visits],
        "removed": sent.removed,
        "left_behind": sent.left,
    }


def _hop_document(topology: Topology, visit: Visit, began_ms: int) -> dict[str, Any]:
    server = find_server(topology, visit.server)
    return {
        "server": visit.server,
        "site": server.site if server is not None else "",
        "received_at": rfc3339(visit.received_at_ms),
        "after_seconds": (visit.received_at_ms - began_ms) / 1000,
        "spent_seconds": visit.spent_ms / 1000,
        "waiting": visit.waiting,
        "events": [event.event for event in visit.events],
        "missing": list(visit.missing),
    }
