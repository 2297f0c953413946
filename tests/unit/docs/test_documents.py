"""What the documents name is there: files, symbols in them, tests, decisions."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))

_CODE = re.compile(r"`([^`\n]+)`")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"(?!data/)\w[\w.-]*(?:/[\w.-]+)*(?:/|\.(?:py|toml|md|svg|yml|lock))(?:::?[\w.]+)?")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")
_BRANCH = re.compile(r"^( *)(?:[\w.-]+/)")

each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT / "docs").as_posix()
)


def named_paths(text: str) -> list[str]:
    """Every path in backticks, outside of blocks of code; without the `/`, a file of the root."""
    found = [code for code in _CODE.findall(_FENCE.sub("", text)) if _PATH.fullmatch(code)]
    return list(dict.fromkeys(found))


@cache
def symbols(file: Path) -> frozenset[str]:
    """Names that a module defines, those in classes with the class before them."""
    found: set[str] = set()

    def walk(owner: ast.AST, prefix: str) -> None:
        for node in getattr(owner, "body", ()):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                walk(node, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found.update(prefix + each.id for each in targets if isinstance(each, ast.Name))

    walk(ast.parse(file.read_text("utf-8")), "")
    return frozenset(found)


def missing(name: str) -> str:
    """What is not there of `path`, `path:symbol` or `path::test`; empty when all is."""
    path, _, symbol = name.partition(":")
    symbol = symbol.lstrip(":")
    there = (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()
    if not there:
        return f"{path} is gone"
    if symbol and symbol not in symbols(ROOT / path):
        return f"{path} has no {symbol}"
    return ""


@each_document
def test_every_path_is_there(document: Path) -> None:
    found = named_paths(document.read_text("utf-8"))
    assert [problem for name in found if (problem := missing(name))] == []


@each_document
def test_every_link_leads_to_a_file(document: Path) -> None:
    links = _LINK.findall(document.read_text("utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_a_path_that_is_gone_is_found() -> None:
    text = "`gone/file.py` `foundation/tls.py:Nobody` `foundation/tls.py` `hubtransport/` `x`\n"
    text += "```\n`no/x.py`\n```"
    assert named_paths(text) == [
        "gone/file.py",
        "foundation/tls.py:Nobody",
        "foundation/tls.py",
        "hubtransport/",
    ]
    assert missing("gone/file.py") == "gone/file.py is gone"
    assert missing("foundation/tls.py:Nobody") == "foundation/tls.py has no Nobody"
    assert missing("foundation/tls.py:Identity.reload") == ""


@pytest.mark.parametrize("name", ["architecture.md", "pitfalls.md", "development.md", "rfcs.md"])
def test_the_documents_name_files(name: str) -> None:
    assert len(named_paths((ROOT / "docs" / name).read_text("utf-8"))) > 20


def test_every_pitfall_has_its_place_and_its_tests() -> None:
    rows = [
        line.strip("|").split("|")
        for line in (ROOT / "docs/pitfalls.md").read_text("utf-8").splitlines()
        if line.startswith("|") and not line.startswith(("|-", "| pitfall"))
    ]
    assert len(rows) >= 48
    for pitfall, _, where, shown in rows:
        assert any(".py" in name for name in named_paths(where)), pitfall
        assert any("::test_" in name for name in named_paths(shown)), pitfall


def test_the_servers_import_no_parser_of_the_library() -> None:
    """Not even one function of them: messages are bytes on their way."""
    rooms = ("clientaccess", "config", "foundation", "hubtransport", "mailboxstore", "waypost")
    servers = [file for room in rooms for file in (ROOT / room).rglob("*.py")]
    checker = ROOT / "waypost/simulator"  # where another's parser is wanted
    for file in (file for file in servers if not file.is_relative_to(checker)):
        imported = [
            name
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        ]
        assert not [name for name in imported if name.partition(".")[0] in ("email", "smtplib")], file


def test_decisions_are_numbered_and_listed() -> None:
    folder = ROOT / "docs/decisions"
    names = sorted(file.name for file in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    index = (folder / "README.md").read_text("utf-8")
    for name in names:
        text = (folder / name).read_text("utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        assert f"| [{int(name[:4])}]({name}) | {title} |" in index
        for part in ("## Context", "## Decision", "## Consequences"):
            assert part in text, name
