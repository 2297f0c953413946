"""Submission, the policy: may this user send this, as whom, to whom; raised as the MailError that becomes the
reply (RFC 6409)."""

from __future__ import annotations

import msgspec

from foundation.interfaces.directory import Credentials, Directory
from foundation.mail.address import address_key, split_address
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError
from foundation.mail.headers import Content, count_received, read_header

POSTMASTER = "postmaster"


async def current_credentials(user: Credentials | None, directory: Directory) -> Credentials:
    """What the directory says by now of the user who logged on.

    Raises MailError 530 5.7.0 without logon or when the user is gone, 451 when it can't be asked.
    """
    if user is None:
        raise MailError(530, "5.7.0", "Authentication required")  # RFC 6409 4.3
    credentials = await directory.credentials(user.user.address)
    if credentials is None or credentials.user.recipient_id != user.user.recipient_id:
        raise MailError(530, "5.7.0", "The account is gone")
    return credentials


def check_sender(sender: Sender, user: Credentials) -> None:
    """Own addresses only, also with a detail (`user+detail@`, RFC 5233), or the null sender.

    Raises MailError 550 5.7.1.
    """
    if not sender.address:
        return  # RFC 6409 3.2: of read receipts, for one
    key = address_key(sender.address)
    local, domain = split_address(key)
    base, plus, _ = local.partition("+")
    if key in user.addresses or (base and plus and f"{base}@{domain}" in user.addresses):
        return
    raise MailError(550, "5.7.1", f"You may not send as {sender.address}")


async def check_recipient(recipient: Recipient, directory: Directory, default_domain: str) -> Recipient:
    """The recipient with a domain. Raises MailError 550 5.1.1 for an unknown one of an own domain, 451 when
    the directory can't be asked."""
    local, domain = split_address(recipient.address)
    if not domain:
        return msgspec.structs.replace(recipient, address=f"{local}@{default_domain}")
    accepted = await directory.accepted_domain(domain)
    if accepted is None or accepted.kind != "authoritative" or address_key(local) == POSTMASTER:
        return recipient  # RFC 5321 4.5.1 for postmaster
    if await directory.find(recipient.address) is None:
        raise MailError(550, "5.1.1", f"The address {recipient.address} does not exist here")
    return recipient


def check_header(content: Content, *, header_bytes_max: int, hops_max: int) -> bytes:
    """The message's header. Raises MailError 552 5.3.4, 554 5.4.6."""
    header = read_header(content, header_bytes_max)
    if count_received(header) > hops_max:
        # RFC 5321 6.3
        raise MailError(554, "5.4.6", f"The message went through more than {hops_max} servers: a loop")
    return header
