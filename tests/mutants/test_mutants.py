"""Our drills are drilled: each planted bug turns one red, and shows in nothing but its drills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mutants.catalogue import MUTANTS, Mutant
from mutants.planting import changed, mutated
from mutants.trial import RED, run, run_all

if TYPE_CHECKING:
    from pathlib import Path

    from crash.report import Drill


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_bug_can_be_planted(mutant: Mutant) -> None:
    assert mutated(mutant)
    assert mutant.drills


def test_a_text_that_is_not_there_once_is_refused() -> None:
    hunk = "\n-if one:\n+if other:\n     two\n+    three\n"
    for source in ("", "if one:\ntwo\n", "if one:\n    two\n" * 2, "if one:\n    two_more\n"):
        with pytest.raises(LookupError):
            changed(source, hunk)
    assert changed("for each:\n    if one:\n        two\nfour\n", hunk) == (
        "for each:\n    if other:\n        two\n        three\nfour\n"
    )


@pytest.mark.slow
def test_each_bug_turns_a_drill_red(tmp_path: Path, drill: Drill) -> None:
    """The quickest drill of each bug; all of them in a full run."""
    trials = list(run_all(MUTANTS, tmp_path, every_drill=drill.full))
    problems = [f"{trial.mutant.name}: {problem}" for trial in trials for problem in trial.problems]
    found = [trial for trial in trials if trial.proved]
    drill.count("planted bugs", tried=len(trials), fired=len(found), violations=len(problems))
    assert problems == []


@pytest.mark.slow
def test_without_a_bug_the_same_drills_stay_green(tmp_path: Path, drill: Drill) -> None:
    """Else red would say nothing."""
    if not drill.full:
        pytest.skip("the sample runs them one by one")
    drills = sorted({name for mutant in MUTANTS for name in mutant.drills})
    trial = run(Mutant("none", (), {}), drills, tmp_path / "none")
    assert [outcome for outcome in trial.drills if outcome.colour == RED] == []
