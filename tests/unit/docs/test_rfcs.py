"""The table of RFCs is what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.tools import rfcs


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("RFC 5321 4.5.3.2: in time", [(5321, "4.5.3.2")]),
        ("as RFC 5321 3.8, 4.5.3.2.7 says", [(5321, "3.8"), (5321, "4.5.3.2.7")]),
        ("(RFC 3461 6, 3464,\n    6522 3).", [(3461, "6"), (3464, ""), (6522, "3")]),
        ("RFC 3501 6.4; RFC 4315, 5182", [(3501, "6.4"), (4315, ""), (5182, "")]),
        ("RFC 3501 6 and 9, RFC 7888", [(3501, "6"), (3501, "9"), (7888, "")]),
        ("RFC 5321 4.1.2, appendix C: ignored", [(5321, "4.1.2"), (5321, "appendix C")]),
        ("RFC 3461 6.3 (b) and more", [(3461, "6.3")]),
        ("RFC 1870 3: 1*20DIGIT, RFC822.SIZE", [(1870, "3")]),
        ("RFC 2033.", [(2033, "")]),
    ],
)
def test_pointers(text: str, found: list[tuple[int, str]]) -> None:
    assert list(rfcs.pointers_in(text)) == found


SOURCE = '''"""RFC 1."""
LIMIT = 5  # RFC 100 1
# RFC 100 2: about
# OTHER, RFC 100 3
OTHER = 6
"""RFC 100 4"""


class Reader:
    """RFC 100 5"""

    size = 1
    """RFC 100 6"""

    @property
    def read(self):
        # RFC 100 7
        self.at = 0  # RFC 100 8
        """RFC 100 9"""
        return "RFC 100 10"
'''


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rfcs, "ROOT", tmp_path)
    file = tmp_path / "reader.py"
    file.write_text(SOURCE.replace("RFC 1.", "RFC 100 0."))
    found = {pointer.section: place.symbol for pointer, place in rfcs.pointers_of(file)}
    assert found == {
        "0": "",
        "1": "LIMIT",
        "2": "OTHER",
        "3": "OTHER",
        "4": "OTHER",
        "5": "Reader",
        "6": "Reader.size",
        "7": "Reader.read",
        "8": "Reader.read",
        "9": "Reader.read",
    }


def test_the_table_is_up_to_date() -> None:
    assert rfcs.FILE.read_text("utf-8") == rfcs.table(), "run `make docs`"
