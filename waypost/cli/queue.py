"""`waypost queue list|show|retry`: what waits on the servers, why, and when it is tried next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from foundation.interfaces.control import Control, QueueEntry
from waypost.cli.control import Answer, Servers, report_unreachable
from waypost.cli.options import ConfigOption, JsonOption, load_topology
from waypost.cli.output import (
    NOT_FOUND,
    CommandFailed,
    duration,
    print_json,
    print_table,
    rfc3339,
    size,
)

application = typer.Typer(help="See and move what waits.", no_args_is_help=True, add_completion=False)

ServerOption = Annotated[str, typer.Option("--server", help="Only this server; else all.")]
HopOption = Annotated[str, typer.Option("--next-hop", help="Only what goes to this server or host.")]


@application.command("list", epilog="Example: waypost queue list --next-hop hub-b")
def list_entries(
    server: ServerOption = "",
    next_hop: HopOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """List what waits on hubs and in Outboxes: since when, the last reply, the next try."""
    found = asyncio.run(_collect(_servers(config, server)))
    rows = [(answer.server.name, e) for answer in found for e in answer.value or () if _goes_to(e, next_hop)]
    if as_json:
        print_json({"items": [_document(name, entry) for name, entry in rows], "gaps": _gaps(found)})
    else:
        now = int(time.time() * 1000)
        headings = (
            "server",
            "queue",
            "next hop",
            "state",
            "from",
            "to",
            "size",
            "waits",
            "next try",
            "last reply",
        )
        print_table(headings, (_row(name, entry, now) for name, entry in rows))
    return report_unreachable(found)


@application.command(epilog="Example: waypost queue show 01928f3a-5b7c-7def-8123-456789abcdef")
def show(
    entry: Annotated[str, typer.Argument(help="Entry id, network message id or Message-ID.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show everything known of the entries of a message."""
    wanted = entry.strip("<>")
    found = asyncio.run(_collect(_servers(config, "")))
    entries = [
        (answer.server.name, e)
        for answer in found
        for e in answer.value or ()
        if wanted in (e.entry_id, e.network_message_id, e.message_id)
    ]
    unreachable = report_unreachable(found)
    if not entries:
        if unreachable:
            return unreachable
        raise CommandFailed("not_found", f"nothing that waits is called {entry}", exit_code=NOT_FOUND)
    if as_json:
        print_json({"items": [_document(name, e) for name, e in entries], "gaps": _gaps(found)})
        return unreachable
    for name, e in entries:
        for key, value in _document(name, e).items():
            print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
        print()
    return unreachable


@application.command(epilog="Example: waypost queue retry --next-hop hub-b")
def retry(
    entries: Annotated[list[str] | None, typer.Argument(help="Entry ids; none: all.")] = None,
    server: ServerOption = "",
    next_hop: HopOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Try now what waits for a later attempt."""
    wanted = tuple(entries or ())
    servers = _servers(config, server)
    answers = asyncio.run(_retry(servers, next_hop, wanted))
    count = sum(answer.value or 0 for answer in answers)
    if as_json:
        print_json({"due": count, "gaps": _gaps(answers)})
    else:
        print(f"{count} due now")
    unreachable = report_unreachable(answers)
    if wanted and not count and not unreachable:
        raise CommandFailed("not_found", "no such entry waits", exit_code=NOT_FOUND)
    return unreachable


def _servers(config: Any, name: str) -> Servers:
    servers = Servers(load_topology(config), roles=("hub", "store"))
    return servers.only(name) if name else servers


async def _collect(servers: Servers) -> tuple[Answer[list[QueueEntry]], ...]:
    async def everything(control: Control) -> list[QueueEntry]:
        return [entry async for batch in control.queue() for entry in batch]

    async with servers:
        return await servers.ask(everything)


async def _retry(servers: Servers, next_hop: str, entries: tuple[str, ...]) -> tuple[Answer[int], ...]:
    async with servers:
        return await servers.ask(lambda control: control.retry(next_hop, entries))


def _goes_to(entry: QueueEntry, next_hop: str) -> bool:
    return not next_hop or entry.next_hop == next_hop


def _gaps(answers: Sequence[Answer[Any]]) -> list[dict[str, str]]:
    return [{"server": a.server.name, "reason": a.reason} for a in answers if a.value is None]


def _document(server: str, entry: QueueEntry) -> dict[str, Any]:
    found = {"server": server, **msgspec.to_builtins(entry)}
    for key in [key for key in found if key.endswith("_at_ms")]:
        found[key.removesuffix("_ms")] = rfc3339(found.pop(key)) or None
    found["recipients"] = list(entry.recipients)
    return found


def _row(server: str, entry: QueueEntry, now: int) -> tuple[str, ...]:
    to = entry.recipients[0] if entry.recipients else ""
    if len(entry.recipients) > 1:
        to += f" +{len(entry.recipients) - 1}"
    due = entry.next_attempt_at_ms
    next_try = "" if not due else "now" if due <= now else f"in {duration(due - now)}"
    return (
        server,
        entry.queue,
        entry.next_hop,
        entry.state,
        entry.sender or "<>",
        to,
        size(entry.size_bytes),
        duration(now - entry.received_at_ms),
        next_try,
        entry.last_reply,
    )
