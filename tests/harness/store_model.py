"""A mailbox store as a few dictionaries, what its database says in the same words, and what must hold in
every state of the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, text

from foundation.interfaces.mailbox_store import DELETED, SEEN
from foundation.mail.envelope import Recipient
from mailboxstore.database.names import FIRST_FOLDERS
from mailboxstore.database.units import WAITING
from tests.harness.crash_machine import Refused

REPORTS = "reports.example"
"""Domain of the Message-IDs of reports."""

Operation = Literal["add", "remove", "replace"]
Verdict = Literal["taken", "failed", "deferred"]


@dataclass
class Item:
    name: str
    """Message-ID; `report` for one that the store made."""
    flags: int = 0


@dataclass
class Folder:
    role: str = ""
    uid_next: int = 1
    messages: dict[int, Item] = field(default_factory=dict)

    def place(self, item: Item) -> int:
        uid = self.uid_next
        self.uid_next += 1
        self.messages[uid] = Item(item.name, item.flags)
        return uid


@dataclass
class Unit:
    uid: int
    recipients: tuple[str, ...]
    target: str
    state: str


def first_folders() -> dict[str, Folder]:
    return {name: Folder(role) for name, role in FIRST_FOLDERS}


@dataclass
class Model:
    sender: str
    """Mailbox that submits."""
    mailboxes: dict[str, dict[str, Folder]] = field(default_factory=dict)
    submitted: set[str] = field(default_factory=set)
    transfers: set[str] = field(default_factory=set)
    guards: set[tuple[str, str]] = field(default_factory=set)
    units: dict[str, Unit] = field(default_factory=dict)
    """By network message id."""
    events: Counter[str] = field(default_factory=Counter)
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Recipients of submissions that were reported as failed, or withdrawn."""

    @property
    def folders(self) -> dict[str, Folder]:
        return self.mailboxes[self.sender]

    def state(self) -> dict[str, Any]:
        """As `observed` says it."""
        return {
            "folders": {
                (mailbox, name): (folder.role, folder.uid_next, _rows(folder.messages))
                for mailbox, folders in self.mailboxes.items()
                for name, folder in folders.items()
            },
            "submitted": self.submitted,
            "transfers": self.transfers,
            "guards": self.guards,
            "units": {
                network: (unit.uid, unit.recipients, unit.target, unit.state)
                for network, unit in self.units.items()
            },
            "events": +self.events,
        }

    # --- the way in ---

    def deliver(self, key: str, network: str, mailboxes: Iterable[tuple[str, str]], name: str) -> list[str]:
        """`mailboxes`: recipient id and mailbox. What each is told."""
        if key in self.transfers:
            self.events["DUPLICATEDELIVER"] += 1
            return ["250"] * len(list(mailboxes))
        self.transfers.add(key)
        told = []
        for recipient, mailbox in mailboxes:
            folders = self.mailboxes.setdefault(mailbox, first_folders())
            told.append("250")
            if (network, recipient) in self.guards:
                self.events["DUPLICATEDELIVER"] += 1
                continue
            self.guards.add((network, recipient))
            folders["INBOX"].place(Item(name))
            self.events["DELIVER"] += 1
        return told

    # --- the way out ---

    def submit(self, key: str, network: str, name: str, recipients: tuple[str, ...], state: str) -> None:
        if key in self.submitted:
            return
        self.submitted.add(key)
        self.by_role("sent", "Sent").place(Item(name, SEEN))
        uid = self.folders["Outbox"].place(Item(name, SEEN))
        self.units[network] = Unit(uid, recipients, "hub-a", state)
        self.events["RECEIVE"] += 1

    def by_role(self, role: str, name: str) -> Folder:
        """The folder for this, made again where the user has deleted it."""
        for folder in self.folders.values():
            if folder.role == role:
                return folder
        folder = self.folders.setdefault(name, Folder())
        folder.role = role
        return folder

    def claim(self, hub: str, others_away: bool) -> set[str]:
        """The network message ids of what is handed over now."""
        claimed = set()
        for network, unit in self.units.items():
            free = unit.state in WAITING and (others_away or unit.target == hub)
            if free or (unit.state == "unknown" and unit.target == hub):
                unit.state = "active" if free else "repeat"
                unit.target = hub
                claimed.add(network)
        return claimed

    def settle(self, network: str, verdicts: dict[str, Verdict]) -> None:
        unit = self.units[network]
        told = Counter(verdicts.values())
        self.events["SUBMIT"] += bool(told["taken"])
        self.events["FAIL"] += told["failed"]
        self.events["DEFER"] += bool(told["deferred"])
        if told["deferred"] == len(verdicts):
            unit.state = "unknown" if unit.state == "repeat" else "retry"
            return
        if told["failed"]:
            self.folders["INBOX"].place(Item("report"))
            self.events["DSN"] += 1
        self.ended.update((network, each) for each, verdict in verdicts.items() if verdict == "failed")
        if told["deferred"]:
            unit.recipients = tuple(each for each, verdict in verdicts.items() if verdict == "deferred")
            unit.state = "retry"
            self.events["TRANSFER"] += 1
        else:
            del self.units[network]
            del self.folders["Outbox"].messages[unit.uid]

    def outcome_unknown(self, network: str) -> None:
        self.units[network].state = "unknown"

    def recover(self) -> None:
        """A start: what was being handed over may have arrived."""
        for unit in self.units.values():
            if unit.state in ("active", "repeat"):
                unit.state = "unknown"

    # --- what the user does ---

    def append(self, name: str, item: Item) -> int:
        return self._target(name).place(item)

    def change_flags(self, name: str, uids: set[int], operation: Operation, flags: int) -> list[int]:
        messages = self.folders[name].messages
        found = sorted(uids & set(messages))
        for uid in found:
            before = messages[uid].flags
            after = {"add": before | flags, "remove": before & ~flags, "replace": flags}
            messages[uid].flags = after[operation]
        return found

    def copy(self, name: str, uids: set[int], target: str) -> list[int]:
        into, messages = self._target(target), self.folders[name].messages
        return [into.place(messages[uid]) for uid in sorted(uids & set(messages))]

    def move(self, name: str, uids: set[int], target: str) -> list[int]:
        into = self._target(target)
        taken = self._take(name, sorted(uids & set(self.folders[name].messages)))
        return [into.place(item) for item in taken]

    def expunge(self, name: str, uids: set[int], deleted_only: bool) -> list[int]:
        messages = self.folders[name].messages
        wanted = sorted(uids & set(messages))
        gone = [uid for uid in wanted if messages[uid].flags & DELETED or not deleted_only]
        self._take(name, gone)
        return gone

    def create(self, name: str) -> None:
        if name in self.folders:
            raise Refused("ALREADYEXISTS")
        self.folders[name] = Folder()

    def delete(self, name: str) -> None:
        if name not in self.folders:
            raise Refused("NONEXISTENT")
        if name in ("INBOX", "Outbox"):
            raise Refused("CANNOT")
        del self.folders[name]

    def rename(self, name: str, new_name: str) -> None:
        if name not in self.folders:
            raise Refused("NONEXISTENT")
        if new_name in self.folders:
            raise Refused("ALREADYEXISTS")
        self.folders[new_name] = self.folders.pop(name)

    def _target(self, name: str) -> Folder:
        if name not in self.folders:
            raise Refused("TRYCREATE")
        if name == "Outbox":
            raise Refused("CANNOT")
        return self.folders[name]

    def _take(self, name: str, uids: list[int]) -> list[Item]:
        """Out of the Outbox: a withdrawal, as long as no hub can have it."""
        leaving = {n: u for n, u in self.units.items() if name == "Outbox" and u.uid in uids}
        if any(unit.state not in WAITING for unit in leaving.values()):
            raise Refused("INUSE")
        for network, unit in leaving.items():
            del self.units[network]
            self.ended.update((network, recipient) for recipient in unit.recipients)
            self.events["WITHDRAW"] += 1
        return [self.folders[name].messages.pop(uid) for uid in uids]


