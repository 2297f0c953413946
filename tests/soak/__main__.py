"""`make soak MINUTES=10`: prints the ledger; exit code 1 when something was lost, doubled or damaged, or when
the audit finds something."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import Outcome, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument(
        "--no-mount", action="store_true", help="full disks by bounded databases, as without root"
    )
    given = parser.parse_args()
    print(f"soak of {given.minutes:g} minutes, seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="waypost-soak-") as folder:
        outcome = asyncio.run(
            soak(
                Path(folder),
                given.minutes * 60,
                seed=given.seed,
                clients=given.clients,
                mount=False if given.no_mount else None,
                say=lambda line: print(line, flush=True),
            )
        )
    print(report(outcome))
    return 0 if outcome.ledger.clean and not outcome.audited.findings and not outcome.waiting else 1


def report(outcome: Outcome) -> str:
    counts = outcome.audited.counts
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.injected.items()))
    lines = [
        f"faults: {faults}",
        f"connections cut {outcome.connections_cut}, commits refused for a full disk {outcome.refused_full},"
        f" changes of back pressure {outcome.levels_changed}",
        outcome.ledger.shown(),
        f"audit: accepted {counts.accepted} + expanded {counts.expanded} = delivered {counts.delivered}"
        f" + relayed {counts.relayed} + bounced {counts.bounced} + discarded {counts.discarded}"
        f" + merged {counts.merged} + pending {counts.pending}; unexplained {counts.unexplained},"
        f" doubled {counts.doubled}",
    ]
    lines += [f"errors logged, {count} times: {text}" for text, count in outcome.errors.most_common(20)]
    lines += outcome.waiting[:50]
    lines += outcome.ledger.problems[:50]
    lines += [str(finding) for finding in outcome.audited.findings[:50]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
