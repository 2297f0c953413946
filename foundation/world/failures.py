"""What the operating system says of a failure, in words alone."""

from __future__ import annotations

import os
import socket
import ssl


def reason(error: BaseException) -> str:
    """`Connection refused`, without the number, the call and the address that the sentence around it has.

    A library's error that comes of one of the operating system is told by that.
    """
    return _words(error) or _words(error.__cause__) or str(error)


def _words(error: BaseException | None) -> str:
    if isinstance(error, socket.gaierror):
        return error.strerror or ""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return ""
