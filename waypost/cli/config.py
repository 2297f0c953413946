"""`waypost config check FILE` and `waypost config show`: what the settings say, without starting anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from waypost.cli.options import ConfigOption, JsonOption, load_topology, read
from waypost.cli.output import print_json

application = typer.Typer(
    help="Check and show the configuration.", no_args_is_help=True, add_completion=False
)


@application.command(epilog="Example: waypost config check config/two-sites.toml")
def check(
    file: Annotated[Path, typer.Argument(help="Configuration file.")], as_json: JsonOption = False
) -> None:
    """Check a configuration file as a whole, as the servers would. Exit code 2 names place and mend."""
    from waypost.servers import servers_of

    topology = read(file)
    names = [server.name for server in servers_of(topology)]
    if as_json:
        print_json({"file": str(file), "organisation": topology.organisation, "servers": names})
    else:
        print(f"{file}: good; {topology.organisation}, servers {', '.join(names)}")


@application.command(epilog="Example: waypost config show --config config/two-sites.toml")
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the settings in force; with --json the defaults too."""
    topology = load_topology(config)
    if as_json:
        print_json({"settings": topology.model_dump(mode="json")})
    else:
        from config.writer import write_topology

        print(write_topology(topology), end="")
