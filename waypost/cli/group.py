"""`waypost group add|list|show|set|remove`: distribution groups, which may hold groups and outside
addresses."""

from __future__ import annotations

from typing import Annotated

import typer

from waypost.cli.directory import directory_of, print_record, print_records
from waypost.cli.options import ConfigOption, JsonOption

application = typer.Typer(
    help="Distribution groups.",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: waypost group add team@example.org --member alice@example.org",
)

AddressArgument = Annotated[str, typer.Argument(help="Address of the group.")]
MembersOption = Annotated[
    list[str] | None,
    typer.Option("--member", help="A user, a group, or an address outside. May be repeated."),
]


MembersArgument = Annotated[list[str] | None, typer.Argument(metavar="member", help="The same as --member.")]


@application.command(epilog="Example: waypost group add team@example.org alice@example.org bob@example.org")
def add(
    address: AddressArgument,
    members: MembersArgument = None,
    member: MembersOption = None,
    name: Annotated[str, typer.Option(help="Name for display.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a distribution group."""
    with directory_of(config) as (directory, _):
        print_record(
            directory.add_group(address, name=name, members=[*(members or ()), *(member or ())]), as_json
        )


@application.command("list", epilog="Example: waypost group list")
def list_groups(
    prefix: Annotated[str, typer.Argument(help="Only addresses that begin like this.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List groups and their members."""
    with directory_of(config) as (directory, _):
        print_records(directory.groups(prefix), ("address", "name", "members"), as_json)


@application.command(epilog="Example: waypost group show team@example.org")
def show(address: AddressArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show a group: members, aliases, and whether it leads back to itself."""
    with directory_of(config) as (directory, _):
        print_record(directory.group(address), as_json)


@application.command("set", epilog="Example: waypost group set team@example.org --add bob@example.org")
def set_group(
    address: AddressArgument,
    members: MembersArgument = None,
    member: MembersOption = None,
    add: Annotated[list[str] | None, typer.Option("--add", help="Add a member.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Take a member away.")] = None,
    name: Annotated[str | None, typer.Option(help="Name for display.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a group: whom you name become all its members; --add and --remove change some."""
    with directory_of(config) as (directory, _):
        if members or member:
            directory.set_members(address, [*(members or ()), *(member or ())])
        if add:
            directory.add_members(address, add)
        if remove:
            directory.remove_members(address, remove)
        if name is not None:
            directory.set_group(address, name=name)
        print_record(directory.group(address), as_json)


@application.command(epilog="Example: waypost group remove team@example.org --dry-run")
def remove(
    address: AddressArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it is.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a group; its members stay."""
    with directory_of(config) as (directory, _):
        found = directory.group(address)
        if not dry_run:
            directory.remove_group(address)
        print_record(found, as_json)