def _rows(messages: dict[int, Item]) -> dict[int, tuple[str, int]]:
    return {uid: (item.name, item.flags) for uid, item in messages.items()}


_decode = msgspec.msgpack.Decoder(tuple[Recipient, ...]).decode


def observed(connection: Connection) -> dict[str, Any]:
    """What the database says."""

    def rows(statement: str) -> list[Any]:
        return list(connection.execute(text(statement)).all())

    folders: dict[tuple[str, str], tuple[str, int, dict[int, tuple[str, int]]]] = {}
    names: dict[int, tuple[str, str]] = {}
    for folder, mailbox, name, role, uid_next in rows(
        "SELECT folder, mailbox_id, name, role, uid_next FROM folders JOIN mailboxes USING (mailbox)"
    ):
        names[folder] = mailbox, name
        folders[mailbox, name] = role, uid_next, {}
    for folder, uid, name, flags in rows(
        "SELECT folder, uid, message_id, flags FROM messages JOIN emails USING (email)"
    ):
        shown = "report" if name.endswith("@" + REPORTS) else name
        folders[names[folder]][2][uid] = shown, flags
    return {
        "folders": folders,
        "submitted": {key for (key,) in rows("SELECT submission_key FROM submissions")},
        "transfers": {key for (key,) in rows("SELECT transfer_key FROM received_transfers")},
        "guards": {(n, r) for n, r in rows("SELECT network_message_id, recipient_id FROM delivered")},
        "units": {
            network: (uid, tuple(each.address for each in _decode(recipients)), target, state)
            for network, uid, recipients, target, state in rows(
                "SELECT network_message_id, uid, recipients, target, state FROM outbox_units"
            )
        },
        "events": Counter(event for (event,) in rows("SELECT event FROM tracking_events")),
    }


