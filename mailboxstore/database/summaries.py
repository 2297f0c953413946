"""What was computed from an email, moved along when trace headers are put before it: computed once, not per
hop.
"""

from __future__ import annotations

import msgspec

from foundation.mail.mime import Part, decode_parts, encode_parts
from foundation.mail.rendering import Summary


def prefixed(summary: Summary, prefix_bytes: int) -> Summary:
    """The summary of the same email behind so many bytes of trace headers: only offsets change.

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
