"""What a checker's client believes, and which responses it takes for broken."""

from __future__ import annotations

import pytest

from tests.harness.imap_client import parsed
from tests.harness.imap_model import Belief, Broken

NONE: frozenset[str] = frozenset()


def belief(*uids: int) -> Belief:
    made = Belief()
    made.exists(len(uids))
    for number, uid in enumerate(uids, 1):
        made.fetch(number, uid, (), uid)
    return made


def test_an_expunge_moves_the_numbers_behind_it() -> None:
    known = belief(3, 5, 9)
    known.expunge(2)
    known.fetch(2, None, ["\\Seen", "\\Recent"], None)
    assert known.differs_from([(3, NONE, 3), (9, frozenset({"\\Seen"}), 9)]) == ""


def test_every_difference_from_the_truth_is_told() -> None:
    known = belief(3, 5)
    assert "1 messages" not in known.differs_from([(3, NONE, 3), (5, NONE, 5)])
    for wrong in (
        [(3, NONE, 3)],
        [(3, NONE, 3), (6, NONE, 5)],
        [(3, frozenset({"\\Seen"}), 3), (5, NONE, 5)],
        [(3, NONE, 2), (5, NONE, 5)],
    ):
        assert known.differs_from(wrong)


def test_what_the_client_stored_without_a_word_is_believed() -> None:
    known = belief(3)
    for operation, flags, wanted in (
        ("", {"a", "b"}, {"a", "b"}),
        ("-", {"a"}, {"b"}),
        ("+", {"c"}, {"b", "c"}),
    ):
        known.stored([1], operation, frozenset(flags))
        assert known.messages[0].flags == wanted


@pytest.mark.parametrize(
    "lie",
    [
        lambda known: known.exists(1),
        lambda known: known.expunge(3),
        lambda known: known.expunge(0),
        lambda known: known.fetch(3, 9, None, None),
        lambda known: known.fetch(1, 4, None, None),
        lambda known: known.fetch(1, None, None, 2),
    ],
    ids=["fewer", "expunge beyond", "expunge 0", "fetch beyond", "other uid", "modseq back"],
)
def test_what_can_not_be_true_is_broken(lie: object) -> None:
    with pytest.raises(Broken):
        lie(belief(3, 5))  # type: ignore[operator]


@pytest.mark.parametrize("uid", [5, 4, 3])
def test_a_new_message_has_a_uid_above_all_that_ever_were(uid: int) -> None:
    known = belief(3, 5)
    known.expunge(2)
    known.exists(2)
    with pytest.raises(Broken):
        known.fetch(2, uid, None, None)


def test_uids_rise_with_the_numbers_however_late_they_are_learned() -> None:
    known = Belief()
    known.exists(3)
    known.fetch(2, 7, None, None)
    for number, uid in ((1, 8), (3, 6)):
        with pytest.raises(Broken):
            known.fetch(number, uid, None, None)
    assert known.unknown() == [1, 2, 3]


def test_a_response_is_taken_apart() -> None:
    line = rb'(UID 7 FLAGS (\Seen x) BODY[HEADER.FIELDS (X-NUMBER)] {} ENVELOPE ("a \"b\"" NIL (("c" "d"))))'
    assert parsed(line, [b"X-Number: 1"]) == [
        [
            *(b"UID", b"7", b"FLAGS", [rb"\Seen", b"x"]),
            *(b"BODY[HEADER.FIELDS (X-NUMBER)]", b"X-Number: 1"),
            *(b"ENVELOPE", [b'a "b"', b"NIL", [[b"c", b"d"]]]),
        ]
    ]
