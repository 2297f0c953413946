"""The `waypost` command: finds the file of each command, and turns what goes wrong into one sentence and
an exit code.

A command's module is imported when it is called: servers start fast.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from waypost.cli.output import CommandFailed, print_failure

COMMANDS = {
    "up": "up",
    "init": "init",
    "run": "run",
    "status": "status",
    "probe": "probe",
    "explain": "explain",
    "trace": "trace",
    "audit": "audit",
    "queue": "queue",
    "simulate": "simulate",
    "user": "user",
    "alias": "alias",
    "group": "group",
    "domain": "domain",
    "client": "client",
    "config": "config",
}
"""Command to module of this package, in the order of the help."""

UsageError: Any = typer.BadParameter.__base__
ClickException: Any = UsageError.__base__


class LazyGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        application = import_module(f"waypost.cli.{COMMANDS[cmd_name]}").application
        command = typer.main.get_command(application)
        command.name = cmd_name
        return command


application = typer.Typer(
    name="waypost",
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Example, to start with: waypost up",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"waypost {version('waypost')}")
        raise typer.Exit()


@application.callback()
def waypost(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """A mail routing stack: client access servers, mailbox stores, hub transports."""


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code; errors are printed, programming errors raised."""
    as_json = "--json" in arguments
    try:
        result = application(args=arguments, prog_name="waypost", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except CommandFailed as failure:
        print_failure(failure, as_json)
        return failure.exit_code
    except ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "waypost"
        message = error.format_message()
        if not message:  # called without a command: the help was shown
            return 2
        print_failure(CommandFailed("usage", message, mend=f"{command} --help shows how"), as_json)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def main() -> None:
    logging.getLogger("waypost").addHandler(
        logging.NullHandler()
    )  # commands speak for themselves; servers log
    sys.exit(run(sys.argv[1:]))
