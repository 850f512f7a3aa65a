"""What may be on a disk after a power cut, by the letter of POSIX.

A file's bytes are there for certain after a sync of that file, a name after a sync of its folder; `syncfs`
makes everything certain. Whatever was done since may have reached the disk or not, in any order and in any
part: a name without the bytes of its file, half of a write, one name of a rename without the other.
"""

from __future__ import annotations

import copy
import enum
import hashlib
import os
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

SECTOR = 512  # bytes: the part of a write that reaches the disk whole or not at all

# What a folder holds: bytes of files, and folders.
Tree: TypeAlias = "dict[str, bytes | Tree]"


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a file."""

    owner: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A new length of a file."""

    owner: int
    size: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a folder; without a target the name goes away.

    Args:
        owner: the folder.
        is_folder: what the target is.
    """

    owner: int
    name: str
    target: int | None
    is_folder: bool = False


Change: TypeAlias = Write | Resize | Name


@dataclass(frozen=True, slots=True)
class Step:
    """One system call that has returned.

    Args:
        call: as a person reads it.
        changes: what it did; nothing of it is certain yet.
        syncs: the file or folder that it made certain, or `EVERYTHING`.
        since: number of steps that were over when this one began: a sync covers those alone.
        acknowledges: the program has told its caller that all is done.
    """

    call: str
    changes: tuple[Change, ...] = ()
    syncs: int | None = None
    since: int = 0
    acknowledges: bool = False


EVERYTHING = -1
ROOT = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that is not certain, and the number of its step."""

    step: int
    change: Change


class Fate(enum.Enum):
    """What became of a change; of names only the first two."""

    KEPT = "kept"
    LOST = "lost"
    ZEROED = "zeroed"  # the length, not the bytes
    TORN = "torn"  # the length, and some sectors
    CUT = "cut"  # its first part
    GARBAGE = "garbage"  # the length, and bytes that nobody wrote


Decide: TypeAlias = "Callable[[Pending], Fate]"


@dataclass
class Disk:
    """What is certain, what is pending, and what the running program sees.

    Files and folders have numbers, the root is `ROOT`.

    Args:
        roots: the only names at the root that count.
    """

    roots: frozenset[str]
    files: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    seen: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    pending: list[Pending] = field(default_factory=list)
    steps: int = 0

    @classmethod
    def holding(cls, tree: Tree, roots: Iterable[str]) -> Disk:
        """A disk that holds exactly this, all of it certain."""
        disk = cls(frozenset(roots))
        disk._take(ROOT, tree)
        disk.seen = copy.deepcopy(disk.folders)
        return disk

    def _take(self, folder: int, tree: Tree) -> None:
        for name, content in tree.items():
            number = self.new_number()
            self.folders[folder][name] = number
            if isinstance(content, dict):
                self.folders[number] = {}
                self._take(number, content)
            else:
                self.files[number] = content

    def new_number(self) -> int:
        """A number that no file or folder has."""
        return len(self.files) + len(self.folders)

    def copy(self) -> Disk:
        """The same disk, to go another way."""
        return replace(
            self,
            files=dict(self.files),
            folders={number: dict(entries) for number, entries in self.folders.items()},
            seen={number: dict(entries) for number, entries in self.seen.items()},
            pending=list(self.pending),
        )

    def do(self, step: Step) -> None:
        """Go on by one step."""
        for change in step.changes:
            if isinstance(change, Name):
                self._name(change)
            self.pending.append(Pending(self.steps, change))
        if step.syncs is not None:
            self._sync(step.syncs, step.since)
        self.steps += 1

    def _name(self, change: Name) -> None:
        if change.target is None:
            del self.seen[change.owner][change.name]
            return
        if change.is_folder:
            self.folders.setdefault(change.target, {})
            self.seen.setdefault(change.target, {})
        else:
            self.files.setdefault(change.target, b"")
        self.seen[change.owner][change.name] = change.target

    def _sync(self, what: int, since: int) -> None:
        certain = [
            each for each in self.pending if each.step < since and what in {EVERYTHING, each.change.owner}
        ]
        if certain:
            covered = set(map(id, certain))
            self.pending = [each for each in self.pending if id(each) not in covered]
            self._settle(self.files, self.folders, certain, lambda _: Fate.KEPT)

    def after(self, decide: Decide) -> Tree:
        """What is there after a cut now, if this becomes of each pending change."""
        files = dict(self.files)
        folders = {number: dict(entries) for number, entries in self.folders.items()}
        self._settle(files, folders, self.pending, decide)
        return _tree(files, folders, ROOT)

    @staticmethod
    def _settle(
        files: dict[int, bytes],
        folders: dict[int, dict[str, int]],
        pending: Iterable[Pending],
        decide: Decide,
    ) -> None:
        changed: dict[int, bytearray] = {}
        for each in pending:
            change, fate = each.change, decide(each)
            if fate is Fate.LOST:
                continue
            if isinstance(change, Name):
                if change.target is None:
                    folders[change.owner].pop(change.name, None)
                else:
                    folders[change.owner][change.name] = change.target
                continue
            content = changed.setdefault(change.owner, bytearray(files[change.owner]))
            if isinstance(change, Resize):
                _resize(content, change.size)
            else:
                _write(content, change, fate)
        files.update((number, bytes(content)) for number, content in changed.items())

    def loose(self) -> list[Pending]:
        """What is pending and may show after a cut: not what was done to a file that has no name any more."""
        named = {ROOT, *(number for entries in self.folders.values() for number in entries.values())}
        named |= {each.change.target or ROOT for each in self.pending if isinstance(each.change, Name)}
        return [each for each in self.pending if each.change.owner in named]


