"""The rows of calls that run git, too.

They are killed only: what git does on a disk that fails is its own matter, and what they do to the store is
a push.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from store.harness import write_tree

from artifactstore.interop.git import PACKAGE_LINE, record_commit
from artifactstore.interop.git_hooks import KEPT, POST_COMMIT, install_hook, uninstall_hook
from artifactstore.interop.git_repository import Repository
from crash.changing_call import TREE, ChangingCall

if TYPE_CHECKING:
    from artifactstore import Store
    from crash.place import Place

_EARLIER_HOOK = "#!/bin/sh\nexit 0\n"
_ADA = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")


def _repository(place: Place, _store: Store) -> None:
    """A repository with a commit, its evidence, and a hook of somebody else."""
    top = write_tree(place.root / "repository", {f"reports/{name}": data for name, data in TREE.items()})
    for command in (["init", "--quiet"], [*_ADA, "commit", "--quiet", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *command], cwd=top, check=True)
    hook = top / ".git/hooks" / POST_COMMIT
    hook.write_text(_EARLIER_HOOK)
    hook.chmod(0o755)


def _hooked(place: Place, store: Store) -> None:
    _repository(place, store)
    install_hook(_checkout(place), POST_COMMIT, "reports", python="python3")


def _checkout(place: Place) -> Repository:
    return Repository(place.root / "repository")


def _hooks(place: Place) -> dict[str, bool]:
    """The hooks of the repository, and whether each is the earlier one, which must always be there."""
    folder = place.root / "repository/.git/hooks"
    found = {path.name: path.read_text() == _EARLIER_HOOK for path in folder.glob(f"{POST_COMMIT}*")}
    found.pop(f"{POST_COMMIT}.sample", None)
    assert any(found.values())
    return found


def _is_recorded(place: Place, store: Store) -> bool:
    commit = _checkout(place).commit().commit_id
    packages = store.list_packages(producer="git").items
    assert len(packages) <= 1
    return (
        [line for line in _checkout(place).note(commit).splitlines() if line.startswith(PACKAGE_LINE)]
        == [f"{PACKAGE_LINE}{package.package_id}" for package in packages]
        != []
    )


HOOKS: tuple[ChangingCall, ...] = (
    ChangingCall(
        "git record",
        lambda place, store: record_commit(store, _checkout(place), "reports", actor="ada"),
        _is_recorded,
        _repository,
    ),
    ChangingCall(
        "install hook",
        lambda place, _s: install_hook(_checkout(place), POST_COMMIT, "reports", python="python3"),
        lambda place, _s: _hooks(place) == {POST_COMMIT: False, f"{POST_COMMIT}{KEPT}": True},
        _repository,
    ),
    ChangingCall(
        "uninstall hook",
        lambda place, _s: uninstall_hook(_checkout(place), POST_COMMIT),
        lambda place, _s: _hooks(place) == {POST_COMMIT: True},
        _hooked,
    ),
)
