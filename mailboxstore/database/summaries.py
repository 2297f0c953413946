"""What was computed from an email, moved along when trace headers are put before it: computed once, not per
hop.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from foundation.database.spool import Spool, Tail
from foundation.mail.mime import Part, decode_parts, encode_parts
from foundation.mail.rendering import Summary, summarise

KEPT_MAX = 2000
KEPT_BYTES_MAX = 8 * 1024
"""A larger summary is not kept."""


class Summaries:
    """Summaries of what came last, by digest: a message that is filed in Sent comes back a moment later for
    the recipients here. Used from the event loop and from an executor; each call stands alone.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Summary] = OrderedDict()

    def of(self, content: Spool | Tail, prefix_bytes: int = 0) -> Summary:
        """The summary of the content behind so many bytes of trace fields."""
        digest = content.sha256
        summary = self._kept.get(digest)
        if summary is None:
            summary = _summary(content)
            if _size_of(summary) <= KEPT_BYTES_MAX:
                self._kept[digest] = summary
                if len(self._kept) > KEPT_MAX:
                    self._kept.popitem(last=False)
        return prefixed(summary, prefix_bytes)

    def kept(self, digest: str) -> Summary | None:
        """The summary of content that came lately."""
        return self._kept.get(digest)


def _size_of(summary: Summary) -> int:
    """Of what the message makes as large as it likes."""
    described = len(summary.envelope) + len(summary.body_structure) + len(summary.parts)
    return described + sum(map(len, summary.references))


def _summary(content: Spool | Tail) -> Summary:
    if isinstance(content, Tail):
        # Nothing is copied: the whole is looked at, trace fields and all.
        return prefixed(summarise(content.spool.buffer()), -content.start)
    return summarise(content.buffer())


def prefixed(summary: Summary, prefix_bytes: int) -> Summary:
    """The summary of the same email behind so many more bytes of trace headers: only offsets change.

    Neither ENVELOPE nor BODYSTRUCTURE shows Received or Return-Path (RFC 3501 7.4.2).
    """
    if not prefix_bytes:
        return summary
    root = _shifted(decode_parts(summary.parts), prefix_bytes)
    return msgspec.structs.replace(
        summary,
        parts=encode_parts(msgspec.structs.replace(root, header_start=0)),
        header_size=summary.header_size + prefix_bytes,
    )


def _shifted(part: Part, by: int) -> Part:
    return msgspec.structs.replace(
        part,
        header_start=part.header_start + by,
        body_start=part.body_start + by,
        body_end=part.body_end + by,
        children=tuple(_shifted(child, by) for child in part.children),
    )
