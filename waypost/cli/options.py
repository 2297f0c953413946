"""Options that many commands share, and how a command finds its configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waypost.cli.output import CommandFailed

if TYPE_CHECKING:
    from config.model import Topology
    from config.problems import ConfigurationError

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; else WAYPOST_CONFIG, else ./data/waypost.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

EMBEDDED_CONFIG = Path("data/waypost.toml")
"""Written by the first `waypost up`."""


def find_config(option: Path | None) -> Path | None:
    """The file that `--config`, WAYPOST_CONFIG or `waypost up` names; None when there is none of the
    three."""
    if option is not None:
        return option
    if named := os.environ.get("WAYPOST_CONFIG"):
        return Path(named)
    return EMBEDDED_CONFIG if EMBEDDED_CONFIG.exists() else None


def wanted_config(option: Path | None) -> Path:
    """The same; an error where there is none."""
    file = find_config(option)
    if file is None:
        raise CommandFailed(
            "no_configuration",
            "there is no configuration: no --config FILE, no WAYPOST_CONFIG, no ./data/waypost.toml",
            mend="waypost up makes one and starts it",
        )
    return file


def load_topology(option: Path | None) -> Topology:
    return read(wanted_config(option))


def read(file: Path) -> Topology:
    from config.reader import ConfigurationError, read_topology

    try:
        return read_topology(file, os.environ)
    except ConfigurationError as error:
        raise configuration_failed(error) from error


def configuration_failed(error: ConfigurationError) -> CommandFailed:
    problems = [
        {"message": each.problem, "place": _place(error.file, each.place), "mend": each.mend}
        for each in error.problems
    ]
    return CommandFailed(
        "configuration",
        error.problem,
        place=_place(error.file, error.place),
        mend=error.mend,
        further=problems[1:],
    )


def _place(file: Path | str, key: str) -> str:
    return f"{file}: {key}" if key else str(file)
