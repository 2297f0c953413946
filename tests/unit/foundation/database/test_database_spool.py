from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foundation.database.spool import IN_MEMORY_BYTES, Spool, SpoolFile, Tail, spool_from, with_header
from foundation.mail.errors import MailError

SIZES = (0, 1, 1000, IN_MEMORY_BYTES - 1, IN_MEMORY_BYTES, IN_MEMORY_BYTES + 1, 3 * IN_MEMORY_BYTES + 7)


def sample(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [997, 100_000, 1 << 30])
def test_gives_back_what_was_written(size: int, piece: int) -> None:
    content = sample(size)
    with Spool() as spool:
        for offset in range(0, size, piece):
            spool.write(content[offset : offset + piece])
        assert spool.size_bytes == size
        assert spool.sha256 == hashlib.sha256(content).hexdigest()
        assert b"".join(spool.chunks(100_003)) == content
        assert spool.buffer()[:] == content
        assert spool.read(size - 3, 100) == content[size - 3 :] if size >= 3 else True
        assert spool.read(size + 1, 5) == b""
        assert spool.read(size // 2, 10) == content[size // 2 : size // 2 + 10]


def test_a_large_one_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Spool.of(sample(IN_MEMORY_BYTES * 2)) as spool:
        assert list(tmp_path.iterdir()) == []
        assert spool.size_bytes == IN_MEMORY_BYTES * 2
        assert spool.file is None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("start", [0, 1, 700])
def test_a_tail_is_content_of_its_own(size: int, start: int) -> None:
    content = sample(size)
    with Spool.of(content) as spool:
        start = min(start, size)
        tail = Tail(spool, start)
        assert tail.known_sha256 == ""
        assert tail.sha256 == hashlib.sha256(content[start:]).hexdigest() == tail.known_sha256
        assert tail.size_bytes == size - start
        assert b"".join(tail.chunks(100_003)) == content[start:]
        assert tail.read(5, 10) == content[start + 5 : start + 15]
        assert not tail.closed
    assert tail.closed


def test_the_digest_is_of_what_is_written_so_far() -> None:
    with Spool.of(b"one") as spool:
        assert spool.known_sha256 == ""
        assert spool.sha256 == hashlib.sha256(b"one").hexdigest()
        spool.write(b" two")
        assert spool.known_sha256 == ""
        assert spool.sha256 == hashlib.sha256(b"one two").hexdigest()


def test_more_may_be_written_after_reading() -> None:
    with Spool.of(sample(IN_MEMORY_BYTES + 5)) as spool:
        assert spool.buffer()[:3] == sample(3)
        assert spool.read(0, 3) == sample(3)
        spool.write(b"tail")
        assert spool.buffer()[-4:] == b"tail"
        assert spool.read(spool.size_bytes - 4, 4) == b"tail"


_BIG = """
import resource
from foundation.database.spool import Spool
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spool = Spool()
for _ in range(30 * 16):
    spool.write(b"x" * 65536)
size = sum(len(chunk) for chunk in spool.chunks())
assert size == spool.size_bytes == 30 << 20
assert spool.sha256
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_thirty_mebibytes_take_little_memory() -> None:
    grown = subprocess.run([sys.executable, "-c", _BIG], check=True, capture_output=True, text=True).stdout
    assert int(grown) < 4 * 1024  # KiB


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_from_a_stream() -> None:
    with await spool_from(stream(b"ab", b"", b"cd"), 4) as spool:
        assert spool.read(0, 10) == b"abcd"


async def test_a_stream_that_finds_no_room_is_refused() -> None:
    def full() -> SpoolFile:
        raise OSError(28, "No space left on device")

    with pytest.raises(MailError) as caught:
        await spool_from(stream(b"ab", b"cd", b"e"), 100, lambda: Spool(full, in_memory_bytes=3))
    assert (caught.value.code, caught.value.status) == (452, "4.3.1")


def test_a_copy_with_another_header() -> None:
    with Spool.of(b"old\r\n\r\nbody") as content, with_header(content, 3, b"another", Spool()) as changed:
        assert changed.read(0, 100) == b"another\r\n\r\nbody"


def test_a_copy_that_finds_no_room_is_refused_and_closed() -> None:
    class Full:
        closed = False

        def write(self, piece: object) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            self.closed = True

    file = Full()
    with Spool.of(b"old\r\n\r\nbody") as content, pytest.raises(MailError) as caught:
        with_header(content, 3, b"another", Spool(lambda: file, in_memory_bytes=10))  # type: ignore[arg-type, return-value]
    assert (caught.value.code, caught.value.status, file.closed) == (452, "4.3.1", True)


async def test_a_stream_over_the_limit_is_refused() -> None:
    with pytest.raises(MailError) as caught:
        await spool_from(stream(b"ab", b"cd", b"e"), 4)
    assert (caught.value.code, caught.value.status, caught.value.reason) == (552, "5.3.4", "TOOBIG")
