"""All cases, in the order of the table."""

from __future__ import annotations

from benchmarks.cases import growing, queueing, reading, sending, waiting
from benchmarks.cases.case import Case

_ALL = (*sending.CASES, *waiting.CASES, *reading.CASES, *growing.CASES, *queueing.CASES)
CASES: dict[str, Case] = {case.name: case for case in _ALL}
