"""Whole pages alone are given back, and only of a connection that has such a buffer."""

from __future__ import annotations

import asyncio
import mmap

import pytest

from foundation.world.read_buffers import give_back_read_buffer


class Buffered(asyncio.Transport):
    """As uvloop's transport with TLS: its protocol is asked for by name."""

    def __init__(self, buffer: memoryview) -> None:
        super().__init__()
        self._buffer = buffer

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self if name == "uvloop.sslproto" else default

    def get_buffer(self, size_hint: int) -> memoryview:
        return self._buffer


@pytest.mark.parametrize("before", [0, 1, mmap.PAGESIZE - 1])
def test_whole_pages_are_given_back_and_no_byte_beside_them(before: int) -> None:
    memory = mmap.mmap(-1, 8 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE)
    memory[:] = b"x" * len(memory)
    size_bytes = 6 * mmap.PAGESIZE
    given_back = give_back_read_buffer(Buffered(memoryview(memory)[before : before + size_bytes]))
    assert given_back == size_bytes - (mmap.PAGESIZE if before else 0)
    first = mmap.PAGESIZE if before else 0
    assert memory[:] == b"x" * first + bytes(given_back) + b"x" * (len(memory) - first - given_back)


def test_less_than_a_page_stays() -> None:
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE)
    memory[:] = b"x" * len(memory)
    assert give_back_read_buffer(Buffered(memoryview(memory)[1 : mmap.PAGESIZE])) == 0
    assert memory[:] == b"x" * len(memory)


def test_a_transport_without_such_a_buffer_stays_as_it_is() -> None:
    assert give_back_read_buffer(asyncio.Transport()) == 0
