"""Running drills against a planted bug: which of them turned red, and what they said."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from docs.pages import PROJECT

from mutants.catalogue import Mutant
from mutants.planting import plant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

QUIET = "crash/test_calls.py"  # what must stay green: no bug shows without a fault
LIMIT = 600  # seconds after which a drill is taken to hang
AT_ONCE = 2
TIMES = 5  # as many points as in a sample: a bug that spoils one in fifty shall not get by

GREEN, RED, SKIPPED = "green", "red", "skipped"


@dataclass(frozen=True)
class Outcome:
    """What one drill made of a package.

    Args:
        says: the first line of its failure, or why it was skipped.
    """

    drill: str
    colour: str
    says: str = ""


@dataclass(frozen=True)
class Trial:
    """What the drills made of a planted bug, or of none."""

    mutant: Mutant
    quiet: Outcome
    drills: tuple[Outcome, ...]

    @property
    def problems(self) -> list[str]:
        """Why this proves nothing of the drills; empty if it does."""
        wanted = RED if self.mutant.diffs else GREEN
        wrong = [
            f"{outcome.drill} is {outcome.colour}: {outcome.says}"
            for outcome in self.drills
            if outcome.colour not in {wanted, SKIPPED}
        ]
        if self.quiet.colour != GREEN:
            wrong.append(f"it shows without a fault: {self.quiet.says}")
        if self.mutant.diffs and all(outcome.colour == SKIPPED for outcome in self.drills):
            wrong.append(f"no drill can run here: {self.drills[0].says}")
        return wrong


def run_all(mutants: Sequence[Mutant], root: Path, *, every_drill: bool) -> Iterator[Trial]:
    """Try the package without a bug, and then with each, some of them side by side, in their order.

    Args:
        every_drill: run all drills of a bug, not only the quickest.
    """

    chosen = [replace(mutant, drills=mutant.drills[: None if every_drill else 1]) for mutant in mutants]
    # If a drill were red without a bug, its red would say nothing.
    none = Mutant("none", tuple({name: None for mutant in chosen for name in mutant.drills}), {})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda number, mutant: run(mutant, root / str(number)), count(), [none, *chosen])


def run(mutant: Mutant, root: Path) -> Trial:
    """Plant a bug below a new folder and run its drills against it."""
    python = plant(mutant, root)
    report = root / "report.xml"
    wanted = [str(PROJECT / "tests" / name) for name in (QUIET, *mutant.drills)]
    command = [python, "-P", "-m", "pytest", "-c", PROJECT / "pyproject.toml", "--rootdir", PROJECT, "-m", ""]
    command += [
        "-q",
        "--times",
        TIMES,
        "-p",
        "no:cacheprovider",
        "--basetemp",
        root / "tmp",
        "--junit-xml",
        report,
        *wanted,
    ]
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=root / "source",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    # 0: all green, 1: some red; anything else means that nothing was tried.
    assert process.returncode in {0, 1}, f"{mutant.name}: {output}"
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - written by pytest just now
    return Trial(mutant, outcome(QUIET, cases), tuple(outcome(name, cases) for name in mutant.drills))


def outcome(drill: str, cases: Sequence[ElementTree.Element]) -> Outcome:
    """What the report says of the test cases that one id names."""
    file, _, test = drill.partition("::")
    module = f"tests.{file.removesuffix('.py').replace('/', '.')}"
    mine = [
        case
        for case in cases
        if case.get("classname") == module
        and test in {"", case.get("name"), case.get("name", "").partition("[")[0]}
    ]
    assert mine, f"{drill} names no test"
    skipped = [mark for case in mine for mark in case.iter("skipped")]
    for case in mine:
        for mark in (*case.iter("failure"), *case.iter("error")):
            message = mark.get("message", "")
            assert "on setup" not in message, f"{drill} could not begin: {message}"
            return Outcome(drill, RED, gist(message))
    if len(skipped) == len(mine):
        return Outcome(drill, SKIPPED, skipped[0].get("message", ""))
    return Outcome(drill, GREEN)


def gist(message: str) -> str:
    """What a failure says in one line: the first violation, if it lists some."""
    _, _, violation = message.partition("first extra item: ")
    return (violation or message).splitlines()[0]