def keep_all(_pending: Pending) -> Fate:
    """The cut came after everything had reached the disk."""
    return Fate.KEPT


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _write(content: bytearray, write: Write, fate: Fate) -> None:
    data = write.data[: len(write.data) // 2] if fate is Fate.CUT else write.data
    end = write.offset + len(data)
    if len(content) < end:
        _resize(content, end)
    chance = random.Random(f"{write.owner} {write.offset} {len(data)}")
    if fate is Fate.ZEROED:
        data = bytes(len(data))
    elif fate is Fate.GARBAGE:
        data = chance.randbytes(len(data))
    elif fate is Fate.TORN:
        # Sectors lie on the disk, not in the write: the first and the last part may be short.
        torn = bytearray(content[write.offset : end])
        start = 0
        while start < len(data):
            stop = min(len(data), start + SECTOR - (write.offset + start) % SECTOR)
            if chance.random() < 0.5:
                torn[start:stop] = data[start:stop]
            start = stop
        data = bytes(torn)
    content[write.offset : end] = data


def _tree(files: Mapping[int, bytes], folders: Mapping[int, Mapping[str, int]], number: int) -> Tree:
    return {
        name: _tree(files, folders, target) if target in folders else files[target]
        for name, target in sorted(folders[number].items())
    }


def fingerprint(tree: Tree) -> bytes:
    """The same for equal trees, and for no others."""
    digest = hashlib.blake2b(digest_size=16)
    for path, content in walk(tree):
        for part in (path.encode(), b"folder" if content is None else content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        digest.update(bytes([content is None]))
    return digest.digest()


def walk(tree: Tree, prefix: str = "") -> Iterator[tuple[str, bytes | None]]:
    """All paths in order with the bytes of files; None stands for a folder."""
    for name, content in tree.items():
        path = f"{prefix}{name}"
        if isinstance(content, dict):
            yield path, None
            yield from walk(content, f"{path}/")
        else:
            yield path, content


def read(root: Path, names: Iterable[str]) -> Tree:
    """What is really there under these names."""
    tree: Tree = {}
    for name in sorted(names):
        path = root / name
        if path.is_dir():
            tree[name] = read(path, os.listdir(path))
        elif path.exists():
            tree[name] = path.read_bytes()
    return tree


def write(tree: Tree, root: Path) -> None:
    """Put a tree into an empty folder."""
    for path, content in walk(tree):
        if content is None:
            os.mkdir(root / path, 0o700)
        else:
            descriptor = os.open(root / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
