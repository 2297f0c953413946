"""Frames of the internal RPC: bytes to frames and back, without I/O.

A frame is four bytes of length (big-endian), then a msgpack array: the kind, then its fields in order.
A kind that is not known is skipped and so are fields after the known ones: a newer release may send more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

FRAME_LIMIT_BYTES = 16 * 1024 * 1024
"""The flags of a million messages fit in one; streams use far smaller ones."""

VERSION = 1
OLDEST_VERSION = 1
"""Versions of the protocol this release speaks: its own down to the one of the release before."""

_PREFIX_BYTES = 4


class FrameError(Exception):
    """What came can't be a frame; the connection can't go on."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first frame in both directions."""

    version: int
    oldest_version: int
    window_bytes: int
    """Credit for each stream towards the sender of this frame, before it grants more."""
    calls: int
    """Calls without streams that it takes at once."""
    features: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True, array_like=True, tag=2):
    call: int
    service: str
    method: str
    arguments: msgspec.Raw
    deadline_ms: int = 0
    """From its arrival, or from the end of its upload; 0: none."""


class Reply(msgspec.Struct, frozen=True, array_like=True, tag=3):
    call: int
    result: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Instead of a reply, or at the end of a stream: a MailError."""

    call: int
    code: int
    status: str
    sentence: str
    reason: str = ""


class Item(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """One value of the call's stream; it costs as much credit as the value has bytes."""

    call: int
    value: msgspec.Raw


class Credit(msgspec.Struct, frozen=True, array_like=True, tag=6):
    call: int
    size_bytes: int


class End(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The stream is complete."""

    call: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """The caller no longer waits."""

    call: int


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=9):
    pass


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=10):
    pass


Frame = Hello | Call | Reply | Failure | Item | Credit | End | Cancel | Ping | Pong

_KINDS = (Hello, Call, Reply, Failure, Item, Credit, End, Cancel, Ping, Pong)
_decoders: dict[object, Any] = {kind.__struct_config__.tag: msgspec.msgpack.Decoder(kind) for kind in _KINDS}
_encoder = msgspec.msgpack.Encoder()


def encode(frame: Frame) -> bytearray:
    """Raises FrameError beyond the limit."""
    buffer = bytearray(_PREFIX_BYTES)
    _encoder.encode_into(frame, buffer, _PREFIX_BYTES)
    length = len(buffer) - _PREFIX_BYTES
    if length > FRAME_LIMIT_BYTES:
        raise FrameError(f"a frame of {length} bytes is beyond the limit of {FRAME_LIMIT_BYTES}")
    buffer[:_PREFIX_BYTES] = length.to_bytes(_PREFIX_BYTES, "big")
    return buffer


def value(item: object) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(item))


def value_bytes(raw: msgspec.Raw) -> int:
    """What a value costs of a stream's credit."""
    return memoryview(raw).nbytes


class FrameReader:
    """Cuts a stream of bytes into frames. Holds at most one frame and what came with the last read."""

    def __init__(self, limit_bytes: int = FRAME_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now; take them all before the next feed.

        Raises FrameError after the good ones; nothing more can be read then.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _PREFIX_BYTES:
                length = int.from_bytes(buffer[start : start + _PREFIX_BYTES], "big")
                if length > self._limit:
                    raise FrameError(f"a frame of {length} bytes is beyond the limit of {self._limit}")
                end = start + _PREFIX_BYTES + length
                if len(buffer) < end:
                    break
                body = bytes(memoryview(buffer)[start + _PREFIX_BYTES : end])
                start = end
                frame = _decode(body)
                if frame is not None:
                    yield frame
        finally:
            del buffer[:start]


def _decode(body: bytes) -> Frame | None:
    # fixarray with a positive fixint first (msgpack specification): all kinds below 128 with up to 14 fields
    if len(body) < 2 or body[0] & 0xF0 != 0x90 or body[0] == 0x90 or body[1] & 0x80:
        raise FrameError("a frame does not begin with its kind")
    decoder = _decoders.get(body[1])
    if decoder is None:
        return None
    try:
        frame: Frame = decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"a frame of kind {body[1]} is malformed: {error}") from error
    return frame
