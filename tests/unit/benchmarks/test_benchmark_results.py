"""What a benchmark's rounds become."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from benchmarks.cases.case import Case, Measures, Metric, Run
from benchmarks.results import Result, as_json, markdown, plot
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


def test_json_keeps_all_rounds_and_the_plot_is_a_picture() -> None:
    found = result([{"rate": 4, "cpu": 1}], [{"rate": 2, "cpu": 2}])
    document = json.loads(as_json([found], NAMES, {"machine": {"cores": 2}}))
    assert document["version"] == 1
    assert document["items"][0]["rounds"]["Theirs"] == [{"rate": 2, "cpu": 2}]
    assert ElementTree.fromstring(plot([found], NAMES)).tag.endswith("svg")
