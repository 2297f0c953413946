"""What is asked of a what-if is understood, or refused with what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.reader import read_topology
from waypost.simulator.whatif.options import (
    BadOption,
    parse_failure,
    parse_failures,
    parse_rate,
    parse_seconds,
)

TOPOLOGY = read_topology(Path(__file__).parents[3] / "config/two-sites.toml", {})


@pytest.mark.parametrize(
    ("text", "rate"), [("20/s", 20.0), ("300/min", 5.0), ("5400/h", 1.5), ("0.5/s", 0.5), (" 1/s ", 1.0)]
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "20", "20/d", "-1/s", "0/s", "x/s", "1e3/s", "20000/s", "20 /s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(BadOption) as refused:
        parse_rate(text)
    assert refused.value.mend


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("24h", 86400.0), ("1.5s", 1.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "30 min", "-5s", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadOption):
        parse_seconds(text)


def test_a_server_that_is_gone_for_a_while() -> None:
    found = parse_failure("hub-b@60s-5m", TOPOLOGY, 1800)
    assert (found.kind, found.targets, found.others) == ("power", ("hub-b",), ())
    assert (found.begin_seconds, found.end_seconds) == (60, 300)


def test_a_server_that_is_gone_for_good() -> None:
    assert parse_failure("hub-b@60s", TOPOLOGY, 1800).end_seconds == float("inf")


@pytest.mark.parametrize("kind", ["power", "stop", "full"])
def test_ways_in_which_a_server_fails(kind: str) -> None:
    assert parse_failure(f"store-b:{kind}@1s-2s", TOPOLOGY, 1800).kind == kind


def test_a_site_fails_with_all_its_servers() -> None:
    assert parse_failure("B@1s-2s", TOPOLOGY, 1800).targets == ("hub-b", "store-b")


def test_servers_sites_and_all_outside_can_be_parted() -> None:
    found = parse_failure("hub-a~hub-b@1s-2s", TOPOLOGY, 1800)
    assert (found.kind, found.targets, found.others) == ("apart", ("hub-a",), ("hub-b",))
    sites = parse_failure("A~B@1s-2s", TOPOLOGY, 1800)
    assert (sites.targets, sites.others) == (("hub-a", "store-a", "access"), ("hub-b", "store-b"))
    assert parse_failure("hub-a~internet@1s-2s", TOPOLOGY, 1800).others == ("internet",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hub-b", "does not say what fails when"),
        ("@1s-2s", "does not say what fails when"),
        ("hub-x@1s-2s", "'hub-x', which is no server and no site"),
        ("internet@1s-2s", "no server and no site"),
        ("hub-b:melts@1s-2s", "unknown kind 'melts'"),
        ("hub-b@2s-1s", "ends before it begins"),
        ("hub-b@1s-1s", "ends before it begins"),
        ("hub-b@soon", "'soon' is no duration"),
        ("hub-b@1s-soon", "'soon' is no duration"),
        ("hub-b@2h-3h", "begins after the end of the run"),
        ("hub-b~B@1s-2s", "parts hub-b from itself"),
        ("hub-a~hub-b~store-b@1s-2s", "no server and no site"),
    ],
)
def test_what_is_no_failure_is_refused_with_the_place_and_the_mend(text: str, problem: str) -> None:
    with pytest.raises(BadOption) as refused:
        parse_failure(text, TOPOLOGY, 1800)
    assert problem in refused.value.problem
    assert refused.value.mend


def test_the_mend_names_what_there_is() -> None:
    with pytest.raises(BadOption) as refused:
        parse_failure("hub-a~hub-x@1s-2s", TOPOLOGY, 1800)
    for name in ("hub-a", "store-b", "access", "sites are A, B", "internet"):
        assert name in refused.value.mend


def test_a_server_fails_in_one_way_at_a_time() -> None:
    both = ["hub-b@10s-50s", "A~B@10s-50s", "B:stop@40s-60s"]
    with pytest.raises(BadOption, match="both are of hub-b"):
        parse_failures(both, TOPOLOGY, 1800)
    assert len(parse_failures(["hub-b@40s-50s", "hub-b@10s-40s", "A~B@1s-90s"], TOPOLOGY, 1800)) == 3
