"""Explain: what this store would do with a message, as the Outbox of its sender and as the mailbox of its
recipients, by the policy of both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from config.model import StoreServer, Topology
from foundation.database.spool import too_big
from foundation.interfaces.directory import Directory
from foundation.interfaces.explanation import End, Explanation, Going, Onward, Outcome, Question, Step, Wait
from foundation.interfaces.tracking import TrackingEvent
from foundation.mail.envelope import Recipient
from foundation.mail.errors import MailError, Unavailable
from foundation.smtp.intake import too_large
from mailboxstore.database.changes import Mailbox, over_quota, refuse_over_quota
from mailboxstore.delivery.policy import lmtp_size_bytes, mailbox_full, resolve

Usage = Callable[[str], Awaitable[Mailbox | None]]
"""The mailbox of an id as it stands; None: not used yet, or not known."""


class StoreExplainer:
    """Implements foundation.interfaces.explanation.Explains."""

    def __init__(
        self,
        settings: StoreServer,
        topology: Topology,
        directory: Directory,
        usage: Usage,
        away: Callable[[str], Wait | None],
        *,
        live: bool,
    ) -> None:
        """`away`: why a hub is away; None when it answers."""
        self.settings = settings
        self._directory = directory
        self._usage = usage
        self._away = away
        self._live = live
        self._hubs = tuple(hub.name for hub in topology.hubs if hub.site == settings.site)

    async def explain(self, question: Question) -> Explanation:
        if question.door == "outbox":
            return await self._outbox(question)
        return await self._delivery(question)

    async def _outbox(self, question: Question) -> Explanation:
        """As Client Access hands it over: the sender's mailbox, then a hub of this site."""
        try:
            mailbox_id = await self._check_outbox(question)
        except MailError as error:
            if not error.permanent:
                raise
            ends = [_end(each.address, "refused", error) for each in question.recipients]
            return self._explanation(ends=tuple(ends))
        step = Step(
            stage="outbox",
            rule="outbox",
            what="filed in Outbox and Sent, in one commit",
            why=f"{question.sender.address} has mailbox {mailbox_id} here",
            recipients=tuple(each.address for each in question.recipients),
        )
        return self._explanation(steps=(step,), onward=(self._to_hub(question),))

    async def _check_outbox(self, question: Question) -> str:
        """The sender's mailbox. Raises MailError."""
        limit_bytes = self.settings.limits.message_size_bytes
        if question.size_bytes > limit_bytes:
            raise too_big(limit_bytes)
        user = await resolve(self._directory, self.settings.name, Recipient(address=question.sender.address))
        mailbox = await self._usage(user.mailbox_id)
        if mailbox is not None:
            refuse_over_quota(mailbox, 2 * question.size_bytes, self.settings.mailbox_quota_bytes)
        return user.mailbox_id

    def _to_hub(self, question: Question) -> Onward:
        answering = tuple(hub for hub in self._hubs if self._away(hub) is None)
        choices = answering or self._hubs
        why = f"it is the hub of this site ({self.settings.site})"
        if len(choices) > 1:
            why = f"hubs of this site ({self.settings.site}): the least busy of {', '.join(choices)}"
        return Onward(
            recipients=tuple(Going(recipient=each, original=each.address) for each in question.recipients),
            door="smtp-internal",
            next_hop=choices[0],
            queue="outbox",
            choices=choices,
            why=why,
            path=(self.settings.site,),
            wait=None if answering else self._away(choices[0]),
        )

    async def _delivery(self, question: Question) -> Explanation:
        """As a hub hands it over by LMTP."""
        limits = self.settings.limits
        limit_bytes = lmtp_size_bytes(limits)
        if question.size_bytes > limit_bytes:
            error = too_large(limit_bytes)
            return self._explanation(
                ends=tuple(_end(each.address, "failed", error) for each in question.recipients)
            )
        ends: list[End] = []
        events: list[TrackingEvent] = []
        for recipient in question.recipients:
            try:
                user = await resolve(self._directory, self.settings.name, recipient)
                mailbox = await self._usage(user.mailbox_id)
                quota_bytes = self.settings.mailbox_quota_bytes
                if mailbox is not None and over_quota(mailbox, question.size_bytes, quota_bytes):
                    raise mailbox_full()
            except Unavailable:
                raise
            except MailError as error:
                ends.append(_end(recipient.address, "failed" if error.permanent else "deferred", error))
                continue
            ends.append(
                End(
                    address=recipient.address,
                    original=recipient.address,
                    outcome="delivered",
                    reply="250 2.1.5 Delivered",
                    why=f"the Inbox of {user.address} is here",
                )
            )
            events.append(self._delivered(question, recipient.address, user.mailbox_id))
        return self._explanation(ends=tuple(ends), events=tuple(events))

    def _delivered(self, question: Question, address: str, mailbox_id: str) -> TrackingEvent:
        return TrackingEvent(
            event="DELIVER",
            source="LMTP",
            at_ms=0,
            server=self.settings.name,
            network_message_id=question.network_message_id,
            sender=question.sender.address,
            recipients=(address,),
            reply="250 2.1.5",
            mailbox_id=mailbox_id,
            size_bytes=question.size_bytes,
        )

    def _explanation(self, **fields: Any) -> Explanation:
        return Explanation(server=self.settings.name, live=self._live, **fields)


async def _unknown(mailbox_id: str) -> Mailbox | None:
    return None


def computed(topology: Topology, name: str, directory: Directory) -> StoreExplainer:
    """For a store that does not run: mailboxes are taken to have room, hubs to answer. Raises StopIteration
    without such a store."""
    settings = next(store for store in topology.stores if store.name == name)
    return StoreExplainer(settings, topology, directory, _unknown, lambda hub: None, live=False)


def _end(address: str, outcome: Outcome, error: MailError) -> End:
    return End(address=address, original=address, outcome=outcome, reply=str(error))
