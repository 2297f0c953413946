"""Runs a target on its corpus, then on what a mutator makes of it, within bounds of time and memory.

An input that ends in an error, takes too long or takes too much memory is kept in the corpus: it is the test
of the mend. Run each target in a process of its own: the peak of memory is the process's.
"""

from __future__ import annotations

import hashlib
import signal
import time
import traceback
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import Target

CORPUS = Path(__file__).parent / "corpus"
INPUT_SECONDS_MAX = 2.0
"""Of processor time, so that a busy machine fails nothing."""
GROWTH_BYTES_MAX = 192 * 1024 * 1024
"""Of the whole process over the whole run, the pool included."""
POOL_MAX = 3000
POOLED_BYTES_MAX = 4096
KEPT_BYTES_MAX = 1024


class TooSlow(BaseException):
    """Raised within the target while it runs; nothing in it takes it for one of its errors."""


@dataclass
class Outcome:
    inputs: int = 0
    seconds: float = 0.0
    longest_seconds: float = 0.0
    growth_bytes: int = 0
    outcomes: int = 0
    problem: str = ""
    """Empty: none."""
    saved: Path | None = None
    """The input of the problem."""

    def __str__(self) -> str:
        rate = self.inputs / self.seconds if self.seconds else 0
        return (
            f"{self.inputs} inputs, {rate:.0f}/s, {self.outcomes} outcomes, longest"
            f" {self.longest_seconds * 1000:.0f} ms, growth {self.growth_bytes / 1024 / 1024:.1f} MiB"
        )


def corpus_of(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.iterdir())] if folder.is_dir() else []


def save(folder: Path, data: bytes, prefix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{prefix}{hashlib.sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    return file


def fuzz(target: Target, folder: Path, seconds: float, seed: int, *, keep: bool = False) -> Outcome:
    """The whole corpus first, however long it takes. `keep`: small inputs with new outcomes join it."""
    outcome = Outcome()
    mutator = Mutator(seed, target.words)
    corpus = corpus_of(folder) or [b""]
    pool = list(corpus)
    seen: dict[Hashable, None] = {}
    base = _peak_bytes()
    start = time.monotonic()
    while outcome.inputs < len(corpus) or time.monotonic() - start < seconds:
        known = outcome.inputs < len(corpus)
        data = corpus[outcome.inputs] if known else mutator.next(pool)
        outcome.inputs += 1
        kind = _run(target, data, outcome)
        outcome.growth_bytes = max(_peak_bytes() - base, 0)
        if not outcome.problem and outcome.growth_bytes > GROWTH_BYTES_MAX:
            outcome.problem = f"memory grew by {outcome.growth_bytes} bytes"
        if outcome.problem:
            outcome.saved = save(folder, data, "bad-")
            break
        if kind in seen or len(seen) >= POOL_MAX:
            continue
        seen[kind] = None
        if not known and len(data) <= POOLED_BYTES_MAX:
            pool.append(data)
            if keep and len(data) <= KEPT_BYTES_MAX:
                save(folder, data)
    outcome.seconds = time.monotonic() - start
    outcome.outcomes = len(seen)
    return outcome


def _run(target: Target, data: bytes, outcome: Outcome) -> Hashable:
    slow = f"more than {INPUT_SECONDS_MAX:g} s for {len(data)} octets"
    before = signal.signal(signal.SIGPROF, _too_slow)
    signal.setitimer(signal.ITIMER_PROF, INPUT_SECONDS_MAX)
    start = time.process_time()
    kind: Hashable = None
    try:
        kind = target.run(data)
    except TooSlow:
        outcome.problem = slow
    except Exception:
        outcome.problem = traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    taken = time.process_time() - start
    outcome.longest_seconds = max(outcome.longest_seconds, taken)
    if taken > INPUT_SECONDS_MAX:
        outcome.problem = outcome.problem or slow
    return kind


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def _peak_bytes() -> int:
    """Of this program alone: what getrusage tells of is inherited from the process that started it."""
    status = Path("/proc/self/status").read_bytes()
    start = status.index(b"VmHWM:") + 6
    return int(status[start : status.index(b"kB", start)]) * 1024
