"""Queue depth over time as an SVG drawing: a line for each server, a band for each failure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from waypost.simulator.whatif.report import Report

WIDTH, HEIGHT = 960, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 70, 50
LINES_MAX = 12
"""Of the servers with the longest queues, how many are drawn."""
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#7f4fc9", "#8c564b", "#111111", "#bcbd22", "#17becf", "#e377c2"),
)
_STEPS = (1, 2, 2.5, 5, 10)
_CLOCK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def plot(report: Report, title: str) -> str:
    samples = report.happened.samples
    seconds = max(samples[-1].at, 1.0)
    most = max((peak.most for peak in report.peaks), default=0)
    top = _ceiling(max(most, 1))
    plane = _Plane(seconds, top)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
        *_bands(report, plane),
        *_grid(plane),
        *_lines(report, plane),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Plane:
    """Seconds and messages to places in the drawing."""

    def __init__(self, seconds: float, top: float) -> None:
        self.seconds = seconds
        self.top = top

    def x(self, seconds: float) -> float:
        return round(LEFT + min(seconds / self.seconds, 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, messages: float) -> float:
        return round(HEIGHT - BOTTOM - messages / self.top * (HEIGHT - TOP - BOTTOM), 1)


def _bands(report: Report, plane: _Plane) -> list[str]:
    found = []
    for number, failure in enumerate(report.asked.failures):
        left, right = plane.x(failure.begin_seconds), plane.x(failure.end_seconds)
        found.append(
            f'<rect x="{left}" y="{TOP}" width="{round(right - left, 1)}" height="{HEIGHT - TOP - BOTTOM}" '
            'fill="#d55e00" fill-opacity="0.12"/>'
        )
        label = escape(failure.text.partition("@")[0])
        found.append(f'<text x="{left + 3}" y="{TOP - 4 - 14 * (number % 2)}" fill="#a04000">{label}</text>')
    return found


def _grid(plane: _Plane) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    found = []
    for step in range(6):
        messages = plane.top * step / 5
        y, label = plane.y(messages), f"{messages:,.1f}".removesuffix(".0").replace(",", " ")
        found.append(f'<line x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="#dddddd"/>')
        found.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{label}</text>')
    step_seconds = next((each for each in _CLOCK_STEPS if plane.seconds / each <= 12), plane.seconds)
    for number in range(int(plane.seconds / step_seconds) + 1):
        x = plane.x(number * step_seconds)
        found.append(f'<line x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 4}" stroke="#444444"/>')
        label = clock(number * step_seconds)
        found.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{label}</text>')
    found.append(f'<line x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#444444"/>')
    found.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">time</text>')
    middle = (TOP + bottom) / 2
    found.append(
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
        "messages that wait</text>"
    )
    return found


def _lines(report: Report, plane: _Plane) -> list[str]:
    longest = sorted(report.peaks, key=lambda peak: -peak.most)[:LINES_MAX]
    drawn = [peak for peak in report.peaks if peak in longest]
    found = []
    for number, peak in enumerate(drawn):
        colour = COLOURS[number]
        dashes = ' stroke-dasharray="5 3"' if peak.role == "store" else ""
        points = " ".join(
            f"{plane.x(sample.at)},{plane.y(sample.depths[peak.server].total)}"
            for sample in report.happened.samples
        )
        found.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"{dashes}/>'
        )
        x, y = WIDTH - RIGHT + 16, TOP + 10 + 22 * number
        name = peak.server if peak.role == "hub" else f"{peak.server} (Outbox)"
        found.append(
            f'<line x1="{x}" y1="{y}" x2="{x + 22}" y2="{y}" stroke="{colour}" stroke-width="1.8"{dashes}/>'
        )
        found.append(f'<text x="{x + 28}" y="{y + 4}">{escape(name)}</text>')
    return found


def clock(seconds: float) -> str:
    """`45 s`, `4 min`, `1:30 h`."""
    if seconds < 60:
        return f"{seconds:g} s"
    if seconds < 3600:
        whole, rest = divmod(round(seconds), 60)
        return f"{whole}:{rest:02d} min" if rest else f"{whole} min"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours}:{rest:02d} h" if rest else f"{hours} h"


def _ceiling(value: float) -> float:
    """The next round number above."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _STEPS if step * power >= value)


def sparkline(values: Sequence[int], width: int) -> str:
    """Values in one line of text, the highest of each stretch."""
    blocks = " ▁▂▃▄▅▆▇█"
    top = max((*values, 1))
    stretch = max(math.ceil(len(values) / width), 1)
    highest = [max(values[at : at + stretch]) for at in range(0, len(values), stretch)]
    return "".join(blocks[math.ceil(value / top * (len(blocks) - 1))] for value in highest)
