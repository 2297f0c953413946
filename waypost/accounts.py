"""The account of one message: what each server took of it against what became of that, for each recipient.

Within a server: what came in is what went on, ended, or waits there. Between servers: what one says it handed
on, the next says it got, under the same transfer key; what a store says it filed is in the mailbox. Groups
and aliases change addresses and numbers, so a hub's categorizer is balanced over addresses that belong
together; everything after it address by address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

import msgspec

from foundation.interfaces.control import QueueEntry
from foundation.interfaces.tracking import REFUSED_AT_THE_END, EventName, TrackingEvent
from foundation.mail.address import address_key
from waypost.evidence import Account, Counts, Evidence, Finding, Joined, Kind

EVENT_RECIPIENTS_MAX = 1000
"""A hub writes the members of a large group as several EXPAND events of so many."""
_NAMED_ONCE = ("RECEIVE", "SUBMIT", "TRANSFER", "SEND", "DELIVER", "WITHDRAW", "RESUBMIT")
_LOST = ("missing", "damaged")
_CATEGORIZING = ("submission", "poison")


def account_of(
    evidence: Evidence, roles: Mapping[str, str], away: Set[str], known_messages: Set[str]
) -> Account:
    """`roles`: of the organisation's servers, by name. `away`: those that could not be asked."""
    return _Accountant(evidence, roles, away, known_messages).account()


