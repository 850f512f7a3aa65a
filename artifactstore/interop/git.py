"""The evidence of a commit: pushed with the commit as its subject, and noted on the commit."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from artifactstore.errors import InvalidInputError, NotFoundError, StateError
from artifactstore.model import FINALIZED
from artifactstore.moment import system_clock
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artifactstore.any_store import AnyStore
    from artifactstore.codec import Value
    from artifactstore.interop.git_repository import Commit, Repository
    from artifactstore.model import Package
    from artifactstore.moment import Clock, IdSource
    from artifactstore.results import PushResult
    from artifactstore.scan import Selection

PRODUCER = "git"
TRAILER = "Evidence-Package"
PACKAGE_LINE = f"{TRAILER}: "
MANIFEST_LINE = "Evidence-Manifest: "
_PAGE = 1000  # packages about one commit that are looked through
_NOTHING = frozenset("0")  # digits of the id that stands for no commit
_WORK = ("refs/heads/", "refs/tags/")  # what people push; notes and the like are about it


@dataclass(frozen=True, slots=True)
class RecordedCommit:
    """The evidence of a commit as it was stored.

    Args:
        noted: whether the note on the commit had to be written; false if it says so already.
    """

    commit: Commit
    pushed: PushResult
    noted: bool

    @property
    def package(self) -> Package:
        """The package."""
        return self.pushed.package


def has_evidence(repository: Repository, path: str) -> bool:
    """Whether a directory of the working tree is there and not empty.

    Args:
        path: relative to the top of the working tree.
    Raises:
        InvalidInputError: the path leaves the working tree.
    """
    folder = evidence_folder(repository, path)
    return os.path.isdir(folder) and bool(os.listdir(folder))


def evidence_folder(repository: Repository, path: str) -> str:
    """The absolute path of a directory of the working tree.

    Raises:
        InvalidInputError: it is the working tree itself, or lies outside of it.
    """
    top = os.path.realpath(repository.top)
    folder = os.path.realpath(os.path.join(top, path))
    if not folder.startswith(os.path.join(top, "")):
        raise InvalidInputError(
            f"{printable(path)} is no directory below the top of the working tree",
            hint="name the directory where the evidence is, for example reports/",
        )
    return folder


def promise_package(repository: Repository, path: str, message_file: str, new_id: IdSource) -> str | None:
    """Write the id that the evidence of a commit will have into the message of that commit.

    Args:
        path: of the directory of evidence; without evidence nothing is promised.
        message_file: as git gives it to its commit-msg hook.
    Returns:
        The id, or None.
    """
    if repository.in_progress() or not has_evidence(repository, path):
        return None
    package_id = str(new_id())
    repository.write_trailer(message_file, TRAILER, package_id)
    return package_id


def promised_package(store: AnyStore, repository: Repository, commit: Commit) -> uuid.UUID | None:
    """The id that the message of a commit promises for its evidence, if no package has it yet.

    A commit that was copied with its message keeps the promise of the first one, which is taken.
    """
    try:
        promised = uuid.UUID(repository.trailer(commit.commit_id, TRAILER) or "")
    except ValueError:
        return None
    try:
        store.get_package(str(promised))
    except NotFoundError:
        return promised
    return None


def record_commit(
    store: AnyStore,
    repository: Repository,
    path: str,
    *,
    actor: str,
    revision: str = "HEAD",
    retention_class: str = "raw-evidence",
    selection: Selection | None = None,
    clock: Clock = system_clock,
) -> RecordedCommit:
    """Store a directory as the evidence of a commit, and note the package on the commit.

    Again with the same files from the same directory, under the same class, it returns the same package;
    otherwise it stores and notes one more.

    Args:
        path: of the directory, relative to the top of the working tree.
        revision: names the commit.
        selection: as in `Store.push`.
        clock: microseconds since 1970, UTC; tells whose time is over.
    Raises:
        InvalidInputError: the path leaves the working tree, is missing or has no files.
        NotFoundError: there is no such commit.
        StateError: git cannot write the note; the package is stored.
    Crash: between the two, a package that no note names; the same call again writes the note.
    """
    folder = evidence_folder(repository, path)
    commit = repository.commit(revision)
    name = repository.name()
    said: dict[str, Value] = {
        "repository": name,
        "commit": commit.commit_id,
        "tree": commit.tree_id,
        "committed_at": commit.committed_at,
        "path": os.path.relpath(folder, os.path.realpath(repository.top)),
    }
    remote = repository.remote()
    if remote is not None:
        said["remote"] = remote
    push = partial(
        store.push,
        folder,
        name=os.path.basename(folder),
        producer=PRODUCER,
        subject=subject_of(name, commit),
        retention_class=retention_class,
        actor=actor,
        metadata={"git": said},
        selection=selection,
    )
    pushed = push(if_changed=True)
    if pushed.unchanged and not _recorded_from(pushed.package, said["path"]):
        # Equal files of another directory.
        earlier = _recorded_earlier(store, pushed.package, said["path"], clock())
        pushed = push() if earlier is None else replace(pushed, package=earlier)
    lines = (f"{PACKAGE_LINE}{pushed.package.package_id}", f"{MANIFEST_LINE}{pushed.package.manifest_digest}")
    return RecordedCommit(commit, pushed, repository.add_note(commit.commit_id, lines))


def _recorded_from(package: Package, path: Value) -> bool:
    """Whether a package was recorded from this directory."""
    said = package.metadata.get("git")
    return isinstance(said, dict) and said.get("path") == path


def _recorded_earlier(store: AnyStore, found: Package, path: Value, now: int) -> Package | None:
    """A package with the subject, the class and the files of one that was found, but from this directory.

    As in a push, one whose time is over, or that a sweep has marked, does not count.
    """
    files = store.get_manifest(found.package_id).files
    page = store.list_packages(
        producer=PRODUCER,
        subject=found.subject,
        retention_class=found.retention_class,
        status=FINALIZED,
        limit=_PAGE,
    )
    for package in page.items:
        if _recorded_from(package, path) and store.get_manifest(package.package_id).files == files:
            state = store.explain_retention(package.package_id).state
            if state.eligible_at is None and (state.expires_at is None or state.expires_at > now):
                return package
    return None


def subject_of(repository_name: str, commit: Commit) -> str:
    """What the evidence of a commit is about: `<repository>@<commit>`."""
    return f"{repository_name}@{commit.commit_id}"


def pushed_commits(repository: Repository, lines: Iterable[str]) -> list[Commit]:
    """The commits that a `git push` sends as branches or tags, from what git tells its pre-push hook.

    Args:
        lines: `<local ref> <local id> <remote ref> <remote id>` each.
    Raises:
        InvalidInputError: a line is none of git's.
    Source: githooks(5), "pre-push".
    """
    found = {}
    for line in lines:
        words = line.split()
        if not words:
            continue
        if len(words) != 4:
            raise InvalidInputError(f"not a line that git gives to pre-push: {printable(line)}")
        deleted = set(words[1]) == _NOTHING
        if words[2].startswith(_WORK) and not deleted:
            commit = repository.commit(words[1])
            found[commit.commit_id] = commit
    return list(found.values())


def require_evidence(store: AnyStore, repository: Repository, commits: Sequence[Commit]) -> None:
    """Refuse commits without evidence.

    Raises:
        StateError: names the commits that no finalized package is about.
    """
    name = repository.name()
    missing = [
        commit.commit_id[:12]
        for commit in commits
        if not store.list_packages(
            producer=PRODUCER, subject=subject_of(name, commit), status=FINALIZED, limit=1
        ).items
    ]
    if missing:
        raise StateError(
            f"no evidence is stored for {', '.join(missing)}",
            hint="make the evidence, then run `artifactstore git record` in a checkout of the commit",
            code="evidence-missing",
        )
