"""`waypost config check|show|schema|reference`: what the settings are, without starting anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli.options import ConfigOption, JsonOption, configuration_failed, read, wanted_config
from waypost.cli.output import CommandFailed, print_json, print_table

application = typer.Typer(
    help="Check and show the configuration.",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: waypost config check two-sites.toml",
)


@application.command(epilog="Example: waypost config check config/two-sites.toml")
def check(
    file: Annotated[Path | None, typer.Argument(help="Configuration file; else as for --config.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a configuration file as a whole, as the servers would. Exit code 2 names place and mend."""
    from waypost.servers import servers_of

    file = file or wanted_config(config)
    topology = read(file)
    names = [server.name for server in servers_of(topology)]
    if as_json:
        print_json({"file": str(file), "organisation": topology.organisation, "servers": names})
    else:
        print(f"{file}: good; {topology.organisation}, servers {', '.join(names)}")


@application.command(epilog="Example: waypost config show --config config/two-sites.toml")
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every setting in force and where it comes from: a line of the file, an environment variable, or
    its default. Passwords are hidden."""
    from config.listing import settings_of
    from config.reader import ConfigurationError, read_with_sources

    file = wanted_config(config)
    try:
        topology, sources = read_with_sources(file, os.environ)
    except ConfigurationError as error:
        raise configuration_failed(error) from error
    items = [(setting, sources.of(setting.place)) for setting in settings_of(topology)]
    if as_json:
        print_json({"file": str(file), "items": [_item(*each) for each in items]})
        return
    rows = ((setting.place, _toml(setting.value), str(source)) for setting, source in items)
    print_table(("SETTING", "VALUE", "SOURCE"), rows)


@application.command(epilog="Example: waypost config schema > waypost.schema.json")
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors that complete and check it.

    In the file's first line, for editors with Taplo: #:schema waypost.schema.json
    """
    from config.schema import file_schema

    print(json.dumps(file_schema(), indent=2, ensure_ascii=False))


@application.command(epilog="Example: waypost config reference --into docs/configuration.md")
def reference(
    into: Annotated[
        Path | None, typer.Option(help="Put it between the marks of this document instead of printing it.")
    ] = None,
) -> None:
    """Print every setting with its meaning, unit, default and Exchange's name for it, as Markdown."""
    from config import reference

    if into is None:
        print(reference.reference(), end="")
        return
    try:
        into.write_text(reference.into(into.read_text("utf-8")), "utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        mend = f"put these two lines into it: {reference.BEGIN} {reference.END}"
        raise CommandFailed("document", str(reason), place=str(into), mend=mend) from error


def _item(setting: Any, source: Any) -> dict[str, Any]:
    item: dict[str, Any] = {"setting": setting.place, "value": setting.value}
    if source.variable:
        return {**item, "source": "environment", "variable": source.variable}
    if source.is_default:
        return {**item, "source": "default"}
    return {**item, "source": "file", "file": str(source.file), "line": source.line or None}


def _toml(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
