"""`waypost domain add|list|show|set|remove`: the domains that the organisation takes mail for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from waypost.cli.directory import directory_of, print_record, print_records
from waypost.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from foundation.directory.records import DomainKind

application = typer.Typer(
    help="Accepted domains.",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: waypost domain add example.net",
)

DomainArgument = Annotated[str, typer.Argument(help="Domain name.")]


class Kind(StrEnum):
    authoritative = "authoritative"
    internal_relay = "internal-relay"
    external_relay = "external-relay"

    @property
    def record(self) -> DomainKind:
        return self.value


@application.command(epilog="Example: waypost domain add example.net")
def add(
    domain: DomainArgument,
    kind: Annotated[Kind, typer.Option(help="Who knows the recipients.")] = Kind.authoritative,
    default: Annotated[
        bool, typer.Option("--default", help="Log-on names without a domain mean it.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take mail for a domain."""
    with directory_of(config) as (directory, _):
        print_record(directory.add_domain(domain, kind.record, default=default), as_json)


@application.command("list", epilog="Example: waypost domain list")
def list_domains(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List accepted domains."""
    with directory_of(config) as (directory, _):
        print_records(directory.domains(), ("domain", "kind", "default"), as_json)


@application.command(epilog="Example: waypost domain show example.org")
def show(domain: DomainArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show an accepted domain."""
    with directory_of(config) as (directory, _):
        print_record(directory.domain(domain), as_json)


@application.command("set", epilog="Example: waypost domain set example.net --kind internal-relay")
def set_domain(
    domain: DomainArgument,
    kind: Annotated[Kind | None, typer.Option(help="Who knows the recipients.")] = None,
    default: Annotated[
        bool, typer.Option("--default", help="Log-on names without a domain mean it.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change an accepted domain."""
    with directory_of(config) as (directory, _):
        print_record(
            directory.set_domain(domain, kind=kind.record if kind else None, default=default), as_json
        )


@application.command(epilog="Example: waypost domain remove example.net --dry-run")
def remove(
    domain: DomainArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it is.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take no more mail for a domain. Refused while addresses use it."""
    with directory_of(config) as (directory, _):
        found = directory.domain(domain)
        if not dry_run:
            directory.remove_domain(domain)
        print_record(found, as_json)
