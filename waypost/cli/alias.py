"""`waypost alias add|list|show|set|remove`: further addresses of users and groups."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost.cli.directory import directory_of, print_record, print_records
from waypost.cli.options import ConfigOption, JsonOption

application = typer.Typer(
    help="Aliases: further addresses of users and groups.",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: waypost alias add info@example.org dora@example.org",
)

AliasArgument = Annotated[str, typer.Argument(help="The further address.")]


@application.command(epilog="Example: waypost alias add info@example.org alice@example.org")
def add(
    alias: AliasArgument,
    address: Annotated[str, typer.Argument(help="Any address of the user or group it leads to.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a user or group a further address."""
    with directory_of(config) as (directory, _):
        print_record(directory.add_alias(alias, address), as_json)


@application.command("list", epilog="Example: waypost alias list")
def list_aliases(
    prefix: Annotated[str, typer.Argument(help="Only aliases that begin like this.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List aliases and where they lead."""
    with directory_of(config) as (directory, _):
        print_records(directory.aliases(prefix), ("alias", "address", "kind"), as_json)


@application.command(epilog="Example: waypost alias show info@example.org")
def show(alias: AliasArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show where an alias leads."""
    with directory_of(config) as (directory, _):
        print_record(directory.alias(alias), as_json)


@application.command("set", epilog="Example: waypost alias set info@example.org bob@example.org")
def set_alias(
    alias: AliasArgument,
    address: Annotated[str, typer.Argument(help="Any address of the user or group it leads to from now on.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lead an alias to another user or group."""
    with directory_of(config) as (directory, _):
        print_record(directory.set_alias(alias, address), as_json)


@application.command(epilog="Example: waypost alias remove info@example.org")
def remove(
    alias: AliasArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it is.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an alias away."""
    with directory_of(config) as (directory, _):
        found = directory.alias(alias)
        if not dry_run:
            directory.remove_alias(alias)
        print_record(found, as_json)
