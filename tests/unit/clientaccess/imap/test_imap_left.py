"""Who selects a folder again sees what one sees who reads all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clientaccess.imap import left as module
from clientaccess.imap.context import Context
from clientaccess.imap.kept import Kept
from clientaccess.imap.left import KEYWORDS_COST, LeftViews
from clientaccess.imap.selected import leave, open_folder, synchronise
from clientaccess.imap.view import View
from foundation.interfaces.mailbox_store import DELETED, SEEN, FlagColumns, FlagEntry
from foundation.mail.errors import MailError
from tests.unit.clientaccess.imap.rig import MemoryStore, Talk


@pytest.fixture(autouse=True)
def small_folders_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGES_MIN", 1)


class ReadStore(MemoryStore):
    """Tells in `calls` when a folder is read whole."""

    def flags(self, mailbox_id: str, folder_id: str) -> AsyncIterator[FlagColumns]:
        self._call("flags")
        return super().flags(mailbox_id, folder_id)


@pytest.fixture
def store() -> MemoryStore:
    store = ReadStore()
    for flags, keywords in ((0, ("blue",)), (SEEN, ()), (DELETED, ("blue", "red"))):
        store.deliver(b"Subject: x\r\n\r\n", flags=flags, keywords=keywords)
    return store


class Unheard:
    def write(self, data: bytes) -> None:
        pass

    async def flush(self) -> None:
        pass


def session(store: MemoryStore, kept: Kept) -> Context:
    return Context(Unheard(), store, "mailbox", 1000, kept)


async def opened(context: Context, store: MemoryStore, *, claim: bool = False) -> View:
    folder = await store.select("mailbox", "INBOX", read_only=not claim)
    context.selected = await open_folder(context, folder, read_only=False)
    return context.selected.view


def shown(view: View) -> tuple[object, ...]:
    numbers = range(1, len(view) + 1)
    entries = [view.entry(number) for number in numbers]
    facts = view.recent, sorted(view.keywords), view.first_unseen(), view.recent_uids()
    return list(view.uids), view.shown_flags(numbers), entries, facts


async def test_only_what_changed_is_asked_for(store: MemoryStore) -> None:
    kept = Kept()
    first = session(store, kept)
    await opened(first, store, claim=True)
    leave(first)
    store.mark(1, SEEN)
    store.remove(2)
    store.boxes["INBOX"].messages[3].keywords = ()
    store.mark(3, 0)
    store.deliver(b"Subject: new\r\n\r\n", keywords=("green",))
    store.calls.clear()
    view = await opened(second := session(store, kept), store)
    assert store.calls == ["folder", "changes"]
    assert list(view.uids) == [1, 3, 4] and view.recent_uids() == [4] and view.last_uid == 4
    assert sorted(view.keywords) == ["blue", "green"], "those in use"
    assert view.entry(1).flags == SEEN and view.first_unseen() == 2
    store.calls.clear()
    assert shown(view) == shown(await opened(session(store, kept), store)), "the other one has it"
    assert store.calls == ["folder", "flags"]
    assert second.selected is not None and second.selected.modseq == store.boxes["INBOX"].modseq


async def test_by_commands(store: MemoryStore, talk: Talk) -> None:
    await talk.ask("SELECT INBOX")
    store.remove(2)
    await talk.ask("FETCH 1 FLAGS")  # no EXPUNGE before the next command
    store.calls.clear()
    answer = await talk.ask("SELECT INBOX")
    assert b"* 2 EXISTS" in answer and b"* OK [UNSEEN 1] First unseen message" in answer
    assert (await talk.ask("FETCH 1:* UID"))[:2] == [b"* 1 FETCH (UID 1)", b"* 2 FETCH (UID 3)"]
    await talk.ask("UNSELECT")
    store.deliver(b"Subject: new\r\n\r\n")
    answer = await talk.ask("EXAMINE INBOX")
    assert b"* 3 EXISTS" in answer and b"* 1 RECENT" in answer
    await talk.ask("LOGOUT")
    assert "flags" not in store.calls


@pytest.mark.parametrize("how", ["modseq", "lost", "more"])
async def test_a_folder_that_was_restored_is_read(store: MemoryStore, how: str) -> None:
    kept, box = Kept(), store.boxes["INBOX"]
    await opened(context := session(store, kept), store)
    leave(context)
    if how == "modseq":
        box.modseq -= 1
        box.messages[3].flags = SEEN
        box.messages[3].modseq = 1
    elif how == "lost":
        del box.messages[2]
    else:
        box.messages[9] = box.messages[1]
    store.calls.clear()
    view = await opened(session(store, kept), store)
    assert store.calls[-1] == "flags"
    assert shown(view) == shown(await opened(session(store, Kept()), store))


async def test_a_folder_that_changes_meanwhile_is_read(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept()
    await opened(context := session(store, kept), store)
    leave(context)
    changes = store.changes

    async def later(*arguments: object) -> object:
        store.deliver(b"Subject: new\r\n\r\n")
        return await changes(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "changes", later)
    view = await opened(session(store, kept), store)
    assert store.calls[-1] == "flags" and list(view.uids) == [1, 2, 3, 4]


async def test_a_store_that_fails_costs_the_view_alone(store: MemoryStore) -> None:
    kept = Kept()
    await opened(context := session(store, kept), store)
    leave(context)
    folder = await store.folder("mailbox", "INBOX")
    store.failure = MailError(451, "4.3.0", "Not now")
    with pytest.raises(MailError):
        await open_folder(context, folder, read_only=True)
    assert len((await open_folder(context, folder, read_only=True)).view) == 3
    assert store.calls[-1] == "flags"


def a_view(messages: int, with_keywords: int = 0) -> View:
    view = View()
    for uid in range(1, messages + 1):
        view.append(FlagEntry(uid, 0, 1, ("blue",) if uid <= with_keywords else ()), recent=False)
    return view


def test_the_room_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGES_MIN", 10)
    left = LeftViews(100)
    left.keep("small", 1, a_view(9), 1)
    left.keep("large", 1, a_view(51), 1)
    left.keep("keywords", 1, a_view(11, with_keywords=2), 1)
    assert left.messages == 0 and 11 + 2 * KEYWORDS_COST > 50
    for folder_id in ("a", "b", "c"):
        left.keep(folder_id, 1, a_view(40), 7)
    assert left.messages == 80 and left.take("a", 1) is None, "left longest ago"
    newer = a_view(30)
    left.keep("b", 1, newer, 9)
    assert left.messages == 70 and left.take("b", 2) is None
    assert left.take("b", 1) == (newer, 9) and left.take("b", 1) is None
    assert left.messages == 40


steps = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "mark", "remove", "words", "news", "again", "claim"]), st.integers(0, 31)
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_whatever_happened_meanwhile(chosen: list[tuple[str, int]]) -> None:
    async def run() -> None:
        store, kept = MemoryStore(), Kept()
        box, context = store.boxes["INBOX"], session(store, kept)
        await opened(context, store)
        for what, number in chosen:
            uids = sorted(box.messages)
            if what == "deliver":
                store.deliver(b"\r\n", flags=number)
            elif what == "news":
                assert context.selected is not None
                await synchronise(context, context.selected, expunge=number % 2 == 0)
            elif what in ("again", "claim"):
                leave(context)
                view = await opened(context, store, claim=what == "claim")
                folder = await store.folder("mailbox", "INBOX")
                if what == "again":
                    fresh = await open_folder(session(store, Kept()), folder, read_only=True)
                    assert shown(view) == shown(fresh.view)
            elif uids:
                uid = uids[number % len(uids)]
                if what == "remove":
                    store.remove(uid)
                else:
                    box.messages[uid].keywords = ("a", "b")[: number % 3] if what == "words" else ()
                    store.mark(uid, number)

    asyncio.run(run())
