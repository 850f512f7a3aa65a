"""Commands for git: record the evidence of a commit, and let hooks do it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from artifactstore.cli import facts, options
from artifactstore.cli.columns import Fact
from artifactstore.cli.time_limit import time_limit
from artifactstore.errors import InvalidInputError, StateError
from artifactstore.moment import Uuid7Source, system_clock

if TYPE_CHECKING:
    import uuid

    from artifactstore.any_store import AnyStore
    from artifactstore.cli.invocation import Invocation
    from artifactstore.interop.git import RecordedCommit
    from artifactstore.interop.git_repository import Commit, Repository

EvidencePath = Annotated[
    str,
    typer.Option("--path", metavar="DIR", help="The directory of evidence, relative to the top of the tree."),
]
PostCommit = Annotated[bool, typer.Option("--post-commit", help="The hook that runs after each commit.")]
PrePush = Annotated[bool, typer.Option("--pre-push", help="The hook that runs before each push.")]


class _Promised(Uuid7Source):
    """Ids, the first of which is promised already: the first that a push draws is that of its package."""

    def __init__(self, promised: uuid.UUID) -> None:
        super().__init__(system_clock)
        self._promised: uuid.UUID | None = promised

    def __call__(self) -> uuid.UUID:
        first, self._promised = self._promised, None
        return super().__call__() if first is None else first


def record(
    context: options.Context,
    path: EvidencePath,
    revision: Annotated[
        str, typer.Argument(metavar="COMMIT", help="The commit that the evidence is about.")
    ] = "HEAD",
    pushed: Annotated[
        bool,
        typer.Option(
            "--pushed", help="Read from stdin what git tells a pre-push hook; record what is checked out."
        ),
    ] = False,
    required: Annotated[
        bool,
        typer.Option("--required", help="Fail if there is nothing to store, or a commit has no evidence."),
    ] = False,
    retention_class: options.RetentionClass = "raw-evidence",
    actor: options.Actor = None,
    limit: Annotated[
        int,
        typer.Option("--time-limit", metavar="SECONDS", min=0, help="Give up after so long; 0 is never."),
    ] = 0,
    as_json: options.Json = False,
) -> None:
    """Store a directory as the evidence of a commit, and note it on the commit.

    The package has the subject REPOSITORY@COMMIT; refs/notes/artifactstore names it. Prints its id, or
    nothing if there is no evidence.
    """
    from artifactstore.interop.git import pushed_commits, record_commit, require_evidence
    from artifactstore.interop.git_repository import Repository

    run = options.invocation(context)
    repository = Repository()
    if pushed and revision != "HEAD":
        raise InvalidInputError("--pushed records what is checked out; give no COMMIT", code="usage")
    commits = [repository.commit(revision)]
    if pushed:
        commits = pushed_commits(repository, sys.stdin)
    chosen = _to_record(run, repository, commits, path, pushed=pushed, required=required)
    if chosen is None and not (required and commits):
        return
    with time_limit(limit), run.store(create=True) as store:
        if chosen is not None:
            with _keeping_promise(run, store, repository, chosen) as keeping:
                recorded = record_commit(
                    keeping,
                    repository,
                    path,
                    actor=options.actor_name(actor),
                    revision=chosen.commit_id,
                    retention_class=retention_class,
                )
            _answer(run, recorded, as_json=as_json)
        if required:
            require_evidence(store, repository, commits)


def trailer(
    context: options.Context,
    message: Annotated[str, typer.Argument(metavar="FILE", help="The message of the commit that is made.")],
    path: EvidencePath,
) -> None:
    """Write the id that the evidence of a commit will have into its message: for a commit-msg hook.

    Does nothing, and prints nothing, if there is no evidence.
    """
    from artifactstore.interop.git import promise_package
    from artifactstore.interop.git_repository import Repository

    promised = promise_package(Repository(), path, message, Uuid7Source(system_clock))
    if promised is not None:
        options.invocation(context).note(f"the evidence will be {promised}")


def install_hook(
    context: options.Context,
    path: EvidencePath,
    post_commit: PostCommit = False,
    pre_push: PrePush = False,
    required: Annotated[
        bool, typer.Option("--required", help="With --pre-push: refuse a push of commits without evidence.")
    ] = False,
    trailer: Annotated[
        bool,
        typer.Option("--trailer", help="With --post-commit: the message of a commit names its package, too."),
    ] = False,
    retention_class: options.RetentionClass = "raw-evidence",
    limit: Annotated[
        int,
        typer.Option("--time-limit", metavar="SECONDS", min=1, help="How long a hook waits for the store."),
    ] = 60,
    as_json: options.Json = False,
) -> None:
    """Let git record the evidence of each commit; --post-commit unless --pre-push is given.

    A hook that is there already goes on to run. Prints the path of each hook that was written. The hooks
    keep --database, --root and --api-url if they are given here.
    """
    from artifactstore.interop.git_hooks import COMMIT_MSG, POST_COMMIT, PRE_PUSH
    from artifactstore.interop.git_hooks import install_hook as install
    from artifactstore.interop.git_repository import Repository

    run = options.invocation(context)
    repository = Repository()
    wanted = {COMMIT_MSG: trailer, POST_COMMIT: post_commit or not pre_push, PRE_PUSH: pre_push}
    if trailer and not wanted[POST_COMMIT]:
        raise InvalidInputError("--trailer goes with --post-commit, which keeps to it", code="usage")
    if trailer:
        run.local_settings()  # an API chooses the ids of its packages, so none can be promised
    hooks = [
        install(
            repository,
            name,
            path,
            python=sys.executable,
            flags=_store_flags(run),
            required=required and (name == PRE_PUSH or not pre_push),
            retention_class=retention_class,
            time_limit=limit,
        )
        for name, chosen in wanted.items()
        if chosen
    ]
    if as_json:
        run.output.document(hooks)
        return
    for hook in hooks:
        run.output.line(hook.path)
        if hook.previous is not None:
            run.note(f"note: {hook.previous} was there before and still runs, first")


def uninstall_hook(
    context: options.Context,
    post_commit: PostCommit = False,
    pre_push: PrePush = False,
    as_json: options.Json = False,
) -> None:
    """Remove the hooks that `install-hook` wrote, all if none is named; what was there before comes back.

    Prints the name of each hook that was removed.
    """
    from artifactstore.interop.git_hooks import COMMIT_MSG, POST_COMMIT, PRE_PUSH
    from artifactstore.interop.git_hooks import uninstall_hook as uninstall
    from artifactstore.interop.git_repository import Repository

    run = options.invocation(context)
    repository = Repository()
    every = not (post_commit or pre_push)
    wanted = {COMMIT_MSG: post_commit, POST_COMMIT: post_commit, PRE_PUSH: pre_push}
    removed = [name for name, chosen in wanted.items() if (chosen or every) and uninstall(repository, name)]
    if as_json:
        run.output.document(removed)
        return
    for name in removed:
        run.output.line(name)
    if not removed:
        run.note("there was no hook of ours")


def _keeping_promise(
    run: Invocation, store: AnyStore, repository: Repository, commit: Commit
) -> contextlib.AbstractContextManager[AnyStore]:
    """The store, as one that gives the next package the id that the message of the commit promises."""
    from artifactstore.interop.git import promised_package

    promised = promised_package(store, repository, commit)
    if promised is None:
        return contextlib.nullcontext(store)
    if run.settings().api_url is not None:
        run.note(f"note: the trailer promises {promised}, but an API chooses the ids of its packages")
        return contextlib.nullcontext(store)
    return run.local_store(new_id=_Promised(promised))


def _to_record(
    run: Invocation, repository: Repository, commits: list[Commit], path: str, *, pushed: bool, required: bool
) -> Commit | None:
    """The commit whose evidence lies in the working tree now."""
    from artifactstore.interop.git import has_evidence

    reason = None
    if repository.in_progress():
        reason = "a rebase is under way: nothing is recorded"
    elif not has_evidence(repository, path):
        reason = f"no evidence: {path} is missing or empty"
    if reason is None:
        head = repository.commit() if pushed else commits[0]
        return head if head in commits else None
    if required and not pushed:
        raise StateError(reason, code="evidence-missing")
    run.note(reason)
    return None


def _store_flags(run: Invocation) -> list[str]:
    """The flags that name the store, if some were given, so that they mean the same in every folder."""
    settings = run.settings()
    given = {
        "--database": ("ARTIFACTSTORE_DATABASE_URL", settings.database_path),
        "--root": ("ARTIFACTSTORE_STORAGE_LOCAL_ROOT", settings.storage_local_root),
    }
    flags: list[str] = []
    for flag, (variable, value) in given.items():
        if variable in run.overrides:
            flags += [flag, os.path.abspath(value)]
    if "ARTIFACTSTORE_API_URL" in run.overrides:
        flags += [
            "--api-url",
            run.overrides["ARTIFACTSTORE_API_URL"],
        ]  # a token would lie there for all to read
    if run.env_file is not None:
        flags += ["--env-file", os.path.abspath(run.env_file)]
    return flags


def _answer(run: Invocation, recorded: RecordedCommit, *, as_json: bool) -> None:
    if as_json:
        run.output.document(recorded)
    elif run.brief:
        run.output.line(recorded.package.package_id)
    else:
        run.output.record(
            [
                *facts.push_summary(recorded.pushed),
                Fact("commit", recorded.commit.commit_id),
            ]
        )
