"""`waypost user add|list|show|set|remove|rehome`: people with a mailbox and a password."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from config.model import Topology
from foundation.directory.records import UserRecord
from waypost.cli.confirm import confirm
from waypost.cli.directory import directory_of, print_record, print_records
from waypost.cli.options import ConfigOption, JsonOption
from waypost.cli.output import NOT_FOUND, CommandFailed

application = typer.Typer(
    help="Users: a mailbox and a password each.",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: waypost user show alice@example.org",
)

AddressArgument = Annotated[str, typer.Argument(help="Any address of the user.")]
PasswordOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, one line.")
]


@application.command(
    epilog="Example: echo 'correct horse' | waypost user add dora@example.org --password-stdin"
)
def add(
    address: Annotated[str, typer.Argument(help="Primary address; its domain is one of the organisation's.")],
    password_stdin: PasswordOption = False,
    name: Annotated[str, typer.Option(help="Name for display.")] = "",
    site: Annotated[str, typer.Option(help="Put the mailbox on the least filled store of this site.")] = "",
    store: Annotated[
        str, typer.Option(help="Put the mailbox on this store; default: the least filled.")
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a user. The password is asked for on a terminal; the mailbox appears at first use."""
    with directory_of(config) as (directory, topology):
        stores = stores_for(topology, site, store)
        password_hash = _hash(_password(password_stdin))
        print_record(
            directory.add_user(address, password_hash, name=name, store=store, stores=stores), as_json
        )


@application.command("list", epilog="Example: waypost user list al --json")
def list_users(
    prefix: Annotated[str, typer.Argument(help="Only addresses that begin like this.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List users."""
    with directory_of(config) as (directory, _):
        print_records(directory.users(prefix), ("address", "name", "store", "aliases"), as_json)


@application.command(epilog="Example: waypost user show alice@example.org")
def show(address: AddressArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show a user: where the mailbox is, aliases, groups."""
    with directory_of(config) as (directory, _):
        print_record(directory.user(address), as_json)


@application.command("set", epilog="Example: waypost user set alice@example.org --name 'Alice Liddell'")
def set_user(
    address: AddressArgument,
    password_stdin: PasswordOption = False,
    name: Annotated[str | None, typer.Option(help="Name for display.")] = None,
    disabled: Annotated[
        bool | None, typer.Option("--disabled/--enabled", help="A disabled user can't log on.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a user's name or password, or forbid logging on."""
    with directory_of(config) as (directory, _):
        directory.user(address)
        password_hash = _hash(_password(True)) if password_stdin else None
        print_record(
            directory.set_user(address, password_hash=password_hash, name=name, disabled=disabled), as_json
        )


@application.command(epilog="Example: waypost user remove dora@example.org --dry-run")
def remove(
    address: AddressArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show who it would be.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a user. The mailbox is disconnected and kept 30 days."""
    with directory_of(config) as (directory, _):
        print_record(directory.user(address) if dry_run else directory.remove_user(address), as_json)


@application.command(epilog="Example: waypost user rehome dora@example.org --store store-b --dry-run")
def rehome(
    address: AddressArgument,
    store: Annotated[str, typer.Option(help="Where the mailbox shall be from now on.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show who it would be.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a user another mailbox, on another store; nothing in the present one is moved.

    It is the mailbox that the user left on that store before, if it is still kept, else an empty one. The
    present mailbox stays where it is, disconnected, for 30 days: to go back connects it again. Mail under
    way follows; what waits in the Outbox is sent.
    """
    with directory_of(config) as (directory, topology):
        user, stores = directory.user(address), stores_for(topology, "", "")
        if store not in stores:
            names = ", ".join(stores)
            raise CommandFailed(
                "not_found", f"there is no store {store}", mend=f"stores are {names}", exit_code=NOT_FOUND
            )
        if not dry_run:
            if not yes:
                _confirm_rehoming(user, store)
            user = directory.rehome_user(address, store, stores)
        print_record(user, as_json)


def _confirm_rehoming(user: UserRecord, store: str) -> None:
    confirm(
        f"{user.address} will see nothing of the mailbox on {user.store}. Give another on {store}?",
        risk=f"{user.address} would no longer see what is on {user.store}",
        mend="--yes does it all the same, --dry-run only shows who it is",
        left="nothing was changed",
    )


def stores_for(topology: Topology, site: str, store: str) -> dict[str, str]:
    """Mailbox database by name of each store that may take the mailbox."""
    if site and site not in [each.name for each in topology.sites]:
        names = ", ".join(each.name for each in topology.sites)
        raise CommandFailed(
            "not_found", f"there is no site {site}", mend=f"sites are {names}", exit_code=NOT_FOUND
        )
    found = {each.name: each.database for each in topology.stores if site in ("", each.site)}
    if store and store in [each.name for each in topology.stores] and store not in found:
        raise CommandFailed("usage", f"the store {store} is not in site {site}", mend="leave one of them out")
    return found


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise CommandFailed("usage", "a password is needed", mend="hand it in by --password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _hash(password: str) -> str:
    from foundation.passwords import UnusablePassword, hash_password

    try:
        return hash_password(password)
    except UnusablePassword as error:
        raise CommandFailed("invalid", f"the password can't be used: {error}") from error
