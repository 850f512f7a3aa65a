"""SIGINT and SIGTERM at any system call: of the rows, and of the real command line."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from cli.harness import Program
from lifecycle.harness import SECOND
from store.harness import SAID

from artifactstore.cli.exit_codes import FINDINGS, OK
from crash import points
from crash.calls import CALLS, ROWS
from crash.changing_call import ChangingCall, check
from crash.points import Campaign, Point, Verdict, done, judge
from crash.tidiness import assert_tidy
from crash.tracing import end_faults, requires_tracing, trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from crash.place import Place
    from crash.report import Drill

pytestmark = [pytest.mark.slow, requires_tracing]

# Rows that cannot be told from what was there before.
ALWAYS_TRUE = {"init", "migrate", "replay"}
STOPS = (signal.SIGINT, signal.SIGTERM)
DESCRIBED = ("--producer", SAID["producer"], "--subject", SAID["subject"], "--name", SAID["name"])
# All that they use is imported first, so that most points lie in the command; they go on to the very exit.
PROGRAM = """
import importlib, os, pkgutil, sys
import artifactstore, artifactstore.cli
for module in pkgutil.walk_packages(artifactstore.__path__, "artifactstore."):
    if not any(part in module.name for part in ("__main__", "pytest", ".s3")):
        importlib.import_module(module.name)
os.getppid()
sys.exit(artifactstore.cli.main())
"""
# A command and the row that it is.
COMMANDS: dict[str, tuple[str, Callable[[Place], list[str]]]] = {
    "init": ("init", lambda _place: ["init"]),
    "migrate": ("migrate", lambda _place: ["migrate"]),
    "push": ("push", lambda place: ["push", str(place.tree), *DESCRIBED]),
    "create": ("create", lambda _place: ["package", "create", *DESCRIBED]),
    "add": (
        "ingest new file",
        lambda place: ["package", "add", place.noted("package"), "new", str(place.root / "kept/shared.log")],
    ),
    "add a directory": (
        "ingest directory",
        lambda place: ["package", "add", place.noted("package"), "--directory", str(place.tree)],
    ),
    "finalize": ("finalize", lambda place: ["package", "finalize", place.noted("package")]),
    "hold": ("hold", lambda place: ["retention", "hold", place.noted("package"), "--reason", "case 7"]),
    "release": (
        "release",
        lambda place: [
            "retention", "release", place.noted("package"), place.noted("hold"), "--reason", "closed"
        ],
    ),
    "verify": ("verify", lambda _place: ["storage", "verify"]),
    "repair": ("repair", lambda _place: ["storage", "repair"]),
    "copy": ("copy", lambda _place: ["storage", "copy", "--from", "local", "--to", SECOND]),
    "replay": ("replay", lambda _place: ["replay"]),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StopPoint(Point):
    """A point at which a signal comes."""

    stop: signal.Signals

    def __str__(self) -> str:
        return f"{Point.__str__(self)}: {self.stop.name}"


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_a_signal_at_each_system_call(drill: Drill, campaign: Campaign, row: ChangingCall) -> None:
    found = [
        StopPoint(point.row, point.way, point.number, point.call, stop)
        for point in campaign.points(row)
        for stop in STOPS
    ]
    judge(drill, "signals", campaign.verdicts(drill.sample(found, at_most=3), interrupt))


def interrupt(place: Place, point: StopPoint) -> Verdict:
    """Stop the row as the command line is stopped; look, do it again, look again, clean up."""
    row = ROWS[point.row]
    fired = False

    def decide(number: int, _call: str) -> signal.Signals | None:
        nonlocal fired
        if number != point.number:
            return None
        fired = True
        return point.stop

    def attempt(row: ChangingCall, place: Place, say: Callable[..., object]) -> None:
        signal.signal(point.stop, as_the_command_line_does)
        try:
            row.run(place, say)
        except SystemExit as ended:
            end_faults()
            say(f"exit {ended.code}")

    ended = done(place, point.row, point.way, decide, attempt)
    assert ended.code == 0, ended
    assert set(ended.said) <= {points.ACKNOWLEDGED, f"exit {128 + point.stop}"}, ended.said
    check(place, row, acknowledged=ended.acknowledged)
    row.again(place)
    check(place, row, acknowledged=True)
    assert_tidy(place, row)
    return Verdict(fired, " ".join(ended.said))


def as_the_command_line_does(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


@dataclass(frozen=True, slots=True)
class CommandPoint:
    """A signal before one system call of a command."""

    command: str
    number: int = -1
    stop: signal.Signals = signal.SIGINT

    @property
    def row(self) -> str:
        """The row that the command is."""
        return COMMANDS[self.command][0]


def test_a_signal_at_each_system_call_of_a_command(drill: Drill, campaign: Campaign) -> None:
    names = drill.sample(list(COMMANDS), at_most=4)
    wholes = campaign.verdicts([CommandPoint(name) for name in names], interrupt_command)
    assert [whole.violation for whole in wholes if whole.violation] == []
    # Each try starts a Python of its own, so a full run takes each fifth call.
    found = [
        CommandPoint(name, number, STOPS[number // 5 % 2])
        for name, whole in zip(names, wholes, strict=True)
        for number in range(0, int(whole.said), 5)
    ]
    chosen = drill.sample(found, at_most=6)
    verdicts = campaign.verdicts(chosen, interrupt_command)
    # A busy disk is synced by other calls, so the last ones of one run may be missing in the next.
    missed = [
        replace(point, number=point.number // 2)
        for point, verdict in zip(chosen, verdicts, strict=True)
        if not verdict.fired
    ]
    fired = [verdict for verdict in verdicts if verdict.fired or verdict.violation]
    judge(drill, "signals to commands", [*fired, *campaign.verdicts(missed, interrupt_command)])


def interrupt_command(place: Place, point: CommandPoint) -> Verdict:
    """Stop the program; look, give the same command again, look again."""
    row_name, arguments = COMMANDS[point.command]
    row = ROWS[row_name]
    program = Program(place.home.root)
    environment = {f"ARTIFACTSTORE_STORAGE_URL_{SECOND.upper()}": place.second.as_uri()}
    command = [sys.executable, "-c", PROGRAM, *arguments(place)]
    said = place.root / "said"
    fired = False

    def start() -> int:
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execve(sys.executable, command, program.environment(environment))  # noqa: S606 - no shell is wanted

    def decide(number: int, _call: str) -> signal.Signals | None:
        nonlocal fired
        if number != point.number:
            return None
        fired = True
        return point.stop

    ending = trace(start, decide)
    # After the last statement the signal ends the process by itself; a shell sees the same.
    finished = FINDINGS if point.command == "verify" else OK
    assert ending.code in {finished, 128 + point.stop, -point.stop}, (ending.code, said.read_text())
    assert "Traceback" not in said.read_text()
    assert "rror" not in said.read_text()
    check(place, row, acknowledged=ending.code == finished)
    with place.open() as store:
        happened = row.happened(place, store)
    if not happened or row.name in ALWAYS_TRUE:
        program.spawn(*arguments(place), environment=environment, code=finished)
    check(place, row, acknowledged=True)
    assert_tidy(place, row)
    return Verdict(fired, str(len(ending.calls)))
