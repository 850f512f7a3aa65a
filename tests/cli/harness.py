"""Ways to run the command line: in this process where that is enough, in another one, on a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pty
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifactstore.cli.application import run
from artifactstore.logs import LOGGER_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PATIENCE = 60  # seconds after which a process counts as stuck


@dataclass(frozen=True)
class Answer:
    """What a command printed and its exit code."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Stdout as text."""
        return self.stdout.decode()

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.text.splitlines()

    @property
    def rows(self) -> list[list[str]]:
        """The fields of a table."""
        return [line.split("\t") for line in self.lines]

    @property
    def document(self) -> Any:
        """Stdout as one JSON document."""
        return json.loads(self.stdout)


def answer_of(arguments: list[str]) -> Answer:
    """What the program answers to exactly these arguments, in this process."""
    # Like the real ones: UTF-8 below, and what cannot be encoded is escaped on stderr.
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stderr = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    logger = logging.getLogger(LOGGER_NAME)
    handlers, level = list(logger.handlers), logger.level
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            code = run(arguments)
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)
    stdout.flush()
    stderr.flush()
    raw_out, raw_err = stdout.detach(), stderr.detach()
    assert isinstance(raw_out, io.BytesIO)
    assert isinstance(raw_err, io.BytesIO)
    return Answer(code, raw_out.getvalue(), raw_err.getvalue().decode())


@dataclass(frozen=True)
class Program:
    """The command line on the store in one directory."""

    directory: Path

    @property
    def settings(self) -> dict[str, str]:
        """The variables that name the store."""
        return {
            "ARTIFACTSTORE_DATABASE_URL": str(self.directory / "artifactstore.db"),
            "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": str(self.directory / "storage"),
        }

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a process: this store and no other settings."""
        foreign = ("ARTIFACTSTORE_", "STATE_HUB_", "CI")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {**kept, **self.settings, **(more or {})}

    def call(self, *arguments: str, code: int = 0) -> Answer:
        """Run a command in this process, which is quick.

        Args:
            code: what the exit code must be.
        """
        flags = [
            "--database",
            self.settings["ARTIFACTSTORE_DATABASE_URL"],
            "--root",
            self.settings["ARTIFACTSTORE_STORAGE_LOCAL_ROOT"],
        ]
        answer = answer_of([*flags, *arguments])
        assert answer.code == code, answer
        return answer

    def spawn(
        self,
        *arguments: str,
        code: int = 0,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run a command in a process of its own."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment(environment),
            input=stdin,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr.decode())
        assert answer.code == code, answer
        return answer

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process with pipes that is killed at the end of the block if it still runs."""
        with subprocess.Popen(
            self.command(*arguments),
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def on_terminal(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> Iterator[Terminal]:
        """A process whose stdin, stdout and stderr are a terminal."""
        ours, theirs = pty.openpty()
        try:
            with subprocess.Popen(
                self.command(*arguments),
                env=self.environment(environment),
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            ) as process:
                os.close(theirs)
                try:
                    yield Terminal(process, ours)
                finally:
                    process.kill()
        finally:
            os.close(ours)

    def seen(self, *arguments: str, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
        """All that a person sees of a command on a terminal."""
        with self.on_terminal(*arguments, environment=environment) as terminal:
            text = terminal.read_all()
            assert terminal.process.wait(PATIENCE) == code, text
        return text

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """How to start it."""
        return [sys.executable, "-m", "artifactstore", *arguments]


class Terminal:
    """Our side of a terminal that a process writes to."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.text = ""

    def read_until(self, wanted: str) -> None:
        """Read until a text has appeared."""
        while wanted not in self.text:
            assert self._read(), self.text

    def read_all(self) -> str:
        """Read to the end."""
        while self._read():
            pass
        return self.text.replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._descriptor, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C until it ends: one in the moment before it waits for a line counts with the next."""
        while self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE / 20)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], PATIENCE)
        assert ready, f"nothing came for {PATIENCE} s after: {self.text}"
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.text += data.decode()
        return bool(data)


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    """The next line of a process's stdout; fails if none comes."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout.fileno()], [], [], PATIENCE)
        assert ready, f"no line came for {PATIENCE} s"
        data = os.read(process.stdout.fileno(), 1)  # one byte, so that nothing is hidden in a buffer
        assert data, f"the output ended after {line!r}"
        line += data
    return line
