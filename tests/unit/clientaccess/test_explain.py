"""What Client Access would say to a submission, by its sessions' policy."""

from __future__ import annotations

import pytest

from clientaccess.explain import SubmissionExplainer, computed
from config.model import AccessServer, Limits
from foundation.interfaces.directory import Credentials
from foundation.interfaces.explanation import Explanation, Question
from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError
from tests.unit.hubtransport.test_categorizer import Book
from tests.unit.hubtransport.test_routing_table import ANY, organisation

ACCESS = AccessServer(
    name="access",
    site="A",
    rpc=ANY,
    limits=Limits(message_size_bytes=5000, header_size_bytes=1000, recipients=1000),
)
TOPOLOGY = organisation(access=(ACCESS,))


class People(Book):
    """A directory whose users may log on, but for the disabled."""

    disabled: tuple[str, ...] = ()

    async def credentials(self, login: str) -> Credentials | None:
        user = await self.find(login)
        if user is None or user.kind != "user" or login in self.disabled:
            return None
        own = tuple(key for key, entry in self.entries.items() if entry is user)
        return Credentials(user=user, password_hash="", addresses=own)


@pytest.fixture
def people() -> People:
    people = People()
    people.user("alice@example.com", "store-a", "al@example.com")
    people.user("bob@example.com", "store-b")
    people.user("lost@example.com", "store-gone")
    return people


async def explained(
    people: People,
    *to: str,
    sender: str = "alice@example.com",
    size_bytes: int = 100,
    header: bytes = b"\r\n",
) -> Explanation:
    question = Question(
        door="submission",
        sender=Sender(address=sender, size_bytes=size_bytes),
        recipients=tuple(Recipient(address=address) for address in to),
        size_bytes=size_bytes,
        header=header,
    )
    return await SubmissionExplainer(ACCESS, TOPOLOGY, people, live=True).explain(question)


async def test_it_goes_to_the_store_of_the_sender(people: People) -> None:
    told = await explained(
        people, "bob@example.com", "eve@example.org", "Postmaster", sender="al@example.com"
    )
    (onward,) = told.onward
    assert (onward.next_hop, onward.door, told.ends, told.live) == ("store-a", "outbox", (), True)
    assert [going.recipient.address for going in onward.recipients] == [
        "bob@example.com",
        "eve@example.org",
        "Postmaster@example.com",
    ]
    assert onward.recipients[2].original == "Postmaster"
    assert all(step.what and step.why for step in told.steps)


async def test_the_unknown_are_refused_and_the_others_go_on(people: People) -> None:
    told = await explained(people, "nobody@example.com", "bob@example.com")
    (end,) = told.ends
    assert (end.original, end.outcome, end.reply[:9]) == ("nobody@example.com", "refused", "550 5.1.1")
    assert [going.original for going in told.onward[0].recipients] == ["bob@example.com"]


@pytest.mark.parametrize(
    ("change", "reply"),
    [
        ({"sender": "stranger@example.org"}, "535 5.7.8"),
        ({"sender": ""}, "535 5.7.8"),
        ({"sender": "dora@example.com"}, "535 5.7.8"),
        ({"sender": "lost@example.com"}, "451 4.3.2"),
        ({"size_bytes": 5001}, "552 5.3.4"),
        ({"header": b"X: " + b"x" * 1000 + b"\r\n\r\n"}, "552 5.3.4"),
        ({"header": b"Received: from a by b\r\n" * 31 + b"\r\n"}, "554 5.4.6"),
    ],
)
async def test_what_is_refused_as_a_whole(people: People, change: dict[str, object], reply: str) -> None:
    people.user("dora@example.com")
    people.disabled = ("dora@example.com",)
    told = await explained(people, "bob@example.com", "alice@example.com", **change)  # type: ignore[arg-type]
    assert [end.reply[:9] for end in told.ends] == [reply, reply]
    assert told.onward == ()


async def test_a_directory_that_is_away_is_no_refusal(people: People) -> None:
    people.away = True
    with pytest.raises(MailError) as refused:
        await explained(people, "bob@example.com")
    assert not refused.value.permanent


async def test_computed_says_that_it_is(people: People) -> None:
    question = Question(
        door="submission",
        sender=Sender(address="alice@example.com"),
        recipients=(Recipient(address="bob@example.com"),),
        size_bytes=1,
    )
    told = await computed(TOPOLOGY, "access", people).explain(question)
    assert (told.live, told.server, told.onward[0].next_hop) == (False, "access", "store-a")