RULES = {
    "the counters of a folder are those of its rows": f"""
        SELECT f.name FROM folders f LEFT JOIN messages m ON m.folder = f.folder GROUP BY f.folder
        HAVING f.messages != count(m.uid) OR f.size_bytes != coalesce(sum(m.size_bytes), 0)
        OR f.unseen != coalesce(sum(m.flags & {SEEN} = 0), 0)
        OR f.deleted != coalesce(sum(m.flags & {DELETED} != 0), 0)""",
    "UIDs and modseqs of rows were given by the folder": """
        SELECT f.name, m.uid FROM folders f JOIN messages m ON m.folder = f.folder
        WHERE m.uid >= f.uid_next OR m.modseq > f.highest_modseq""",
    "the counters of a mailbox are those of its folders": """
        SELECT b.mailbox_id FROM mailboxes b JOIN folders f ON f.mailbox = b.mailbox GROUP BY b.mailbox
        HAVING b.messages != sum(f.messages) OR b.size_bytes != sum(f.size_bytes)
        OR b.modseq < max(f.highest_modseq) OR b.last_uid_validity < max(f.uid_validity)
        OR count(*) != count(DISTINCT f.uid_validity)""",
    "an email is shown as often as it says": """
        SELECT e.message_id, e.reference_count FROM emails e LEFT JOIN messages m ON m.email = e.email
        GROUP BY e.email HAVING e.reference_count != count(m.uid)""",
    "a content is used as often as it says": """
        SELECT c.id, c.reference_count FROM contents c LEFT JOIN emails e ON e.content = c.id
        GROUP BY c.id HAVING c.reference_count != count(e.email)""",
    "every message has its email, every email its content": """
        SELECT m.folder, m.uid FROM messages m LEFT JOIN emails e ON e.email = m.email
        LEFT JOIN contents c ON c.id = e.content WHERE c.id IS NULL""",
    "what is expunged does not come back": """
        SELECT t.folder, t.uid FROM tombstones t LEFT JOIN messages m ON m.folder = t.folder AND m.uid = t.uid
        JOIN folders f ON f.folder = t.folder
        WHERE m.uid IS NOT NULL OR t.uid >= f.uid_next OR t.modseq > f.highest_modseq""",
    "a transfer unit has its entry in the Outbox": """
        SELECT u.transfer_key FROM outbox_units u
        LEFT JOIN messages m ON m.folder = u.folder AND m.uid = u.uid AND m.email = u.email
        WHERE m.uid IS NULL""",
    "an entry in the Outbox has one transfer unit": """
        SELECT m.uid FROM messages m JOIN folders f ON f.folder = m.folder AND f.role = 'outbox'
        LEFT JOIN outbox_units u ON u.folder = m.folder AND u.uid = m.uid
        GROUP BY m.folder, m.uid HAVING count(u.transfer_key) != 1""",
    "who has a message is guarded against a second one": """
        SELECT 1 WHERE (SELECT count(*) FROM tracking_events WHERE event = 'DELIVER')
        != (SELECT count(*) FROM delivered)""",
}


def broken_rules(connection: Connection) -> list[str]:
    return [
        f"not so: {rule}: {rows}"
        for rule, statement in RULES.items()
        if (rows := connection.execute(text(statement)).all())
    ]
