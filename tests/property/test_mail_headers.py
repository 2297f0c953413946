"""Header work on bytes: what is not touched stays octet for octet, whatever the header is."""

from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32

from hypothesis import given
from hypothesis import strategies as st

from foundation.mail.errors import MailError
from foundation.mail.headers import (
    complete_submission,
    fields,
    find_fields,
    find_header,
    header_block,
    leading_header,
    received_line,
    remove_headers,
    remove_private,
    select_fields,
    split_fields,
)
from foundation.mail.imap_envelope import render_envelope

NAMES = st.sampled_from(
    [b"From", b"To", b"BCC", b"Subject", b"X-Waypost-Id", b"Date", b"Message-ID", b"X-Other"]
)
LINES = st.binary(max_size=20).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b""))
FIELDS = st.builds(
    lambda name, first, more, end: name + b":" + end.join([first, *(b" " + line for line in more)]) + end,
    NAMES,
    LINES,
    st.lists(LINES, max_size=2),
    st.sampled_from([b"\r\n", b"\n"]),
)
HEADERS = st.lists(FIELDS, max_size=8).map(b"".join)
JUNK = st.lists(
    st.sampled_from(
        [b"A: b", b"\r\n", b"\n", b"\r", b" ", b"\t", b"--", b":", b"From ", b">From ", b"x", b"\0", b"\xff"]
    ),
    max_size=30,
).map(b"".join)
ANY = st.one_of(HEADERS, JUNK, st.binary(max_size=100))


@given(ANY)
def test_fields_cover_the_header_in_order(header: bytes) -> None:
    end = header_block(header)
    assert 0 <= end <= len(header)
    at = 0
    for field in find_fields(header, 0, end):
        assert at <= field.start < field.value_start <= field.end <= end
        at = field.end
    assert header_block(header[:end]) == end


@given(ANY)
def test_fields_split_in_one_go_are_the_same(header: bytes) -> None:
    block = header[: header_block(header)]
    found = [
        (block[f.start : f.end], f.name, block[f.value_start : f.end])
        for f in find_fields(block, 0, len(block))
    ]
    assert [(text, name.lower(), value) for text, name, value in split_fields(block)] == found


@given(ANY, ANY, st.integers(0, 60), st.integers(1, 60))
def test_a_limit_is_never_passed_by_the_place_of_a_cut(
    header: bytes, body: bytes, limit: int, more: int
) -> None:
    content = header + body
    start = content[: limit + more]
    whole = content[: header_block(content)]
    try:
        assert leading_header(start, len(content), limit) == whole
        assert len(whole) <= limit
    except MailError as error:
        assert (error.code, error.status) == (552, "5.3.4")
        # Refused within the limit is only a line without any end in what was read of the content.
        assert len(whole) > limit or (start != content and b"\n" not in start[len(whole) :])


@given(HEADERS)
def test_well_formed_fields_are_found_as_the_library_finds_them(header: bytes) -> None:
    message: Message = BytesHeaderParser(policy=compat32).parsebytes(header + b"\r\n")
    assert [name.decode() for name, _ in fields(header + b"\r\n")] == [name.lower() for name in message]


@given(ANY, st.frozensets(st.sampled_from([b"bcc", b"to", b"subject", b"a", b"x"]), max_size=3))
def test_removing_takes_just_these_fields(header: bytes, names: frozenset[bytes]) -> None:
    end = header_block(header)
    kept = [header[f.start : f.end] for f in find_fields(header, 0, end) if f.name not in names]
    removed = remove_headers(header, names)
    assert removed.endswith(header[end:])
    assert all(find_header(removed[: len(removed) - len(header[end:])], name) is None for name in names)
    if not any(f.name in names for f in find_fields(header, 0, end)):
        assert removed == header
    assert all(text in removed for text in kept)


@given(ANY, st.frozensets(st.sampled_from([b"bcc", b"to", b"a"]), max_size=2))
def test_selected_and_excluded_fields_are_all_fields(header: bytes, names: frozenset[bytes]) -> None:
    selected = select_fields(header, names, False)
    excluded = select_fields(header, names, True)
    assert selected.endswith(b"\r\n") and excluded.endswith(b"\r\n")
    both = sorted([*fields(selected), *fields(excluded)])
    assert both == sorted(fields(header))


@given(ANY)
def test_a_completed_header_is_complete_and_closed(header: bytes) -> None:
    header = header[: header_block(header)]
    completed = complete_submission(header, at_ms=0, message_id="a@b")
    assert find_header(completed, b"Date") is not None
    assert find_header(completed, b"Message-ID") is not None
    assert remove_private(header) in completed
    assert header_block(completed + b"body") == len(completed)
    assert complete_submission(completed, at_ms=1, message_id="c@d") == completed


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.booleans())
def test_a_stamp_is_one_field_whatever_the_peer_says(
    helo: str, address: str, name: str, recipient: str, utf8: bool
) -> None:
    line = received_line(
        peer_helo=helo,
        peer_address=address,
        peer_name=name,
        by="hub.example",
        protocol="UTF8SMTP" if utf8 else "ESMTP",
        identifier=name,
        for_recipient=recipient + "@example.org",
        at_ms=0,
    )
    assert header_block(line + b"\r\nA: b") == len(line) + 2
    assert [name for name, _ in fields(line + b"\r\n")] == [b"received"]
    assert line.count(b"\n") == line.count(b"\r\n") in (3, 4)
    assert line.endswith(b"\r\n")


@given(ANY)
def test_an_envelope_of_anything_is_one_balanced_list(header: bytes) -> None:
    assert render_envelope(header).startswith(b"(")
    assert b"\0" not in render_envelope(header)
    assert remove_private(remove_private(header)) == remove_private(header)
