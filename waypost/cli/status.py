"""`waypost status`: every server with its state and listeners; exit 1 until all are ready."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import typer

from foundation.interfaces.control import ServerStatus
from waypost.cli.control import Answer, Servers
from waypost.cli.options import ConfigOption, JsonOption, load_topology
from waypost.cli.output import NOT_SO, print_json, print_table, rfc3339

MAIL_PROTOCOLS = ("submission", "submissions", "smtp", "smtp-internal", "lmtp", "imap", "imaps")

application = typer.Typer(add_completion=False)


@application.command(epilog="Example: waypost status --json")
def status(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    name: Annotated[str, typer.Option(help="Only this server, as a health check wants it.")] = "",
) -> int:
    """Show every server: role, name, site, process, state, listeners. Exit code 1 until all are ready."""
    servers = Servers(load_topology(config))
    answers = asyncio.run(_ask(servers.only(name) if name else servers))
    if as_json:
        print_json({"items": [_document(answer) for answer in answers]})
    else:
        headings = ("server", "role", "site", "pid", "state", "listeners")
        print_table(headings, (_row(answer) for answer in answers))
    return 0 if all(answer.value and answer.value.state == "ready" for answer in answers) else NOT_SO


async def _ask(servers: Servers) -> tuple[Answer[ServerStatus], ...]:
    async with servers:
        return await servers.ask(lambda control: control.status())


def _document(answer: Answer[ServerStatus]) -> dict[str, Any]:
    server = answer.server
    if answer.value is None:
        return {
            "name": server.name,
            "role": server.role,
            "site": server.site,
            "pid": None,
            "state": "unreachable",
            "listeners": [],
            "reason": answer.reason,
        }
    found = msgspec.to_builtins(answer.value)
    found["started_at"] = rfc3339(found.pop("started_at_ms")) or None
    found["release"] = found.pop("version")
    found["listeners"] = [each for each in found["listeners"] if each["protocol"] in MAIL_PROTOCOLS]
    return dict(found)


def _row(answer: Answer[ServerStatus]) -> tuple[str, ...]:
    server, status = answer.server, answer.value
    if status is None:
        return server.name, server.role, server.site, "", "unreachable", answer.reason
    listeners = ", ".join(
        f"{each.protocol} {each.host}:{each.port}"
        for each in status.listeners
        if each.protocol in MAIL_PROTOCOLS
    )
    state = "; ".join((status.state, *status.pressure_reasons))
    return server.name, server.role, server.site, str(status.pid), state, listeners
