"""`waypost init`: certificates, directory and demo users of a configuration, without starting anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waypost.cli.options import ConfigOption, JsonOption, load_topology
from waypost.cli.output import CommandFailed, print_json

if TYPE_CHECKING:
    from config.model import Topology
    from waypost.bootstrap import DemoUser

application = typer.Typer(add_completion=False)


@application.command(epilog="Example: waypost init --config two-sites.toml")
def init(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    only_certificates: Annotated[
        bool, typer.Option("--certificates", help="Only the CA and the certificates.")
    ] = False,
    authority_key: Annotated[
        Path | None, typer.Option(help="File of the CA's private key; else ca.key beside the certificates.")
    ] = None,
) -> None:
    """Make what is missing: the private CA, the servers' certificates, the directory, the demo users.

    May be repeated; certificates are renewed when they are due.
    """
    topology = load_topology(config)
    users = make_ready(topology, only_certificates=only_certificates, authority_key=authority_key)
    if as_json:
        print_json({"data": str(topology.data), "demo_users": [user.address for user in users]})
        return
    print(f"{topology.organisation}: ready to start; data in {topology.data}")
    print_users(topology.data, users)


def make_ready(
    topology: Topology, *, only_certificates: bool = False, authority_key: Path | None = None
) -> tuple[DemoUser, ...]:
    """Bootstraps; what goes wrong ends the command. Returns the demo users that were made."""
    from foundation.directory.records import DirectoryError
    from foundation.tls import CertificateError
    from waypost.bootstrap import prepare, prepare_certificates
    from waypost.world import real_world

    try:
        if only_certificates:
            topology.certificates.mkdir(parents=True, exist_ok=True)
            prepare_certificates(topology, real_world(), authority_key)
            return ()
        return prepare(topology, real_world(), authority_key)
    except CertificateError as error:
        raise CommandFailed("certificate", error.problem, place=str(error.file), mend=error.mend) from error
    except DirectoryError as error:
        raise CommandFailed("directory", error.sentence, mend=error.mend) from error
    except OSError as error:
        raise CommandFailed(
            "data_folder",
            f"can't write: {error.strerror}",
            place=str(error.filename or topology.data),
            mend="check the folder's owner and the free space",
        ) from error


def print_users(data: Path, users: tuple[DemoUser, ...]) -> None:
    """Passwords are shown when they are made, and never again."""
    if not users:
        return
    print(f"Demo users (kept in {data / 'demo-users.json'}):")
    for user in users:
        print(f"  {user.address}  {user.password}")
