"""Those who are compared: how each of them pushes, verifies and exports a directory, and what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchmarks.measure import Command

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Promise:
    """What is safe when a command returns.

    Args:
        text: in words, with the system call that does it.
        durable: if not, a syncfs after the command is part of its time.
    """

    text: str
    durable: bool = False


READ_ONLY = Promise("reads only", durable=True)
UNSYNCED = Promise("none: syncfs counted")


class Peer(ABC):
    """One program on one repository.

    Args:
        place: empty directory for all that the program keeps; its `repository` is what an export reads.
        source: directory to push.
        subject: name of the data set.
    """

    name: ClassVar[str]
    version_command: ClassVar[tuple[str, ...]]
    # An absent key: the peer has no such work. Pushes of a set that was pushed before are `push` too.
    promises: ClassVar[dict[str, Promise]]

    def __init__(self, place: Path, source: Path, subject: str) -> None:
        self.place = place
        self.source = source
        self.subject = subject
        self.repository = place / "repository"
        self.pushes = 0

    @property
    def verified(self) -> Path:
        """The directory that a verify reads."""
        return self.repository

    @classmethod
    def version(cls) -> str | None:
        """First line that the program says of itself; None if it is not installed or does not run."""
        try:
            answer = subprocess.run(
                cls.version_command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return (answer.stdout.strip() or "unknown").splitlines()[0]

    def command(
        self,
        *argv: str | Path,
        directory: Path | None = None,
        output: Path | None = None,
        **variables: str | Path,
    ) -> Command:
        """A process with the variables added to an environment without settings of artifactstore."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("ARTIFACTSTORE_")
        }
        added = {name: os.fspath(value) for name, value in variables.items()}
        return Command(
            tuple(os.fspath(word) for word in argv), directory or self.place, inherited | added, output=output
        )

    def prepare(self) -> Iterable[Command]:
        """Make the empty repository; not timed."""
        return ()

    def before_verify(self) -> Iterable[Command]:
        """Bring what a verify needs; not timed."""
        return ()

    @abstractmethod
    def push(self) -> Iterable[Command]:
        """Take the source in."""

    @abstractmethod
    def verify(self) -> Iterable[Command]:
        """Read everything again and compare it with the recorded digests."""

    @abstractmethod
    def export(self, target: Path) -> Iterable[Command]:
        """Write the source as it was pushed last to the empty directory `target`."""


class ArtifactStore(Peer):
    """Ourselves. `check` compares the pushed tree with the manifest alone, both digests."""

    name = "artifactstore"
    version_command = (sys.executable, "-m", "artifactstore", "version")
    promises: ClassVar[dict[str, Promise]] = {
        "push": Promise("bytes, names, log: 2 syncfs, SQLite fdatasync", durable=True),
        "verify": READ_ONLY,
        "export": UNSYNCED,
    }

    @property
    def verified(self) -> Path:
        return self.source

    def ours(self, *argv: str | Path, output: Path | None = None) -> Command:
        """One call of our CLI on the repository."""
        return self.command(
            sys.executable, "-m", "artifactstore", *argv,
            output=output,
            PYTHONPATH=REPOSITORY,
            ARTIFACTSTORE_DATABASE_URL=f"sqlite:///{self.repository / 'artifactstore.db'}",
            ARTIFACTSTORE_STORAGE_LOCAL_ROOT=self.repository / "storage",
        )  # fmt: skip

    def prepare(self) -> Iterable[Command]:
        return (self.ours("init"),)

    def push(self) -> Iterable[Command]:
        # A push refuses symlinks unless told otherwise, and a real tree may have some.
        links = ("--symlinks", "skip") if self.subject == "w3" else ()
        return (
            self.ours(
                "push", self.source,
                "--producer", "bench", "--subject", self.subject, "--name", self.subject, *links,
                output=self.place / "package-id",
            ),
        )  # fmt: skip

    def package_id(self) -> str:
        """The package that the last push printed."""
        return (self.place / "package-id").read_text(encoding="utf-8").strip()

    def before_verify(self) -> Iterable[Command]:
        return (
            self.ours("manifest", self.package_id(), "--format", "cbor", output=self.place / "manifest.cbor"),
        )

    def verify(self) -> Iterable[Command]:
        return (self.ours("check", self.source, "--manifest", self.place / "manifest.cbor"),)

    def export(self, target: Path) -> Iterable[Command]:
        return (self.ours("export", self.package_id(), target),)


class Restic(Peer):
    """restic: chunks in packs, compressed and encrypted. What is unchanged it tells by size and times."""

    name = "restic"
    version_command = ("restic", "version")
    promises: ClassVar[dict[str, Promise]] = {
        "push": Promise("packs and index: fsync each", durable=True),
        "verify": READ_ONLY,
        "export": UNSYNCED,
    }

    def restic(self, *argv: str | Path) -> Command:
        """One call in the source directory, with its own cache."""
        return self.command(
            "restic", *argv,
            directory=self.source,
            RESTIC_REPOSITORY=self.repository,
            RESTIC_PASSWORD="benchmark",  # noqa: S106  the repository is thrown away
            RESTIC_CACHE_DIR=self.place / "cache",
        )  # fmt: skip

    def prepare(self) -> Iterable[Command]:
        return (self.restic("init", "--quiet"),)

    def push(self) -> Iterable[Command]:
        return (self.restic("backup", "--quiet", "."),)

    def verify(self) -> Iterable[Command]:
        return (self.restic("check", "--quiet", "--read-data"),)

    def export(self, target: Path) -> Iterable[Command]:
        return (self.restic("restore", "--quiet", "latest", "--target", target),)


