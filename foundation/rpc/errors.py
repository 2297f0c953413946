"""How a call can fail beside the errors its method raises, and how errors cross the wire."""

from __future__ import annotations

from typing import get_args

from foundation.interfaces.mailbox_store import Refusal, RefusalReason
from foundation.mail.errors import MailError, Unavailable
from foundation.rpc.frames import Failure

_REFUSALS = frozenset(get_args(RefusalReason))


class CallFailed(Unavailable):
    """No answer to a call. With `sent`, the server may have done it, or may still do it."""

    def __init__(self, sentence: str, *, sent: bool) -> None:
        super().__init__(sentence)
        self.sent = sent


class ConnectionLost(CallFailed):
    """The connection could not be made, or ended before the answer."""


class DeadlineExceeded(CallFailed):
    """The answer did not come in time."""


_UNKNOWN = "OUTCOMEUNKNOWN"


def to_failure(call: int, error: MailError) -> Failure:
    reason = _UNKNOWN if isinstance(error, CallFailed) and error.sent else error.reason
    return Failure(call, error.code, error.status, error.sentence, reason)


def from_failure(failure: Failure) -> MailError:
    if failure.reason in _REFUSALS:
        return Refusal(failure.reason, failure.sentence, failure.code, failure.status)  # type: ignore[arg-type]
    if failure.reason == _UNKNOWN:
        return CallFailed(failure.sentence, sent=True)
    if failure.reason == "UNAVAILABLE":
        return Unavailable(failure.sentence, failure.code, failure.status)
    return MailError(failure.code, failure.status, failure.sentence, failure.reason)
