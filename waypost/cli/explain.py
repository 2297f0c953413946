"""`waypost explain`: the way a message would go, with each decision and its reason, without sending it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from foundation.interfaces.explanation import Explanation, Onward, Question
from foundation.mail.address import valid_address
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError
from foundation.mail.headers import header_block
from waypost.cli.options import ConfigOption, JsonOption, load_topology
from waypost.cli.output import NOT_SO, PARTIAL, CommandFailed, console, print_json, progress, rfc3339, size
from waypost.cli.stations import Stations
from waypost.cli.units import parse_size
from waypost.explain import Fate, Hop, Way, every_hop, follow
from waypost.servers import find_server

if TYPE_CHECKING:
    from rich.tree import Tree

    from config.model import Topology

application = typer.Typer(add_completion=False, rich_markup_mode="markdown")

SMALL_MESSAGE_BYTES = 1024
SAID_BELOW = ("route", "merge")
"""Stages whose decisions are told where the way goes on, or where it ends."""
DOORS = {
    "submission": "submission",
    "outbox": "Outbox",
    "smtp": "mail from outside",
    "smtp-internal": "hub",
    "lmtp": "delivery",
}


@application.command(
    epilog="Examples:\n\n"
    "- `waypost explain --from alice@example.org --to team@example.org --to eve@example.net`\n"
    "- `waypost explain --from eve@example.net --to alice@example.org --size 40MiB`\n"
    "- `waypost explain --from alice@example.org --to bob@example.org letter.eml --json`"
)
def explain(
    sender: Annotated[str, typer.Option("--from", help="Who would send it; <> for the null sender.")],
    to: Annotated[list[str], typer.Option("--to", help="A recipient; may be given many times.")],
    file: Annotated[
        Path | None,
        typer.Argument(help="The message, for its size and header.", metavar="[FILE.eml]"),
    ] = None,
    size_bytes: Annotated[
        int | None,
        typer.Option("--size", parser=parse_size, metavar="SIZE", help="Size of the message, like 10MiB."),
    ] = None,
    at: Annotated[
        str, typer.Option("--at", help="Server that gets it first: a Client Access server or a hub.")
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the way a message would go, and why, without sending it.

    Every server is asked what it would do, by the code that decides about real messages; for one that can't
    be asked this is computed from configuration and directory, and said. Exit code 1: not everybody would get
    it.
    """
    topology = load_topology(config)
    asked = _question(sender, tuple(to), file, size_bytes)
    try:
        with progress() as tell:
            tell("asking the servers")
            way = asyncio.run(_follow(topology, asked, at))
    except MailError as error:
        raise CommandFailed(
            "unavailable",
            error.sentence,
            mend="start the servers, or look at the directory's database",
            exit_code=PARTIAL,
        ) from error
    if as_json:
        print_json(_document(topology, asked, way))
    else:
        _print(topology, asked, way)
    return 0 if way.arrives else NOT_SO


async def _follow(topology: Topology, asked: Question, at: str) -> Way:
    """Raises MailError, CommandFailed."""
    from waypost.world import real_world

    # Hubs of one site take turns by this id: like that of a real message it is a new one each time.
    asked = msgspec.structs.replace(asked, network_message_id=real_world().entropy.identifier())
    async with Stations(topology) as stations:
        first, entering = await stations.entrance(asked, at)
        return await follow(first, entering, stations.ask)


def _question(sender: str, to: tuple[str, ...], file: Path | None, size_bytes: int | None) -> Question:
    sender = "" if sender == "<>" else sender
    for address in (*((sender,) if sender else ()), *to):
        # RFC 5321 4.1.1.3: postmaster alone needs no domain
        if address.lower() != "postmaster" and not valid_address(address, smtputf8=True):
            raise CommandFailed(
                "usage", f"{address!r} is no mail address", mend="write it like alice@example.org"
            )
    content = _on_the_wire(file) if file is not None else b"\r\n"
    if size_bytes is None:
        size_bytes = len(content) if file is not None else SMALL_MESSAGE_BYTES
    return Question(
        door="submission",
        sender=Sender(address=sender, size_bytes=size_bytes),
        recipients=tuple(Recipient(address=address) for address in dict.fromkeys(to)),
        size_bytes=size_bytes,
        header=content[: header_block(content)] or b"\r\n",
    )


