"""Categorizer, resolve: whose address is it now? One step; what became another address comes again.

Promises: an address of the organisation ends as a directory entry, as a recipient outside, or as a failure
with its reason; never is a recipient called unknown while the directory can't be asked (MailError 451 is
raised).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from foundation.interfaces.directory import AcceptedDomain, DirectoryRecipient
from foundation.mail.address import address_key, split_address
from foundation.mail.errors import MailError
from hubtransport.categorizer.decision import Candidate, Context, Decision
from hubtransport.dsn import keep_original

SUBADDRESS_SEPARATOR = "+"


class Resolved(msgspec.Struct, frozen=True):
    candidate: Candidate
    decision: Decision
    state: Literal["final", "group", "again"]


async def resolve(candidate: Candidate, context: Context) -> Resolved:
    if candidate.recipient.recipient_id:
        entry = await context.directory.find_id(candidate.recipient.recipient_id)
        if entry is not None:
            group = candidate.position is None and candidate.brought_by
            why = f"a member of {group}" if group else "a Waypost server resolved it before"
            return _found(candidate, entry, "carried-id", why)
    address = candidate.recipient.address
    local, domain = split_address(address)
    if not domain:
        domain = context.default_domain  # RFC 5321 4.1.1.3: only <postmaster> comes without a domain
        address = f"{local}@{domain}"
    accepted = await context.directory.accepted_domain(domain)
    if accepted is None:
        return _external(candidate, "foreign-domain", f"{domain} is not a domain of this organisation")
    entry = await context.directory.find(address)
    base, separator, _ = local.partition(SUBADDRESS_SEPARATOR)
    if base and separator and (entry is None or entry.kind == "user"):
        owner = await context.directory.find(f"{base}@{domain}")
        if owner is not None and (entry is None or entry.recipient_id == owner.recipient_id):
            return _subaddress(candidate, owner, f"{base}@{domain}")
    if entry is not None:
        return _found(candidate, entry, "address", "the directory has this address")
    if address_key(local) == "postmaster":
        entry = await context.directory.postmaster()
        if entry is not None:
            # RFC 5321 4.5.1
            return _found(
                candidate, entry, "postmaster", "mail for postmaster goes to whom the directory names"
            )
    return _unknown(candidate, accepted)


def _found(candidate: Candidate, entry: DirectoryRecipient, rule: str, why: str) -> Resolved:
    given = candidate.recipient.address
    if entry.kind == "group":
        decision = Decision(
            stage="resolve",
            rule="group",
            what=f"{given} is the group {entry.address}",
            why=why,
            recipients=(given,),
        )
        return Resolved(msgspec.structs.replace(candidate, entry=entry), decision, "group")
    if entry.kind == "contact":
        return _renamed(
            candidate, entry.target, "contact", f"{entry.address} is a contact for {entry.target}"
        )
    keeps = address_key(given) == address_key(entry.address) or rule == "carried-id"
    recipient = msgspec.structs.replace(
        candidate.recipient,
        address=given if keeps else entry.address,
        orcpt=candidate.recipient.orcpt if keeps else keep_original(candidate.recipient),
        recipient_id=entry.recipient_id,
    )
    decision = Decision(
        stage="resolve",
        rule="alias" if rule == "address" and not keeps else rule,
        what=f"{given} is the user {entry.address}, mailbox on {entry.store}",
        why=why if keeps else f"{why}, as one of {entry.address}",
        recipients=(recipient.address,),
        related="" if keeps else given,
        event=None if keeps else "RESOLVE",
    )
    resolved = msgspec.structs.replace(
        candidate, recipient=recipient, entry=entry, brought_by=candidate.brought_by or decision.related
    )
    return Resolved(resolved, decision, "final")


def _subaddress(candidate: Candidate, entry: DirectoryRecipient, base: str) -> Resolved:
    """RFC 5233: the part after the separator is the user's own business; the store gets the address as
    given."""
    given = candidate.recipient.address
    if entry.kind != "user":
        return _found(candidate, entry, "sub-address", f"sub-address of {base}")
    recipient = msgspec.structs.replace(candidate.recipient, recipient_id=entry.recipient_id)
    decision = Decision(
        stage="resolve",
        rule="sub-address",
        what=f"{given} is the user {entry.address}, mailbox on {entry.store}",
        why=f"sub-address of {base}",
        recipients=(given,),
        related=entry.address,
        event="RESOLVE",
    )
    return Resolved(msgspec.structs.replace(candidate, recipient=recipient, entry=entry), decision, "final")


def _renamed(candidate: Candidate, address: str, rule: str, why: str) -> Resolved:
    """Another address takes its place and is looked up in its turn."""
    given = candidate.recipient.address
    recipient = msgspec.structs.replace(
        candidate.recipient, address=address, orcpt=keep_original(candidate.recipient), recipient_id=""
    )
    decision = Decision(
        stage="resolve",
        rule=rule,
        what=f"{given} goes on to {address}",
        why=why,
        recipients=(address,),
        related=given,
        event="RESOLVE",
    )
    renamed = msgspec.structs.replace(
        candidate, recipient=recipient, brought_by=candidate.brought_by or given
    )
    return Resolved(renamed, decision, "again")


def _external(candidate: Candidate, rule: str, why: str) -> Resolved:
    address = candidate.recipient.address
    recipient = msgspec.structs.replace(candidate.recipient, recipient_id="")
    decision = Decision(
        stage="resolve", rule=rule, what=f"{address} is outside", why=why, recipients=(address,)
    )
    external = msgspec.structs.replace(candidate, recipient=recipient, external=True)
    return Resolved(external, decision, "final")


def _unknown(candidate: Candidate, accepted: AcceptedDomain) -> Resolved:
    address = candidate.recipient.address
    if accepted.kind != "authoritative":
        why = f"{accepted.domain} is an {accepted.kind} domain, and the directory has no such address"
        return _external(candidate, accepted.kind, why)
    failure = MailError(550, "5.1.1", f"The address {address} does not exist here")
    decision = Decision(
        stage="resolve",
        rule="unknown",
        what=f"{address} does not exist",
        why=f"{accepted.domain} is authoritative, and the directory has no such address",
        recipients=(address,),
    )
    return Resolved(msgspec.structs.replace(candidate, failure=failure), decision, "final")
