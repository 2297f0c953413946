"""`make fuzz SECONDS=600`: fuzzes what reads octets from the network; exit code 1 when something broke, whose
input is kept in the corpus."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.fuzz.run import CORPUS, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--keep", action="store_true", help="small inputs with new outcomes join the corpus")
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no such target: {', '.join(unknown)}")
    if len(names) == 1:
        return one(names[0], given)
    codes = [subprocess.call([sys.executable, "-m", "tests.fuzz", *alone(name, given)]) for name in names]
    return max(codes)


def alone(name: str, given: argparse.Namespace) -> list[str]:
    keep = ["--keep"] if given.keep else []
    return [name, "--seconds", str(given.seconds), "--seed", str(given.seed), *keep]


def one(name: str, given: argparse.Namespace) -> int:
    outcome = fuzz(TARGETS[name], CORPUS / name, given.seconds, given.seed, keep=given.keep)
    print(f"{name}: {outcome} (seed {given.seed})", flush=True)
    if outcome.problem:
        print(f"{name}: {outcome.problem}\ninput: {outcome.saved}", file=sys.stderr)
    return 1 if outcome.problem else 0


if __name__ == "__main__":
    sys.exit(main())
