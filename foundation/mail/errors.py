"""The few typed failures of a message's way. They become replies, DSNs, IMAP NO or HTTP problems at the
border."""

from __future__ import annotations


class MailError(Exception):
    """A failure with its SMTP code, its enhanced status code (RFC 3463) and a sentence for the user.

    `reason` is a machine word for borders that are not SMTP (an IMAP response code such as OVERQUOTA);
    empty where the enhanced code says it all.
    """

    def __init__(self, code: int, status: str, sentence: str, reason: str = "") -> None:
        super().__init__(f"{code} {status} {sentence}")
        self.code = code
        self.status = status
        self.sentence = sentence
        self.reason = reason

    @property
    def permanent(self) -> bool:
        return self.code >= 500


class Unavailable(MailError):
    """A server, a database or the directory can't be reached now: 451 4.3.2 (RFC 3463 3.4) unless said
    otherwise."""

    def __init__(self, sentence: str, code: int = 451, status: str = "4.3.2") -> None:
        super().__init__(code, status, sentence, "UNAVAILABLE")


def unexpected(trace_id: str) -> MailError:
    """What a user is told of an error nobody foresaw: temporary, and no text of it leaks."""
    return MailError(451, "4.3.0", f"A server error, try again later (trace {trace_id})", "SERVERBUG")
