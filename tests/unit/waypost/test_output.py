"""What is printed into a pipe is whole and plain, whatever the terminal around it is like."""

from __future__ import annotations

import pytest
from rich.text import Text
from rich.tree import Tree

from waypost.cli.output import console


def test_a_tree_in_a_pipe_is_not_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    sentence = "word " * 500 + "end"
    tree = Tree(Text("root"))
    tree.add(Text(sentence, style="red"))
    console().print(tree)
    printed = capsys.readouterr().out
    assert sentence in printed
    assert "\x1b" not in printed
    assert all(line == line.rstrip() for line in printed.splitlines())
