"""Explain: what this hub would do with a message, by the code that decides about real ones, changing nothing.

The doors' policy, the categorizer and its plan are those of the daemon. A running hub answers from its live
directory, table and queues; `computed` answers for one that can't be asked, from the configuration alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from config.model import HubServer, Topology
from foundation.interfaces.directory import Directory
from foundation.interfaces.explanation import Door, End, Explanation, Going, Onward, Question, Step, Wait
from foundation.interfaces.tracking import TrackingEvent
from foundation.interfaces.world import World
from foundation.mail.envelope import Recipient
from foundation.mail.errors import MailError
from foundation.smtp.intake import too_large
from hubtransport.categorizer.comply import AgentChain
from hubtransport.categorizer.decision import Candidate, Context, Decision
from hubtransport.categorizer.enqueue import Planned, plan
from hubtransport.categorizer.pipeline import Categorized, categorize
from hubtransport.categorizer.route import Share
from hubtransport.delivery.courier import HopFailed, HopRefused
from hubtransport.delivery.to_internet import InternetCourier
from hubtransport.queues.records import HopState, QueuedMessage, QueuedRecipient, Unit
from hubtransport.receive.connectors import ReceiveConnector, internal, outside
from hubtransport.receive.policy import check_content, check_recipient
from hubtransport.routing.hop import Hop
from hubtransport.routing.table import RoutingTable
from hubtransport.routing.topology import hub_host_names

_NEXT_DOOR: dict[str, Door] = {"hub": "smtp-internal", "store": "lmtp"}


class HubExplainer:
    """Implements foundation.interfaces.explanation.Explains."""

    def __init__(
        self,
        settings: HubServer,
        topology: Topology,
        context: Callable[[], Context],
        chain: AgentChain,
        hosts: Callable[[str], Awaitable[tuple[str, ...]]],
        failing: Callable[[], dict[str, HopState]],
        *,
        live: bool,
    ) -> None:
        """`hosts`: who takes mail for a domain. `failing`: next hops that can't be reached, by queue."""
        self._settings = settings
        self._topology = topology
        self._context = context
        self._chain = chain
        self._hosts = hosts
        self._failing = failing
        self._live = live

    def reload(self, settings: HubServer, topology: Topology) -> None:
        self._settings, self._topology = settings, topology

    async def explain(self, question: Question) -> Explanation:
        steps, refused, accepted = await self._receive(question)
        if not accepted:
            return self._explanation(steps=tuple(steps), ends=tuple(refused))
        message = _message(question, accepted)
        result = await categorize(message, self._context(), self._chain)
        failing = self._failing()
        planned = plan(message, result, failing=failing, new_key=str, now_ms=0, server=self._settings.name)
        steps += [_step(decision) for decision in result.decisions]
        ends = [*refused, *_ends(result)]
        onward: list[Onward] = []
        for share, unit in zip(result.shares, planned.enqueue.units, strict=True):
            if Hop.parse(unit.hop).kind == "unreachable":
                ends += [_unreachable(candidate, share) for candidate in share.recipients]
                continue
            try:
                onward.append(await self._onward(share, unit, failing.get(unit.hop)))
            except HopRefused as refusal:
                reply = str(refusal.error)
                ends += [_failed(candidate, reply, share.route.why) for candidate in share.recipients]
        return self._explanation(
            steps=tuple(steps),
            ends=tuple(ends),
            onward=tuple(onward),
            events=_events(planned),
            assessed=result.assessed,
        )

    def _explanation(self, **fields: Any) -> Explanation:
        return Explanation(server=self._settings.name, live=self._live, **fields)

    async def _receive(self, question: Question) -> tuple[list[Step], list[End], list[Recipient]]:
        """What the listener says: steps, who is refused, who is taken."""
        trusted = question.door == "smtp-internal"
        if not trusted and self._settings.smtp is None:
            closed = MailError(550, "5.3.2", f"{self._settings.name} takes no mail from outside")
            return [], [_refused(recipient, closed, trusted) for recipient in question.recipients], []
        connector = internal(self._settings, self._topology) if trusted else outside(self._settings)
        try:
            if question.sender.size_bytes > connector.message_size_bytes:
                raise too_large(connector.message_size_bytes)
            check_content(question, connector)
        except MailError as error:
            return [], [_refused(recipient, error, trusted) for recipient in question.recipients], []
        steps = [_size_step(question, connector)]
        refused: list[End] = []
        accepted: list[Recipient] = []
        for recipient in question.recipients:
            try:
                await check_recipient(
                    recipient, connector, self._context().directory, self._topology.default_domain
                )
            except MailError as error:
                refused.append(_refused(recipient, error, trusted))
            else:
                accepted.append(recipient)
        return steps, refused, accepted

    async def _onward(self, share: Share, unit: Unit, failing: HopState | None) -> Onward:
        """Raises HopRefused for a domain that takes no mail."""
        hop = Hop.parse(unit.hop)
        wait = _wait(failing)
        choices = _turned(unit.group, hop.name) if unit.group else (hop.name,)
        if hop.kind == "mx":
            try:
                choices = await self._hosts(hop.name)
            except HopFailed as problem:
                choices, wait = (), wait or Wait(reason=problem.sentence)
        elif hop.kind == "smarthost":
            connector = self._context().table.connector(hop.connector)
            choices = tuple(str(host) for host in connector.smart_hosts) if connector else ()
        return Onward(
            recipients=tuple(
                Going(recipient=candidate.recipient, original=candidate.original)
                for candidate in share.recipients
            ),
            door=_NEXT_DOOR.get(hop.kind),
            next_hop=hop.name,
            queue=unit.hop,
            choices=choices,
            why=share.route.why,
            path=share.route.path,
            cost=share.route.cost,
            wait=wait,
        )


