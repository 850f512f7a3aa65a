"""Working trees of git, and a person who uses them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.harness import write_tree

from artifactstore.interop.git_repository import NOTES_REF

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"junit.xml": b"<testsuites/>\n", "logs/run.log": b"42 passed\n"}


@dataclass(frozen=True)
class Checkout:
    """A working tree, and the environment of the one who works in it."""

    top: Path
    environment: dict[str, str]

    def git(self, *arguments: str, code: int = 0) -> str:
        """What git prints, on stdout and stderr."""
        done = self._run("git", *arguments)
        assert done.returncode == code, done.stdout
        return done.stdout.strip()

    def artifactstore(self, *arguments: str, code: int = 0, folder: str = ".") -> str:
        """What our command prints, on stdout and stderr."""
        done = self._run("artifactstore", *arguments, folder=folder)
        assert done.returncode == code, done.stdout
        return done.stdout.strip()

    def _run(self, *command: str, folder: str = ".") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.top / folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )

    def commit(self, message: str = "a change", **files: str) -> str:
        """Commit a change; returns what git printed."""
        write_tree(self.top, {name: text.encode() for name, text in files.items()})
        self.git("add", "--all", ":!reports")
        return self.git("commit", "--allow-empty", "-m", message)

    def head(self) -> str:
        """The commit that is checked out."""
        return self.git("rev-parse", "HEAD")

    def note(self, commit: str = "HEAD") -> list[str]:
        """The lines of our note on a commit."""
        told = self._run("git", "notes", f"--ref={NOTES_REF}", "show", commit)
        return [] if told.returncode else told.stdout.splitlines()

    def at(self, folder: Path) -> Checkout:
        """Another working tree of the same person."""
        return Checkout(folder, self.environment)


def make(top: Path, person: dict[str, str]) -> Checkout:
    """A new repository with one commit, and evidence that is not in it."""
    top.mkdir(parents=True)
    made = Checkout(top, person)
    made.git("init", "--quiet")
    write_tree(top / "reports", FILES)
    made.commit("first", readme="hello")
    return made
