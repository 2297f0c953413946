"""What a benchmark's rounds become."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from benchmarks.cases.all import CASES
from benchmarks.cases.case import CONSTANT, LINEAR, Case, Growth, Measures, Metric, Run, tenfold
from benchmarks.plot import plot
from benchmarks.results import Result, as_json, markdown
from benchmarks.systems.system import System

RATE = Metric("rate", "messages a second", goal=3, beyond=5)
CPU = Metric("cpu", "CPU ms", less=True, goal=0.5, beyond=0.2)
MEMORY = Metric("memory", "MiB", less=True, goal=100, absolute=True)
NAMES = ("Ours", "Theirs")


async def nothing(run: Run, system: System) -> Measures:
    return {}


def result(ours: list[Measures], theirs: list[Measures]) -> Result:
    return Result(Case("case", "A case", (RATE, CPU, MEMORY), nothing), (ours, theirs))


def test_medians_and_ratios_of_the_rounds() -> None:
    found = result([{"rate": 1}, {"rate": 30}, {"rate": 400}], [{"rate": 10}, {"rate": 5}, {"rate": 1}])
    assert found.median(0, RATE) == 30
    assert found.ratio(RATE) == 6
    assert found.ratio(CPU) is None


def test_verdicts() -> None:
    found = result([{"rate": 4, "cpu": 1, "memory": 50}], [{"rate": 1, "cpu": 10, "memory": 1}])
    assert [found.verdict(metric) for metric in (RATE, CPU, MEMORY)] == ["met", "beyond", "met"]
    slow = result([{"rate": 2, "cpu": 6, "memory": 101}], [{"rate": 1, "cpu": 10, "memory": 999}])
    assert [slow.verdict(metric) for metric in (RATE, CPU, MEMORY)] == ["missed", "missed", "missed"]
    assert result([], []).verdict(RATE) == ""


def test_the_table_has_a_line_for_each_figure() -> None:
    lines = markdown([result([{"rate": 4, "cpu": 1}], [{"rate": 2, "cpu": 2}])], NAMES).splitlines()
    assert lines[2] == "| A case | messages a second | 4 | 2 | 2 | ≥ 3 (5) | missed |"
    assert lines[3] == "|  | CPU ms | 1 | 2 | 0.5 | ≤ 0.5 (0.2) | met |"
    assert lines[4] == "|  | MiB | – | – | – | ≤ 100 absolute |  |"


def grown(ours: list[Measures], theirs: list[Measures]) -> Result:
    growths = (Growth("search", "SEARCH, ms", LINEAR), Growth("noop", "NOOP, ms", CONSTANT))
    return Result(Case("growth", "Mailbox", (), nothing, growths=growths), (ours, theirs))


def test_growth_is_of_the_medians_with_and_without_ten_times_as_much() -> None:
    rounds: list[Measures] = [
        {"search": 10, "search@10": 900, "noop": 1, "noop@10": 3},
        {"search": 20, "search@10": 200, "noop": 1, "noop@10": 2.5},
        {"search": 90, "search@10": 100, "noop": 2, "noop@10": 1},
    ]
    found = grown(rounds, rounds[:1])
    search, noop = found.case.growths
    assert tenfold("search") == "search@10"
    assert (found.growth(0, search), found.growth(1, search)) == (10, 90)
    assert found.growth(0, noop) == 2.5
    assert [found.growth_verdict(growth) for growth in (search, noop)] == ["met", "missed"]


def test_growth_without_figures_is_no_verdict() -> None:
    found = grown([{"search": 0, "search@10": 3}], [])
    assert [found.growth(0, growth) for growth in found.case.growths] == [None, None]
    assert [found.growth_verdict(growth) for growth in found.case.growths] == ["", ""]


def test_growth_has_a_table_of_its_own() -> None:
    found = grown([{"search": 10, "search@10": 80}], [{"search": 5, "search@10": 100}])
    table = markdown([result([{"rate": 4}], [{"rate": 2}]), found], NAMES)
    compared, grew = table.split("\n\n")
    assert "SEARCH" not in compared
    assert grew.splitlines()[2] == "| Mailbox | SEARCH, ms | 10 | 80 | 8 | 5 | 100 | 20 | ≤ 12 | met |"
    assert grew.splitlines()[3] == "|  | NOOP, ms | – | – | – | – | – | – | ≤ 2 |  |"
    (item,) = json.loads(as_json([found], NAMES, {}))["items"]
    assert item["growth"][0]["growth"] == [8, 20]
    assert item["growth"][0]["verdict"] == "met"
    assert "SEARCH, ms" in plot([found], NAMES)


def test_an_absolute_figure_may_be_beyond() -> None:
    metric = Metric("p99", "ms", less=True, goal=0.1, beyond_absolute=10)
    case = Case("case", "A case", (metric,), nothing)
    for ours, theirs, verdict in ((9, 100, "beyond"), (11, 200, "met"), (9, 50, "missed")):
        assert Result(case, ([{"p99": ours}], [{"p99": theirs}])).verdict(metric) == verdict


def test_every_case_has_figures_and_names_of_its_own() -> None:
    for case in CASES.values():
        assert case.metrics or case.growths
        keys = [metric.key for metric in case.metrics]
        keys += [growth.key for growth in case.growths]
        assert len(keys) == len(set(keys))


def test_json_keeps_all_rounds_and_the_plot_is_a_picture() -> None:
    found = result([{"rate": 4, "cpu": 1}], [{"rate": 2, "cpu": 2}])
    document = json.loads(as_json([found], NAMES, {"machine": {"cores": 2}}))
    assert document["version"] == 1
    assert document["items"][0]["rounds"]["Theirs"] == [{"rate": 2, "cpu": 2}]
    assert ElementTree.fromstring(plot([found], NAMES)).tag.endswith("svg")
