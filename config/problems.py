"""Faults of a configuration: where in which file, what is wrong, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    place: str
    """Key path like `servers.hub-a.site`; empty for the file as a whole."""
    problem: str
    mend: str

    def __str__(self) -> str:
        said = f"{self.problem}; {self.mend}" if self.mend else self.problem
        return f"{self.place}: {said}" if self.place else said


class ConfigurationError(Exception):
    """All that is wrong with a configuration file; `place`, `problem` and `mend` are the first one's."""

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))
        self.file = file
        self.problems = tuple(problems)
        self.place = problems[0].place
        self.problem = problems[0].problem
        self.mend = problems[0].mend


def quoted(values: Iterable[object]) -> str:
    """A list for a sentence: `A, B`, or `none`."""
    return ", ".join(str(value) for value in values) or "none"


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word most like this one; empty when none is near."""
    found = difflib.get_close_matches(word, known, 1, 0.6)
    return found[0] if found else ""


def unknown(word: str, known: Sequence[str], what: str) -> str:
    """The mend for an unknown word: the nearest known one, or all of them."""
    near = nearest(word, known)
    if near:
        return f'did you mean "{near}"?'
    return f"known {what} are {quoted(known)}" if known else f"there are no {what}"
