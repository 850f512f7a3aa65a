"""What we ask of a git repository, through git itself."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from artifactstore.errors import ArtifactStoreError, NotFoundError, StateError
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

NOTES_REF = "refs/notes/artifactstore"
_ATTEMPTS = 5  # times a note is written while others write notes too
_NOBODY = ("-c", "user.name=artifactstore", "-c", "user.email=artifactstore@localhost")
_IN_PROGRESS = ("rebase-merge", "rebase-apply")
_OWN_SCOPES = ("local", "worktree", "command")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit.

    Args:
        commit_id: all digits of it.
        committed_at: RFC 3339, with the offset that the committer had.
    """

    commit_id: str
    tree_id: str
    committed_at: str


def path_of(remote: str) -> str:
    """The path of a remote on its host, `team/shop` of `git@example.org:team/shop.git`; may be empty."""
    return _parts(remote)[1].strip("/ ").removesuffix(".git").rstrip("/")


def public_address(remote: str) -> str | None:
    """Where a remote is, without users, passwords and queries.

    Returns:
        None if that is on this machine, or where a password ends and the host begins cannot be told.
    """
    host, path = _parts(remote)
    return f"{host}{path}" if host else None


def _parts(remote: str) -> tuple[str, str]:
    """What stands before the path of a remote, and the path; empty where that may hold what is secret."""
    if "://" in remote:
        try:
            parts = urlsplit(remote)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            return "", ""
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # of a password with one of `/?#` in it
            return "", ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}{port}" if host else "", parts.path
    if re.match("[^/]*:", remote) is None:
        return "", remote
    # A path with an @ is rarer than a password with one.
    short = re.fullmatch(r"([^/:]+:)([^:?#][^?#]*)", remote.rpartition("@")[2])
    return (short[1], short[2]) if short else ("", "")


class Repository:
    """The repository and working tree that a folder belongs to.

    Args:
        folder: any folder of the working tree.
    Raises:
        NotFoundError: git is not installed.
        StateError: the folder is in no working tree.
    """

    def __init__(self, folder: str | os.PathLike[str] = ".") -> None:
        self._folder = os.fspath(folder)
        looked = self._run(("rev-parse", "--is-inside-work-tree"))
        if looked.stdout.strip() != "true":
            raise StateError(
                f"{printable(self._folder)} is in no working tree of git ({_reason(looked)})",
                hint="a bare repository has no evidence beside its commits; use a clone of it",
                code="no-working-tree",
            )
        self.top = self._ask("rev-parse", "--show-toplevel")
        self._folder = self.top

    def name(self) -> str:
        """What the repository is called: as its remote `origin` is, else as the folder that it lies in."""
        last = path_of(self._origin()).rpartition("/")[2]
        if last:
            return last
        shared = os.path.realpath(os.path.join(self.top, self._ask("rev-parse", "--git-common-dir")))
        if os.path.basename(shared) == ".git":
            shared = os.path.dirname(shared)
        return os.path.basename(shared).removesuffix(".git") or "repository"

    def remote(self) -> str | None:
        """Where `origin` is, without what may be secret in it; None if that is on this machine."""
        return public_address(self._origin())

    def commit(self, revision: str = "HEAD") -> Commit:
        """The commit that a revision names.

        Raises:
            NotFoundError: there is none.
        """
        found = self._try("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if not found:
            raise NotFoundError(f"no commit {printable(revision)}", hint="see `git log`")
        tree, _, moment = self._ask("log", "-1", "--format=%T %cI", found, "--").partition(" ")
        return Commit(found, tree, moment)

    def branch(self) -> str | None:
        """The branch that is checked out, if one is."""
        return self._try("symbolic-ref", "--quiet", "--short", "HEAD") or None

    def in_progress(self) -> bool:
        """Whether a rebase replays commits: what lies in the working tree is not their evidence."""
        return any(
            os.path.exists(os.path.join(self.top, self._ask("rev-parse", "--git-path", name)))
            for name in _IN_PROGRESS
        )

    def hooks_folder(self) -> str:
        """Where git looks for the hooks of this repository.

        Raises:
            StateError: there, hooks would run in other repositories too.
        """
        folder = os.path.join(self.top, self._ask("rev-parse", "--git-path", "hooks"))
        scope, _, configured = (
            self._try("config", "--show-scope", "--get", "core.hooksPath") or ""
        ).partition("\t")
        if configured and scope not in _OWN_SCOPES:
            raise StateError(
                f"core.hooksPath is set to {printable(configured)} for more than this repository;"
                " a hook there would run in all of them",
                hint="run `git config --local core.hooksPath .git/hooks` to give this one hooks of its own",
                code="shared-hooks",
            )
        return folder

    def trailer(self, commit_id: str, key: str) -> str | None:
        """The last value of a trailer in the message of a commit; None without one."""
        told = self._ask("log", "-1", f"--format=%(trailers:key={key},valueonly)", commit_id, "--")
        values = [line.strip() for line in told.splitlines() if line.strip()]
        return values[-1] if values else None

    def write_trailer(self, message_file: str, key: str, value: str) -> None:
        """Put a trailer into the message of a commit that is being made, in place of an earlier one."""
        self._ask(
            *("interpret-trailers", "--in-place", "--if-exists", "replace"),
            *("--trailer", f"{key}: {value}", os.path.abspath(message_file)),
        )

    def note(self, commit_id: str) -> str:
        """The text of our note on a commit; empty without one."""
        return self._try("notes", f"--ref={NOTES_REF}", "show", commit_id) or ""

    def add_note(self, commit_id: str, lines: Iterable[str]) -> bool:
        """Write lines into our note on a commit; those that it has already are left as they are.

        Returns:
            Whether there was one to write.
        Raises:
            StateError: git refused, again and again.
        """
        known = self.note(commit_id).splitlines()
        text = "\n".join(line for line in lines if line not in known)
        if not text:
            return False
        identity = () if self._try("var", "GIT_COMMITTER_IDENT") else _NOBODY
        arguments = (*identity, "notes", f"--ref={NOTES_REF}", "append", "-m", text, commit_id)
        for attempt in range(_ATTEMPTS):
            try:
                self._ask(*arguments)
            except StateError:
                # Somebody else wrote a note at the same moment.
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                break
        return True

    def _origin(self) -> str:
        return self._try("config", "--get", "remote.origin.url") or ""

    def _ask(self, *arguments: str) -> str:
        """What git answers.

        Raises:
            StateError: git refused, with its reason.
        """
        done = self._run(arguments)
        if done.returncode:
            raise StateError(f"git {arguments[0]} failed: {_reason(done)}", code="git-failed")
        return done.stdout.removesuffix("\n")

    def _try(self, *arguments: str) -> str | None:
        """What git answers; None if it has no answer."""
        done = self._run(arguments)
        return None if done.returncode else done.stdout.removesuffix("\n")

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["git", "-C", self._folder, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                check=False,
            )
        except FileNotFoundError:
            raise NotFoundError("git is not installed", code="no-git") from None
        except (OSError, ValueError) as error:
            raise ArtifactStoreError(f"git cannot be started: {error}") from error


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What git said last."""
    said = (done.stderr or done.stdout).strip().splitlines()
    return printable(said[-1] if said else f"exit code {done.returncode}")
