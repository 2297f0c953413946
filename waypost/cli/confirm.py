"""Asks before what can't be taken back."""

from __future__ import annotations

import sys

import typer

from waypost.cli.output import NOT_SO, CommandFailed


def confirm(question: str, *, risk: str, mend: str, left: str) -> None:
    """Asks on a terminal. CommandFailed in a pipe, with the risk and what to do, or when the answer is no,
    with what is `left` as it was."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandFailed("not_confirmed", risk, mend=mend)
    if not typer.confirm(question, err=True):
        raise CommandFailed("not_confirmed", left, exit_code=NOT_SO)
