from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec
import pytest

from foundation.interfaces.control import Control
from foundation.interfaces.mailbox_store import MailboxStore
from foundation.rpc.frames import value
from foundation.rpc.methods import methods_of


class Mixed(Protocol):
    async def plain(self, first: int, second: str = "two") -> int: ...

    async def upload(self, first: int, content: AsyncIterator[bytes], last: int = 3) -> None: ...

    def download(self, first: int) -> AsyncIterator[bytes]: ...


async def chunks() -> AsyncIterator[bytes]:
    yield b"a"


def test_the_interfaces_of_the_project_can_be_called_from_afar() -> None:
    assert {"submit", "records", "watch", "append", "search"} <= set(methods_of(MailboxStore))
    assert {"status", "trace", "events", "reload", "queue", "retry", "release"} == set(methods_of(Control))


def test_kinds_of_methods() -> None:
    methods = methods_of(Mixed)
    assert {name: (method.download, method.upload, method.chunks) for name, method in methods.items()} == {
        "plain": (False, "", False),
        "upload": (False, "content", False),
        "download": (True, "", True),
    }


@pytest.mark.parametrize(
    ("positional", "named", "unpacked"),
    [
        ((1,), {}, [1, "two"]),
        ((1, "b"), {}, [1, "b"]),
        ((), {"second": "c", "first": 4}, [4, "c"]),
    ],
)
def test_arguments_by_position_and_name(positional: Any, named: Any, unpacked: list[Any]) -> None:
    plain = methods_of(Mixed)["plain"]
    arguments, stream = plain.pack(positional, named)
    assert stream is None
    assert plain.unpack(value(arguments), None) == unpacked


@pytest.mark.parametrize("named", [False, True])
def test_a_stream_keeps_its_place(named: bool) -> None:
    upload = methods_of(Mixed)["upload"]
    stream = chunks()
    arguments, packed = upload.pack((1,), {"content": stream}) if named else upload.pack((1, stream, 5), {})
    assert packed is stream
    assert upload.unpack(value(arguments), stream) == [1, stream, 3 if named else 5]


@pytest.mark.parametrize(
    ("name", "positional", "named"),
    [
        ("plain", (), {}),
        ("plain", (1, "b", 3), {}),
        ("plain", (1,), {"third": 3}),
        ("upload", (1,), {}),
    ],
)
def test_wrong_arguments_fail_as_in_a_direct_call(name: str, positional: Any, named: Any) -> None:
    with pytest.raises(TypeError):
        methods_of(Mixed)[name].pack(positional, named)


def test_a_newer_caller_may_send_more_and_an_older_one_less() -> None:
    plain = methods_of(Mixed)["plain"]
    assert plain.unpack(value([1, "b", "new"]), None) == [1, "b"]
    assert plain.unpack(value([1]), None) == [1, "two"]


@pytest.mark.parametrize("text", [b"\xa1\xff", b"\xa3\xed\xa0\x80"])
def test_text_that_is_not_utf8_is_malformed(text: bytes) -> None:
    plain = methods_of(Mixed)["plain"]
    with pytest.raises(msgspec.MsgspecError):
        plain.unpack(msgspec.Raw(b"\x92\x01" + text), None)


def test_what_can_not_be_called_from_afar() -> None:
    class NotAsync(Protocol):
        def method(self) -> int: ...

    class TwoStreams(Protocol):
        async def method(self, a: AsyncIterator[bytes], b: AsyncIterator[bytes]) -> None: ...

    class StreamOfObjects(Protocol):
        async def method(self, a: AsyncIterator[int]) -> None: ...

    class BothWays(Protocol):
        def method(self, a: AsyncIterator[bytes]) -> AsyncIterator[bytes]: ...

    for interface in (NotAsync, TwoStreams, StreamOfObjects, BothWays):
        with pytest.raises(TypeError):
            methods_of(interface)
