"""`waypost client show|autoconfig`: what a mail program needs to be told, for people and for Thunderbird."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waypost.cli.directory import directory_of
from waypost.cli.options import ConfigOption, JsonOption, load_topology, read
from waypost.cli.output import NOT_SO, CommandFailed, print_json, print_table

if TYPE_CHECKING:
    from config.model import Topology
    from waypost.clients import Account

application = typer.Typer(
    help="Settings for mail programs.",
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: waypost client show --user alice@example.org",
)

HostOption = Annotated[
    str, typer.Option(help="Name by which mail programs reach this machine; else where the servers listen.")
]
UserOption = Annotated[str, typer.Option(help="Address of the user whose account it is.")]

_SECURITY = {"SSL": "TLS (SSL/TLS)", "STARTTLS": "STARTTLS"}


@application.command(epilog="Example: waypost client show --user alice@example.test")
def show(
    host: HostOption = "", user: UserOption = "", config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show what to enter in a mail program: servers, ports, security, user name, whom to trust."""
    topology = load_topology(config)
    ways = _ways(topology, host)
    authority = _authority(topology) if any(way.private_authority for way in ways) else None
    if as_json:
        items = [
            {
                "use": way.use,
                "protocol": way.protocol,
                "host": way.host,
                "port": way.port,
                "security": "tls" if way.security == "SSL" else "starttls",
                "server": way.server,
            }
            for way in ways
        ]
        print_json({"user": user or None, "authority": authority, "items": items})
        return
    print_table(
        ("TO", "PROTOCOL", "HOST", "PORT", "SECURITY", "USER NAME", "PASSWORD"),
        (
            (
                way.use,
                way.protocol.upper(),
                way.host,
                str(way.port),
                _SECURITY[way.security],
                user or "the whole address",
                "normal password",
            )
            for way in ways
        ),
    )
    if authority:
        print(f"Trust this authority first: {authority}")


@application.command(
    epilog="Example: waypost client autoconfig --host mail.example.test --into config-v1.1.xml"
)
def autoconfig(
    host: HostOption = "",
    user: UserOption = "",
    into: Annotated[Path | None, typer.Option(help="Write it there instead of printing it.")] = None,
    config: ConfigOption = None,
) -> None:
    """Print Thunderbird's set-up file, config-v1.1.xml, for all domains of the organisation.

    Thunderbird finds it at http://autoconfig.DOMAIN/mail/config-v1.1.xml, or as isp/DOMAIN.xml in its own
    program folder; Evolution, KMail and others read it, too.
    """
    from waypost.clients import EVERY_USER, thunderbird

    with directory_of(config) as (directory, topology):
        domains = [each.domain for each in directory.domains() if each.kind != "external-relay"]
    text = thunderbird(
        topology.organisation, domains or [topology.default_domain], _ways(topology, host), user or EVERY_USER
    )
    if into is None:
        print(text, end="")
        return
    try:
        into.write_text(text, "utf-8")
    except OSError as error:
        raise CommandFailed("file", str(error.strerror), place=str(into)) from error


def _ways(topology: Topology, host: str) -> tuple[Account, ...]:
    """With the ports that `waypost up` took, if it runs."""
    from waypost.clients import NoHostName, accounts
    from waypost.servers import resolved_file, with_ports_of

    if (running := resolved_file(topology)).exists():
        topology = with_ports_of(topology, topology, read(running))
    try:
        ways = accounts(topology, host)
    except NoHostName as error:
        raise CommandFailed(
            "host",
            f"{error.server} listens on all addresses: its name for mail programs is not known",
            mend="say it: --host mail.example.org",
        ) from error
    if any(way.port == 0 for way in ways):
        raise CommandFailed(
            "no_port", "a listener takes any free port, and runs not now", mend="waypost up", exit_code=NOT_SO
        )
    return ways


def _authority(topology: Topology) -> str:
    return os.fspath((topology.data / "ca.pem").absolute())
