"""Whether a mailbox takes a message, answered at RCPT: who the recipient is, where the mailbox lives, the
quota.
"""

from __future__ import annotations

from config.model import Limits
from foundation.interfaces.directory import Directory, DirectoryRecipient
from foundation.mail.envelope import Recipient
from foundation.mail.errors import MailError
from foundation.mail.status import MAILBOX_MOVED_NOW


async def resolve(directory: Directory, store: str, recipient: Recipient) -> DirectoryRecipient:
    """The user of this store who gets the message.

    Raises MailError 550 5.1.1 (nobody of that id or address), 451 4.1.6 (the mailbox lives elsewhere now:
    the hub looks it up again), Unavailable.
    """
    if recipient.recipient_id:
        found = await directory.find_id(recipient.recipient_id)
    else:
        found = await directory.find(recipient.address)
    if found is None or found.kind != "user" or not found.mailbox_id:
        raise MailError(550, "5.1.1", "No such mailbox here")
    if found.store != store:
        raise MailError(451, MAILBOX_MOVED_NOW, "The mailbox lives on another server")
    return found


def mailbox_full() -> MailError:
    return MailError(452, "4.2.2", "The mailbox is full")


def lmtp_size_bytes(limits: Limits) -> int:
    """Each hop put trace headers before what was within the limit when it was submitted."""
    return limits.message_size_bytes + limits.header_size_bytes