def _on_the_wire(file: Path) -> bytes:
    """With CRLF, as it would be sent."""
    try:
        return re.sub(rb"\r?\n", b"\r\n", file.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandFailed(
            "usage", f"the message can't be read: {reason}", place=str(file), mend="name a file to read"
        ) from error


# --- for people ---


def _print(topology: Topology, asked: Question, way: Way) -> None:
    from rich.text import Text
    from rich.tree import Tree

    out = console()
    to = ", ".join(recipient.address for recipient in asked.recipients)
    title = Text.assemble(
        (asked.sender.address or "<>", "bold"), " → ", (to, "bold"), f"  {size(asked.size_bytes)}"
    )
    tree = Tree(title)
    _add_hop(topology, tree, way.first)
    out.print(tree)
    for fate in way.fates:
        out.print(_fate_line(fate), soft_wrap=True)


def _add_hop(topology: Topology, tree: Tree, hop: Hop) -> None:
    from rich.text import Text

    told = hop.answer.explanation
    server = find_server(topology, hop.server)
    site = f", site {server.site}" if server is not None else ""
    title = Text.assemble((hop.server, "bold cyan"), f"  {DOORS[hop.question.door]}{site}")
    if not told.live:
        title.append(f"  computed, not asked: {hop.answer.not_live}", style="yellow")
    branch = tree.add(title)
    for step in told.steps:
        if step.stage in SAID_BELOW:
            continue
        branch.add(Text.assemble((f"{step.stage}: ", "dim"), step.what, (f" — {step.why}", "dim")))
    for end in told.ends:
        style = "red" if end.outcome in ("refused", "failed", "deferred", "unreachable") else "green"
        why = end.reply if end.why in end.reply else " — ".join(filter(None, (end.reply, end.why)))
        branch.add(Text.assemble((f"{end.outcome}: ", style), end.address, (f" — {why}", "dim")))
    for onward, station in hop.next:
        below = branch.add(_onward_line(onward))
        if station is not None:
            _add_hop(topology, below, station)


def _onward_line(onward: Onward) -> Any:
    from rich.text import Text

    who = ", ".join(going.recipient.address for going in onward.recipients)
    line = Text.assemble(
        ("→ ", "bold"), (", ".join(onward.choices) or onward.next_hop, "bold"), f" for {who}"
    )
    line.append(f" — {onward.why}", style="dim")
    if onward.wait is not None:
        line.append(f"; it would wait: {onward.wait.reason or 'it does not answer'}", style="yellow")
        if onward.wait.next_attempt_at_ms:
            line.append(f", next try {rfc3339(onward.wait.next_attempt_at_ms)}", style="yellow")
    return line


def _fate_line(fate: Fate) -> Any:
    from rich.text import Text

    name = fate.given if fate.given == fate.address else f"{fate.given} as {fate.address}"
    said = {
        "delivered": f"arrives on {fate.server}: {fate.why}",
        "relayed": f"goes out from {fate.server}: {fate.why}",
        "refused": f"refused by {fate.server}: {fate.reply}",
        "failed": f"fails at {fate.server}, and the sender gets a report: {fate.reply}",
        "deferred": f"waits before {fate.server}: {fate.reply}",
        "unreachable": f"waits in the unreachable queue of {fate.server}: {fate.why}",
        "expanded": f"is a group: {fate.why}",
        "merged": f"gets no copy of its own: {fate.why}",
    }[fate.outcome]
    if fate.waits and fate.arrives:
        said += f"; but {', '.join(fate.waits)} can't be reached now"
    style = "red" if fate.lost else "green" if fate.arrives else "cyan"
    return Text.assemble((name, style), f" {said}")


# --- for programs ---


def _document(topology: Topology, asked: Question, way: Way) -> dict[str, Any]:
    return {
        "arrives": way.arrives,
        "sender": asked.sender.address,
        "size_bytes": asked.size_bytes,
        "live": all(hop.answer.explanation.live for hop in every_hop(way)),
        "recipients": [_fate_document(fate) for fate in way.fates],
        "hops": [_hop_document(topology, way.first)],
    }


def _fate_document(fate: Fate) -> dict[str, Any]:
    return {
        "given": fate.given,
        "address": fate.address,
        "outcome": fate.outcome,
        "server": fate.server,
        "reply": fate.reply,
        "why": fate.why,
        "waits_for": list(fate.waits),
    }


def _hop_document(topology: Topology, hop: Hop) -> dict[str, Any]:
    told: Explanation = hop.answer.explanation
    server = find_server(topology, hop.server)
    return {
        "server": hop.server,
        "role": server.role if server is not None else "",
        "site": server.site if server is not None else "",
        "door": hop.question.door,
        "live": told.live,
        "not_asked_because": hop.answer.not_live,
        "decisions": [msgspec.to_builtins(step) for step in told.steps],
        "ends": [msgspec.to_builtins(end) for end in told.ends],
        "events": [
            {
                "event": event.event,
                "recipients": list(event.recipients),
                "related": event.related,
                "next_hop": event.next_hop,
                "reply": event.reply,
                "reason": event.reason,
            }
            for event in told.events
        ],
        "next": [
            _onward_document(onward)
            | {"hop": _hop_document(topology, station) if station is not None else None}
            for onward, station in hop.next
        ],
    }


def _onward_document(onward: Onward) -> dict[str, Any]:
    wait = onward.wait
    return {
        "next_hop": onward.next_hop,
        "queue": onward.queue,
        "choices": list(onward.choices),
        "recipients": [going.recipient.address for going in onward.recipients],
        "why": onward.why,
        "path": list(onward.path),
        "cost": onward.cost,
        "waits": None
        if wait is None
        else {
            "reason": wait.reason,
            "since": rfc3339(wait.since_ms) or None,
            "next_attempt_at": rfc3339(wait.next_attempt_at_ms) or None,
        },
    }
