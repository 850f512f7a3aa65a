"""The clock of the machine jumps, between commands and while a program runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cli.harness import PATIENCE, Program, read_line
from store.harness import write_tree

if TYPE_CHECKING:
    from crash.report import Drill

FAKETIME = shutil.which("faketime")
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FAKETIME is None or LIBRARY is None, reason="faketime is not installed"),
]


class Step(NamedTuple):
    """A command at an instant, its exit code, and a pattern of what it says on either stream."""

    moment: str
    command: str
    code: int
    says: str


PUSH = "push tree --subject app --actor ada --retention-class transient --producer"
SWEEP, GC = "retention sweep --actor cron --json", "retention gc --yes --actor cron"
STEPS = (
    Step("2026-11-25 12:00:00", f"{PUSH} first", 0, ""),
    Step("2026-11-25 11:00:00", f"{PUSH} second", 0, ""),
    Step("2016-02-29 00:00:00", "health", 0, "the clock stands before the newest event"),
    Step("2016-02-29 00:00:00", SWEEP, 0, r'"marked": \[\]'),
    Step("2036-01-01 00:00:00", SWEEP, 5, "--accept-clock"),
    Step("2036-01-01 00:00:00", GC, 5, "--accept-clock"),
    Step("2036-01-01 00:00:00", f"{PUSH} third", 0, ""),
    Step("2036-01-02 12:00:00", SWEEP, 0, r'"marked": \[\s*\{'),
    Step("2026-11-25 13:00:00", GC, 0, r"collected.count\s+0"),
    Step("2036-01-03 00:00:00", GC, 0, r"collected.count\s+3"),
    Step("1999-12-31 23:59:59", "fsck --read", 0, "clean"),
)


def moments(program: Program) -> list[str]:
    """When the events were recorded, in the order of the log."""
    lines = program.spawn("events").lines
    return [json.loads(line)["recorded_at"] for line in lines]


def test_the_clock_jumps_between_commands(drill: Drill, tmp_path: Path) -> None:
    program = Program(tmp_path)
    write_tree(tmp_path / "tree", {"a": b"evidence"})
    for step in STEPS:
        done = subprocess.run(
            [str(FAKETIME), step.moment, *program.command(*step.command.split())],
            cwd=tmp_path,
            env=program.environment({"TZ": "UTC"}),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == step.code, (step, said)
        assert re.search(step.says, said), (step, said)
    recorded = moments(program)
    assert recorded == sorted(recorded)
    assert {moment[:4] for moment in recorded} == {"2026", "2036"}
    drill.count("clock jumps: commands", tried=len(STEPS), fired=len(STEPS))


RUNNING = """
import sys
from pathlib import Path
from store.harness import SAID, Home
from artifactstore import ArtifactStoreError
from artifactstore.moment import format_moment, system_clock
with Home(Path(sys.argv[1])).open() as store:
    for line in sys.stdin:
        call = {
            "create": lambda: store.create_package(**SAID),
            "sweep": lambda: store.sweep(actor="cron"),
            "read": lambda: store.list_packages(),
        }[line.strip()]
        try:
            call()
            answer = "done"
        except ArtifactStoreError as error:
            answer = error.code
        print(format_moment(system_clock())[:4], answer, flush=True)
"""
WHILE_RUNNING = (
    ("+0", "create", "done"),
    ("+10y", "sweep", "clock-jumped"),
    ("+10y", "create", "done"),
    ("+10y", "sweep", "done"),
    ("-30y", "create", "done"),
    ("-30y", "sweep", "done"),
    ("-30y", "read", "done"),
    ("+40y", "read", "done"),
    ("+40y", "create", "done"),
    ("-90y", "create", "clock-out-of-range"),
    ("-90y", "read", "done"),
    ("+0", "create", "done"),
)


def test_the_clock_jumps_while_a_program_runs(drill: Drill, tmp_path: Path) -> None:
    said = tmp_path / "offset"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(said),
        "FAKETIME_NO_CACHE": "1",
    }
    said.write_text("+0\n")
    years = set()
    with subprocess.Popen(
        [sys.executable, "-c", RUNNING, str(tmp_path / "home")],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        for offset, call, expected in WHILE_RUNNING:
            # In one step, since the program may look at any moment.
            (tmp_path / "new").write_text(f"{offset}\n")
            (tmp_path / "new").rename(said)
            process.stdin.write(f"{call}\n".encode())
            process.stdin.flush()
            year, answer = read_line(process).decode().split()
            assert answer == expected, (offset, call)
            years.add(year)
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    assert len(years) == len({offset for offset, _, _ in WHILE_RUNNING})
    program = Program(tmp_path / "home")
    recorded = moments(program)
    assert recorded == sorted(recorded)
    assert program.spawn("fsck", "--read").stderr.startswith("clean")
    drill.count("clock jumps: calls of a running program", tried=len(WHILE_RUNNING), fired=len(years))
