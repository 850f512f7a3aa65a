"""A process that stops before each of its system calls, so that a drill can do there whatever it wants.

All calls of all threads are numbered as they happen. `strace --inject` numbers them apart for each name and
thread: what a worker thread does would often be out of reach, hidden behind the main thread's calls. Counted
is what touches a file; memory, threads, signals and clocks are not, since a fault there meets the same disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    # What to do before a call, by its number from 0 and its name: send a signal, let it fail, or nothing.
    Decide = Callable[[int, str], "signal.Signals | Failure | Short | None"]

requires_tracing = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="system calls are traced on Linux for x86-64 only",
)

PATIENCE = 120  # seconds after which a traced process counts as stuck and is ended by SIGALRM

# Source: syscalls(2), arch/x86/entry/syscalls/syscall_64.tbl.
_NAMES = {
    0: "read",
    1: "write",
    2: "open",
    3: "close",
    4: "stat",
    5: "fstat",
    6: "lstat",
    7: "poll",
    8: "lseek",
    16: "ioctl",
    17: "pread64",
    18: "pwrite64",
    19: "readv",
    20: "writev",
    21: "access",
    32: "dup",
    33: "dup2",
    72: "fcntl",
    73: "flock",
    74: "fsync",
    75: "fdatasync",
    77: "ftruncate",
    79: "getcwd",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    86: "link",
    87: "unlink",
    89: "readlink",
    91: "fchmod",
    93: "fchown",
    137: "statfs",
    138: "fstatfs",
    217: "getdents64",
    257: "openat",
    258: "mkdirat",
    262: "newfstatat",
    263: "unlinkat",
    264: "renameat",
    265: "linkat",
    267: "readlinkat",
    269: "faccessat",
    285: "fallocate",
    292: "dup3",
    306: "syncfs",
    316: "renameat2",
    332: "statx",
    439: "faccessat2",
}
_MMAP = 9
# What switches the counting on and off: nothing else in the traced code asks for it.
_GETPPID, _GETPGRP = 110, 111
_NOT_COUNTED = {
    *(10, 11, 12, 25, 28),  # mprotect, munmap, brk, mremap, madvise
    *(13, 14, 15, 131, 234, 37),  # signals, alarm
    *(24, 56, 60, 157, 158, 186, 202, 203, 204, 218, 231, 273, 302, 324, 334, 435),  # threads and processes
    *(39, 63, 99, 102, 104, 107, 108, _GETPPID, _GETPGRP),  # who and where am I
    *(35, 96, 201, 228, 229, 230),  # clocks and waiting
    318,  # getrandom
}
_LOCKING = {5, 6, 7, 36, 37, 38}  # commands of fcntl
_WORD = (1 << 64) - 1

_TRACEME, _PEEKDATA, _POKEUSER, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 2, 6, 24, 0x4200, 0x420E
_OPTIONS = 0x1 | 0x8 | 0x10 | 0x100000  # TRACESYSGOOD, TRACECLONE, TRACEEXEC, EXITKILL
_ENTRY = 1
_ORIG_RAX, _RAX, _RDX = 15 * 8, 10 * 8, 12 * 8  # offsets in struct user
_ALL = 0x40000000  # __WALL: threads too
# A close that reports an error has closed; see close(2).
_DONE_ALL_THE_SAME = "close"


class _Info(ctypes.Structure):
    """struct ptrace_syscall_info as at the entry of a call; see ptrace(2)."""

    _fields_ = [
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    ]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Failure:
    """The call does not happen and gives this error."""

    errno: int


@dataclass(frozen=True, slots=True)
class Short:
    """The call, a `write` or `pwrite64`, takes only half of its bytes."""


@dataclass(slots=True)
class Ending:
    """What a traced process did.

    Args:
        calls: names of the counted calls, in their order.
        code: exit code; the negative number of the signal that ended it.
    """

    calls: list[str] = field(default_factory=list)
    code: int = 0


def begin_faults() -> None:
    """Called by the traced code where the counting begins."""
    os.getppid()


def end_faults() -> None:
    """Called by the traced code from where on nothing befalls it any more."""
    os.getpgrp()


def trace(start: Callable[[], int], decide: Decide) -> Ending:
    """Run something in a child process, deciding before each of its counted calls what befalls it.

    Args:
        start: runs in the child and gives its exit code; nothing is counted before `begin_faults`.
    """
    child = os.fork()
    if child == 0:
        _be_traced(start)
    os.waitpid(child, 0)
    try:
        return _Tracer(child, decide).run()
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _be_traced(start: Callable[[], int]) -> None:
    code = 70
    try:
        # A group of its own, so that the tracer waits for this process alone.
        os.setpgid(0, 0)
        signal.alarm(PATIENCE)
        if _libc.ptrace(_TRACEME, 0, None, None) != 0:
            raise OSError(ctypes.get_errno(), "cannot be traced")
        os.kill(os.getpid(), signal.SIGSTOP)
        code = start()
    except BaseException:  # noqa: BLE001 - nothing may go on in the copy of the test's process
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


class _Tracer:
    def __init__(self, child: int, decide: Decide) -> None:
        self._child = child
        self._decide = decide
        self._threads = {child}
        self._counting = False
        self._failing: dict[int, int] = {}
        self._shortened: dict[int, int] = {}
        self._ending = Ending()
        self._info = _Info()

    def run(self) -> Ending:
        self._request(_SETOPTIONS, self._child, None, _OPTIONS)
        self._go_on(self._child)
        while True:
            thread, status = os.waitpid(-self._child, _ALL)
            if not os.WIFSTOPPED(status):
                if thread == self._child:
                    self._ending.code = os.waitstatus_to_exitcode(status)
                    return self._ending
                continue
            self._go_on(thread, self._stopped(thread, status))

    def _stopped(self, thread: int, status: int) -> int:
        """Deal with a stop; gives the signal to deliver, or 0."""
        reason = os.WSTOPSIG(status)
        if reason == signal.SIGTRAP | 0x80:
            self._at_call(thread)
            return 0
        if status >> 16:  # a new thread, or another program
            return 0
        if thread not in self._threads:
            self._threads.add(thread)  # each new thread begins with a stop
            return 0
        return reason

    def _at_call(self, thread: int) -> None:
        info = self._info
        self._request(_GET_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op != _ENTRY:
            if thread in self._failing:
                self._poke(thread, _RAX, -self._failing.pop(thread))
            if thread in self._shortened:
                self._poke(thread, _RDX, self._shortened.pop(thread))
            return
        if info.number in {_GETPPID, _GETPGRP}:
            self._counting = info.number == _GETPPID
        name = self._name(thread, info)
        if name is None or not self._counting:
            return
        fault = self._decide(len(self._ending.calls), name)
        self._ending.calls.append(name)
        if isinstance(fault, Failure):
            self._failing[thread] = fault.errno
            if name != _DONE_ALL_THE_SAME:
                self._poke(thread, _ORIG_RAX, -1)
        elif isinstance(fault, Short):
            length = info.arguments[2]
            self._shortened[thread] = length
            self._poke(thread, _RDX, (length + 1) // 2)
        elif fault is not None:
            os.kill(self._child, fault)

    @staticmethod
    def _name(thread: int, info: _Info) -> str | None:
        number = info.number
        if number == _MMAP:
            return None if info.arguments[4] & 0xFFFFFFFF == 0xFFFFFFFF else "mmap"
        if number in _NOT_COUNTED:
            return None
        name = _NAMES.get(number, f"call-{number}")
        if name == "openat" and info.arguments[2] & os.O_CREAT:
            return "openat create"
        if name == "fcntl" and info.arguments[1] in _LOCKING:
            # struct flock begins with its type, two bytes.
            wanted = _libc.ptrace(_PEEKDATA, thread, info.arguments[2], None) & 0xFFFF
            return "fcntl unlock" if wanted == fcntl.F_UNLCK else "fcntl lock"
        return name

    def _poke(self, thread: int, offset: int, value: int) -> None:
        self._request(_POKEUSER, thread, offset, value & _WORD)

    def _go_on(self, thread: int, deliver: int = 0) -> None:
        self._request(_SYSCALL, thread, None, deliver)

    @staticmethod
    def _request(request: int, thread: int, address: int | None, data: int) -> None:
        # A thread that was killed meanwhile is gone: the wait tells.
        if _libc.ptrace(request, thread, address, data) == -1 and ctypes.get_errno() != errno.ESRCH:
            raise OSError(ctypes.get_errno(), f"ptrace request {request:#x} failed")
