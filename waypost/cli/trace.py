"""`waypost trace MESSAGE-ID`: the way of a message through all servers, as a tree or as JSON."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from foundation.interfaces.control import Control
from foundation.interfaces.tracking import TrackingEvent
from waypost.cli.control import Servers
from waypost.cli.options import ConfigOption, JsonOption, load_topology
from waypost.cli.output import NOT_FOUND, PARTIAL, CommandFailed, console, duration, print_json, rfc3339
from waypost.trace import ARRIVING, Trace, TracedMessage, Visit, build_trace, further_ids

if TYPE_CHECKING:
    from rich.tree import Tree

application = typer.Typer(add_completion=False)

ROUNDS = 4
"""A report on a report on a report is far enough."""


@application.command(epilog="Example: waypost trace 20261124.1234@example.org")
def trace(
    message_id: Annotated[
        str, typer.Argument(help="Message-ID or network message id, with or without angle brackets.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the way of a message through all servers, with the time spent at each.

    Exit code 3: no server knows the message; 4: a server can't be reached, what is shown may lack its part.
    """
    wanted = message_id.strip().removeprefix("<").removesuffix(">")
    servers = Servers(load_topology(config))
    names = servers.names
    events, gaps = asyncio.run(collect(servers, wanted))
    found = build_trace(events, names)
    if as_json:
        print_json(_document(found, gaps))
    elif found.messages:
        _print(found)
    if not as_json:
        for server, reason in gaps.items():
            console(stderr=True).print(
                f"[yellow]gap:[/] {server} can't be reached ({reason})", soft_wrap=True
            )
    if gaps:
        return PARTIAL
    if not found.messages:
        mend = "the Message-ID stands in the message's header"
        raise CommandFailed(
            "not_found", f"no server knows a message <{wanted}>", mend=mend, exit_code=NOT_FOUND
        )
    return 0


async def collect(servers: Servers, message_id: str) -> tuple[list[TrackingEvent], dict[str, str]]:
    """Events of the messages and of their reports, each server's in its own order; and who could not be
    asked."""
    gaps: dict[str, str] = {}
    by_server: dict[str, dict[TrackingEvent, None]] = {}
    # a reply to a client names a message by its network message id
    named = () if "@" in message_id else (message_id,)
    asked: tuple[str, ...] = named
    async with servers:
        for _ in range(ROUNDS):
            known = asked

            async def ask(control: Control, known: tuple[str, ...] = known) -> list[TrackingEvent]:
                return [event async for batch in control.trace(message_id, known) for event in batch]

            for answer in await servers.ask(ask):
                if answer.value is None:
                    gaps[answer.server.name] = answer.reason
                    continue
                own = by_server.setdefault(answer.server.name, {})
                own.update(dict.fromkeys(answer.value))
            servers.leave_out(gaps)
            further = further_ids(event for own in by_server.values() for event in own)
            asked = tuple(dict.fromkeys(named + further))
            if set(asked) <= set(known):
                break
    events = [event for own in by_server.values() for event in sorted(own, key=_sequence)]
    return events, gaps


def _sequence(event: TrackingEvent) -> int:
    return event.sequence


def _document(trace: Trace, gaps: dict[str, str]) -> dict[str, Any]:
    return {
        "items": [_message_document(message) for message in trace.messages],
        "gaps": [{"server": server, "reason": reason} for server, reason in gaps.items()],
        "clock_differences": [
            {
                "server": each.server,
                "compared_with": each.compared_with,
                "at_least_seconds": each.at_least_ms / 1000,
            }
            for each in trace.clock_differences
        ],
    }


def _message_document(message: TracedMessage) -> dict[str, Any]:
    return {
        "network_message_id": message.network_message_id,
        "message_id": message.message_id,
        "sender": message.sender,
        "recipients": list(message.recipients),
        "hops": [_visit_document(visit) for visit in message.visits],
    }


def _visit_document(visit: Visit) -> dict[str, Any]:
    return {
        "server": visit.server,
        "transfer_key": visit.key,
        "received_at": rfc3339(visit.received_at_ms),
        "spent_seconds": visit.spent_ms / 1000,
        "waiting": visit.waiting,
        "events": [_event_document(event) for event in visit.events],
        "missing": list(visit.missing),
        "reports": [_message_document(report) for report in visit.reports],
        "next": [_visit_document(following) for following in visit.next],
    }


def _event_document(event: TrackingEvent) -> dict[str, Any]:
    found = dict(msgspec.to_builtins(event))
    found["at"] = rfc3339(found.pop("at_ms"))
    found["recipients"] = list(event.recipients)
    return found


def _print(trace: Trace) -> None:
    from rich.text import Text
    from rich.tree import Tree

    out = console()
    for message in trace.messages:
        tree = Tree(Text(""), hide_root=True)
        _add_message(tree, message)
        out.print(tree)
    for each in trace.clock_differences:
        way = "ahead of" if each.at_least_ms > 0 else "behind"
        difference = duration(abs(each.at_least_ms))
        out.print(f"The clock of {each.server} is at least {difference} {way} that of {each.compared_with}.")


def _add_message(tree: Tree, message: TracedMessage) -> None:
    from rich.text import Text

    title = Text.assemble(
        (f"<{message.message_id}>", "bold"),
        f" from {message.sender or '<>'} to {', '.join(message.recipients)} ",
        (message.network_message_id, "dim"),
    )
    branch = tree.add(title)
    for visit in message.visits:
        _add_visit(branch, visit)


def _add_visit(tree: Tree, visit: Visit) -> None:
    from rich.text import Text

    time_spent = "waits here" if visit.waiting else duration(visit.spent_ms)
    branch = tree.add(
        Text.assemble(
            (visit.server, "bold cyan"), f"  {rfc3339(visit.received_at_ms)}  ", (time_spent, "green")
        )
    )
    for event in visit.events:
        branch.add(_line(event, event.at_ms - visit.received_at_ms))
    for report in visit.reports:
        _add_message(branch, report)
    for server in visit.missing:
        branch.add(Text(f"{server}: took it, but has no record that can be read", style="yellow"))
    for following in visit.next:
        _add_visit(branch, following)


def _line(event: TrackingEvent, after_ms: int) -> Any:
    from rich.text import Text

    style = "red" if event.event in ("FAIL", "POISONMESSAGE", "BADMAIL") else "bold"
    parts = [", ".join(event.recipients)]
    if event.related:
        parts.append(f"({event.related})")
    if event.next_hop:
        parts.append(("from " if event.event in ARRIVING else "→ ") + event.next_hop)
    parts += [part for part in (event.reply, event.reason) if part]
    return Text.assemble(
        (event.event, style), (f" +{duration(after_ms)} ", "dim"), " ".join(filter(None, parts))
    )
