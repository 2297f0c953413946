"""Names, response words, views: what the session is made of."""

from __future__ import annotations

import pytest

from clientaccess.imap import responses
from clientaccess.imap.commands import SequenceSet
from clientaccess.imap.names import InvalidName, decode_name, decode_utf7, encode_utf7, matches, new_name
from clientaccess.imap.view import NoSuchMessage, View
from foundation.interfaces.mailbox_store import DELETED, SEEN, FlagEntry, Refusal
from foundation.mail.errors import MailError, Unavailable


def test_modified_utf7_of_the_rfc() -> None:
    encoded = b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"
    assert decode_utf7(encoded) == "~peter/mail/台北/日本語"
    assert encode_utf7("~peter/mail/台北/日本語") == encoded
    assert encode_utf7("a&b") == b"a&-b"


@pytest.mark.parametrize(
    "raw", [b"&", b"&&-", b"&AGE-", b"&U,BTFw", b"&U,BTFw-&ZeVnLIqe-", b"\xc3\xa4", b"&AOk=-", b"&2AA-"]
)
def test_other_spellings_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidName):
        decode_utf7(raw)


def test_names() -> None:
    assert decode_name(b"inbox", False) == "INBOX"
    assert decode_name(b"InBox/a", False) == "INBOX/a"
    assert decode_name(b"a/b/", False) == "a/b"
    assert decode_name("a\u0308".encode(), True) == "ä"
    for wrong in (b"", b"/", b"/a", b"a//b", b"a\x01", b"a" * 256, b"/".join([b"a" * 200] * 6)):
        with pytest.raises(InvalidName):
            decode_name(wrong, True)
    with pytest.raises(InvalidName):
        new_name(b"a*", False)
    assert decode_name(b"a*", False) == "a*"


def test_patterns() -> None:
    assert matches("a/b", "*")
    assert not matches("a/b", "%")
    assert matches("a/b", "a/%")
    assert matches("INBOX", "inbo%")
    assert not matches("Other", "other")
    assert not matches("a" * 900, "*a" * 400 + "b")


def test_strings() -> None:
    assert responses.astring(b"INBOX") == b"INBOX"
    assert responses.astring(b"nil") == b'"nil"'
    assert responses.astring(b'a "b"') == b'"a \\"b\\""'
    assert responses.string(b"\xe4") == b"{1}\r\n\xe4"
    assert responses.mailbox("ä".encode()) == '"ä"'.encode()
    assert responses.text("[x\r\ny\x00") == b"x y?"
    assert responses.text("") == b"No more is known"


def test_sets() -> None:
    assert responses.number_set([1, 2, 3, 5, 7, 8]) == b"1:3,5,7:8"
    assert responses.number_set([]) == b""
    assert responses.ordered_set([5, 6, 3, 4, 9]) == b"5:6,3:4,9"


def test_dates_in_their_offset() -> None:
    assert responses.date_time(1580520845000, 90) == b'" 1-Feb-2020 03:04:05 +0130"'
    assert responses.date_time(0, -90) == b'"31-Dec-1969 22:30:00 -0130"'


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MailError(535, "5.7.8", "no"), b"AUTHENTICATIONFAILED"),
        (MailError(454, "4.7.0", "no"), b"UNAVAILABLE"),
        (Unavailable("no"), b"UNAVAILABLE"),
        (Refusal("OVERQUOTA", "no"), b"OVERQUOTA"),
        (Refusal("TOOBIG", "no"), b"TOOBIG"),
        (Refusal("EXPUNGED", "no"), b"EXPUNGEISSUED"),
        (MailError(550, "5.7.1", "no"), b""),
    ],
)
def test_error_codes(error: MailError, code: bytes) -> None:
    assert responses.error_code(error) == code


def a_view(*uids: int) -> View:
    view = View()
    for uid in uids:
        view.append(FlagEntry(uid, 0, uid), recent=uid % 2 == 1)
    return view


def test_view_numbers_and_sets() -> None:
    view = a_view(2, 4, 5, 9)
    assert [view.number(uid) for uid in (2, 5, 6)] == [1, 3, 0]
    assert view.numbers(SequenceSet(((3, 0), (1, 1))), []) == [1, 3, 4]
    assert list(view.numbers(SequenceSet(((0, 2),)), [])) == [2, 3, 4]
    assert list(view.numbers_of_uids(SequenceSet(((3, 5), (100, 0))), [])) == [2, 3, 4]
    assert view.numbers(SequenceSet(saved=True), [5, 6]) == [3]
    assert view.ranges([1, 3, 4]) == ((2, 2), (5, 9))
    with pytest.raises(NoSuchMessage):
        view.numbers(SequenceSet(((1, 5),)), [])
    assert list(view.numbers(SequenceSet(((1, 5),)), [], strict=False)) == [1, 2, 3, 4]
    with pytest.raises(NoSuchMessage):
        a_view().numbers(SequenceSet(((0, 0),)), [])


def test_view_changes() -> None:
    view = a_view(1, 2, 3)
    assert view.recent == 2
    assert not view.append(FlagEntry(3, 0, 9), recent=True)
    assert view.update(2, FlagEntry(2, SEEN, 10, ("x",)))
    assert not view.update(2, FlagEntry(2, SEEN, 11, ("x",)))
    assert not view.update(2, FlagEntry(2, DELETED, 5)), "older than what is known"
    assert view.entry(2) == FlagEntry(2, SEEN, 11, ("x",))
    assert view.keywords == ("x",)
    assert view.remove(1) == 1
    assert view.remove(1) == 0
    assert (view.recent, view.recent_uids(), view.first_unseen()) == (1, [3], 2)
    assert view.changed_since([1, 2], 5) == [1]
