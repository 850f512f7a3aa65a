"""`python -m mutants [WORD ...]`: plant each bug, run all its drills, print which turn red.

With words: only the bugs whose names have one of them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mutants.catalogue import MUTANTS
from mutants.trial import run_all


def main(words: list[str]) -> int:
    """Print the table; the exit code is 1 if a bug got by."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    survived = []
    print("| planted bug | drill | turned | it says |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for trial in run_all(chosen, Path(folder), every_drill=True):
            for outcome in (trial.quiet, *trial.drills):
                says = outcome.says.replace("|", "\\|")[:120]
                print(f"| {trial.mutant.name} | {outcome.drill} | {outcome.colour} | {says} |", flush=True)
            survived += [f"{trial.mutant.name}: {problem}" for problem in trial.problems]
    for line in survived:
        print(line, file=sys.stderr)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
