"""Runs the console blocks of a page as a person would: in one shell, on a terminal, comparing the output.

A block is a transcript: `$ command`, then what it prints. `...` stands for any text; an id, a digest and a
moment stand for any other one. A command may go on in lines that begin with `> `. One that fails must be
followed by `$ echo $?`, so that no page hides a failure.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
from dataclasses import dataclass
from doctest import ELLIPSIS, OutputChecker
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from sybil import Example

_CHANGING = re.compile(
    "(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|(?P<digest>[0-9a-f]{64})"
    r"|(?P<moment>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{6})?Z)"
)
_PATIENCE = 60  # seconds without output after which a command counts as stuck


@dataclass(frozen=True)
class Step:
    """A command of a transcript and what it prints."""

    command: str
    expected: str


def steps(transcript: str) -> list[Step]:
    """The commands of a console block."""
    found: list[Step] = []
    for line in transcript.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:], ""))
        elif line.startswith("> ") and found and not found[-1].expected:
            found[-1] = Step(f"{found[-1].command}\n{line[2:]}", "")
        elif found:
            found[-1] = Step(found[-1].command, f"{found[-1].expected}{line}\n")
        else:
            raise AssertionError(f"a console block begins with '$ ', not with {line!r}")
    return found


class Shell:
    """A bash that keeps its variables and its folder between commands and believes that it has a terminal."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # With what it has started in the background.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        os.close(self._ours)

    def run(self, command: str) -> tuple[str, int]:
        """What a command prints, and its exit code, which the next one finds in `$?`."""
        end = f"end of {id(self)}"
        script = f"{{ {command}\n}} </dev/null; code=$?; echo '{end}' $code; (exit $code)\n"
        assert self._process.stdin is not None
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()
        text = ""
        for part in self._output():
            text += part
            printed, mark, rest = text.partition(end)
            if mark and rest.endswith("\n"):
                return printed, int(rest)
        raise AssertionError(f"the shell ended in: {command}\n{text}")

    def _output(self) -> Iterator[str]:
        while select.select([self._ours], [], [], _PATIENCE)[0]:
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # how Linux says that the shell is gone
                return
            yield part.decode().replace("\r\n", "\n")


def evaluate(example: Example) -> str | None:
    """Run one console block of a document; returns what differs, for Sybil."""
    shell: Shell = example.namespace["shell"]
    transcript = steps(example.parsed)
    for number, step in enumerate(transcript):
        printed, code = shell.run(step.command)
        if not OutputChecker().check_output(_settled(step.expected), _settled(printed), ELLIPSIS):
            return f"$ {step.command}\nexpected:\n{step.expected}\nprinted:\n{printed}"
        following = transcript[number + 1].command if number + 1 < len(transcript) else ""
        if code and following != "echo $?":
            return f"$ {step.command}\nfailed with {code}, which the page does not show:\n{printed}"
    return None


def _settled(text: str) -> str:
    """The text without what is another one each time; its columns stay where they are."""
    return _CHANGING.sub(lambda match: f"<{match.lastgroup}>".ljust(len(match[0]), "-"), text)
