"""`retention sweep` and `retention gc`: what they print, ask and refuse."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, TREE, FakeClock, Home

from artifactstore.lifecycle import gc
from artifactstore.lifecycle.gc_plan import GcPlan
from artifactstore.moment import system_clock
from cli.harness import PATIENCE, Program, read_line

if TYPE_CHECKING:
    from cli.harness import Terminal

DAY = 86_400_000_000  # microseconds
LINE = "1 expired, 0 withdrawn, 0 abandoned"
QUESTION = "go on? [y/N] "


@pytest.fixture
def eligible(program: Program, expired: str) -> str:
    """The id of `old`, which a sweep has marked."""
    program.call("retention", "sweep", "--actor", "cron")
    return expired


def status(program: Program, package: str) -> str:
    """The state of a package."""
    return str(program.call("show", package, "--json").document["status"])


def planned(program: Program, path: Path) -> str:
    """Write a plan, and give its digest."""
    return program.call("retention", "gc", "--plan-out", str(path)).text.strip()


# Sweep


def test_a_sweep_lists_what_has_changed_and_nothing_twice(program: Program, expired: str) -> None:
    (row,) = program.call("retention", "sweep").rows
    assert row[:5] == ["eligible", "expired", expired, "old", "transient"]
    assert program.call("retention", "sweep").stdout == b""
    program.call("retention", "hold", expired, "--reason", "dispute")
    (row,) = program.call("retention", "sweep").rows
    assert row[:3] == ["withdrawn", "held", expired]
    assert status(program, expired) == "finalized"


def test_a_sweep_as_json(program: Program, expired: str) -> None:
    document = program.call("retention", "sweep", "--json").document
    assert list(document) == ["marked", "withdrawn", "abandoned"]
    assert document["marked"][0]["package_id"] == expired
    assert document["marked"][0]["eligible_reason"] == "expired"
    assert document["marked"][0]["collected_plan"] is None
    (line,) = program.call("retention", "sweep", "--jsonl").lines
    assert json.loads(line) == {"marked": [], "withdrawn": [], "abandoned": []}
    assert "0 expired, 0 withdrawn, 0 abandoned" in program.seen("retention", "sweep")


def test_abandoned_packages_are_reported_and_swept_only_on_request(program: Program) -> None:
    with Home(program.directory).open(clock=FakeClock(system_clock() - 40 * DAY)) as store:
        package = store.create_package(**SAID)
    assert program.call("retention", "sweep", "--abandoned-after", "60d").rows == []
    (row,) = program.call("retention", "sweep").rows
    assert row[:3] == ["reported", "abandoned", package]
    (row,) = program.call("retention", "sweep", "--mark-abandoned").rows
    assert row[:3] == ["eligible", "abandoned", package]
    program.call("retention", "gc", "--yes")
    assert status(program, package) == "garbage_collected"
    assert "because nobody finalized it" in program.call("show", package).text


def test_a_clock_that_has_jumped_stops_sweep_and_gc(program: Program, tree: Path) -> None:
    with Home(program.directory).open(clock=FakeClock(system_clock() - 400 * DAY)) as store:
        package = store.push(tree, **{**SAID, "retention_class": "transient"}).package.package_id
    home = Home(program.directory)
    with home.unchanged():
        for command in (["sweep"], ["gc", "--yes"], ["sweep", "--watch"]):
            assert "--accept-clock" in program.call("retention", *command, code=5).stderr
        dry = program.call("retention", "gc", "--dry-run").stderr
        assert "gc deletes nothing unless the clock is accepted" in dry
    (row,) = program.call("retention", "sweep", "--accept-clock").rows
    assert row[2] == package


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watch_sweeps_at_once_and_stops_in_good_order(
    program: Program, expired: str, number: signal.Signals
) -> None:
    with program.started("retention", "sweep", "--watch") as process:
        line = read_line(process).decode()
        assert line.endswith(f"Z {LINE}\n")
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == process.stderr.read() == b""
    assert program.call("retention", "explain", expired, "--json").document["state"]["eligible_at"]


def test_a_watch_sweeps_again_after_the_interval(program: Program, expired: str) -> None:
    Path(".env").write_text("ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS=1\n")
    with program.started("retention", "sweep", "--watch", "--jsonl") as process:
        first, second = json.loads(read_line(process)), json.loads(read_line(process))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert list(first) == ["swept_at", "marked", "withdrawn", "abandoned"]
    assert [state["package_id"] for state in first["marked"]] == [expired]
    assert second["marked"] == []
    assert first["swept_at"] < second["swept_at"]


# Gc: the plan


def test_a_dry_run_tells_the_plan_and_changes_nothing(program: Program, eligible: str, tree: Path) -> None:
    manifest = program.call("show", eligible, "--json").document["manifest_size"]
    home = Home(program.directory)
    with home.unchanged():
        answer = program.call("retention", "gc", "--dry-run")
    (row,) = answer.rows
    distinct = sum(map(len, set(TREE.values())))
    total = sum(map(len, TREE.values()))
    assert [*row[:4], *row[5:]] == [
        eligible, "old", "transient", "expired", "cron", str(len(TREE)), str(total),
        str(distinct + manifest), "0",
    ]  # fmt: skip
    assert answer.stderr.startswith("would delete 1 package, 7 objects: ")
    # The same files in a package that stays.
    program.call("push", str(tree), "--producer", "ci", "--subject", "app")
    (row,) = program.call("retention", "gc", "--dry-run").rows
    assert row[-2:] == [str(manifest), str(distinct)]
    document = program.call("retention", "gc", "--dry-run", "--json").document
    assert document["plan_digest"].startswith("sha256:")
    assert document["object_count"] == 1
    assert document["freed_size"] == manifest
    assert document["shared_size"] == distinct
    assert document["packages"][0]["name"] == "old"
    assert document["packages"][0]["eligible_by"] == "cron"
    seen = program.seen("retention", "gc", "--dry-run")
    assert "ELIGIBLE BY" in seen
    assert "would delete" in seen


def test_a_plan_is_written_once_and_executed_exactly(program: Program, eligible: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.cbor"
    home = Home(program.directory)
    with home.unchanged():
        digest = planned(program, path)
        data = path.read_bytes()
        assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert GcPlan.from_bytes(data).packages[0].package_id == eligible
        again = program.call("retention", "gc", "--plan-out", str(path), code=5)
        assert "exists already" in again.stderr
        assert path.read_bytes() == data
        assert program.call("retention", "gc", "--plan", str(path), "--dry-run").rows[0][0] == eligible
    document = program.call("retention", "gc", "--plan", str(path), "--yes", "--json").document
    assert document["plan_digest"] == digest
    assert document["collected"] == [eligible]
    assert document["passed_over"] == []
    assert document["removed_count"] == document["plan"]["object_count"] == 7
    assert status(program, eligible) == "garbage_collected"
    assert home.object_paths() == []
    collected = program.call("show", eligible, "--json").document["retention"]
    assert collected["collected_plan"] == digest
    assert "stale" in program.call("retention", "gc", "--plan", str(path), "--yes", code=5).stderr
    assert program.call("fsck").lines == []


def test_a_plan_that_the_world_has_overtaken_is_refused(
    program: Program, eligible: str, tmp_path: Path, tree: Path
) -> None:
    path = tmp_path / "plan"
    planned(program, path)
    execute = ["retention", "gc", "--plan", str(path), "--yes"]
    program.call("push", str(tree), "--producer", "ci", "--subject", "app")
    assert "other packages share its bytes now" in program.call(*execute, code=5).stderr
    dry = program.call("retention", "gc", "--plan", str(path), "--dry-run", code=5)
    assert "other packages share its bytes now" in dry.stderr
    program.call("retention", "hold", eligible, "--reason", "dispute")
    with Home(program.directory).unchanged():
        error = json.loads(program.call(*execute, "--json", code=5).stderr)
    assert error["code"] == "plan-stale"
    assert eligible in error["message"]
    assert program.call("cat", eligible, "README.md").stdout == TREE["README.md"]


def test_plans_that_are_none_are_refused(program: Program, eligible: str, tmp_path: Path) -> None:
    path = tmp_path / "plan"
    planned(program, path)
    data = path.read_bytes()
    bad = tmp_path / "bad"
    execute = ["retention", "gc", "--plan", str(bad), "--yes"]
    with Home(program.directory).unchanged():
        for broken in (data[:-1], data[: len(data) // 2], b"", data + b"x", b"\xa0", b'{"plan": 1}'):
            bad.write_bytes(broken)
            assert f"the plan '{bad}' was cut or altered" in program.call(*execute, code=3).stderr
        bad.write_bytes(data.replace(b"old", b"new"))  # whole, but not what would be planned
        assert "stale" in program.call(*execute, code=5).stderr
        assert "stale" in program.call("retention", "gc", "--plan", str(bad), "--dry-run", code=5).stderr
        bad.unlink()
        assert "No such file" in program.call(*execute, code=2).stderr
        bad.mkdir()
        assert "not a regular file" in program.call(*execute, code=2).stderr
    assert status(program, eligible) == "finalized"


def test_a_plan_of_another_store_is_refused(program: Program, eligible: str, tmp_path: Path) -> None:
    other = Program(tmp_path / "other")
    other.call("init")
    planned(other, tmp_path / "plan")
    with Home(program.directory).unchanged():
        for flag in ("--yes", "--dry-run"):
            execute = ["retention", "gc", "--plan", str(tmp_path / "plan"), flag]
            assert "is for the store" in program.call(*execute, code=2).stderr
    assert status(program, eligible) == "finalized"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["hold", "{}", "--reason", "dispute"], "a hold is on it"),
        (["extend", "{}", "--forever"], "it is not due any more"),
        (["gc", "--yes", "--actor", "cron"], "another gc, by cron, was faster"),
    ],
    ids=["hold", "extension", "another gc"],
)
def test_what_comes_between_plan_and_release_is_told(
    program: Program, eligible: str, monkeypatch: pytest.MonkeyPatch, command: list[str], told: str
) -> None:
    release = gc.release

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(gc, "release", release)
        program.spawn("retention", *(word.format(eligible) for word in command))
        return release(*arguments)

    monkeypatch.setattr(gc, "release", late)
    answer = program.call("retention", "gc", "--yes", "--actor", "ada")
    assert dict(answer.rows)["passed_over_count"] == "1"
    assert answer.stderr == f"passed over: {eligible} old: {told}\n"


# Gc: asking


def answer(terminal: Terminal, text: str) -> str:
    """Answer the question and read the rest."""
    terminal.read_until(QUESTION)
    terminal.type(text)
    return terminal.read_all()


def test_without_a_terminal_yes_is_required(program: Program, eligible: str) -> None:
    with Home(program.directory).unchanged():
        assert "hint: say --yes\n" in program.spawn("retention", "gc", code=2, stdin=b"y\n").stderr
    rows = dict(program.spawn("retention", "gc", "--yes").rows)
    assert rows["collected_count"] == "1"
    assert rows["removed_count"] == "7"
    assert status(program, eligible) == "garbage_collected"


def test_a_person_is_asked_and_can_agree(program: Program, eligible: str) -> None:
    with program.on_terminal("retention", "gc") as terminal:
        seen = answer(terminal, "y\n")
        assert terminal.process.wait(PATIENCE) == 0
    assert f"{eligible}  old  transient  expired" in seen
    assert "about to delete 1 package, 7 objects: " in seen
    assert status(program, eligible) == "garbage_collected"


def test_nobody_is_asked_about_a_plan_that_is_stale(program: Program, eligible: str, tmp_path: Path) -> None:
    planned(program, tmp_path / "plan")
    program.call("retention", "hold", eligible, "--reason", "dispute")
    with program.on_terminal("retention", "gc", "--plan", str(tmp_path / "plan")) as terminal:
        seen = terminal.read_all()
        assert terminal.process.wait(PATIENCE) == 5
    assert f"{eligible} may not go any more" in seen
    assert QUESTION not in seen


@pytest.mark.parametrize("text", ["n\n", "\n", "yess\n", "\x04"], ids=repr)
def test_a_person_can_decline(program: Program, eligible: str, text: str) -> None:
    with Home(program.directory).unchanged(), program.on_terminal("retention", "gc") as terminal:
        assert "nothing was done" in answer(terminal, text)
        assert terminal.process.wait(PATIENCE) == 1
    assert status(program, eligible) == "finalized"


def test_a_person_can_leave_the_question_open(program: Program, eligible: str) -> None:
    with Home(program.directory).unchanged(), program.on_terminal("retention", "gc") as terminal:
        terminal.read_until(QUESTION)
        terminal.interrupt()
        terminal.read_all()
        assert terminal.process.wait(PATIENCE) == 130
    assert status(program, eligible) == "finalized"


def test_what_was_agreed_to_is_what_is_done(program: Program, eligible: str, tree: Path) -> None:
    with program.on_terminal("retention", "gc") as terminal:
        terminal.read_until(QUESTION)
        program.call("push", str(tree), "--producer", "ci", "--subject", "app")
        terminal.type("y\n")
        assert "stale" in terminal.read_all()
        assert terminal.process.wait(PATIENCE) == 5
    assert status(program, eligible) == "finalized"


def test_nobody_is_asked_when_there_is_nothing_to_delete(program: Program) -> None:
    program.call("init")
    seen = program.seen("retention", "gc")
    assert QUESTION not in seen
    assert "collected count" in seen
