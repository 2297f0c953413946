"""The runner can fail: planted faults are found, and their inputs are kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz import run
from tests.fuzz.mutate import INPUT_BYTES_MAX, Mutator
from tests.fuzz.run import Outcome, corpus_of, fuzz, save
from tests.fuzz.targets import TARGETS, Target

WORDS = (b"MAIL ", b"FROM:", b"<>", b"\r\n")


def planted(data: bytes) -> bool:
    if b"FROM:<" in data:
        raise ValueError("planted")
    return b"FROM:" in data


def test_a_crash_is_found_and_its_input_kept(tmp_path: Path) -> None:
    save(tmp_path, b"MAIL x")
    outcome = fuzz(Target(planted, WORDS), tmp_path, 30, seed=1)
    assert "ValueError: planted" in outcome.problem
    assert outcome.saved is not None and b"FROM:<" in outcome.saved.read_bytes()
    again = fuzz(Target(planted, ()), tmp_path, 0, seed=2)
    assert again.saved == outcome.saved and again.inputs <= 2


def test_an_input_that_hangs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(data: bytes) -> None:
        while data.startswith(b"MAIL x"):
            try:
                data = bytes(data)
            except Exception:
                continue

    monkeypatch.setattr(run, "INPUT_SECONDS_MAX", 0.1)
    save(tmp_path, b"MAIL x")
    outcome = fuzz(Target(hangs, WORDS), tmp_path, 0, seed=1)
    assert "more than 0.1 s for 6 octets" in outcome.problem
    assert outcome.longest_seconds < 5


def test_growing_memory_is_found_whatever_the_parent_holds(tmp_path: Path) -> None:
    held = bytearray(b"x") * 2**28
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.fuzz.run import fuzz; from tests.fuzz.targets import Target\n"
        "held = []\n"
        "found = fuzz(Target(lambda data: held.append(b'x' * 2**23), ()), Path(sys.argv[1]), 60, 1)\n"
        "print(found.problem, found.inputs)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    del held
    assert printed.stdout.startswith("memory grew by"), printed
    assert int(printed.stdout.split()[-1]) <= run.GROWTH_BYTES_MAX // 2**23 + 1
    assert len(corpus_of(tmp_path)) == 1


def test_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "CORPUS", tmp_path)
    monkeypatch.setitem(TARGETS, "smtp", Target(planted, WORDS))
    monkeypatch.setattr(sys, "argv", ["fuzz", "smtp", "--seconds", "30", "--seed", "1"])
    assert command.main() == 1
    printed = capfd.readouterr()
    assert (
        printed.out.startswith("smtp: ")
        and "planted" in printed.err
        and str(tmp_path / "smtp") in printed.err
    )


def test_new_outcomes_are_kept_when_asked_for(tmp_path: Path) -> None:
    save(tmp_path, b"MAIL x")
    outcome = fuzz(Target(lambda data: b"FROM:" in data, WORDS), tmp_path, 0.5, seed=1, keep=True)
    assert not outcome.problem and outcome.outcomes == 2
    assert sum(b"FROM:" in data for data in corpus_of(tmp_path)) == 1


def test_the_same_seed_makes_the_same_inputs_within_bounds() -> None:
    pool = [b"MAIL FROM:<a@b>\r\n", b"", b"x" * INPUT_BYTES_MAX]
    one, other = Mutator(7, WORDS), Mutator(7, WORDS)
    inputs = [one.next(pool) for _ in range(2000)]
    assert inputs == [other.next(pool) for _ in range(2000)]
    assert max(map(len, inputs)) == INPUT_BYTES_MAX
    assert len(set(inputs)) > 1000


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_a_corpus(name: str) -> None:
    assert len(corpus_of(run.CORPUS / name)) >= 5


def test_figures() -> None:
    shown = str(Outcome(inputs=10, seconds=2, longest_seconds=0.5, growth_bytes=1 << 20, outcomes=3))
    assert shown == "10 inputs, 5/s, 3 outcomes, longest 500 ms, growth 1.0 MiB"
