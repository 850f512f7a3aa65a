"""Runs commands as whole processes and says what they cost."""

from __future__ import annotations

import compileall
import contextlib
import ctypes
import os
import resource
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import artifactstore
from benchmarks.datasets import files_below
from benchmarks.machine import NOISY, busy_seconds, sync

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TIME_LIMIT = 1800.0  # seconds after which a command is killed and counts as failed
READ_SIZE = 1024 * 1024  # bytes
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER. Source: linux/prctl.h


class CommandFailedError(Exception):
    """A command is absent, exited with an error or ran past the time limit."""


@dataclass(frozen=True, slots=True)
class Command:
    """One process.

    Args:
        argv: program and arguments.
        directory: where it runs.
        environment: the whole environment.
        output: file that takes its standard output.
    """

    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(repr=False)
    output: Path | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What a run cost.

    Args:
        returned: seconds until the last process had returned, start-up included.
        synced: seconds that a syncfs after it took.
        peak: bytes of memory of the largest process.
        foreign: share of one core that other processes used meanwhile.
    """

    returned: float
    synced: float
    peak: int
    foreign: float

    @property
    def noisy(self) -> bool:
        """Whether others used so much CPU that the times are in doubt."""
        return self.foreign > NOISY


def adopt_orphans() -> None:
    """Make servers that go to the background children of ours, so that their CPU is not that of others.

    Only where the system can: Linux.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def reap() -> None:
    """Take the CPU of adopted servers that have ended into the account of this process."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def compile_program() -> None:
    """Compile the modules of ours, as pip does when it installs them.

    In a clone, Python would else compile them at each start, where it may not write what it compiled.
    """
    compileall.compile_dir(Path(artifactstore.__file__).parent, quiet=1)


def run(commands: Sequence[Command], place: Path) -> Sample:
    """Run commands one after the other, then sync the file system.

    Args:
        place: directory on the file system to sync; takes the commands' error output.
    Raises:
        CommandFailedError: with the last line that the command said.
    """
    returned, peak, own, foreign_begin = 0.0, 0, 0.0, busy_seconds()
    for command in commands:
        seconds, usage = run_one(command, place)
        returned += seconds
        peak = max(peak, usage.ru_maxrss * 1024)  # [KiB] -> [B]
        own += usage.ru_utime
    foreign = max(0.0, busy_seconds() - foreign_begin - own) / max(returned, 0.001)
    return Sample(returned, sync(place), peak, foreign)


def run_one(command: Command, place: Path) -> tuple[float, resource.struct_rusage]:
    """Run one command; returns its wall time in seconds and what it and its children used.

    Raises:
        CommandFailedError: it could not be started, failed or was killed after the time limit.
    """
    errors = place / "stderr"
    with errors.open("wb") as error_stream, open(command.output or os.devnull, "wb") as output_stream:
        begin = time.perf_counter()
        try:
            process = subprocess.Popen(
                command.argv,
                cwd=command.directory,
                env=dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=output_stream,
                stderr=error_stream,
            )
        except OSError as error:
            raise CommandFailedError(f"{command.argv[0]}: {error.strerror}") from error
        killer = threading.Timer(TIME_LIMIT, process.kill)
        killer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            killer.cancel()
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)  # tells Popen that it was waited for
    if process.returncode != 0:
        said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        told = said[-1] if said else "no message"
        raise CommandFailedError(f"{' '.join(command.argv[:4])} … exited with {process.returncode}: {told}")
    return seconds, usage


SYNCS = ("fsync", "fdatasync", "syncfs", "sync", "sync_file_range", "msync")


def traced(commands: Sequence[Command], place: Path) -> dict[str, int]:
    """Run commands under strace and count their calls that make bytes durable.

    Raises:
        CommandFailedError: there is no strace, nobody may trace here, or a command failed.
    """
    counted: dict[str, int] = {}
    trace = place / "trace"
    for command in commands:
        run_one(
            replace(
                command,
                argv=(
                    *("strace", "-f", "--seccomp-bpf", "-c", "-U", "calls,name", "-o", str(trace)),
                    *("-e", f"trace={','.join(SYNCS)}", "--", *command.argv),
                ),
            ),
            place,
        )
        for line in trace.read_text(encoding="ascii").splitlines():
            match line.split():
                case [count, name] if name in SYNCS:
                    counted[name] = counted.get(name, 0) + int(count)
    return counted


def foreign_share(call: Callable[[], object]) -> float:
    """Make a call; the share of one core that others used meanwhile."""
    begin, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    call()
    foreign = busy_seconds() - busy - (own_seconds() - own)
    return max(0.0, foreign) / max(time.perf_counter() - begin, 0.001)


def own_seconds() -> float:
    """User CPU of this process and of the children that it waited for."""
    times = os.times()
    return times.user + times.children_user


def disk_usage(directory: Path) -> int:
    """Bytes of the disk that a directory takes, with its folders."""
    return sum(
        os.lstat(path).st_blocks * 512
        for folder, _, names in os.walk(directory)
        for path in (folder, *(os.path.join(folder, name) for name in names))
    )


def memory_floor() -> int:
    """Bytes below which a peak says nothing: a child starts as a copy of this process, which counts."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def warm(directory: Path) -> None:
    """Read every file below `directory` into the page cache."""
    buffer = bytearray(READ_SIZE)
    for entry in files_below(directory):
        with open(entry.path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
