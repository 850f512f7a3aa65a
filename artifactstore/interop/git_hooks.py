"""Hooks of git that record the evidence of commits: small scripts, put beside what was there before."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.interop.git import evidence_folder
from artifactstore.os_errors import refusal
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifactstore.interop.git_repository import Repository

POST_COMMIT = "post-commit"
PRE_PUSH = "pre-push"
COMMIT_MSG = "commit-msg"
HOOKS = (POST_COMMIT, PRE_PUSH, COMMIT_MSG)
MARK = "# Written by `artifactstore git install-hook`; `artifactstore git uninstall-hook` removes it."
KEPT = ".before-artifactstore"  # the name of a hook that was there before, after its own
LEGACY = ".legacy"  # what pre-commit appends to a hook that it finds when it installs its own

# `-P` keeps Python from importing what lies in the repository.
_SCRIPT = """\
#!/bin/sh
{mark}
{begin}
artifactstore() {{
    if [ -x {python} ]; then {python} -P -m artifactstore "$@"; else command artifactstore "$@"; fi
}}
{record}
"""
_BEGIN = {
    POST_COMMIT: f'if [ -x "$0{KEPT}" ]; then "$0{KEPT}" "$@"; fi',
    # The dot keeps the last line break, which the shell would cut off.
    PRE_PUSH: f"""\
pushed=$(cat; echo .)
pushed=${{pushed%.}}
if [ -x "$0{KEPT}" ]; then
    printf %s "$pushed" | "$0{KEPT}" "$@" || exit $?
fi""",
    COMMIT_MSG: f'if [ -x "$0{KEPT}" ]; then "$0{KEPT}" "$@" || exit $?; fi',
}
_RECORD = {
    POST_COMMIT: """\
package=$(artifactstore {command}) ||
    echo 'artifactstore: the evidence of this commit is not stored' >&2
[ -z "$package" ] || echo "artifactstore: evidence stored as $package" >&2
exit 0""",
    PRE_PUSH: """\
printf %s "$pushed" | artifactstore {command} --pushed >&2 ||
    echo 'artifactstore: the evidence is not stored; pushing all the same' >&2
exit 0""",
    COMMIT_MSG: """\
artifactstore {command} "$1" || echo 'artifactstore: the commit gets no trailer' >&2
exit 0""",
}
_REQUIRED = """\
printf %s "$pushed" | artifactstore {command} --pushed --required >&2 || exit 1"""
TIME_LIMIT = 60  # seconds that a commit or a push waits for the store


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook of ours in a repository.

    Args:
        path: of the script.
        previous: of the hook that was there before and still runs first; None if there was none.
    """

    name: str
    path: str
    previous: str | None


def install_hook(
    repository: Repository,
    name: str,
    path: str,
    *,
    python: str,
    flags: Sequence[str] = (),
    required: bool = False,
    retention_class: str = "raw-evidence",
    time_limit: int = TIME_LIMIT,
) -> Hook:
    """Write a hook that records the evidence of commits. A hook that is there already goes on to run, first.

    Args:
        name: `post-commit` or `pre-push`; `commit-msg` writes the trailer that `post-commit` then keeps to.
        path: of the directory of evidence, relative to the top of the working tree.
        python: the interpreter that has this package; where it is gone, the hook looks for the command.
        flags: global options of the command line that name the store.
        required: a push is refused if a commit has no evidence.
        time_limit: seconds after which the hook gives up on the store.
    Raises:
        InvalidInputError: no such hook, a path outside, or `required` for a hook that cannot refuse.
        ConflictError: two earlier hooks are in the way.
        StateError: the hooks folder is shared with other repositories.
    """
    if name not in HOOKS:
        raise InvalidInputError(f"no hook is called {printable(name)}", hint=f"one of {', '.join(HOOKS)}")
    if required and name != PRE_PUSH:
        raise InvalidInputError(
            f"a {name} hook cannot require evidence: the commit is made by then",
            hint="require it with --pre-push",
        )
    inner = os.path.relpath(evidence_folder(repository, path), os.path.realpath(repository.top))
    hook = _found(repository, name)
    command = [*flags, "--quiet", "git", "trailer" if name == COMMIT_MSG else "record", f"--path={inner}"]
    if name != COMMIT_MSG:
        command += ["--retention-class", retention_class, "--time-limit", str(time_limit)]
    script = _SCRIPT.format(
        mark=MARK,
        begin=_BEGIN[name],
        python=shlex.quote(python),
        record=(_REQUIRED if required else _RECORD[name]).format(command=shlex.join(command)),
    )
    try:
        os.makedirs(os.path.dirname(hook.path), exist_ok=True)
        if os.path.lexists(hook.path) and not _is_ours(hook.path):
            if hook.previous is None:
                # A second name first, then ours in its place: at no moment is there no hook.
                os.link(hook.path, hook.path + KEPT, follow_symlinks=False)
            elif not _is_one_file(hook.previous, hook.path):
                raise ConflictError(
                    f"{printable(hook.path)} is another hook, and so is {printable(hook.previous)}",
                    hint="remove one of them",
                )
        _replace(hook.path, script)
    except OSError as error:
        raise _refused(error, hook.path) from error
    return _found(repository, name)


def uninstall_hook(repository: Repository, name: str) -> bool:
    """Remove our hook; one that was there before gets its place back.

    Returns:
        Whether there was one of ours.
    """
    hook = _found(repository, name)
    try:
        if os.path.lexists(_aside(hook.path)):
            os.unlink(_aside(hook.path))
        if _is_ours(hook.path):
            if hook.previous is None:
                os.unlink(hook.path)
            else:
                os.replace(hook.previous, hook.path)
            return True
        if hook.previous is not None and _is_one_file(hook.previous, hook.path):
            os.unlink(hook.previous)  # an installation has got no further
        if _is_ours(hook.path + LEGACY):
            os.unlink(hook.path + LEGACY)
            return True
    except OSError as error:
        raise _refused(error, hook.path) from error
    return False


def _found(repository: Repository, name: str) -> Hook:
    path = os.path.join(repository.hooks_folder(), name)
    return Hook(name, path, path + KEPT if os.path.lexists(path + KEPT) else None)


def _is_ours(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return MARK.encode() in file.read(1000)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_one_file(path: str, other: str) -> bool:
    """Whether two names are those of one file, as an installation that was killed leaves them."""
    return os.path.lexists(other) and os.path.samestat(os.lstat(path), os.lstat(other))


def _replace(path: str, script: str) -> None:
    """Put a script in its place, all at once."""
    aside = _aside(path)
    with open(aside, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(script)
        os.fchmod(file.fileno(), 0o755)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def _aside(path: str) -> str:
    """Where a script is written before it gets its place; always the same, so that crashes leave one file."""
    return f"{path}.artifactstore-new"


def _refused(error: OSError, path: str) -> Exception:
    return refusal(error.errno or 0, printable(path))
