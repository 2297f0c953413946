"""`waypost queue list|show|retry|release`: what waits on all servers, why, when it is tried next, when given
up; and what an operator gives free though its outcome is unknown."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from foundation.interfaces.control import Control, QueueEntry
from waypost.cli.confirm import confirm
from waypost.cli.control import Answer, Servers, report_unreachable
from waypost.cli.options import ConfigOption, JsonOption, load_topology
from waypost.cli.output import (
    NOT_FOUND,
    NOT_SO,
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


@application.command(
    epilog="Examples:\n\n- `waypost queue release 456789abcdef --reason 'hub-b burned down'`"
    "\n- `waypost queue release --next-hop hub-b --reason 'disk lost' --yes`"
)
def release(
    reason: Annotated[str, typer.Option(help="Why; goes into the trace of each message.")],
    entries: Annotated[
        list[str] | None, typer.Argument(help="Entries, named as for show.", metavar="[ENTRY]…")
    ] = None,
    server: ServerOption = "",
    next_hop: HopOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be released.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Give free what waits for the answer of a server that will never give it.

    Where the answer to a whole message was lost, its next hop may have it. So only that server is asked
    again, under the same key, and nothing is given up. Released entries are routed anew: if the server had
    the message and passes it on after all, it comes twice. A mailbox store recognises the second copy for
    14 days; outside nobody does.

    Exit code 1: nothing of that is held, or some is being handed over at this moment.
    """
    if not entries and not next_hop:
        raise CommandFailed("usage", "nothing is named", mend="name entries, or a server by --next-hop")
    if not reason.strip():
        raise CommandFailed("usage", "the reason is empty", mend="say why, for the trace: --reason TEXT")
    servers = _servers(config, server)
    found = _run(_collect(servers))
    partial = report_unreachable(found)
    held = _held(_places(found), tuple(entries or ()), next_hop, partial)
    now_ms = int(time.time() * 1000)
    items = [_document(*place, now_ms) for place in held]
    if not as_json:
        print_table(_HEADINGS, (_row(*place, now_ms) for place in held))
    if dry_run:
        if as_json:
            print_json({"items": items, "dry_run": True, "released": 0, "gaps": _gaps(found)})
        return partial
    if not yes:
        _confirm(len(held))
    ids = tuple(entry.entry_id for _, entry in held)
    answers = _run(_release(_servers(config, server), ids, reason.strip()))
    count = sum(answer.value or 0 for answer in answers)
    if as_json:
        print_json({"items": items, "dry_run": False, "released": count, "gaps": _gaps(answers)})
    else:
        console().print(f"{count} {'entry is' if count == 1 else 'entries are'} routed anew.")
    if count < len(held):
        print(f"waypost: {len(held) - count} got an answer or are asked for now; look again", file=sys.stderr)
    return partial or (NOT_SO if count < len(held) else 0)


def _held(places: Sequence[Place], names: tuple[str, ...], next_hop: str, partial: int) -> list[Place]:
    """What is to be released. CommandFailed when there is none; `partial`: its exit code where not everybody
    could be asked."""
    chosen = [place for name in names for place in _named(places, name)] if names else list(places)
    chosen = [place for place in chosen if not next_hop or place[1].next_hop == next_hop]
    called = ", ".join(names) or f"waits for {next_hop}"
    if not chosen:
        raise CommandFailed(
            "not_found",
            f"nothing that waits is called {called}" if names else f"nothing {called}",
            mend="waypost queue list shows what waits",
            exit_code=partial or NOT_FOUND,
        )
    held = {place[1].entry_id: place for place in chosen if place[1].outcome_unknown}
    if not held:
        raise CommandFailed(
            "not_held",
            f"the outcome of {'what is called ' if names else 'all that '}{called} is known",
            mend="it finds its way by itself; waypost queue retry tries it now",
            exit_code=NOT_SO,
        )
    return list(held.values())


def _confirm(count: int) -> None:
    these = "this entry" if count == 1 else f"these {count} entries"
    confirm(
        f"The next hop may have {these}: a double is possible. Release?",
        risk=f"what becomes of {these} is unknown, so they may be delivered twice",
        mend="--yes releases them all the same, --dry-run only shows them",
        left="nothing was released",
    )


async def _release(servers: Servers, ids: tuple[str, ...], reason: str) -> tuple[Answer[int], ...]:
    async with servers:
        return await servers.ask(lambda control: control.release(ids, reason))


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
        _state(entry),
        entry.sender or "<>",
        to,
        size(entry.size_bytes),
        duration(max(now_ms - entry.received_at_ms, 0)),
        _next_try(entry, now_ms),
        _ahead(entry.expires_at_ms, now_ms),
        " ".join(entry.last_reply.split()),
    )


def _state(entry: QueueEntry) -> str:
    return f"{entry.state}, outcome unknown" if entry.outcome_unknown else entry.state


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
        "state": _state(entry),
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
