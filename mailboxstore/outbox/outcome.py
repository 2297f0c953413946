"""What a hub's replies mean for each recipient of a transfer unit: taken, refused for good, or to be tried
again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from foundation.mail.envelope import Recipient
from foundation.smtp.reply import Reply


class Refused(msgspec.Struct, frozen=True):
    recipient: Recipient
    reply: Reply


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Every recipient of the unit is in exactly one of the three."""

    taken: tuple[Recipient, ...] = ()
    failed: tuple[Refused, ...] = ()
    deferred: tuple[Refused, ...] = ()
    reply: str = ""
    """The reply that decided most: the final one, else the first refusal."""

    @property
    def whole(self) -> bool:
        """Taken for every recipient."""
        return not self.failed and not self.deferred


def decide(
    recipients: Sequence[Recipient],
    sender_reply: Reply | None,
    recipient_replies: Sequence[Reply],
    final_replies: Sequence[Reply],
) -> Outcome:
    """From the replies to MAIL, to each RCPT and to the content. RFC 5321 4.2.1: 4yz is tried again, 5yz is
    not.

    A missing reply defers; a reply outside 2yz, 4yz, 5yz where one of them belongs does, too.
    """
    if sender_reply is not None and not sender_reply.positive:
        return _all(recipients, sender_reply)
    final = final_replies[0] if final_replies else Reply.of(451, "4.4.2", "The hub gave no reply")
    taken: list[Recipient] = []
    refused: list[Refused] = []
    for index, recipient in enumerate(recipients):
        reply = recipient_replies[index] if index < len(recipient_replies) else final
        if not reply.positive:
            refused.append(Refused(recipient, reply))
        elif final.positive:
            taken.append(recipient)
        else:
            refused.append(Refused(recipient, final))
    return Outcome(
        taken=tuple(taken),
        failed=tuple(item for item in refused if item.reply.permanent),
        deferred=tuple(item for item in refused if not item.reply.permanent),
        reply=str(final if taken or not refused else refused[0].reply),
    )


def refused_before_sending(recipients: Sequence[Recipient], code: int, status: str, sentence: str) -> Outcome:
    """The message can't be put into words for this hub."""
    return _all(recipients, Reply.of(code, status, sentence))


def _all(recipients: Sequence[Recipient], reply: Reply) -> Outcome:
    refused = tuple(Refused(recipient, reply) for recipient in recipients)
    if reply.permanent:
        return Outcome(failed=refused, reply=str(reply))
    return Outcome(deferred=refused, reply=str(reply))
