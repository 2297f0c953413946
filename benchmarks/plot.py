"""The results as a picture: how many times better Waypost is, and how figures grow with ten times as much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10

from benchmarks.results import OURS, Result, shown

_ROW, _HEAD, _LEFT, _WIDTH = 22, 30, 420, 380
_GOOD, _BAD = "#2a7f62", "#c8553d"
_TITLE_CHARACTERS = 72


@dataclass(frozen=True)
class Bar:
    title: str
    value: float
    goal: float | None
    good: bool


def plot(results: Sequence[Result], names: Sequence[str]) -> str:
    """An SVG: bars from 1, marks at goals."""
    sections = [
        (f"How many times better {names[0]} is than {names[1]} (bar), and the goal (mark)", _better(results)),
        (
            f"How many times as much {names[0]} needs with ten times as much (bar), and the most (mark)",
            _grown(results),
        ),
    ]
    parts: list[str] = []
    top = 0
    for title, bars in sections:
        if bars:
            parts += _section(title, bars, top)
            top += _HEAD + _ROW * len(bars) + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 60}" height="{top}" '
            'font-family="sans-serif" font-size="11">',
            '<rect width="100%" height="100%" fill="white"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _better(results: Sequence[Result]) -> list[Bar]:
    """Each figure with a goal, and the first one of each case."""
    bars = []
    for result in results:
        for place, metric in enumerate(result.case.metrics):
            ratio = result.ratio(metric)
            if not ratio or metric.absolute or (metric.goal is None and place > 0):
                continue
            better = 1 / ratio if metric.less else ratio
            goal = metric.goal and (1 / metric.goal if metric.less else metric.goal)
            title = f"{result.case.title}: {metric.title}"
            bars.append(Bar(title, better, goal, goal is None or better >= goal))
    return bars


def _grown(results: Sequence[Result]) -> list[Bar]:
    bars = []
    for result in results:
        for growth in result.case.growths:
            factor = result.growth(OURS, growth)
            if factor:
                title = f"{result.case.title}: {growth.title}"
                bars.append(Bar(title, factor, growth.most, factor <= growth.most))
    return bars


def _section(title: str, bars: Sequence[Bar], top: int) -> list[str]:
    scale = _Log(max([10.0, *(bar.value for bar in bars), *(bar.goal or 1 for bar in bars)]))
    one = _LEFT + scale(1)
    parts = [f'<text x="10" y="{top + 18}" font-size="13">{escape(title)}</text>']
    for place, bar in enumerate(bars):
        parts += _row(bar, top + _HEAD + place * _ROW, one, scale)
    bottom = top + _HEAD + _ROW * len(bars)
    parts.append(
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{top + 26}" y2="{bottom}" '
        'stroke="#888" stroke-dasharray="3"/>'
    )
    return parts


def _row(bar: Bar, top: int, one: float, scale: _Log) -> list[str]:
    end = _LEFT + scale(bar.value)
    text = escape(bar.title[-_TITLE_CHARACTERS:])
    parts = [
        f'<text x="{_LEFT - 8}" y="{top + 13}" text-anchor="end">{text}</text>',
        f'<rect x="{min(one, end):.1f}" y="{top + 3}" width="{abs(end - one):.1f}" '
        f'height="{_ROW - 8}" fill="{_GOOD if bar.good else _BAD}"/>',
        f'<text x="{max(one, end) + 4:.1f}" y="{top + 13}">{shown(bar.value)}</text>',
    ]
    if bar.goal:
        at = _LEFT + scale(bar.goal)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + _ROW - 2}" stroke="black"/>')
    return parts


class _Log:
    """A logarithmic scale from a tenth to `most`."""

    def __init__(self, most: float) -> None:
        self._span = log10(most) + 1

    def __call__(self, value: float) -> float:
        return max(0.0, (log10(max(value, 0.1)) + 1) / self._span * _WIDTH)
