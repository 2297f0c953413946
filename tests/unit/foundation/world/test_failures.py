"""Failures of the operating system in words."""

import errno
import socket
import ssl

from foundation.world.failures import reason


def test_the_words_alone() -> None:
    refused = OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 7)")
    assert reason(refused) == "Connection refused"
    assert reason(FileNotFoundError(errno.ENOENT, "x", "data/run/hub.sock")) == "No such file or directory"


def test_a_library_s_error_is_told_by_its_cause() -> None:
    wrapped = RuntimeError("Error connecting to 127.0.0.1 on port 7: [Errno 111] Connection refused")
    wrapped.__cause__ = OSError(errno.ECONNREFUSED, "Connect call failed")
    assert reason(wrapped) == "Connection refused"


def test_numbers_that_are_not_the_system_s_are_not_taken_for_it() -> None:
    assert (
        reason(socket.gaierror(socket.EAI_NONAME, "Name or service not known")) == "Name or service not known"
    )
    assert "certificate" in reason(ssl.SSLCertVerificationError(1, "certificate verify failed"))
    assert reason(TimeoutError("timed out")) == "timed out"
    slow = RuntimeError("Timed out connecting")
    slow.__cause__ = TimeoutError()
    assert reason(slow) == "Timed out connecting"
