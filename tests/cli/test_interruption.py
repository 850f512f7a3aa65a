"""What is left when a command is stopped in the middle: nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from store.harness import Home

from artifactstore.cli.newfile import new_file
from artifactstore.database import Database
from artifactstore.errors import IntegrityError
from cli.harness import PATIENCE, read_line

if TYPE_CHECKING:
    from pathlib import Path

    from cli.harness import Program

STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", STOPS)
def test_an_interrupted_add_leaves_nothing(program: Program, pushed: str, number: signal.Signals) -> None:
    assert pushed
    home = Home(program.directory)
    package = program.call(
        "package", "create", "--name", "steps", "--producer", "ci", "--subject", "app"
    ).text.strip()
    with home.unchanged(), program.started("package", "add", package, "slow", "-") as process:
        assert process.stdin is not None
        # Far more than a pipe holds: when it is written, the process is in the midst of staging it.
        process.stdin.write(os.urandom(8 << 20))
        process.stdin.flush()
        assert home.staged() != []
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize("number", STOPS)
def test_an_interrupted_push_leaves_nothing(
    program: Program, pushed: str, tmp_path: Path, number: signal.Signals
) -> None:
    assert pushed
    home = Home(program.directory)
    evidence = tmp_path / "much"
    evidence.mkdir()
    for name in range(1000):
        (evidence / f"{name:04}").write_text(str(name))
    before = program.call("events").stdout
    command = ["push", str(evidence), "--producer", "ci", "--subject", "app"]
    # While the test holds the store, the push cannot come to its end, however slow the test is.
    with (
        contextlib.closing(Database(str(home.database))) as database,
        database.write(),
        program.on_terminal(*command) as terminal,
    ):
        terminal.read_until(" files  ")
        terminal.process.send_signal(number)
        seen = terminal.read_all()
        assert terminal.process.wait(PATIENCE) == 128 + number
    assert "Traceback" not in seen
    assert "error" not in seen
    assert program.call("events").stdout == before
    assert len(program.call("list").lines) == 1
    assert home.staged() == []
    assert program.call("replay", "--check").code == 0


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_does_not_wait_for_the_reader(
    program: Program, tmp_path: Path, number: signal.Signals
) -> None:
    evidence = tmp_path / "large"
    evidence.mkdir()
    (evidence / "data").write_bytes(os.urandom(4 << 20))
    package = program.call("push", str(evidence), "--producer", "ci", "--subject", "app").text.strip()
    with program.started("export", package, "-o", "-") as process:
        assert process.stdout is not None
        process.stdout.read(1)  # it cannot go on, since nobody reads the rest
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143), IntegrityError("damaged")], ids=repr)
def test_a_file_that_is_not_finished_is_not_left(tmp_path: Path, stop: BaseException) -> None:
    def write_half() -> None:
        with new_file(str(tmp_path / "tar")) as file:
            file.write(b"half")
            assert os.listdir(tmp_path) != []
            raise stop

    with pytest.raises(type(stop)):
        write_half()
    assert os.listdir(tmp_path) == []


def test_what_is_ignored_stays_ignored(program: Program) -> None:
    program.call("init")
    script = 'trap "" HUP; exec "$@"'
    command = ["/bin/sh", "-c", script, "sh", *program.command("events", "--follow", "--limit", "7")]
    with subprocess.Popen(command, env=program.environment(), stdout=subprocess.PIPE) as process:
        for _ in range(6):
            read_line(process)
        process.send_signal(signal.SIGHUP)
        program.call("package", "create", "--name", "steps", "--producer", "ci", "--subject", "app")
        read_line(process)
        assert process.wait(PATIENCE) == 0
