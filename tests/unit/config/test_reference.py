"""docs/configuration.md says what the types say."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.reference import BEGIN, END, into, reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_document_is_up_to_date() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert into(text) == text, "run `make docs`"


def test_a_setting_with_unit_default_and_exchange_name() -> None:
    line = "| `expiry_seconds` | Age at which a message is given up and returned. *seconds* "
    assert line + "| `172800` (48 h) | MessageExpirationTimeout | reload |" in reference()


def test_defaults_are_those_of_the_role() -> None:
    _, _, access = reference().partition('with `role = "access"`')
    assert "| `recipients` |" in access
    (line,) = [line for line in access.splitlines() if line.startswith("| `recipients` |")]
    assert "| `1000` |" in line


def test_what_stands_around_it_is_kept() -> None:
    made = into(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert made.startswith(f"before\n{BEGIN}\n\n### `[organisation]`")
    assert made.endswith(f"\n{END}\nafter\n")
    assert "old" not in made.split("\n")
    assert into(made) == made


def test_a_document_without_the_marks() -> None:
    with pytest.raises(ValueError, match="marks"):
        into(BEGIN)