class _Accountant:
    def __init__(
        self, evidence: Evidence, roles: Mapping[str, str], away: Set[str], known_messages: Set[str]
    ) -> None:
        self.evidence = evidence
        self.roles = roles
        self.away = away
        self.known_messages = known_messages
        self.counts = Counts()
        self.found: dict[tuple[str, str], Finding] = {}
        self.shown: dict[str, str] = {}
        """Address key -> address as first seen."""
        self.message_id = next((event.message_id for event in evidence.events if event.message_id), "")
        if not self.message_id and evidence.queued:
            self.message_id = evidence.queued[0][1].message_id
        self.events = self._named_once()
        self.arrived = self._arrivals()
        self.accepted = [event for event in self.events if self._accepts(event)]

    def account(self) -> Account:
        telling = [event for event in self.events if not _refusal(event)]
        refused = not telling and not self.evidence.queued
        if not refused:
            for event in self.accepted:
                self.counts.accepted += len(event.recipients)
            for server in dict.fromkeys(
                [event.server for event in telling] + [server for server, _ in self.evidence.queued]
            ):
                if self.roles.get(server) == "store":
                    self._balance_outbox(server)
                else:
                    self._balance_categorizer(server)
                    self._balance_queues(server)
            self._links()
            self._mailboxes()
            self._given_up()
            self._outcomes()
        return Account(
            self.evidence,
            self.counts,
            list(self.found.values()),
            min((event.at_ms for event in self.accepted), default=None),
            refused,
        )

    # --- what is looked at

    def _accepts(self, event: TrackingEvent) -> bool:
        """The organisation's first word on it: from a user, from outside, or a report made here."""
        if event.event == "DSN":
            return _own_report(event)
        if event.event != "RECEIVE":
            return False
        return event.source in ("STOREDRIVER", "DSN") or event.next_hop not in self.roles

    def _named_once(self) -> list[TrackingEvent]:
        """Without repetitions of an event that can be there only once; those are doubled."""
        seen: set[TrackingEvent] = set()
        kept: list[TrackingEvent] = []
        for event in self.evidence.events:
            once = msgspec.structs.replace(event, sequence=0, at_ms=0)
            if event.event in _NAMED_ONCE and once in seen:
                for address in event.recipients:
                    self._find("doubled", event.server, address, f"its {event.event} event is there twice")
                continue
            seen.add(once)
            kept.append(event)
        return kept

    def _arrivals(self) -> dict[tuple[str, str], Counter[str]]:
        """(server, transfer key it came with) -> addresses."""
        found: dict[tuple[str, str], Counter[str]] = {}
        for event in self.events:
            if self._arrives(event):
                found.setdefault((event.server, event.transfer_key), Counter()).update(self._keys(event))
        return found

    def _arrives(self, event: TrackingEvent) -> bool:
        if event.event == "RECEIVE":
            return event.source == "SMTP" and event.next_hop in self.roles
        if event.event == "DUPLICATEDELIVER":  # of the store, for one mailbox
            return event.source == "LMTP" and bool(event.mailbox_id)
        return event.event == "DELIVER"

    def _of(self, server: str, *names: EventName) -> Iterator[TrackingEvent]:
        return (e for e in self.events if e.server == server and e.event in names)

    def _waiting(self, server: str, *queues: str) -> Iterator[QueueEntry]:
        return (entry for at, entry in self.evidence.queued if at == server and entry.queue in queues)

    def _keys(self, item: TrackingEvent | QueueEntry) -> Iterator[str]:
        return self._keys_of(item.recipients)

    def _keys_of(self, addresses: Iterable[str]) -> Iterator[str]:
        for address in addresses:
            key = address_key(address)
            self.shown.setdefault(key, address)
            yield key

    def _sum(self, items: Iterable[TrackingEvent | QueueEntry]) -> Counter[str]:
        total: Counter[str] = Counter()
        for item in items:
            total.update(self._keys(item))
        return total

    def _find(self, kind: Kind, server: str, address: str, what: str, count: int = 1) -> None:
        """The first that is said of a recipient at a server; what follows from it is not said again."""
        shown = self.shown.get(address, address)
        identity = (server, address_key(address))
        if identity in self.found:
            return
        self.found[identity] = Finding(
            kind, self.evidence.network_message_id, self.message_id, server, shown, what
        )
        if kind == "doubled":
            self.counts.doubled += count
        else:
            self.counts.unexplained += count

    def _compare(self, server: str, came: Counter[str], became: Counter[str], lost: str, twice: str) -> None:
        for address in dict.fromkeys((*came, *became)):
            difference = became[address] - came[address]
            if difference < 0:
                self._find("unexplained", server, address, lost, -difference)
            elif difference and came[address]:
                self._find("doubled", server, address, twice, difference)
            elif difference:
                self._find("unexplained", server, address, "it went on, and nothing says that it came")

    # --- within a server

    def _balance_outbox(self, server: str) -> None:
        received = self._sum(e for e in self._of(server, "RECEIVE") if e.source == "STOREDRIVER")
        ended = self._sum(
            e for e in self._of(server, "SUBMIT", "WITHDRAW", "FAIL") if e.source == "STOREDRIVER"
        )
        waiting = self._sum(self._waiting(server, "outbox"))
        self._compare(
            server,
            received,
            ended + waiting,
            "it was accepted into the Outbox; it does not wait there, and nothing became of it",
            "it left the Outbox twice",
        )

    def _balance_categorizer(self, server: str) -> None:
        groups = Joined()
        came, became = Counter[str](), Counter[str]()
        came.update(self._sum(self._of(server, "RECEIVE", "RESUBMIT")))
        for event in self._of(server, "RESOLVE"):
            groups.join(self._keys_of((*event.recipients, event.related)))
        for event, first in self._expansions(server):
            keys = list(self._keys_of((*event.recipients, event.related)))
            groups.join(keys)
            came.update(keys[:-1])
            if first:
                came[keys[-1]] -= 1
            self.counts.expanded += len(event.recipients) - first
        for event in self._of(server, "AGENTINFO"):
            came.update(self._keys(event))
            self.counts.expanded += len(event.recipients)
        for event in self._of(server, "DUPLICATEDELIVER"):
            if event.source == "ROUTING":
                groups.join(self._keys_of((*event.recipients, event.related)))
                became.update(self._keys(event))
        became.update(self._sum(self._of(server, "TRANSFER")))
        became.update(self._sum(e for e in self._of(server, "FAIL") if _by_categorizer(e)))
        became.update(self._sum(self._waiting(server, *_CATEGORIZING)))
        for together in groups.sets((*came, *became)):
            self._compare_together(server, together, came, became)

    def _compare_together(
        self, server: str, together: Sequence[str], came: Counter[str], became: Counter[str]
    ) -> None:
        difference = sum(became[address] - came[address] for address in together)
        if not difference:
            return
        least = difference < 0
        suspects = [a for a in together if (became[a] < came[a] if least else became[a] > came[a])]
        one = suspects[0] if suspects else together[0]
        if least:
            what = "it was received; it does not wait for the categorizer, and nothing became of it"
            self._find("unexplained", server, one, what, -difference)
        elif any(came[address] > 0 for address in together):
            self._find("doubled", server, one, "the categorizer made more of it than came", difference)
        else:
            self._find("unexplained", server, one, "it is here, and nothing says that it came", difference)

    def _expansions(self, server: str) -> Iterator[tuple[TrackingEvent, bool]]:
        """EXPAND events, and whether it is the first of its group: a large one is told in parts."""
        open_parts: dict[tuple[str, str], bool] = {}
        for event in self._of(server, "EXPAND"):
            identity = (event.related, event.reason)
            yield event, not open_parts.get(identity, False)
            open_parts[identity] = len(event.recipients) == EVENT_RECIPIENTS_MAX

    def _balance_queues(self, server: str) -> None:
        going = self._sum(self._of(server, "TRANSFER"))
        ended = self._sum(self._of(server, "SEND", "RESUBMIT"))
        ended.update(
            self._sum(e for e in self._of(server, "FAIL") if not _by_categorizer(e) and not _refusal(e))
        )
        ended.update(self._sum(self._waiting(server, "delivery", "unreachable")))
        self._compare(
            server,
            going,
            ended,
            "it was queued; it does not wait here, and nothing became of it",
            "it left the queue more often than it came into it",
        )

    # --- between servers

    def _links(self) -> None:
        left: dict[tuple[str, str], Counter[str]] = {}
        for event in self.events:
            if event.event not in ("SEND", "SUBMIT") or event.next_hop not in self.roles:
                continue
            keys = Counter(self._keys(event))
            left.setdefault((event.server, event.transfer_key), Counter()).update(keys)
            got = self.arrived.get((event.next_hop, event.transfer_key), Counter())
            for address, count in (keys - got).items():
                if event.next_hop in self.away:
                    what = f"{event.server} handed it over; {event.next_hop} can't be asked"
                else:
                    what = f"{event.server} handed it over, and nothing says that it came"
                self._find("unexplained", event.next_hop, address, what, count)
        for event in self._released():
            left.setdefault((event.server, event.transfer_key), Counter()).update(self._keys(event))
        for server, entry in self.evidence.queued:
            left.setdefault((server, entry.entry_id), Counter()).update(self._keys(entry))
        for event in self.events:
            if not self._arrives(event) or event.next_hop in self.away:
                continue
            sent = left.get((event.next_hop, event.transfer_key), Counter())
            for address, count in (Counter(self._keys(event)) - sent).items():
                what = f"{event.server} got it from here, and nothing here says so"
                self._find("unexplained", event.next_hop, address, what, count)

    def _released(self) -> Iterator[TrackingEvent]:
        """What an operator gave free: it may have arrived all the same."""
        return (e for e in self.events if e.event == "RESUBMIT" and e.source == "ADMIN" and e.transfer_key)

    # --- ends

    def _mailboxes(self) -> None:
        states = {(copy.mailbox_id, copy.folder_id, copy.uid): copy.state for copy in self.evidence.copies}
        in_mailbox: set[str] = set()
        for event in self.events:
            if event.event != "DELIVER" and not _own_report(event):
                continue
            address = event.recipients[0] if event.recipients else event.mailbox_id
            if event.mailbox_id in in_mailbox:
                self._find("doubled", event.server, address, "it was delivered twice to one mailbox")
                continue
            in_mailbox.add(event.mailbox_id)
            state = states.get((event.mailbox_id, event.folder_id, event.uid), "missing")
            if state not in _LOST:
                self.counts.delivered += 1
            elif state == "damaged":
                self._find("unexplained", event.server, address, "the mailbox shows it without its content")
            else:
                what = "it was delivered; it is not in the mailbox, and nobody took it out"
                self._find("unexplained", event.server, address, what)

    def _given_up(self) -> None:
        for event in self.events:
            if event.event in ("WITHDRAW", "DROP"):
                self.counts.discarded += len(event.recipients)
            elif event.event == "FAIL" and not _refusal(event):
                for address in self._keys(event):
                    self._told(event.server, address)
        for event in self.events:
            report = event.related if event.event == "DSN" and not _own_report(event) else ""
            if report and report not in self.known_messages:
                what = f"a report was made of it, and there is no message {report}"
                self._find("unexplained", event.server, event.recipients[0], what)

    def _told(self, server: str, address: str) -> None:
        def about(event: TrackingEvent) -> bool:
            return event.server == server and address in self._keys(event)

        reports = [event for event in self.events if event.event == "DSN" and about(event)]
        if any(event.reason.startswith("failed") for event in reports):
            self.counts.bounced += 1
        elif any(event.event == "BADMAIL" and about(event) for event in self.events):
            self.counts.discarded += 1
        elif any(event.server == server for event in self.evidence.reports):
            self.counts.bounced += 1
        else:
            self._find(
                "unexplained", server, address, "it was given up, and there is no report to the sender"
            )

    def _outcomes(self) -> None:
        for event in self.events:
            if event.event == "SEND" and event.next_hop not in self.roles:
                self.counts.relayed += len(event.recipients)
            elif event.event == "DUPLICATEDELIVER":
                local = event.source == "LMTP" and event.mailbox_id
                if event.source == "ROUTING" or local:
                    self.counts.merged += len(event.recipients)
        by_key: dict[str, Counter[str]] = {}
        for (_, key), addresses in self.arrived.items():
            by_key.setdefault(key, Counter()).update(addresses)
        for _, entry in self.evidence.queued:
            waiting = Counter(self._keys(entry))
            # What the next server has already waits here only for its answer.
            waiting.subtract(by_key.get(entry.entry_id, Counter()))
            self.counts.pending += sum((+waiting).values())


def _own_report(event: TrackingEvent) -> bool:
    """A report that a store made and filed in one commit: its whole account is this event."""
    return event.event == "DSN" and bool(event.folder_id)


def _refusal(event: TrackingEvent) -> bool:
    """Of a message that was never accepted by this server, or of a repeat that was thrown away."""
    if event.event == "FAIL":
        return event.reason == REFUSED_AT_THE_END
    return event.event == "DUPLICATEDELIVER" and event.source != "ROUTING" and not event.mailbox_id


def _by_categorizer(event: TrackingEvent) -> bool:
    return event.source == "ROUTING"
