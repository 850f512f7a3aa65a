"""`events`, also while others append."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from cli.harness import PATIENCE, read_line

if TYPE_CHECKING:
    from pathlib import Path

    from cli.harness import Program


def test_the_log_is_printed_in_order(program: Program, pushed: str) -> None:
    events = [json.loads(line) for line in program.call("events").lines]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "v1.store.created"
    assert events[-1]["type"] == "v1.package.finalized"
    assert events[-1]["package_id"] == pushed
    assert events[-1]["actor"] == "ada"
    assert events[-1]["leaf_hash"].startswith("sha256:")
    assert program.call("events", "--json").document == events


def test_a_part_of_the_log(program: Program, pushed: str) -> None:
    assert pushed
    lines = program.call("events").lines
    assert program.call("events", "--after", "3", "--limit", "2").lines == lines[3:5]
    assert program.call("events", "--after", str(len(lines))).lines == []
    assert program.call("events", "--jsonl").lines == lines
    program.call("events", "--after", "-1", code=2)
    program.call("events", "--limit", "0", code=2)
    program.call("events", "--after", "9" * 30, code=2)


def test_follow_ends_at_its_limit(program: Program, pushed: str) -> None:
    assert pushed
    assert program.spawn("events", "--follow", "--limit", "3").lines == program.call("events").lines[:3]


def test_follow_sees_what_another_process_commits(program: Program, tree: Path) -> None:
    program.call("init")
    last = len(program.call("events").lines)
    with program.started("events", "--follow", "--after", str(last - 1)) as follower:
        assert json.loads(read_line(follower))["sequence"] == last
        package = program.spawn("push", str(tree), "--producer", "ci", "--subject", "app").text.strip()
        event = json.loads(read_line(follower))
    assert event["sequence"] == last + 1
    assert event["type"] == "v1.package.created"
    assert event["package_id"] == package


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_follow_stops_quietly_when_it_is_told_to(program: Program, number: signal.Signals) -> None:
    program.call("init")
    with program.started("events", "--follow") as follower:
        read_line(follower)
        follower.send_signal(number)
        _, errors = follower.communicate(timeout=PATIENCE)
    assert follower.returncode == 128 + number
    assert errors == b""


def test_follow_stops_when_its_reader_is_gone_though_nothing_happens(program: Program) -> None:
    program.call("init")
    with program.started("events", "--follow") as follower:
        read_line(follower)
        assert follower.stdout is not None
        follower.stdout.close()
        assert follower.wait(PATIENCE) == 141
        assert follower.stderr is not None
        assert follower.stderr.read() == b""


def test_follow_writes_into_files_too(program: Program, tmp_path: Path) -> None:
    program.call("init")
    with (tmp_path / "log").open("wb") as file:
        done = subprocess.run(
            program.command("events", "--follow", "--limit", "6"),
            env=program.environment(),
            stdout=file,
            timeout=PATIENCE,
            check=True,
        )
    assert done.returncode == 0
    assert (tmp_path / "log").read_bytes() == program.call("events", "--limit", "6").stdout
