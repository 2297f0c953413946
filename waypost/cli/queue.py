"""`waypost queue list|show|retry`: what waits on all servers, why, when it is tried next, when given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from foundation.interfaces.control import Control, QueueEntry
from waypost.cli.control import Answer, Servers, report_unreachable
from waypost.cli.options import ConfigOption, JsonOption, load_topology
from waypost.cli.output import (
    NOT_FOUND,
    CommandFailed,
    console,
    duration,
    is_terminal,
    print_json,
    print_table,
    progress,
    rfc3339,
    size,
)

application = typer.Typer(
    help="See and move what waits.",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: waypost queue list --next-hop hub-b",
    rich_markup_mode="markdown",
)

T = TypeVar("T")

ServerOption = Annotated[str, typer.Option("--server", help="Only this server; else all.")]
HopOption = Annotated[str, typer.Option("--next-hop", help="Only what goes to this server or host.")]

SHORT_ID = 12
"""Characters at the end of an entry's id that are shown on a terminal; random, so they name it."""
ENDING_MIN = 6

Place = tuple[str, QueueEntry]
"""A server's name, and what waits there."""


@application.command(
    "list", epilog="Examples:\n\n- `waypost queue list`\n- `waypost queue list --next-hop hub-b --json`"
)
def list_entries(
    server: ServerOption = "",
    next_hop: HopOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """List what waits on hubs and in Outboxes, the oldest first, and why.

    One line each: since when, the last reply, the next try, when it would be given up.

    Exit code 4: a server can't be reached, what is shown lacks its part.
    """
    found = _run(_collect(_servers(config, server)))
    places = [place for place in _places(found) if not next_hop or place[1].next_hop == next_hop]
    now_ms = int(time.time() * 1000)
    if as_json:
        print_json({"items": [_document(*place, now_ms) for place in places], "gaps": _gaps(found)})
        return report_unreachable(found)
    if places or not is_terminal():
        print_table(_HEADINGS, (_row(*place, now_ms) for place in places))
    else:
        console().print("Nothing waits.")
    return report_unreachable(found)


@application.command(
    epilog="Examples:\n\n- `waypost queue show 456789abcdef`\n- `waypost queue show hello.1@example.org`"
)
def show(
    entry: Annotated[str, typer.Argument(help="Entry id or its ending, network message id or Message-ID.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show everything known of what waits of a message."""
    found = _run(_collect(_servers(config, "")))
    places = _named(_places(found), entry)
    if not places and not _gaps(found):
        raise CommandFailed(
            "not_found",
            f"nothing that waits is called {entry}",
            mend="waypost queue list shows what waits; waypost trace MESSAGE-ID where a message is",
            exit_code=NOT_FOUND,
        )
    now_ms = int(time.time() * 1000)
    if as_json:
        print_json({"items": [_document(*place, now_ms) for place in places], "gaps": _gaps(found)})
    else:
        for place in places:
            _print_entry(*place, now_ms)
    return report_unreachable(found)


@application.command(
    epilog="Examples:\n\n- `waypost queue retry --next-hop hub-b`\n- `waypost queue retry 456789abcdef`"
)
def retry(
    entries: Annotated[
        list[str] | None, typer.Argument(help="Entries, named as for show; none: all.", metavar="[ENTRY]…")
    ] = None,
    server: ServerOption = "",
    next_hop: HopOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Try now what waits for a later attempt."""
    answers = _run(_retry(config, server, next_hop, tuple(entries or ())))
    count = sum(answer.value or 0 for answer in answers)
    if as_json:
        print_json({"due": count, "gaps": _gaps(answers)})
    else:
        console().print(f"{count} {'entry is' if count == 1 else 'entries are'} tried now.")
    return report_unreachable(answers)


def _run(answers: Coroutine[Any, Any, T]) -> T:
    with progress() as tell:
        tell("asking the servers")
        return asyncio.run(answers)


def _servers(config: Path | None, name: str) -> Servers:
    servers = Servers(load_topology(config), roles=("hub", "store"))
    return servers.only(name) if name else servers


async def _collect(servers: Servers) -> tuple[Answer[list[QueueEntry]], ...]:
    async with servers:
        return await servers.ask(_everything)


async def _everything(control: Control) -> list[QueueEntry]:
    return [entry async for batch in control.queue() for entry in batch]


async def _retry(
    config: Path | None, server: str, next_hop: str, names: tuple[str, ...]
) -> tuple[Answer[int], ...]:
    async with _servers(config, server) as servers:
        if not names:
            return await servers.ask(lambda control: control.retry(next_hop, ()))
        found = await servers.ask(_everything)
        wanted = [entry.entry_id for name in names for _, entry in _named(_places(found), name)]
        if not wanted:
            raise CommandFailed(
                "not_found",
                f"nothing that waits is called {', '.join(names)}",
                mend="waypost queue list shows what waits",
                exit_code=NOT_FOUND,
            )
        ids = tuple(dict.fromkeys(wanted))
        return await servers.ask(lambda control: control.retry(next_hop, ids))


def _places(answers: Sequence[Answer[list[QueueEntry]]]) -> list[Place]:
    """What waits, the oldest first."""
    places = [(answer.server.name, entry) for answer in answers for entry in answer.value or ()]
    return sorted(places, key=lambda place: place[1].received_at_ms)


def _named(places: Sequence[Place], name: str) -> list[Place]:
    wanted = name.strip("<>")
    exactly = [
        place
        for place in places
        if wanted in (place[1].entry_id, place[1].network_message_id, place[1].message_id)
    ]
    if exactly or len(wanted) < ENDING_MIN:
        return exactly
    return [place for place in places if place[1].entry_id.endswith(wanted)]


def _gaps(answers: Sequence[Answer[Any]]) -> list[dict[str, str]]:
    return [{"server": a.server.name, "reason": a.reason} for a in answers if a.value is None]


def _document(server: str, entry: QueueEntry, now_ms: int) -> dict[str, Any]:
    found = {"server": server, **msgspec.to_builtins(entry)}
    for key in [key for key in found if key.endswith("_at_ms")]:
        found[key.removesuffix("_ms")] = rfc3339(found.pop(key)) or None
    found["recipients"] = list(entry.recipients)
    found["waits_seconds"] = max(now_ms - entry.received_at_ms, 0) / 1000
    return found


_HEADINGS = (
    "entry",
    "server",
    "queue",
    "next hop",
    "state",
    "from",
    "to",
    "size",
    "waits",
    "next try",
    "given up",
    "last reply",
)


def _row(server: str, entry: QueueEntry, now_ms: int) -> tuple[str, ...]:
    to = entry.recipients[0] if entry.recipients else ""
    if len(entry.recipients) > 1:
        to += f" +{len(entry.recipients) - 1}"
    return (
        entry.entry_id[-SHORT_ID:] if is_terminal() else entry.entry_id,
        server,
        entry.queue,
        entry.next_hop,
        entry.state,
        entry.sender or "<>",
        to,
        size(entry.size_bytes),
        duration(max(now_ms - entry.received_at_ms, 0)),
        _next_try(entry, now_ms),
        _ahead(entry.expires_at_ms, now_ms),
        " ".join(entry.last_reply.split()),
    )


def _next_try(entry: QueueEntry, now_ms: int) -> str:
    if entry.state == "active":
        return "under way"
    if entry.state == "suspended":
        return "on queue retry"
    return _ahead(entry.next_attempt_at_ms, now_ms) or "now"


def _ahead(at_ms: int, now_ms: int) -> str:
    if not at_ms:
        return ""
    return "now" if at_ms <= now_ms else f"in {duration(at_ms - now_ms)}"


def _moment(at_ms: int, now_ms: int) -> str:
    if not at_ms:
        return ""
    distance = f"in {duration(at_ms - now_ms)}" if at_ms > now_ms else f"{duration(now_ms - at_ms)} ago"
    return f"{rfc3339(at_ms)} ({distance})"


def _print_entry(server: str, entry: QueueEntry, now_ms: int) -> None:
    from rich.text import Text

    lines = {
        "entry": entry.entry_id,
        "server": server,
        "queue": entry.queue,
        "next hop": entry.next_hop,
        "state": entry.state,
        "Message-ID": f"<{entry.message_id}>" if entry.message_id else "",
        "network message id": entry.network_message_id,
        "from": entry.sender or "<>",
        "to": ", ".join(entry.recipients),
        "size": size(entry.size_bytes),
        "waits since": _moment(entry.received_at_ms, now_ms),
        "attempts": str(entry.attempts),
        "last attempt": _moment(entry.last_attempt_at_ms, now_ms),
        "last reply": entry.last_reply,
        "next try": _next_try(entry, now_ms)
        if entry.state in ("active", "suspended")
        else _moment(entry.next_attempt_at_ms, now_ms) or "now",
        "given up": _moment(entry.expires_at_ms, now_ms),
    }
    out = console()
    for key, value in lines.items():
        if value:
            out.print(Text.assemble((f"{key}: ", "dim"), value), soft_wrap=True)
    out.print()
