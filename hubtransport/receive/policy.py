"""Receive, the policy: a verdict on each verb, raised as the MailError that becomes the reply.

From outside only recipients of the organisation are taken, and unknown ones are refused at RCPT, while the
others go on. From Waypost servers every recipient is taken: what can't be delivered is reported by the
categorizer.
"""

from __future__ import annotations

import re

import msgspec

from foundation.interfaces.directory import AcceptedDomain, Directory
from foundation.mail.address import address_key, split_address
from foundation.mail.envelope import Recipient
from foundation.mail.errors import MailError
from foundation.mail.headers import Content, count_received, read_header
from hubtransport.receive.connectors import ReceiveConnector

FREE_BYTES_MIN = 64 * 1024 * 1024
"""Below this much free disk nothing is taken."""

_ABOVE_ASCII = re.compile(rb"[\x80-\xff]")


class HeaderFacts(msgspec.Struct, frozen=True):
    header: bytes
    utf8: bool
    """Octets above 127 in the header (RFC 6532)."""


async def check_recipient(
    recipient: Recipient, connector: ReceiveConnector, directory: Directory, default_domain: str
) -> None:
    """Raises MailError 550 5.7.1, 550 5.1.1, or 451 when the directory can't be asked."""
    if connector.trusted:
        return
    local, domain = split_address(recipient.address)
    if address_key(local) == "postmaster" and not domain:
        return  # RFC 5321 4.5.1
    accepted = await directory.accepted_domain(domain or default_domain)
    if accepted is None:
        raise MailError(550, "5.7.1", "Relaying denied: this server takes mail for its own domains only")
    if address_key(local) == "postmaster":
        return  # RFC 5321 4.5.1
    if accepted.kind == "authoritative" and not await _exists(local, accepted, domain, directory):
        raise MailError(550, "5.1.1", f"The address {recipient.address} does not exist here")


async def _exists(local: str, accepted: AcceptedDomain, domain: str, directory: Directory) -> bool:
    if await directory.find(f"{local}@{domain or accepted.domain}") is not None:
        return True
    base, separator, _ = local.partition("+")
    return bool(base and separator) and await directory.find(f"{base}@{domain}") is not None


def check_space(free_bytes: int) -> None:
    """Raises MailError 452 4.3.1."""
    if free_bytes < FREE_BYTES_MIN:
        raise MailError(452, "4.3.1", "Not enough space now, try again later")


def check_content(content: Content, connector: ReceiveConnector) -> HeaderFacts:
    """Raises MailError 552 5.3.4, 554 5.4.6."""
    if content.size_bytes > connector.message_size_bytes:
        raise MailError(
            552, "5.3.4", f"The message is larger than {connector.message_size_bytes} bytes, the limit here"
        )
    header = read_header(content, connector.header_size_bytes)
    if count_received(header) > connector.hops:
        # RFC 5321 6.3
        raise MailError(554, "5.4.6", f"The message went through more than {connector.hops} servers: a loop")
    return HeaderFacts(header, _ABOVE_ASCII.search(header) is not None)
