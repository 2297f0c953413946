"""docs/programs.md says of each program what its tests say, no more and no less."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.programs.table import table

ROOT = Path(__file__).parents[3]


def deeds() -> dict[str, set[str]]:
    """Program to what its tests say that it does, from their source."""
    found: dict[str, set[str]] = {}
    for file in sorted((ROOT / "tests" / "programs").glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for name in _programs(node):
                    found.setdefault(name, set()).add(" ".join((ast.get_docstring(node) or "").split()))
    return found


def _programs(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    calls = [each for each in function.decorator_list if isinstance(each, ast.Call)]
    return [
        ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "pytest.mark.program"
    ]


def rows(text: str) -> dict[str, tuple[str, str]]:
    found = re.findall(r"^\| (.+) \| (.*) \| (.+) \|$", text, re.MULTILINE)
    return {name: (version, deed) for name, version, deed in found if name not in ("program", "---")}


def test_it_names_every_program_with_a_version_and_what_was_done() -> None:
    written = rows((ROOT / "docs" / "programs.md").read_text("utf-8"))
    told = deeds()
    assert set(written) == set(told)
    for name, (version, deed) in written.items():
        assert re.search(r"\d", version), name
        assert set(deed.split("; ")) == {part for each in told[name] for part in each.split("; ")}, name


def test_a_row_is_read_as_it_was_written() -> None:
    text = table({"b": ["x; y", "z"], "A": ["w"]}, {"A": "1.0", "b": "2.0"})
    assert rows(text) == {"A": ("1.0", "w"), "b": ("2.0", "x; y; z")}
