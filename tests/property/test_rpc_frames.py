"""RPC frames: any split of the bytes gives the same frames, and the worst that garbage does is to be
refused."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.rpc.frames import (
    Call,
    Cancel,
    Credit,
    End,
    Failure,
    Frame,
    FrameError,
    FrameReader,
    Hello,
    Item,
    Ping,
    Pong,
    Reply,
    encode,
    value,
)

numbers = st.integers(0, 2**63)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
).map(value)
frames = st.one_of(
    st.builds(Hello, numbers, numbers, numbers, numbers, st.lists(st.text(max_size=9)).map(tuple)),
    st.builds(Call, numbers, st.text(max_size=9), st.text(max_size=9), values, numbers),
    st.builds(Reply, numbers, values),
    st.builds(Failure, numbers, numbers, st.text(max_size=9), st.text(max_size=40), st.text(max_size=9)),
    st.builds(Item, numbers, values),
    st.builds(Credit, numbers, numbers),
    st.builds(End, numbers),
    st.builds(Cancel, numbers),
    st.just(Ping()),
    st.just(Pong()),
)


def read(pieces: list[bytes], limit_bytes: int = 1 << 20) -> list[Frame | str]:
    """What comes out, with the error (if any) at the end."""
    reader = FrameReader(limit_bytes)
    out: list[Frame | str] = []
    try:
        for piece in pieces:
            out.extend(reader.feed(piece))
    except FrameError as error:
        out.append(str(error))
    return out


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


@settings(max_examples=60, deadline=None)
@given(st.lists(frames, max_size=6), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_gives_the_same_frames(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(encode(frame) for frame in sent)
    assert read(split(data, cuts)) == sent
    assert read([data[place : place + 1] for place in range(len(data))]) == sent


@settings(max_examples=60, deadline=None)
@given(st.lists(frames, max_size=3), st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=8))
def test_garbage_is_refused_alike_however_it_comes(
    sent: list[Frame], garbage: bytes, cuts: list[int]
) -> None:
    data = b"".join(encode(frame) for frame in sent) + garbage
    assert read(split(data, cuts), 500) == read([data], 500)


bodies = st.one_of(
    st.binary(max_size=60),
    st.tuples(st.integers(0, 127), st.lists(st.integers() | st.text() | st.none(), max_size=6)).map(
        lambda parts: msgspec.msgpack.encode([parts[0], *(part for part in parts[1] if not big(part))])
    ),
    st.integers(1, 2000).map(lambda depth: b"\x95\x02\x01\xa0\xa0" + b"\x91" * depth),
)


def big(part: object) -> bool:
    return isinstance(part, int) and not -(2**63) <= part < 2**64


@settings(max_examples=150, deadline=None)
@given(bodies)
def test_a_body_that_is_no_frame_is_refused_or_skipped(body: bytes) -> None:
    framed = len(body).to_bytes(4, "big") + body
    out = read([framed, bytes(encode(Ping()))])
    assert len(out) <= 2
    assert all(isinstance(frame, Frame | str) for frame in out)


def test_the_reader_holds_one_frame_at_most() -> None:
    reader = FrameReader(1000)
    assert list(reader.feed((1000).to_bytes(4, "big") + b"x" * 999)) == []
    assert read([(1001).to_bytes(4, "big")], 1000) == ["a frame of 1001 bytes is beyond the limit of 1000"]


def test_a_newer_release_may_send_more() -> None:
    unknown = msgspec.msgpack.encode([77, "something", {"new": 1}])
    longer = msgspec.msgpack.encode([7, 5, "a field of tomorrow"])
    data = b"".join(len(body).to_bytes(4, "big") + body for body in (unknown, longer))
    assert read([data]) == [End(5)]
