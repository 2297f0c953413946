"""The pure parts: ranges, counters, outcomes, back-off, notices that merge."""

from __future__ import annotations

import pytest

from foundation.interfaces.mailbox_store import DELETED, SEEN, Notice, Refusal
from foundation.mail.envelope import Recipient
from foundation.smtp.reply import Reply
from mailboxstore import notifications
from mailboxstore.database.changes import FolderRow, Mailbox, MailboxChange, over_quota
from mailboxstore.database.messages import pack_keywords, unpack_keywords
from mailboxstore.database.ranges import locate, runs, windows
from mailboxstore.notifications import Notifications
from mailboxstore.outbox.outcome import decide, refused_before_sending
from mailboxstore.outbox.reports import wants
from mailboxstore.outbox.retry import Backoff

OK = Reply.of(250, "2.0.0", "Yes")
NO = Reply.of(550, "5.1.1", "No")
LATER = Reply.of(451, "4.3.0", "Later")
A, B, C = (Recipient(address=f"{name}@example.org") for name in "abc")


def test_windows_join_what_is_close() -> None:
    assert list(windows(((1, 2), (5, 6), (1000, 1000), (7, 3)))) == [(1, 6), (1000, 1000)]
    assert list(windows(())) == []


def test_locate() -> None:
    find = locate(((2, 4), (9, 9)))
    assert [find(uid) for uid in (1, 2, 4, 5, 9, 10)] == [-1, 0, 0, -1, 1, -1]


def test_runs_follow_positions() -> None:
    positions = {1: 0, 5: 1, 6: 2, 9: 4, 10: 5}
    assert runs([1, 5, 9, 10], positions) == [(1, 5), (9, 10)]
    assert runs([], positions) == []


def test_counters_of_one_commit() -> None:
    mailbox = Mailbox(1, "m", "u", 5, 7, 0, 0, True)
    folder = FolderRow(1, "f", 1, "INBOX", "inbox", True, 5, 1, 7, 1, 0, 0, 0, 0)
    change = MailboxChange(mailbox)
    assert [change.place(folder, 0, 10), change.place(folder, SEEN | DELETED, 20)] == [1, 2]
    change.reflag(folder, 0, SEEN)
    change.remove(folder, SEEN | DELETED, 20)
    assert (folder.messages, folder.unseen, folder.deleted, folder.size_bytes) == (1, 0, 0, 10)
    assert (mailbox.modseq, folder.highest_modseq, folder.uid_next) == (8, 8, 3)
    assert (mailbox.messages, mailbox.size_bytes) == (1, 10)
    assert change.all_notices("m") == (("m", Notice(folder_id="f", highest_modseq=8)),)
    assert over_quota(mailbox, 1, 10) and not over_quota(mailbox, 0, 10) and not over_quota(mailbox, 1, 0)


def test_keywords_differ_not_by_case_alone() -> None:
    assert pack_keywords(("b", "A", "a", "B")) == "A b"
    assert unpack_keywords("") == () and unpack_keywords("A b") == ("A", "b")


def test_outcomes() -> None:
    mixed = decide((A, B, C), OK, (OK, NO, LATER), (OK,))
    assert mixed.taken == (A,)
    assert [item.recipient for item in mixed.failed] == [B]
    assert [item.recipient for item in mixed.deferred] == [C]
    assert mixed.reply == "250 2.0.0 Yes"
    refused = decide((A, B), OK, (OK, NO), (LATER,))
    assert not refused.taken and [item.reply for item in refused.deferred] == [LATER]
    assert [item.recipient for item in decide((A, B), NO, (), ()).failed] == [A, B]
    assert [item.recipient for item in decide((A,), LATER, (), ()).deferred] == [A]
    assert [item.recipient for item in decide((A,), OK, (OK,), ()).deferred] == [A]
    assert refused_before_sending((A,), 550, "5.6.7", "No").failed[0].reply.status == "5.6.7"


def test_backoff_doubles_to_a_bound() -> None:
    backoff = Backoff(1, 30, lambda low, high: high)
    assert [backoff.seconds(n) for n in (0, 1, 2, 5, 6, 100)] == [1, 1, 2, 16, 30, 30]
    assert backoff.next_ms(1000, 2) == 3000


def test_who_wants_a_report() -> None:
    never = Recipient(address="a@x", notify="NEVER")
    success = Recipient(address="a@x", notify="SUCCESS,FAILURE")
    assert wants(A, "FAILURE") and wants(A, "DELAY")
    assert not wants(never, "FAILURE") and not wants(never, "DELAY")
    assert wants(success, "FAILURE") and not wants(success, "DELAY")


async def test_slow_watcher_gets_one_notice_a_folder() -> None:
    told = Notifications()
    slow = told.watch("m")
    assert await anext(slow) == Notice()
    for modseq in range(1, 1000):
        told.publish((("m", Notice(folder_id=f"f{modseq % 3}", highest_modseq=modseq)), ("other", Notice())))
    got = [await anext(slow) for _ in range(3)]
    assert {notice.folder_id: notice.highest_modseq for notice in got} == {"f0": 999, "f1": 997, "f2": 998}
    told.close()
    assert [notice async for notice in slow] == []
    assert told.watchers == 0


async def test_too_many_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "WATCHERS_PER_MAILBOX_MAX", 1)
    told = Notifications()
    first = told.watch("m")
    await anext(first)
    with pytest.raises(Refusal):
        await anext(told.watch("m"))
    await anext(told.watch("other"))
    await first.aclose()
    assert await anext(told.watch("m")) == Notice()
