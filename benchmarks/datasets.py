"""The data that is pushed: made by seeded generators, so that every machine measures the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEDIAN_SIZE = 4096  # bytes; log-normal with sigma 1, so the mean is 4096 * e^0.5 = 6,753 bytes
LARGEST_SIZE = 256 * 1024  # bytes; where the long tail is cut
DUPLICATE_EVERY = 10  # each tenth file repeats another one: 10% duplicates
CHANGED_EVERY = 100  # each hundredth file differs after `change`: 1%
CHUNK_SIZE = 1024 * 1024  # bytes of the large file made at a time, so that this process stays small
PINNED = Path(__file__).with_name("real_tree.txt")
WORDS = (
    "started",
    "passed",
    "failed",
    "skipped",
    "retry",
    "timeout",
    "connected",
    "closed",
    "flushed",
    "sealed",
)


class Dataset(Protocol):
    """A directory to push."""

    @property
    def root(self) -> Path:
        """The directory."""

    def build(self) -> None:
        """Make the files, once."""

    def change(self) -> None:
        """Change 1% of the files."""

    def reset(self) -> None:
        """Take `change` back."""


@dataclass(frozen=True, slots=True)
class SmallFiles:
    """W1 and W4: many small text files, as a test run leaves them behind.

    Args:
        root: directory to make.
        count: number of files.
        directories: number of directories they lie in.
        seed: other seeds give other bytes.
    """

    root: Path
    count: int = 10_000
    directories: int = 200
    seed: str = "artifactstore-w1"

    def build(self) -> None:
        """Make the files."""
        for directory in range(self.directories):
            (self.root / f"case-{directory:04}").mkdir(parents=True)
        for index in range(self.count):
            self.path(index).write_bytes(content(self.seed, index))

    def change(self) -> None:
        """Rewrite each hundredth file with other content of another size."""
        for index in range(0, self.count, CHANGED_EVERY):
            self.path(index).write_bytes(content(f"{self.seed}-changed", index))

    def reset(self) -> None:
        """Rewrite each hundredth file with its first content."""
        for index in range(0, self.count, CHANGED_EVERY):
            self.path(index).write_bytes(content(self.seed, index))

    def path(self, index: int) -> Path:
        """Where file number `index` lies."""
        directory = index * self.directories // self.count
        return self.root / f"case-{directory:04}" / f"evidence-{index:06}.{KINDS[index % len(KINDS)][0]}"


@dataclass(frozen=True, slots=True)
class LargeFile:
    """W2: one file of random bytes.

    Args:
        root: directory to make.
        size: bytes.
        seed: other seeds give other bytes.
    """

    root: Path
    size: int = 4 * 1024**3
    seed: str = "artifactstore-w2"

    def build(self) -> None:
        """Make the file."""
        self.root.mkdir(parents=True)
        generator = random.Random(self.seed)
        with (self.root / "capture.bin").open("wb", buffering=0) as file:
            for offset in range(0, self.size, CHUNK_SIZE):
                file.write(generator.randbytes(min(CHUNK_SIZE, self.size - offset)))

    def change(self) -> None:
        """Leave it: no set pushes the large file twice."""

    def reset(self) -> None:
        """Leave it."""


@dataclass(frozen=True, slots=True)
class RealTree:
    """W3: Python packages as their authors published them, unpacked, the same everywhere.

    Without a package index it is the standard library of this Python instead, which has far fewer files.

    Args:
        root: directory to make.
        quick: only what is here without an index.
    """

    root: Path
    quick: bool = False

    def build(self) -> None:
        """Get the wheels and unpack them."""
        if not self.quick:
            wheels = self.root.with_name("wheels")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            pinned = ["--require-hashes", "--requirement", str(PINNED), "--dest", str(wheels)]
            try:
                subprocess.run([*command, *pinned], check=True)
            except subprocess.CalledProcessError:
                print("w3: no package index, so the standard library alone", file=sys.stderr)
            else:
                for wheel in sorted(wheels.glob("*.whl")):
                    shutil.unpack_archive(wheel, self.root / wheel.stem, "zip")
                return
        library = Path(sysconfig.get_path("stdlib"))
        source = library / "email" if self.quick else library
        leave = shutil.ignore_patterns("__pycache__", "site-packages", "config-*")
        shutil.copytree(source, self.root, ignore=leave)

    def change(self) -> None:
        """Leave it: no set pushes it twice."""

    def reset(self) -> None:
        """Leave it."""


def content(seed: str, index: int) -> bytes:
    """The bytes of small file number `index`; each tenth repeats the file nine before it."""
    original = index - (DUPLICATE_EVERY - 1) if index % DUPLICATE_EVERY == DUPLICATE_EVERY - 1 else index
    generator = random.Random(f"{seed}:{original}")
    size = min(LARGEST_SIZE, round(MEDIAN_SIZE * generator.lognormvariate(0.0, 1.0)))
    head, line, tail = KINDS[original % len(KINDS)][1:]
    parts, length = [head], len(head) + len(tail)
    while length < size:
        parts.append(line(generator))
        length += len(parts[-1])
    return "".join([*parts, tail]).encode("ascii")


def json_line(generator: random.Random) -> str:
    """One record of a JSON document."""
    identity, word = generator.getrandbits(64), WORDS[generator.getrandbits(16) % len(WORDS)]
    return f',\n  {{"id": "{identity:016x}", "state": "{word}", "ms": {generator.random() * 900:.3f}}}'


def log_line(generator: random.Random) -> str:
    """One line of a log."""
    second, word = generator.getrandbits(17), WORDS[generator.getrandbits(16) % len(WORDS)]
    return f"2026-05-{second % 28 + 1:02} INFO worker-{second:06} {word} {generator.getrandbits(48):012x}\n"


def xml_line(generator: random.Random) -> str:
    """One element of a JUnit report."""
    word, number = WORDS[generator.getrandbits(16) % len(WORDS)], generator.getrandbits(32)
    return f'  <testcase name="test_{word}_{number:08x}" time="{generator.random():.6f}"/>\n'


# Extension, head, a piece of the middle, tail. Three kinds in turn: a duplicate lies nine files after its
# original and has its extension.
KINDS: tuple[tuple[str, str, Callable[[random.Random], str], str], ...] = (
    ("json", '[\n  {"format": "run"}', json_line, "\n]\n"),
    ("log", "", log_line, ""),
    ("xml", '<?xml version="1.0"?>\n<testsuite>\n', xml_line, "</testsuite>\n"),
)


def files_below(root: Path) -> Iterator[os.DirEntry[str]]:
    """All regular files below a directory, in any order; symlinks are not followed."""
    pending = [os.fspath(root)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry


def tree_size(root: Path) -> tuple[int, int]:
    """Number of files and their bytes."""
    sizes = [entry.stat(follow_symlinks=False).st_size for entry in files_below(root)]
    return len(sizes), sum(sizes)
