"""Rounds become medians and ratios: a Markdown table, JSON, a plot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import log10
from statistics import median
from typing import Any

from benchmarks.cases.case import Case, Measures, Metric

OURS, THEIRS = 0, 1


@dataclass
class Result:
    """Of one case: the rounds of each system."""

    case: Case
    rounds: tuple[list[Measures], list[Measures]] = field(default_factory=lambda: ([], []))

    def median(self, system: int, metric: Metric) -> float | None:
        values = [measures[metric.key] for measures in self.rounds[system] if metric.key in measures]
        return median(values) if values else None

    def ratio(self, metric: Metric) -> float | None:
        ours, theirs = self.median(OURS, metric), self.median(THEIRS, metric)
        return ours / theirs if ours is not None and theirs else None

    def verdict(self, metric: Metric) -> str:
        """`beyond`, `met`, `missed`, or nothing where there is no goal."""
        figure = self.median(OURS, metric) if metric.absolute else self.ratio(metric)
        if figure is None or metric.goal is None:
            return ""
        sign = -1 if metric.less else 1
        if metric.beyond is not None and sign * figure >= sign * metric.beyond:
            return "beyond"
        return "met" if sign * figure >= sign * metric.goal else "missed"


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
    beyond = f" ({shown(metric.beyond)})" if metric.beyond is not None else ""
    return f"{sign} {shown(metric.goal)}{beyond}{' absolute' if metric.absolute else ''}"


def markdown(results: Sequence[Result], names: Sequence[str]) -> str:
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


def as_json(results: Sequence[Result], names: Sequence[str], facts: dict[str, Any]) -> str:
    items = [
        {
            "case": result.case.name,
            "title": result.case.title,
            "metrics": [
                {
                    "metric": metric.key,
                    "title": metric.title,
                    "medians": [result.median(OURS, metric), result.median(THEIRS, metric)],
                    "ratio": result.ratio(metric),
                    "goal": metric.goal,
                    "beyond": metric.beyond,
                    "verdict": result.verdict(metric),
                }
                for metric in result.case.metrics
            ],
            "rounds": {name: result.rounds[place] for place, name in enumerate(names)},
        }
        for result in results
    ]
    return json.dumps({"version": 1, **facts, "systems": list(names), "items": items}, indent=2) + "\n"


_ROW, _LEFT, _WIDTH = 22, 420, 380


def plot(results: Iterable[Result], names: Sequence[str]) -> str:
    """Bars of how many times better Waypost is, for each figure with a goal; a line at 1, marks at goals."""
    rows: list[tuple[str, float, float | None]] = []
    for result in results:
        for metric in result.case.metrics:
            ratio = result.ratio(metric)
            if (
                ratio
                and (metric.goal is not None or metric is result.case.metrics[0])
                and not metric.absolute
            ):
                better = 1 / ratio if metric.less else ratio
                goal = metric.goal and (1 / metric.goal if metric.less else metric.goal)
                rows.append((f"{result.case.title}: {metric.title}", better, goal))
    scale = _Log(max([10.0, *(better for _, better, _ in rows), *(goal or 1 for *_, goal in rows)]))
    height = _ROW * len(rows) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 60}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="18" font-size="13">How many times better {escape(names[OURS])} is than '
        f"{escape(names[THEIRS])} (bar), and the goal (mark)</text>",
    ]
    one = _LEFT + scale(1)
    for place, (title, better, goal) in enumerate(rows):
        top = 30 + place * _ROW
        end = _LEFT + scale(better)
        colour = "#2a7f62" if goal is None or better >= goal else "#c8553d"
        text = escape(title[-72:])
        parts.append(f'<text x="{_LEFT - 8}" y="{top + 13}" text-anchor="end">{text}</text>')
        parts.append(
            f'<rect x="{min(one, end):.1f}" y="{top + 3}" width="{abs(end - one):.1f}" '
            f'height="{_ROW - 8}" fill="{colour}"/>'
        )
        parts.append(f'<text x="{max(one, end) + 4:.1f}" y="{top + 13}">{shown(better)}</text>')
        if goal:
            at = _LEFT + scale(goal)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + _ROW - 2}" stroke="black"/>'
            )
    parts.append(
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="26" y2="{height - 18}" stroke="#888" stroke-dasharray="3"/>'
    )
    return "\n".join([*parts, "</svg>", ""])


class _Log:
    """A logarithmic scale from a tenth to `most`."""

    def __init__(self, most: float) -> None:
        self._span = log10(most) + 1

    def __call__(self, value: float) -> float:
        return max(0.0, (log10(max(value, 0.1)) + 1) / self._span * _WIDTH)
