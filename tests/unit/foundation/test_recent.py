"""What came last stays, as far as there is room."""

from __future__ import annotations

from foundation.recent import Recent


def test_what_was_used_longest_ago_goes_when_it_is_too_much() -> None:
    recent: Recent[str, int] = Recent(25)
    for number, key in enumerate("abcd"):
        recent.keep(key, number, 10)
    assert [recent.get(key) for key in "abcd"] == [None, None, 2, 3]
    recent.get("c")
    recent.keep("e", 4, 10)
    assert [recent.get(key) for key in "cde"] == [2, None, 4]
    assert recent.cost == 20


def test_what_was_taken_or_replaced_counts_no_more() -> None:
    recent: Recent[str, int] = Recent(25)
    recent.keep("a", 1, 20)
    recent.keep("a", 2, 5)
    assert (recent.get("a"), recent.cost) == (2, 5)
    assert (recent.take("a"), recent.take("a"), recent.cost) == (2, None, 0)
    recent.keep("b", 3, 25)
    assert recent.get("b") == 3
    recent.clear()
    assert (recent.get("b"), recent.cost) == (None, 0)
    recent.keep("c", 4, 25)
    assert recent.get("c") == 4


def test_what_has_no_room_alone_is_not_kept_and_drives_nothing_out() -> None:
    recent: Recent[str, int] = Recent(25)
    recent.keep("a", 1, 10)
    recent.keep("b", 2, 26)
    assert (recent.get("a"), recent.get("b"), recent.cost) == (1, None, 10)
