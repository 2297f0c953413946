"""The buffer that a connection with TLS reads into, while its peer is silent for minutes.

uvloop gives each connection with TLS 256 KiB to read into. The C library takes them from memory that was in
use before, so that some of their pages are resident though nothing is in them. What came in is taken out
before the loop goes on, so between two reads the pages can go back to the system; the next read makes new
ones. Linux only, and only with uvloop; elsewhere nothing happens.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import sys

_PAGE_BYTES = mmap.PAGESIZE
_advise = ctypes.CDLL(None, use_errno=True).madvise if sys.platform == "linux" else None
if _advise is not None:
    _advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def give_back_read_buffer(transport: asyncio.BaseTransport) -> int:
    """Gives the pages back that are the buffer's alone; how many bytes these are. Never while it is read."""
    protocol = transport.get_extra_info("uvloop.sslproto")
    if protocol is None or _advise is None:
        return 0
    buffer = protocol.get_buffer(0)
    start = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    first = -(-start // _PAGE_BYTES) * _PAGE_BYTES
    length = (start + len(buffer)) // _PAGE_BYTES * _PAGE_BYTES - first
    if length <= 0 or _advise(first, length, mmap.MADV_DONTNEED) != 0:
        return 0
    return length
