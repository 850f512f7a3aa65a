"""What a program does to the files of a place, read from the system calls that strace writes down.

All threads, all bytes, SQLite's too. What is written through shared maps is not seen: that is the `-shm`
file alone, which every restart makes anew. Whether a record is complete is not believed: at its end the
recorded disk must hold exactly what the real folder holds.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crash.disk_states import EVERYTHING, ROOT, Name, Resize, Step, Write, keep_all, read, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from crash.disk_states import Disk, Tree

ACKNOWLEDGED = b"acknowledged\n"
_SHARED_MAP = "-shm"
_LONGEST = 8 << 20  # bytes of one write; strace cuts longer ones

_FOLLOWED = (
    *("open", "openat", "close", "dup", "dup2", "dup3", "fcntl", "lseek"),
    *("write", "pwrite64", "ftruncate", "fsync", "fdatasync", "syncfs"),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
)
# Nobody uses them on a store; a record in which somebody does is refused.
_NOT_FOLLOWED = (
    *("writev", "pwritev", "pwritev2", "fallocate", "truncate", "copy_file_range", "sendfile", "splice"),
    *("creat", "openat2", "symlink", "symlinkat", "mknod", "mknodat", "io_uring_setup", "fork", "vfork"),
)
_LINE = re.compile(r"(\d+) +(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
_HERE = "AT_FDCWD"
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")


def record(command: Sequence[str], root: Path, disk: Disk, *, log: Path, folder: Path) -> list[Step]:
    """Run a command and give what it did below a folder, step by step.

    Args:
        root: only the names that count for the disk are recorded.
        disk: what is there before; afterwards what is there then.
        log: a file that strace may write.
        folder: where the command runs.
    """
    strace = (
        *("strace", "--follow-forks", "--seccomp-bpf", "--strings-in-hex=all", f"--string-limit={_LONGEST}"),
        *("--output", str(log), "--trace", ",".join((*_FOLLOWED, *_NOT_FOLLOWED))),
    )
    ran = subprocess.run([*strace, *command], cwd=folder, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout == ACKNOWLEDGED
    with open(log, encoding="ascii") as lines:
        steps = list(_Recorder(os.path.realpath(root), disk).follow(lines))
    os.unlink(log)
    assert [step.acknowledges for step in steps].count(True) == 1
    assert _differences(disk.after(keep_all), read(root, disk.roots)) == []
    return steps


def _differences(recorded: Tree, real: Tree) -> list[str]:
    """The paths at which two trees differ, but for maps that cannot be recorded."""
    one, other = dict(walk(recorded)), dict(walk(real))
    return sorted(
        path
        for path in one.keys() | other.keys()
        if path not in one
        or path not in other
        or (one[path] != other[path] and not path.endswith(_SHARED_MAP))
    )


@dataclass(slots=True)
class _Opened:
    """An open file or folder of the place; descriptors that were duplicated share it."""

    number: int
    path: str
    offset: int = 0


class _Recorder:
    """Follows the descriptors of one process, and the names below one folder."""

    def __init__(self, root: str, disk: Disk) -> None:
        self._root = root
        self._disk = disk
        self._opened: dict[int, _Opened] = {}

    def follow(self, lines: Iterable[str]) -> Iterator[Step]:
        """Each call that changes or syncs something of the place, in the order in which they returned."""
        begun: dict[str, tuple[str, int]] = {}
        for line in lines:
            found = _LINE.fullmatch(line.rstrip("\n"))
            assert found, line[:200]
            thread, text = found.groups()
            since = self._disk.steps
            if text.endswith(_UNFINISHED):
                text = text.removesuffix(_UNFINISHED)
                if text.startswith("close("):
                    # Another thread may get this number before the call is seen to return.
                    self._opened.pop(int(text[6:]), None)
                begun[thread] = text, since
                continue
            if _RESUMED.match(text):
                start, since = begun.pop(thread)
                text = start + _RESUMED.sub("", text, count=1)
                if start.startswith("close("):
                    continue
            call = _CALL.match(text)
            if call and not call[3].startswith("-"):
                step = self._step(call[1], call[2].split(", "), int(call[3]), since)
                if step is not None:
                    self._disk.do(step)
                    yield step

    def _step(self, call: str, arguments: list[str], result: int, since: int) -> Step | None:
        match call, arguments:
            case "open", [path, flags, *_]:
                return self._open(_HERE, path, flags, result)
            case "openat", [folder, path, flags, *_]:
                return self._open(folder, path, flags, result)
            case "close", [descriptor]:
                self._opened.pop(int(descriptor), None)
            case (("dup" | "dup2" | "dup3"), [descriptor, *_]):
                self._duplicate(descriptor, result)
            case "fcntl", [descriptor, ("F_DUPFD" | "F_DUPFD_CLOEXEC"), *_]:
                self._duplicate(descriptor, result)
            case "fcntl", _:
                pass
            case "lseek", [descriptor, *_]:
                if opened := self._opened.get(int(descriptor)):
                    opened.offset = result
            case "write", [descriptor, data, _]:
                return self._write(descriptor, data, None, result)
            case "pwrite64", [descriptor, data, _, offset]:
                return self._write(descriptor, data, int(offset), result)
            case "ftruncate", [descriptor, size]:
                return self._truncate(descriptor, int(size))
            case (("fsync" | "fdatasync"), [descriptor]):
                if opened := self._opened.get(int(descriptor)):
                    return Step(f"{call} {opened.path}", syncs=opened.number, since=since)
            case "syncfs", [descriptor]:
                if int(descriptor) in self._opened:
                    return Step(call, syncs=EVERYTHING, since=since)
            case "mkdir", [path, _]:
                return self._make_folder(_HERE, path)
            case "mkdirat", [folder, path, _]:
                return self._make_folder(folder, path)
            case (("unlink" | "rmdir"), [path]):
                return self._remove(_HERE, path)
            case "unlinkat", [folder, path, _]:
                return self._remove(folder, path)
            case (("rename" | "link"), [old, new]):
                return self._give_name((_HERE, old), (_HERE, new), moves=call == "rename")
            case (("renameat" | "renameat2" | "linkat"), [folder, old, new_folder, new, *_]):
                return self._give_name((folder, old), (new_folder, new), moves=call != "linkat")
            case _:
                assert not self._concerns(arguments), f"{call} is not understood"
        return None

    # Descriptors

    def _open(self, folder: str, path: str, flags: str, result: int) -> Step | None:
        place = self._place(folder, path)
        if place is None:
            return None
        number, changes = self._number(place), []
        if number is None:
            number = self._disk.new_number()
            changes = [Name(*self._last(place), number)]
        elif "O_TRUNC" in flags:
            changes = [Resize(number, 0)]
        self._opened[result] = _Opened(number, place.text)
        return Step(f"open {place.text}", tuple(changes)) if changes else None

    def _duplicate(self, descriptor: str, result: int) -> None:
        if opened := self._opened.get(int(descriptor)):
            self._opened[result] = opened

    # Bytes

    def _write(self, descriptor: str, text: str, offset: int | None, length: int) -> Step | None:
        opened = self._opened.get(int(descriptor))
        if opened is None:
            done = descriptor == "1" and _bytes(text) == ACKNOWLEDGED
            return Step("acknowledge", acknowledges=True) if done else None
        start = opened.offset if offset is None else offset
        if offset is None:
            opened.offset += length
        if opened.path.endswith(_SHARED_MAP):
            return None
        return Step(
            f"write {opened.path} {start}+{length}", (Write(opened.number, start, _bytes(text)[:length]),)
        )

    def _truncate(self, descriptor: str, size: int) -> Step | None:
        opened = self._opened.get(int(descriptor))
        if opened is None or opened.path.endswith(_SHARED_MAP):
            return None
        return Step(f"truncate {opened.path} to {size}", (Resize(opened.number, size),))

    # Names

    def _make_folder(self, folder: str, path: str) -> Step | None:
        place = self._place(folder, path)
        if place is None:
            return None
        name = Name(*self._last(place), self._disk.new_number(), is_folder=True)
        return Step(f"mkdir {place.text}", (name,))

    def _remove(self, folder: str, path: str) -> Step | None:
        place = self._place(folder, path)
        return None if place is None else Step(f"remove {place.text}", (Name(*self._last(place), None),))

    def _give_name(self, old: tuple[str, str], new: tuple[str, str], *, moves: bool) -> Step | None:
        source, target = self._place(*old), self._place(*new)
        if source is None and target is None:
            return None
        assert source, f"{target} comes from elsewhere"
        assert target, f"{source} goes elsewhere"
        number = self._number(source)
        changes = [Name(*self._last(target), number, is_folder=number in self._disk.folders)]
        if moves:
            changes.append(Name(*self._last(source), None))
        return Step(f"{'rename' if moves else 'link'} {source.text} to {target.text}", tuple(changes))

    # Places

    def _place(self, folder: str, text: str) -> _Place | None:
        """Where a path leads, or None if that is not in the place that is recorded."""
        path = os.fsdecode(_bytes(text))
        if path.startswith("/"):
            start, parts = ROOT, os.path.relpath(path, self._root).split("/")
        elif opened := None if folder == _HERE else self._opened.get(int(folder)):
            start, parts = opened.number, path.split("/")
        else:
            return None
        parts = [part for part in parts if part != "."]
        if start == ROOT and parts and parts[0] not in self._disk.roots:
            return None
        return _Place(start, tuple(parts))

    def _number(self, place: _Place) -> int | None:
        """The file or folder there, or None if there is none."""
        number = place.start
        for part in place.parts:
            inner = self._disk.seen[number].get(part)
            if inner is None:
                return None
            number = inner
        return number

    def _last(self, place: _Place) -> tuple[int, str]:
        """The folder of a path's last name, and that name."""
        *above, name = place.parts
        folder = self._number(_Place(place.start, tuple(above)))
        assert folder is not None, place.text
        return folder, name

    def _concerns(self, arguments: list[str]) -> bool:
        """Whether a call may have to do with the place, by any of its arguments."""
        for folder, argument in zip((_HERE, *arguments), arguments, strict=False):
            if argument.isdecimal() and int(argument) in self._opened:
                return True
            if argument.startswith('"') and self._place(folder if folder.isdecimal() else _HERE, argument):
                return True
        return False


@dataclass(frozen=True, slots=True)
class _Place:
    """A path from a folder on."""

    start: int
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        return "/".join(self.parts) or "."


def _bytes(text: str) -> bytes:
    """What strace has written in hexadecimal digits."""
    assert text.endswith('"'), "strace has cut a string"
    return bytes.fromhex(text[1:-1].replace("\\x", ""))
