"""What a store would do: with the Outbox of a sender, and with mail for its mailboxes."""

from __future__ import annotations

from config.model import StoreServer
from foundation.interfaces.explanation import Explanation, Question, Wait
from foundation.mail.envelope import Recipient, Sender
from mailboxstore.database.changes import Mailbox
from mailboxstore.explain import StoreExplainer, computed
from tests.unit.hubtransport.test_routing_table import ANY, hub, organisation
from tests.unit.mailboxstore.bench import ALICE, BOB, CAROL, STORE, FewUsers

SETTINGS = StoreServer(name=STORE, site="A", lmtp=ANY, rpc=ANY)
TOPOLOGY = organisation(hubs=(hub("hub-a1", "A"), hub("hub-a2", "A"), hub("hub-b", "B")))
USED = Mailbox(1, ALICE.mailbox_id, ALICE.recipient_id, 1, 1, 10, 700, True)


async def explained(
    question: Question, *, quota_bytes: int = 0, away: dict[str, Wait] | None = None
) -> Explanation:
    async def usage(mailbox_id: str) -> Mailbox | None:
        return USED if mailbox_id == ALICE.mailbox_id else None

    settings = SETTINGS.model_copy(update={"mailbox_quota_bytes": quota_bytes})
    directory = FewUsers(ALICE, BOB, CAROL)
    waits = away or {}
    return await StoreExplainer(settings, TOPOLOGY, directory, usage, waits.get, live=True).explain(question)


def question(door: str, *to: Recipient, sender: str = ALICE.address, size_bytes: int = 100) -> Question:
    return Question(door=door, sender=Sender(address=sender), recipients=to, size_bytes=size_bytes)  # type: ignore[arg-type]


TO_BOB = Recipient(address=BOB.address)


async def test_the_outbox_goes_to_a_hub_of_the_site_that_answers() -> None:
    told = await explained(question("outbox", TO_BOB), away={"hub-a1": Wait(reason="refused")})
    (onward,) = told.onward
    assert (onward.choices, onward.wait, onward.door) == (("hub-a2",), None, "smtp-internal")
    told = await explained(
        question("outbox", TO_BOB), away={name: Wait(reason="refused") for name in ("hub-a1", "hub-a2")}
    )
    assert (told.onward[0].choices, told.onward[0].wait) == (("hub-a1", "hub-a2"), Wait(reason="refused"))


async def test_what_the_outbox_does_not_take_is_refused() -> None:
    for changes, reply in (
        ({"size_bytes": 1 << 30}, "552 5.3.4"),
        ({"size_bytes": 200}, "552 5.2.2"),
        ({"sender": "nobody@example.org"}, "550 5.1.1"),
    ):
        told = await explained(question("outbox", TO_BOB, **changes), quota_bytes=1000)  # type: ignore[arg-type]
        assert [(end.outcome, end.reply[:9]) for end in told.ends] == [("refused", reply)]
        assert told.onward == ()


async def test_mail_for_mailboxes_is_answered_one_by_one() -> None:
    to = (
        Recipient(address=ALICE.address),
        TO_BOB,
        Recipient(address=CAROL.address, recipient_id=CAROL.recipient_id),
        Recipient(address="gone@example.org", recipient_id="user-gone"),
    )
    told = await explained(question("lmtp", *to, size_bytes=400), quota_bytes=1000)
    assert [(end.original, end.outcome, end.reply[:9]) for end in told.ends] == [
        (ALICE.address, "deferred", "452 4.2.2"),
        (BOB.address, "delivered", "250 2.1.5"),
        (CAROL.address, "deferred", "451 4.1.6"),
        ("gone@example.org", "failed", "550 5.1.1"),
    ]
    assert [(event.event, event.recipients, event.mailbox_id) for event in told.events] == [
        ("DELIVER", (BOB.address,), BOB.mailbox_id)
    ]


async def test_what_is_too_large_for_delivery_fails() -> None:
    told = await explained(question("lmtp", TO_BOB, size_bytes=1 << 30))
    assert [(end.outcome, end.reply[:9]) for end in told.ends] == [("failed", "552 5.3.4")]


async def test_computed_takes_hubs_to_answer_and_mailboxes_to_have_room() -> None:
    store = computed(TOPOLOGY, "store-a", FewUsers(ALICE, BOB, CAROL))
    told = await store.explain(question("outbox", TO_BOB))
    assert (told.live, told.onward[0].choices) == (False, ("hub-a1", "hub-a2"))