def computed(topology: Topology, name: str, directory: Directory, world: World) -> HubExplainer:
    """For a hub that does not run: nothing is known of its queues. Raises KeyError without such a hub."""
    table = RoutingTable(topology, name)
    settings = table.map.hubs[name]
    context = Context(directory=directory, table=table, server=name, default_domain=topology.default_domain)
    courier = InternetCourier(lambda: table, world, topology.host_name(name), hub_host_names(topology))
    return HubExplainer(settings, topology, lambda: context, AgentChain(), courier.hosts, dict, live=False)


def _message(question: Question, accepted: list[Recipient]) -> QueuedMessage:
    return QueuedMessage(
        entry_id="",
        network_message_id=question.network_message_id,
        sender=question.sender,
        content_bytes=question.size_bytes,
        content_sha256="",
        assessed=question.assessed,
        received_at_ms=0,
        expires_at_ms=0,
        next_position=len(accepted),
        recipients=tuple(
            QueuedRecipient(position=position, recipient=recipient, original=recipient.address)
            for position, recipient in enumerate(accepted)
        ),
    )


def _step(decision: Decision) -> Step:
    return Step(
        stage=decision.stage,
        rule=decision.rule,
        what=decision.what,
        why=decision.why,
        recipients=decision.recipients,
        related=decision.related,
    )


def _size_step(question: Question, connector: ReceiveConnector) -> Step:
    return Step(
        stage="receive",
        rule="size",
        what=f"{question.size_bytes} bytes are taken by listener {connector.listener}",
        why=f"the limit here is {connector.message_size_bytes} bytes",
    )


def _refused(recipient: Recipient, error: MailError, trusted: bool) -> End:
    """A Waypost server that is refused reports it to the sender."""
    return End(
        address=recipient.address,
        original=recipient.address,
        outcome="failed" if trusted else "refused",
        reply=str(error),
    )


def _ends(result: Categorized) -> list[End]:
    """Recipients that the categorizer ends."""
    failed = [
        _failed(candidate, str(candidate.failure), "the categorizer finds no way for it")
        for candidate in result.failed
    ]
    expanded = [
        End(
            address=candidate.entry.address if candidate.entry else candidate.recipient.address,
            original=candidate.original,
            outcome="expanded",
            why="its members go on in its place",
        )
        for candidate in result.expanded
    ]
    duplicates = [decision for decision in result.decisions if decision.stage == "merge"]
    merged = [
        End(
            address=candidate.recipient.address,
            original=candidate.original,
            outcome="merged",
            why=decision.why,
        )
        for candidate, decision in zip(result.merged, duplicates, strict=True)
    ]
    return [*failed, *expanded, *merged]


def _failed(candidate: Candidate, reply: str, why: str) -> End:
    return End(
        address=candidate.recipient.address,
        original=candidate.original,
        outcome="failed",
        reply=reply,
        why=why,
    )


def _unreachable(candidate: Candidate, share: Share) -> End:
    status = share.route.hop.connector
    return End(
        address=candidate.recipient.address,
        original=candidate.original,
        outcome="unreachable",
        reply=f"{status} {share.route.why}",
        why=share.route.why,
    )


def _wait(failing: HopState | None) -> Wait | None:
    if failing is None:
        return None
    return Wait(
        reason=failing.last_reply,
        since_ms=failing.failing_since_ms,
        next_attempt_at_ms=failing.next_attempt_at_ms,
    )


def _turned(group: tuple[str, ...], first: str) -> tuple[str, ...]:
    start = group.index(first)
    return group[start:] + group[:start]


def _events(planned: Planned) -> tuple[TrackingEvent, ...]:
    return tuple(msgspec.structs.replace(event, transfer_key="") for event in planned.enqueue.events)
