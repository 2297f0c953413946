"""Deliberate mistakes in the running code, each a small patch: what the simulator must find.

`seed` is where it is found first, tried from 1 on; docs/simulation.md has the table.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec
import pytest

import hubtransport.categorizer.forwarder
import hubtransport.daemon
import hubtransport.delivery.conclude
import hubtransport.queues.submission
import mailboxstore.database.guards
import mailboxstore.outbox.submission
from foundation.mail.errors import MailError
from foundation.pressure.levels import LEVELS, Gauge, Level
from foundation.smtp.reply import Reply
from hubtransport.delivery.conclude import Concluder
from hubtransport.explain import HubExplainer
from hubtransport.queues import statements
from hubtransport.receive.session import HubSession
from mailboxstore.database.changes import MailboxChange
from mailboxstore.delivery import filing
from mailboxstore.notifications import Notifications
from mailboxstore.outbox.agent import OutboxAgent
from mailboxstore.outbox.outcome import Outcome
from waypost.simulator.machine import Process
from waypost.simulator.world import SimulatedExecutor

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Sabotage:
    name: str
    seed: int
    """The first that finds it."""
    apply: Patch


class _Nothing:
    """A statement that is not carried out."""

    def run(self, *arguments: object) -> None:
        pass


def hub_answers_before_its_commit(patch: pytest.MonkeyPatch) -> None:
    commit = HubSession._commit
    running: set[Any] = set()

    async def early(self: HubSession, content: Any, facts: Any, now_ms: int) -> Reply:
        whole = content.read(0, content.size_bytes)
        copy = type(content).of(whole)
        task = asyncio.get_running_loop().create_task(_quiet(commit(self, copy, facts, now_ms)))
        running.add(task)
        await asyncio.sleep(0)  # it has built its rows, and waits for the disk
        return Reply.of(250, "2.6.0", "queued")

    patch.setattr(HubSession, "_commit", early)


async def _quiet(work: Any) -> None:
    with contextlib.suppress(MailError):
        await work


def hub_does_not_commit_the_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(statements, "insert_key", _Nothing())


def hub_forgets_keys_at_its_restart(patch: pytest.MonkeyPatch) -> None:
    recover = hubtransport.daemon.recover

    def forgetful(connection: Any, latest_ms: int) -> Any:
        connection.exec_driver_sql("DELETE FROM received_keys")
        return recover(connection, latest_ms)

    patch.setattr(hubtransport.daemon, "recover", forgetful)


def outbox_entry_deleted_before_the_hubs_answer(patch: pytest.MonkeyPatch) -> None:
    send = OutboxAgent._send

    async def early(self: OutboxAgent, connection: Any, unit: Any, kept: Any) -> Outcome:
        await self._settle(unit, unit.target, Outcome(taken=unit.recipients, reply="250"))
        return await send(self, connection, unit, kept)

    patch.setattr(OutboxAgent, "_send", early)


def outbox_takes_a_lost_answer_for_a_good_one(patch: pytest.MonkeyPatch) -> None:
    async def believe(self: OutboxAgent, unit: Any, reply: str) -> None:
        await self._settle(unit, unit.target, Outcome(taken=unit.recipients, reply=reply))

    patch.setattr(OutboxAgent, "_unknown", believe)


def queue_row_deleted_before_the_next_hops_answer(patch: pytest.MonkeyPatch) -> None:
    async def broken(self: Concluder, unit: Any, attempt: Any) -> None:
        ended = tuple(queued.position for queued in unit.recipients)
        await self._commit(unit, ended, None, (), ())

    patch.setattr(Concluder, "broken", broken)


def every_fifth_notice_is_lost(patch: pytest.MonkeyPatch) -> None:
    publish, number = Notifications.publish, count(1)

    def lossy(self: Notifications, notices: Any) -> None:
        publish(self, [notice for notice in notices if next(number) % 5])

    patch.setattr(Notifications, "publish", lossy)


def last_of_several_recipients_dropped_at_fan_out(patch: pytest.MonkeyPatch) -> None:
    plan = hubtransport.categorizer.forwarder.plan

    def lossy(message: Any, result: Any, **options: Any) -> Any:
        shares, dropped = [], []
        for share in result.shares:
            kept = share.recipients[:2]
            dropped += share.recipients[2:]
            shares.append(msgspec.structs.replace(share, recipients=kept))
        merged = (*result.merged, *dropped)
        return plan(message, msgspec.structs.replace(result, shares=tuple(shares), merged=merged), **options)

    patch.setattr(hubtransport.categorizer.forwarder, "plan", lossy)


def reports_are_sent_twice(patch: pytest.MonkeyPatch) -> None:
    for module in (hubtransport.delivery.conclude, hubtransport.categorizer.forwarder):
        make = module.make_reports

        async def twice(store: Any, world: Any, *rest: Any, make: Any = make) -> Any:
            reports, events = await make(store, world, *rest)
            again = [
                (msgspec.structs.replace(report, network_message_id=world.entropy.identifier()), content)
                for report, content in reports
            ]
            return (*reports, *again), events

        patch.setattr(module, "make_reports", twice)


def retry_times_lost_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    recover = hubtransport.daemon.recover

    def forgetful(connection: Any, latest_ms: int) -> Any:
        found = recover(connection, latest_ms)
        return msgspec.structs.replace(found, hops=())

    patch.setattr(hubtransport.daemon, "recover", forgetful)


def store_skips_key_and_guard(patch: pytest.MonkeyPatch) -> None:
    guards = mailboxstore.database.guards
    patch.setattr(guards, "transfer_results", lambda connection, key: None)
    patch.setattr(guards, "remember_transfer", lambda *arguments: None)
    patch.setattr(guards, "mark_delivered", lambda *arguments: True)


def pin_lost_after_an_unknown_outcome(patch: pytest.MonkeyPatch) -> None:
    unknown_rest = hubtransport.delivery.conclude.unknown_rest

    def unpinned(unit: Any, attempt: Any, **options: Any) -> Any:
        return unknown_rest(unit, attempt, **{**options, "pin": False})

    patch.setattr(hubtransport.delivery.conclude, "unknown_rest", unpinned)


def doubles_are_not_merged(patch: pytest.MonkeyPatch) -> None:
    import hubtransport.categorizer.pipeline as pipeline

    patch.setattr(pipeline, "merge", lambda candidates: (tuple(candidates), (), ()))


def bcc_stays_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mailboxstore.outbox.submission, "remove_headers", lambda header, names: header)


def uids_are_given_again(patch: pytest.MonkeyPatch) -> None:
    remove = MailboxChange.remove

    def give_back(self: MailboxChange, folder: Any, flags: int, size_bytes: int) -> None:
        remove(self, folder, flags, size_bytes)
        if folder.name == "INBOX":
            folder.uid_next -= 1

    patch.setattr(MailboxChange, "remove", give_back)


def two_recipients_mailboxes_are_mixed_up(patch: pytest.MonkeyPatch) -> None:
    import mailboxstore.delivery.session as session

    file_delivery = filing.file_delivery

    def mixed(connection: Any, database: Any, delivery: Any, now_ms: int) -> Any:
        if len(delivery.recipients) == 3:
            first, _, *rest = delivery.recipients
            delivery = filing.Delivery(**{**vars(delivery), "recipients": (first, first, *rest)})
        return file_delivery(connection, database, delivery, now_ms)

    patch.setattr(session, "file_delivery", mixed)


def a_repeated_submission_is_filed_again(patch: pytest.MonkeyPatch) -> None:
    guards = mailboxstore.database.guards
    patch.setattr(guards, "was_submitted", lambda connection, key: False)
    patch.setattr(guards, "mark_submitted", lambda *arguments: True)


def sent_copy_is_forgotten_with_the_outbox_entry(patch: pytest.MonkeyPatch) -> None:
    submission = mailboxstore.outbox.submission
    place, number = submission._place, count(1)

    def lossy(connection: Any, change: Any, folder: Any, *more: Any) -> int:
        uid = place(connection, change, folder, *more)
        if folder.role == "sent" and not next(number) % 7:
            values = (folder.folder, uid)
            connection.exec_driver_sql("DELETE FROM messages WHERE folder = ? AND uid = ?", values)
        return uid

    patch.setattr(submission, "_place", lossy)


def explain_leaves_out_a_way(patch: pytest.MonkeyPatch) -> None:
    explain = HubExplainer.explain

    async def forgetful(self: HubExplainer, question: Any) -> Any:
        told = await explain(self, question)
        return msgspec.structs.replace(told, onward=told.onward[:1])

    patch.setattr(HubExplainer, "explain", forgetful)


def mail_does_not_follow_a_moved_mailbox(patch: pytest.MonkeyPatch) -> None:
    async def never(self: Concluder, unit: Any, result: Any) -> bool:
        return False

    patch.setattr(Concluder, "_moved", never)


def back_pressure_never_ends(patch: pytest.MonkeyPatch) -> None:
    wanted = Gauge._wanted

    def stays(self: Gauge, value: float) -> Level:
        return max(self.level, wanted(self, value), key=LEVELS.index)

    patch.setattr(Gauge, "_wanted", stays)


def a_commit_is_answered_before_it_is_on_the_disk(patch: pytest.MonkeyPatch) -> None:
    """As with synchronous=OFF: whatever was committed last may be lost, answered or not."""
    patch.setattr(SimulatedExecutor, "_pending", lambda self, pending: None)
    create = Process.__init__

    def made(self: Process, *arguments: Any, **fields: Any) -> None:
        create(self, *arguments, **fields, commit_pending=True)

    patch.setattr(Process, "__init__", made)


SABOTAGES = (
    Sabotage("hub answers 250 before its commit", 4, hub_answers_before_its_commit),
    Sabotage("hub does not commit the transfer key", 3, hub_does_not_commit_the_key),
    Sabotage("hub forgets transfer keys at its restart", 33, hub_forgets_keys_at_its_restart),
    Sabotage("Outbox entry goes before the hub's 250", 2, outbox_entry_deleted_before_the_hubs_answer),
    Sabotage("Outbox takes a lost answer for a 250", 4, outbox_takes_a_lost_answer_for_a_good_one),
    Sabotage("queue row goes before the next hop's 250", 1, queue_row_deleted_before_the_next_hops_answer),
    Sabotage("every fifth notice is lost", 1, every_fifth_notice_is_lost),
    Sabotage("a recipient is dropped at fan-out", 1, last_of_several_recipients_dropped_at_fan_out),
    Sabotage("reports are sent twice", 1, reports_are_sent_twice),
    Sabotage("retry times are lost at a restart", 3, retry_times_lost_at_a_restart),
    Sabotage("store skips transfer key and guard", 3, store_skips_key_and_guard),
    Sabotage("pin is lost after an unknown outcome", 177, pin_lost_after_an_unknown_outcome),
    Sabotage("doubles are not merged", 8, doubles_are_not_merged),
    Sabotage("Bcc stays in", 6, bcc_stays_in),
    Sabotage("UIDs are given again", 1, uids_are_given_again),
    Sabotage("mailboxes of two recipients are mixed up", 1, two_recipients_mailboxes_are_mixed_up),
    Sabotage("a repeated submission is filed again", 31, a_repeated_submission_is_filed_again),
    Sabotage("a Sent copy is lost", 1, sent_copy_is_forgotten_with_the_outbox_entry),
    Sabotage("explain leaves out a way", 8, explain_leaves_out_a_way),
    Sabotage("mail does not follow a moved mailbox", 1, mail_does_not_follow_a_moved_mailbox),
    Sabotage("back pressure never ends", 2, back_pressure_never_ends),
    Sabotage("250 before the commit is on the disk", 3, a_commit_is_answered_before_it_is_on_the_disk),
)
