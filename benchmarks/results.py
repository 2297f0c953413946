"""Rounds become medians, ratios and growth: Markdown tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.cases.case import Case, Growth, Measures, Metric, tenfold

OURS, THEIRS = 0, 1


@dataclass
class Result:
    """Of one case: the rounds of each system."""

    case: Case
    rounds: tuple[list[Measures], list[Measures]] = field(default_factory=lambda: ([], []))
    seconds: float = 0.0
    """That measuring it took, with all rounds."""

    def median_of(self, system: int, key: str) -> float | None:
        values = [measures[key] for measures in self.rounds[system] if key in measures]
        return median(values) if values else None

    def median(self, system: int, metric: Metric) -> float | None:
        return self.median_of(system, metric.key)

    def ratio(self, metric: Metric) -> float | None:
        return _divided(self.median(OURS, metric), self.median(THEIRS, metric))

    def verdict(self, metric: Metric) -> str:
        """`beyond`, `met`, `missed`, or nothing where there is no goal."""
        ours = self.median(OURS, metric)
        figure = ours if metric.absolute else self.ratio(metric)
        if figure is None or metric.goal is None:
            return ""
        sign = -1 if metric.less else 1
        if metric.beyond is not None and sign * figure >= sign * metric.beyond:
            return "beyond"
        if sign * figure < sign * metric.goal:
            return "missed"
        if metric.beyond_absolute is not None and ours is not None and ours <= metric.beyond_absolute:
            return "beyond"
        return "met"

    def growth(self, system: int, growth: Growth) -> float | None:
        """How many times the figure is what it was, with ten times as much."""
        return _divided(self.median_of(system, tenfold(growth.key)), self.median_of(system, growth.key))

    def growth_verdict(self, growth: Growth) -> str:
        factor = self.growth(OURS, growth)
        if factor is None:
            return ""
        return "met" if factor <= growth.most else "missed"


def _divided(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def shown(value: float | None) -> str:
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _goal(metric: Metric) -> str:
    if metric.goal is None:
        return ""
    sign = "≤" if metric.less else "≥"
    beyond = ""
    if metric.beyond is not None:
        beyond = f" ({shown(metric.beyond)})"
    elif metric.beyond_absolute is not None:
        beyond = f" ({shown(metric.beyond_absolute)} absolute)"
    return f"{sign} {shown(metric.goal)}{beyond}{' absolute' if metric.absolute else ''}"


def markdown(results: Sequence[Result], names: Sequence[str]) -> str:
    """A table of what is compared, and one of how figures grow with ten times as much, where there is any."""
    tables = [
        _compared([result for result in results if result.case.metrics], names),
        _grown([result for result in results if result.case.growths], names),
    ]
    return "\n".join(table for table in tables if table)


def _compared(results: Sequence[Result], names: Sequence[str]) -> str:
    if not results:
        return ""
    lines = [
        f"| what | figure | {names[OURS]} | {names[THEIRS]} | ratio | goal (beyond) | |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    for result in results:
        for place, metric in enumerate(result.case.metrics):
            title = result.case.title if place == 0 else ""
            lines.append(
                f"| {title} | {metric.title} | {shown(result.median(OURS, metric))}"
                f" | {shown(result.median(THEIRS, metric))} | {shown(result.ratio(metric))}"
                f" | {_goal(metric)} | {result.verdict(metric)} |"
            )
    return "\n".join(lines) + "\n"


def _grown(results: Sequence[Result], names: Sequence[str]) -> str:
    if not results:
        return ""
    ours, theirs = names
    lines = [
        f"| with ten times as much | figure | {ours} | tenfold | growth"
        f" | {theirs} | tenfold | growth | goal | |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|---|",
    ]
    for result in results:
        for place, growth in enumerate(result.case.growths):
            cells = [result.case.title if place == 0 else "", growth.title]
            for system in (OURS, THEIRS):
                cells += [
                    shown(result.median_of(system, growth.key)),
                    shown(result.median_of(system, tenfold(growth.key))),
                    shown(result.growth(system, growth)),
                ]
            lines.append(
                f"| {' | '.join(cells)} | ≤ {shown(growth.most)} | {result.growth_verdict(growth)} |"
            )
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[Result], names: Sequence[str], facts: dict[str, Any]) -> str:
    items = [
        {
            "case": result.case.name,
            "title": result.case.title,
            "seconds": round(result.seconds, 1),
            "metrics": [_metric(result, metric) for metric in result.case.metrics],
            "growth": [_growth(result, growth) for growth in result.case.growths],
            "rounds": {name: result.rounds[place] for place, name in enumerate(names)},
        }
        for result in results
    ]
    return json.dumps({"version": 1, **facts, "systems": list(names), "items": items}, indent=2) + "\n"


def _metric(result: Result, metric: Metric) -> dict[str, Any]:
    return {
        "metric": metric.key,
        "title": metric.title,
        "medians": [result.median(OURS, metric), result.median(THEIRS, metric)],
        "ratio": result.ratio(metric),
        "goal": metric.goal,
        "beyond": metric.beyond,
        "verdict": result.verdict(metric),
    }


def _growth(result: Result, growth: Growth) -> dict[str, Any]:
    systems = (OURS, THEIRS)
    return {
        "figure": growth.key,
        "title": growth.title,
        "medians": [result.median_of(system, growth.key) for system in systems],
        "medians_tenfold": [result.median_of(system, tenfold(growth.key)) for system in systems],
        "growth": [result.growth(system, growth) for system in systems],
        "goal": growth.most,
        "verdict": result.growth_verdict(growth),
    }
