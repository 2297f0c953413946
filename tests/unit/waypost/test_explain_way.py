"""The way put together from the stations' answers: who is whom by then, what waits, ways without an end."""

from __future__ import annotations

from foundation.interfaces.explanation import End, Explanation, Going, Onward, Question, Wait
from foundation.mail.envelope import Recipient, Sender
from waypost.explain import HOPS_MAX, Answered, every_hop, follow


def question(*to: str) -> Question:
    return Question(
        door="submission",
        sender=Sender(address="alice@example.com"),
        recipients=tuple(Recipient(address=address) for address in to),
        size_bytes=1,
    )


def going(original: str, address: str = "") -> Going:
    return Going(recipient=Recipient(address=address or original), original=original)


def onward(next_hop: str, *who: Going, door: str | None = "smtp-internal", wait: str = "") -> Onward:
    return Onward(
        recipients=who,
        door=door,  # type: ignore[arg-type]
        next_hop=next_hop,
        choices=(next_hop,),
        why="it is near",
        wait=Wait(reason=wait) if wait else None,
    )


class Servers:
    """Answers as written down, and notes what they were asked."""

    def __init__(self, **answers: Explanation) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Question]] = []

    async def __call__(self, server: str, question: Question) -> Answered:
        self.asked.append((server, question))
        return Answered(self.answers[server])


def station(server: str, *next_hops: Onward, ends: tuple[End, ...] = (), assessed: str = "") -> Explanation:
    return Explanation(server=server, live=True, onward=next_hops, ends=ends, assessed=assessed)


def delivered(address: str) -> End:
    return End(address=address, original=address, outcome="delivered", reply="250 2.1.5 Delivered")


async def test_fates_are_told_of_what_the_sender_wrote() -> None:
    servers = Servers(
        access=station("access", onward("hub", going("team@a"), going("al@a"))),
        hub=station(
            "hub",
            onward("s1", going("team@a", "bob@a"), going("al@a", "alice@a"), door="lmtp"),
            onward("out", going("team@a", "eve@x"), door=None),
            ends=(End(address="team@a", original="team@a", outcome="expanded"),),
            assessed="hub/1",
        ),
        s1=station("s1", ends=(delivered("bob@a"), delivered("alice@a"))),
    )
    way = await follow("access", question("al@a", "team@a"), servers)
    assert [(fate.given, fate.address, fate.outcome, fate.server) for fate in way.fates] == [
        ("al@a", "alice@a", "delivered", "s1"),
        ("team@a", "team@a", "expanded", "hub"),
        ("team@a", "bob@a", "delivered", "s1"),
        ("team@a", "eve@x", "relayed", "hub"),
    ]
    assert way.arrives
    assert [hop.server for hop in every_hop(way)] == ["access", "hub", "s1"]
    assert [asked.assessed for _, asked in servers.asked] == ["", "", "hub/1"]
    assert [asked.door for _, asked in servers.asked] == ["submission", "smtp-internal", "lmtp"]


async def test_one_who_misses_it_makes_the_answer_no() -> None:
    for outcome in ("refused", "failed", "deferred", "unreachable"):
        lost = End(address="b@a", original="b@a", outcome=outcome)  # type: ignore[arg-type]
        servers = Servers(access=station("access", ends=(delivered("a@a"), lost)))
        way = await follow("access", question("a@a", "b@a"), servers)
        assert not way.arrives
        assert [fate.lost for fate in way.fates] == [False, True]


async def test_a_group_of_nobody_reaches_nobody() -> None:
    expanded = End(address="team@a", original="team@a", outcome="expanded")
    way = await follow("hub", question("team@a"), Servers(hub=station("hub", ends=(expanded,))))
    assert not way.arrives


async def test_waits_on_the_way_are_told_at_its_end() -> None:
    servers = Servers(
        hub=station("hub", onward("hub2", going("b@a"), wait="421 later")),
        hub2=station("hub2", onward("s2", going("b@a"), door="lmtp", wait="no answer")),
        s2=station("s2", ends=(delivered("b@a"),)),
    )
    way = await follow("hub", question("b@a"), servers)
    assert [fate.waits for fate in way.fates] == [("hub2", "s2")]
    assert way.arrives


async def test_servers_that_send_it_round_are_a_loop() -> None:
    servers = Servers(hub=station("hub", onward("hub", going("b@a"))))
    way = await follow("hub", question("b@a"), servers)
    (fate,) = way.fates
    assert (fate.outcome, fate.reply[:9]) == ("failed", "554 5.4.6")
    assert len(servers.asked) == HOPS_MAX + 1
