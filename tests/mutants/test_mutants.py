"""Our drills are drilled: each planted bug turns one red, and shows in nothing but its drills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from docs.pages import PROJECT

from mutants.catalogue import MUTANTS, Mutant
from mutants.planting import changed, mutated
from mutants.trial import run_all

if TYPE_CHECKING:
    from pathlib import Path

    from crash.report import Drill


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_bug_can_be_planted_and_names_a_drill(mutant: Mutant) -> None:
    assert mutated(mutant)
    assert mutant.drills
    for drill in mutant.drills:
        file, _, test = drill.partition("::")
        source = (PROJECT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test.partition('[')[0]}(" in source, drill


def test_a_text_that_is_not_there_once_is_refused() -> None:
    hunk = "\n-if one:\n+if other:\n     two\n+    three\n"
    for source in ("", "if one:\ntwo\n", "if one:\n    two\n" * 2, "if one:\n    two_more\n"):
        with pytest.raises(LookupError):
            changed(source, hunk)
    assert changed("for each:\n    if one:\n        two\nfour\n", hunk) == (
        "for each:\n    if other:\n        two\n        three\nfour\n"
    )


@pytest.mark.slow
def test_each_bug_turns_its_drill_red(tmp_path: Path, drill: Drill) -> None:
    """All drills of each bug, in a full run. Without a bug the same drills stay green."""
    if not drill.full:
        pytest.skip("part of a full run, and of `make mutants`: it takes minutes")
    without, *trials = run_all(MUTANTS, tmp_path, every_drill=True)
    problems = [
        f"{trial.mutant.name}: {problem}" for trial in (without, *trials) for problem in trial.problems
    ]
    assert problems == []
