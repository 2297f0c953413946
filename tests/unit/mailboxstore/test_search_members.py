"""Which messages of a folder have the emails that an index found."""

from __future__ import annotations

import asyncio
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailboxstore.search import members as module
from mailboxstore.search.indexes import _rising
from mailboxstore.search.members import MESSAGES_A_TURN, Members

emails = st.lists(st.integers(1, 40), max_size=25)


def members_of(folder: list[int], first_uid: int = 5, step: int = 2) -> Members:
    return Members(array("Q", range(first_uid, first_uid + step * len(folder), step)), array("Q", folder))


@settings(max_examples=100, deadline=None)
@given(emails, st.sets(st.integers(1, 40)), st.integers(0, 41), st.integers(1, 30))
def test_it_finds_what_looking_at_each_finds(
    folder: list[int], sought: set[int], last_email: int, messages_a_turn: int
) -> None:
    members = members_of(folder)
    pairs = list(zip(members.uids, folder, strict=True))

    async def ask() -> tuple[set[int], set[int]]:
        return await members.of_emails(sought), await members.later_than(last_email)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MESSAGES_A_TURN", messages_a_turn)
        having, later = asyncio.run(ask())
    assert having == {uid for uid, email in pairs if email in sought}
    assert later == {uid for uid, email in pairs if email > last_email}
    assert members.last_email == max(folder, default=0)


async def test_the_emails_of_the_whole_folder_and_of_another() -> None:
    members = members_of([3, 4, 9])
    assert await members.of_emails([3, 4, 9]) == {5, 7, 9}
    assert await members.of_emails([9, 3, 4]) == {5, 7, 9}
    assert await members.of_emails([3, 4, 8]) == {5, 7}
    assert await members_of([4, 3, 9]).of_emails([3, 4, 9]) == {5, 7, 9}


async def test_others_have_their_turn_while_a_large_folder_is_looked_through() -> None:
    members = members_of(list(range(1, 3 * MESSAGES_A_TURN + 1)))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    found = await members.of_emails({1, 3 * MESSAGES_A_TURN})
    other.cancel()
    assert found == {members.uids[0], members.uids[-1]}
    assert turns == 2


@given(st.lists(emails, max_size=4))
def test_the_emails_of_all_folders_rise_and_come_once(folders: list[list[int]]) -> None:
    together = {email for folder in folders for email in folder}
    assert list(_rising([array("Q", folder) for folder in folders])) == sorted(together)
