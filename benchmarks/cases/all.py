"""All cases, in the order of the table."""

from __future__ import annotations

from benchmarks.cases import queueing, reading, sending, waiting
from benchmarks.cases.case import Case

CASES: dict[str, Case] = {
    case.name: case for case in (*sending.CASES, *waiting.CASES, *reading.CASES, *queueing.CASES)
}
