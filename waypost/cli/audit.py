"""`waypost audit`: what was accepted against what became of it, on all servers; whatever does not add up is
named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from foundation.interfaces.control import Control, QueueEntry
from foundation.interfaces.holdings import FiledCopy, Holdings, Miscount
from foundation.interfaces.tracking import TrackingEvent
from waypost.audit import Audit, Audited, Finding, Observed
from waypost.cli.control import Answer, Servers
from waypost.cli.options import ConfigOption, JsonOption, load_topology
from waypost.cli.output import NOT_SO, PARTIAL, CommandFailed, console, duration, print_json, rfc3339
from waypost.cli.units import parse_ago
from waypost.servers import Server, servers_of

KEPT_SECONDS = 30 * 24 * 3600
"""Tracking keeps no older events."""
ASKED_AGAIN_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Before each further look at what does not add up: mail that is under way settles meanwhile."""
IDS_A_QUESTION = 200
WHOLE_ANSWER_SECONDS = 600
"""Events of weeks take their time; a server that is away is noticed at once all the same."""
FINDINGS_SHOWN = 50

application = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@application.command(epilog="Examples:\n\n- `waypost audit`\n- `waypost audit --since 15m --json`")
def audit(
    since: Annotated[
        float,
        typer.Option(
            "--since",
            parser=parse_ago,
            metavar="TIME",
            help="How far back it looks: a duration, or a time like 2026-11-24T22:00:00Z; 30 days at most.",
        ),
    ] = "24h",  # type: ignore[assignment]  # typer parses it like what is given
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Check that everything accepted became something, once.

    Counted by recipient after groups: accepted + expanded = delivered + relayed + bounced + discarded +
    merged + pending. The tracking of all servers is held against their queues and mailboxes.

    Exit code 1: something is unexplained or doubled; it is named. 4: a server can't be reached, what it
    knows is missing in the figures.
    """
    if since > KEPT_SECONDS:
        raise CommandFailed("usage", "tracking is kept for 30 days", mend="--since 30d at most")
    topology = load_topology(config)
    since_ms = time.time_ns() // 1_000_000 - round(since * 1000)
    servers = servers_of(topology)
    audited, away = asyncio.run(examine(Servers(topology), servers, since_ms))
    if as_json:
        print_json(_document(audited, away, since_ms))
    else:
        _print(audited, since_ms)
    for server, reason in away.items():
        console(stderr=True).print(f"waypost: {server} can't be reached: {reason}", soft_wrap=True)
    if away:
        return PARTIAL
    return NOT_SO if audited.findings else 0


async def examine(servers: Servers, known: Sequence[Server], since_ms: int) -> tuple[Audited, dict[str, str]]:
    """Looks, and looks again at what does not add up; who could not be asked, and why."""
    audit = Audit({server.name: server.role for server in known}, since_ms)
    stores = [server.name for server in known if server.role == "store"]
    async with servers:
        observed = await _observe(servers, stores, since_ms, (), True)
        audit.take(observed)
        away = dict(observed.away)
        for seconds in ASKED_AGAIN_SECONDS:
            unsettled = audit.unsettled()
            if not unsettled:
                break
            await asyncio.sleep(seconds)
            again = await _observe(servers, stores, since_ms, unsettled, False)
            away.update(again.away)
            audit.replace(unsettled, again)
    return audit.result(), away


async def _observe(
    servers: Servers, stores: Sequence[str], since_ms: int, only: tuple[str, ...], count: bool
) -> Observed:
    """Events first: what they tell of is then found in the mailboxes. `only`: all of these messages; none:
    everything since then."""
    observed = Observed()
    parts = [only[start : start + IDS_A_QUESTION] for start in range(0, len(only), IDS_A_QUESTION)]

    async def events(control: Control) -> list[TrackingEvent]:
        if not only:
            return [event async for batch in control.events(since_ms) for event in batch]
        return [e for part in parts for e in await _all(control, part)]

    async def queue(control: Control) -> list[QueueEntry]:
        return [entry async for batch in control.queue() for entry in batch]

    for told in _reached(await servers.ask(events, WHOLE_ANSWER_SECONDS), observed):
        observed.events += told.value or []
    for waiting in _reached(await servers.ask(queue, WHOLE_ANSWER_SECONDS), observed):
        observed.queued += [(waiting.server.name, entry) for entry in waiting.value or []]
    for name in stores:
        for copies in _reached([await _filed(servers, name, since_ms, parts)], observed):
            observed.copies += copies.value or []
        if count:
            for counted in _reached([await _miscounts(servers, name)], observed):
                observed.miscounts += [(name, miscount) for miscount in counted.value or []]
    return observed


async def _all(control: Control, part: tuple[str, ...]) -> list[TrackingEvent]:
    return [event async for batch in control.trace("", part) for event in batch]


async def _filed(
    servers: Servers, store: str, since_ms: int, parts: Sequence[tuple[str, ...]]
) -> Answer[list[FiledCopy]]:
    async def question(holdings: Holdings) -> list[FiledCopy]:
        wanted = parts or [()]
        return [copy for part in wanted async for batch in holdings.filed(since_ms, part) for copy in batch]

    return await servers.ask_one(store, Holdings, question, WHOLE_ANSWER_SECONDS)


async def _miscounts(servers: Servers, store: str) -> Answer[list[Miscount]]:
    async def question(holdings: Holdings) -> list[Miscount]:
        return [miscount async for batch in holdings.miscounts() for miscount in batch]

    return await servers.ask_one(store, Holdings, question, WHOLE_ANSWER_SECONDS)


def _reached(answers: Sequence[Answer[Any]], observed: Observed) -> list[Answer[Any]]:
    for answer in answers:
        if answer.value is None:
            observed.away[answer.server.name] = answer.reason
    return [answer for answer in answers if answer.value is not None]


def _document(audited: Audited, away: dict[str, str], since_ms: int) -> dict[str, Any]:
    return {
        "since": rfc3339(since_ms),
        "messages": audited.messages,
        **msgspec.to_builtins(audited.counts),
        "items": [_finding_document(finding, audited) for finding in audited.findings],
        "gaps": [{"server": server, "reason": reason} for server, reason in away.items()],
    }


def _finding_document(finding: Finding, audited: Audited) -> dict[str, Any]:
    events = audited.events.get(finding.network_message_id, ())
    return {
        "kind": finding.kind,
        "message_id": finding.message_id,
        "network_message_id": finding.network_message_id,
        "server": finding.server,
        "recipient": finding.recipient,
        "what": finding.what,
        "trace": [_event_document(event) for event in events],
    }


def _event_document(event: TrackingEvent) -> dict[str, Any]:
    return {
        "at": rfc3339(event.at_ms),
        "server": event.server,
        "event": event.event,
        "recipients": list(event.recipients),
        "next_hop": event.next_hop,
        "reply": event.reply,
    }


def _print(audited: Audited, since_ms: int) -> None:
    out = console()
    counts = audited.counts
    ago = duration(time.time_ns() // 1_000_000 - since_ms)
    out.print(f"{audited.messages} messages of the last {ago}, counted by recipient:")
    out.print(
        f"accepted {counts.accepted} + expanded {counts.expanded} = delivered {counts.delivered}"
        f" + relayed {counts.relayed} + bounced {counts.bounced} + discarded {counts.discarded}"
        f" + merged {counts.merged} + pending {counts.pending}"
    )
    style = "red" if audited.findings else "green"
    out.print(f"[{style}]unexplained {counts.unexplained}, doubled {counts.doubled}[/]")
    for finding in audited.findings[:FINDINGS_SHOWN]:
        _print_finding(finding, audited)
    if len(audited.findings) > FINDINGS_SHOWN:
        out.print(f"and {len(audited.findings) - FINDINGS_SHOWN} more; --json names all")


def _print_finding(finding: Finding, audited: Audited) -> None:
    from rich.text import Text

    out = console()
    name = f"<{finding.message_id}>" if finding.message_id else finding.network_message_id
    out.print(
        Text.assemble(
            (finding.kind, "red"), f"  {name}  {finding.recipient} on {finding.server}: {finding.what}"
        ),
        soft_wrap=True,
    )
    events = audited.events.get(finding.network_message_id, ())
    way = " · ".join(f"{event.server} {event.event}" for event in events)
    out.print(Text(f"    {way or 'no server has an event of it'}", style="dim"), soft_wrap=True)