class Borg(Peer):
    """borg: chunks in segments, compressed, not encrypted. What is unchanged it tells by size and times."""

    name = "borg"
    version_command = ("borg", "--version")
    promises: ClassVar[dict[str, Promise]] = {
        "push": Promise("segments: fsync each", durable=True),
        "verify": READ_ONLY,
        "export": UNSYNCED,
    }

    def borg(self, *argv: str, directory: Path) -> Command:
        """One call with its own cache, configuration and keys."""
        return self.command(
            "borg", *argv,
            directory=directory,
            BORG_REPO=self.repository,
            BORG_BASE_DIR=self.place / "home",
            BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes",
        )  # fmt: skip

    def prepare(self) -> Iterable[Command]:
        return (self.borg("init", "--encryption", "none", directory=self.place),)

    def push(self) -> Iterable[Command]:
        self.pushes += 1
        return (self.borg("create", f"::push-{self.pushes}", ".", directory=self.source),)

    def verify(self) -> Iterable[Command]:
        return (self.borg("check", "--verify-data", directory=self.place),)

    def export(self, target: Path) -> Iterable[Command]:
        return (self.borg("extract", f"::push-{self.pushes}", directory=target),)


class Git(Peer):
    """git that syncs every object; not among the default peers, because it is slow."""

    name = "git"
    version_command = ("git", "--version")
    promises: ClassVar[dict[str, Promise]] = {
        "push": Promise("objects: fsync each, no names", durable=True),
        "verify": READ_ONLY,
        "export": UNSYNCED,
    }

    def git(self, *argv: str | Path) -> Command:
        """One call that knows no configuration but ours."""
        settings = ("core.fsync=all", "core.fsyncMethod=fsync", "core.autocrlf=false", "gc.auto=0")
        return self.command(
            "git", *(word for setting in settings for word in ("-c", setting)), *argv,
            directory=self.source,
            GIT_DIR=self.repository,
            GIT_WORK_TREE=self.source,
            GIT_CONFIG_GLOBAL=os.devnull,
            GIT_CONFIG_NOSYSTEM="1",
            GIT_AUTHOR_NAME="bench", GIT_AUTHOR_EMAIL="bench@example.org",
            GIT_COMMITTER_NAME="bench", GIT_COMMITTER_EMAIL="bench@example.org",
        )  # fmt: skip

    def prepare(self) -> Iterable[Command]:
        return (self.git("init", "--quiet"),)

    def push(self) -> Iterable[Command]:
        return (
            self.git("add", "--all", "--force"),
            self.git("commit", "--quiet", "--allow-empty", "-m", "push"),
        )

    def verify(self) -> Iterable[Command]:
        return (self.git("fsck", "--full"),)

    def export(self, target: Path) -> Iterable[Command]:
        return (self.git("checkout-index", "--all", f"--prefix={target}/"),)


class Copy(Peer):
    """`cp -r` followed by a sync: bytes without digests, without a log. The disk's own speed."""

    name = "cp+sync"
    version_command = ("cp", "--version")
    promises: ClassVar[dict[str, Promise]] = {"push": UNSYNCED, "export": UNSYNCED}

    def prepare(self) -> Iterable[Command]:
        return (self.command("mkdir", self.repository),)

    def push(self) -> Iterable[Command]:
        return (self.command("cp", "-r", f"{self.source}/.", self.repository),)

    def verify(self) -> Iterable[Command]:
        return ()

    def export(self, target: Path) -> Iterable[Command]:
        return (self.command("cp", "-r", f"{self.repository}/.", target),)


class Checksums(Peer):
    """What an auditor would do without us: list the digests of the source once, check them later."""

    promises: ClassVar[dict[str, Promise]] = {"verify": READ_ONLY}
    programs: ClassVar[tuple[str, ...]]

    @property
    def verified(self) -> Path:
        return self.source

    def before_verify(self) -> Iterable[Command]:
        return (
            self.command(
                "sh", "-c", f"find . -type f -print0 | xargs -0 {program}",
                directory=self.source, output=self.place / program,
            )
            for program in self.programs
        )  # fmt: skip

    def push(self) -> Iterable[Command]:
        return ()

    def verify(self) -> Iterable[Command]:
        return (
            self.command(program, "--quiet", "--check", self.place / program, directory=self.source)
            for program in self.programs
        )

    def export(self, target: Path) -> Iterable[Command]:
        return ()


class Sha256sum(Checksums):
    """coreutils, one thread."""

    name = "sha256sum"
    version_command = ("sha256sum", "--version")
    programs = ("sha256sum",)


class B3sum(Checksums):
    """The reference implementation of blake3, all cores."""

    name = "b3sum"
    version_command = ("b3sum", "--version")
    programs = ("b3sum",)


class BothSums(Checksums):
    """Both digests, which is what our check compares."""

    name = "sha256sum+b3sum"
    version_command = ("b3sum", "--version")
    programs = ("sha256sum", "b3sum")


PEERS: tuple[type[Peer], ...] = (Restic, Borg, Git, Copy, Sha256sum, B3sum, BothSums)
OPTIONAL = (Git,)
