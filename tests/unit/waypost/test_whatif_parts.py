"""The parts of a what-if: the load, the organisation made harmless, the account, the drawing."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import islice, pairwise
from pathlib import Path

import pytest

from config.model import Topology
from config.reader import read_topology
from waypost.servers import servers_of
from waypost.simulator.whatif.books import Accepted, Books
from waypost.simulator.whatif.load import FROM_OUTSIDE_SHARE, Mix, drafts
from waypost.simulator.whatif.options import parse_failures
from waypost.simulator.whatif.outcomes import Ends, Outcomes, settle
from waypost.simulator.whatif.people import kind_of
from waypost.simulator.whatif.plot import clock, plot, sparkline
from waypost.simulator.whatif.queues import Depth, Sample, Waiting
from waypost.simulator.whatif.report import document, report_of, share
from waypost.simulator.whatif.run import SAMPLES_MAX, Asked, Happened, sample_seconds
from waypost.simulator.whatif.surroundings import (
    Impossible,
    Names,
    authoritative_domain,
    doors,
    harmless,
    outside_of,
)

CONFIG = Path(__file__).parents[3] / "config/two-sites.toml"
SECRETS = """
[servers.hub-a.retry]
expiry_seconds = 90000
[[send_connectors]]
name = "relay"
smart_hosts = ["relay.example.org:587", "192.0.2.1:25"]
tls = "verified"
username = "us"
password_file = "/nowhere/password"
ca_file = "/nowhere/ca.pem"
[[send_connectors]]
name = "partner"
address_spaces = ["*.partner.example", "example.test"]
port = 2525
tls = "required"
"""


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    """With everything of which nothing may be touched."""
    text = CONFIG.read_text("utf-8")
    text = text.replace(
        'rpc = "127.0.0.1:2725"', 'rpc = "hub-a.example.test:2725"\ndatabase_url = "postgresql://db/a"'
    )
    text = text.replace('data = "data"', 'data = "data"\ndirectory_url = "postgresql://db/directory"')
    text = text.replace(
        'submissions = "127.0.0.1:1465"\n', 'certificate_file = "/no.pem"\nkey_file = "/no.key"\n'
    )
    file = tmp_path / "own.toml"
    file.write_text(text + SECRETS, "utf-8")
    return read_topology(file, {})


# --- the load

MIX = Mix([f"user{number}@example.test" for number in range(20)], "example.test", 3, ["outside.example"])


def test_the_load_follows_from_the_seed() -> None:
    assert list(drafts(1, 5.0, 60, MIX)) == list(drafts(1, 5.0, 60, MIX)) != list(drafts(2, 5.0, 60, MIX))


def test_the_load_has_its_rate_and_its_mix() -> None:
    found = list(drafts(1, 50.0, 100, MIX))
    assert 4700 < len(found) < 5300
    assert all(0 < one.at <= other.at < 100 for one, other in pairwise(found))
    strangers = [draft for draft in found if draft.sender < 0]
    assert abs(len(strangers) / len(found) - FROM_OUTSIDE_SHARE) < 0.03
    assert {draft.sender for draft in strangers} == {-1, -2, -3}
    for draft in strangers:
        assert all(recipient.endswith("@example.test") for recipient in draft.recipients)
    assert any(recipient.endswith("@outside.example") for draft in found for recipient in draft.recipients)
    assert len({draft.size_bytes for draft in found}) == 4
    assert max(len(draft.recipients) for draft in found) > 10


def test_who_has_no_way_out_or_in_writes_inside() -> None:
    found = islice(drafts(1, 5.0, 1000, Mix(MIX.users, MIX.domain, 0, (), size_bytes=700)), 500)
    for draft in found:
        assert draft.sender >= 0
        assert draft.size_bytes == 700
        assert set(draft.recipients) <= set(MIX.users)


# --- the organisation


def test_nothing_of_the_user_is_left_to_be_touched(topology: Topology, tmp_path: Path) -> None:
    changed = harmless(topology, tmp_path / "run")
    text = changed.model_dump_json()
    for secret in ("postgresql", "/no.", "/nowhere", "127.0.0.1", "hub-a.example.test", "verified", "demo"):
        assert secret not in text.replace('"demo_users":[]', "")
    assert changed.data == tmp_path / "run"
    assert changed.hubs[0].retry.expiry_seconds == 90000
    hosts = [{each.host for each in server.endpoints().values()} for server in servers_of(changed)]
    assert all(len(each) == 1 for each in hosts)
    assert len({host for each in hosts for host in each}) == len(hosts)


def test_who_offers_starttls_alone_gets_mail_all_the_same(topology: Topology, tmp_path: Path) -> None:
    assert topology.access[0].submissions is None
    changed = harmless(topology, tmp_path)
    assert [server.name for server in doors(topology).submission] == ["access"]
    assert changed.access[0].submissions is not None


def test_hosts_outside_are_those_that_connectors_lead_to(topology: Topology, tmp_path: Path) -> None:
    found = outside_of(harmless(topology, tmp_path))
    assert found.domains == ("outside.example", "somewhere.partner.example")
    assert found.hosts["192.0.2.1"] == (25,)
    assert found.hosts[found.names["relay.example.org"]] == (587,)
    assert found.hosts[found.names[found.exchangers["somewhere.partner.example"]]] == (25, 2525)


def test_replies_name_servers_and_hosts(topology: Topology, tmp_path: Path) -> None:
    changed = harmless(topology, tmp_path)
    outside = outside_of(changed)
    names = Names(changed, outside)
    assert names.shown(f"{changed.hubs[1].smtp_internal} can't be reached") == "hub-b can't be reached"
    relay = outside.names["relay.example.org"]
    assert (
        names.shown(f"no answer of {relay}:587, 192.0.2.1:25")
        == "no answer of relay.example.org, 192.0.2.1:25"
    )


def test_without_a_connector_nothing_goes_out() -> None:
    assert outside_of(read_topology(CONFIG, {})).domains == ()


def test_an_organisation_that_takes_no_mail_from_users_is_named(topology: Topology) -> None:
    access = topology.access[0].model_copy(update={"submission": None, "submissions": None})
    with pytest.raises(Impossible) as refused:
        doors(topology.model_copy(update={"access": (access,)}))
    assert refused.value.place == "servers.access"


def test_an_organisation_where_nobody_lives_is_named(topology: Topology) -> None:
    domain = topology.domains[0].model_copy(update={"kind": "internal-relay"})
    with pytest.raises(Impossible) as refused:
        authoritative_domain(topology.model_copy(update={"domains": (domain,)}))
    assert refused.value.place == "domains"


# --- the account


def account(ends: Ends, unanswered: tuple[str, ...] = ()) -> Outcomes:
    books = Books(
        accepted={"1@x": Accepted(10.0, "a@x", ("b@x", "c@x"))}, unanswered=dict.fromkeys(unanswered)
    )
    return settle(books, ends, 100.0)


def test_every_recipient_has_its_end() -> None:
    found = account(Ends(delivered={("1@x", "b@x"): [12.0]}, relayed={("1@x", "c@x"): [70.0]}))
    assert (found.accepted, found.delivered, found.relayed, found.late) == (2, 1, 1, 1)
    assert found.waits == [2.0, 60.0]
    assert found.longest is not None
    assert (found.longest.recipient, found.longest.seconds) == ("c@x", 60.0)
    assert not found.lost + found.doubled


def test_what_bounced_and_what_waits_are_told_with_their_reason() -> None:
    waits = Waiting("hub", "1@x", "c@x", "store", "451 later")
    found = account(Ends(bounced={("1@x", "b@x"): ("hub", "mx", "550 no")}, waiting={("1@x", "c@x"): waits}))
    assert (found.bounced, found.waiting) == (1, 1)
    assert found.bounces == {("hub", "mx", "550 no"): 1}
    assert found.waiting_at == {("hub", "store", "451 later"): 1}
    assert found.waiting_longest is not None
    assert found.waiting_longest.seconds == 90.0


def test_what_has_arrived_does_not_wait_though_its_sender_does_not_know_yet() -> None:
    waits = Waiting("hub", "1@x", "b@x", "store", "")
    ends = Ends(delivered={("1@x", "b@x"): [12.0], ("1@x", "c@x"): [12.0]}, waiting={("1@x", "b@x"): waits})
    assert (account(ends).delivered, account(ends).waiting) == (2, 0)


def test_what_is_nowhere_is_lost() -> None:
    found = account(Ends(delivered={("1@x", "b@x"): [12.0]}))
    assert found.lost == 1
    assert found.wrong == ["1@x to c@x is nowhere"]


@pytest.mark.parametrize(
    "twice",
    [
        Ends(delivered={("1@x", "b@x"): [12.0, 13.0]}),
        Ends(delivered={("1@x", "b@x"): [12.0]}, bounced={("1@x", "b@x"): ("hub", "mx", "550 no")}),
        Ends(relayed={("1@x", "b@x"): [12.0, 13.0]}),
    ],
)
def test_what_ended_twice_is_doubled(twice: Ends) -> None:
    twice.delivered["1@x", "c@x"] = [12.0]
    found = account(twice)
    assert (found.doubled, found.lost) == (1, 0)
    assert found.wrong == ["1@x to b@x ended 2 times"]


def test_what_came_of_tries_without_an_answer_is_counted_apart() -> None:
    ends = Ends(delivered={("1@x", "b@x"): [12.0], ("1@x", "c@x"): [12.0], ("0@x", "b@x"): [11.0]})
    found = account(ends, unanswered=("0@x",))
    assert (found.accepted, found.unanswered, found.doubled) == (2, 1, 0)


def test_replies_are_counted_by_kind() -> None:
    one = "550 5.1.1 The address nobody@example.test does not exist here"
    assert (
        kind_of(one)
        == kind_of(one.replace("nobody", "other"))
        == "550 5.1.1 The address … does not exist here"
    )
    traced = "451 4.3.0 Try again later, trace 01977f53-5000-7d32-8000-0123456789ab"
    assert kind_of(traced) == "451 4.3.0 Try again later, trace …"


# --- the report


def happened(depths: list[int]) -> Happened:
    samples = tuple(
        Sample(
            10.0 * number,
            {
                "hub-a": Depth({"hub-b": depth} if depth else {}),
                **{n: Depth({}) for n in ("hub-b", "store-a", "store-b")},
            },
        )
        for number, depth in enumerate(depths)
    )
    return Happened(10.0 * len(depths), False, Books(), Outcomes(), samples, 0.0, ())


def asked() -> Asked:
    topology = read_topology(CONFIG, {})
    return Asked(topology, 1.0, 60.0, parse_failures(["hub-b@20s-40s", "A~B@50s"], topology, 60.0))


def test_the_most_that_waited_and_when_it_was_gone() -> None:
    peak = report_of(asked(), happened([0, 0, 40, 90, 5, 3, 1])).peaks[0]
    assert (peak.server, peak.most, peak.at, peak.next_hop) == ("hub-a", 90, 30.0, "hub-b")
    assert (peak.emptied_at, peak.at_the_end) == (50.0, 1)
    assert report_of(asked(), happened([0, 40, 90, 80])).peaks[0].emptied_at is None


def test_a_report_is_good_or_not() -> None:
    report = report_of(asked(), happened([0]))
    assert report.good
    assert document(report)["asked"]["fail"][1]["end_seconds"] is None
    report.happened.outcomes.lost = 1
    assert not report.good
    assert document(report)["good"] is False


def test_the_drawing_has_a_line_for_each_server_and_a_band_for_each_failure() -> None:
    drawn = plot(report_of(asked(), happened([0, 40, 90, 5])), "own & <others>")
    root = ElementTree.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{space}title") == "own & <others>"
    lines = root.findall(f"{space}polyline")
    assert len(lines) == 4
    heights = [float(point.split(",")[1]) for point in lines[0].attrib["points"].split()]
    assert min(heights) == heights[2]
    bands = [each for each in root.findall(f"{space}rect") if "fill-opacity" in each.attrib]
    assert len(bands) == 2
    texts = [each.text for each in root.findall(f"{space}text")]
    assert {"hub-a", "store-b (Outbox)", "A~B"} <= set(texts)


def test_depths_in_one_line() -> None:
    assert sparkline([0, 1, 4, 8], 10) == " ▁▄█"
    assert len(sparkline(list(range(100)), 20)) == 20


def test_parts_of_waits() -> None:
    assert (share([], 0.5), share([1.0, 2.0, 3.0, 4.0], 0.5), share([1.0, 2.0], 1.0)) == (0.0, 3.0, 2.0)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(45, "45 s"), (240, "4 min"), (90, "1:30 min"), (5400, "1:30 h")]
)
def test_times_of_a_run(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize("until", [1.0, 600.0, 1800.0, 86400.0, 30 * 86400.0])
def test_samples_are_bounded(until: float) -> None:
    assert until / sample_seconds(until) <= SAMPLES_MAX
