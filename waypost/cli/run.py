"""`waypost run ROLE --name NAME`: one server in this process, until SIGTERM or SIGINT; SIGHUP reloads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from waypost.cli.options import ConfigOption, read, wanted_config
from waypost.cli.output import CommandFailed
from waypost.servers import Server, servers_of

application = typer.Typer(add_completion=False)


@application.command(epilog="Example: waypost run hub --name hub-a --config two-sites.toml")
def run(
    role: Annotated[str, typer.Argument(help="hub, store or access.", metavar="ROLE")],
    name: Annotated[str, typer.Option(help="Name of the server in the configuration.")],
    config: ConfigOption = None,
    ready_fd: Annotated[int, typer.Option(hidden=True)] = -1,
    supervisor: Annotated[int, typer.Option(hidden=True)] = 0,
) -> int:
    """Run one server in this process.

    It stops in order on SIGTERM or SIGINT: what it accepted is safe. SIGHUP reloads certificates and
    settings.
    """
    if supervisor:
        from waypost.service import die_with

        die_with(supervisor)
    file = wanted_config(config)
    topology = read(file)
    server = _server(servers_of(topology), role, name, config)
    from config.reader import read_topology
    from waypost.service import Notification, serve

    return serve(topology, server, Notification(ready_fd), lambda: read_topology(file, os.environ))


def _server(servers: tuple[Server, ...], role: str, name: str, config: Path | None) -> Server:
    if role not in ("hub", "store", "access"):
        raise CommandFailed("usage", f"there is no role {role!r}", mend="the roles are hub, store and access")
    for server in servers:
        if (server.role, server.name) == (role, name):
            return server
    names = ", ".join(server.name for server in servers if server.role == role) or "none"
    raise CommandFailed(
        "unknown_server",
        f"the configuration has no {role} {name!r}",
        place=str(config or os.environ.get("WAYPOST_CONFIG", "")),
        mend=f"it has: {names}",
    )
