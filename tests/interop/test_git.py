"""Hooks and notes in real repositories: plain, bare, worktrees, submodules, folders with spaces."""

from __future__ import annotations

import fcntl
import stat
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store.harness import FakeClock, refused, write_tree

from artifactstore import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StateError,
    Store,
)
from artifactstore.interop.git import has_evidence, pushed_commits, record_commit, require_evidence
from artifactstore.interop.git_hooks import KEPT, LEGACY, MARK, install_hook
from artifactstore.interop.git_repository import NOTES_REF, Repository
from interop.checkout import FILES, Checkout, make

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore import Package


def test_each_commit_gets_its_evidence(checkout: Checkout, packages: Callable[[], list[Package]]) -> None:
    checkout.artifactstore("git", "install-hook", "--path", "reports/")
    for number in range(2):
        (checkout.top / "reports/junit.xml").write_text(f"<testsuites n='{number}'/>")
        told = checkout.commit(f"change {number}", readme=f"{number}")
        package = packages()[-1]
        assert f"artifactstore: evidence stored as {package.package_id}" in told
        assert package.subject == f"shop@{checkout.head()}"
        assert (package.producer, package.name, package.file_count) == ("git", "reports", 2)
        assert checkout.note() == [
            f"Evidence-Package: {package.package_id}",
            f"Evidence-Manifest: {package.manifest_digest}",
        ]
    said = packages()[-1].metadata["git"]
    assert said["commit"] == checkout.head()
    assert said["tree"] == checkout.git("rev-parse", "HEAD^{tree}")
    assert said["path"] == "reports"
    assert len(packages()) == 2


def test_the_status_of_the_working_tree_is_left_alone(plain: Checkout) -> None:
    plain.artifactstore("git", "install-hook", "--path", "reports")
    before = plain.git("status", "--porcelain")
    plain.commit()
    assert plain.git("status", "--porcelain") == before
    assert plain.git("fsck", "--strict") == ""


def test_a_commit_from_a_folder_below_is_recorded(
    plain: Checkout, packages: Callable[[], list[Package]]
) -> None:
    (plain.top / "source/deep").mkdir(parents=True)
    plain.artifactstore("git", "install-hook", "--path", "reports", folder="source/deep")
    plain.at(plain.top / "source/deep").git("commit", "--allow-empty", "-m", "from below")
    assert packages()[0].subject == f"shop@{plain.head()}"


def test_a_commit_of_some_files_only_is_recorded(
    plain: Checkout, packages: Callable[[], list[Package]]
) -> None:
    """git then commits with an index of its own, which the hook sees in its environment."""
    plain.artifactstore("git", "install-hook", "--path", "reports")
    write_tree(plain.top, {"readme": b"one", "other": b"two"})
    plain.git("add", "other")
    plain.git("commit", "-m", "readme alone", "readme")
    assert packages()[0].subject == f"shop@{plain.head()}"
    assert plain.git("status", "--porcelain") == "A  other\n?? reports/"


def test_without_evidence_a_commit_is_silent(plain: Checkout, packages: Callable[[], list[Package]]) -> None:
    plain.artifactstore("git", "install-hook", "--path", "results")
    assert "artifactstore" not in plain.commit()
    (plain.top / "results").mkdir()
    assert "artifactstore" not in plain.commit()
    assert packages() == []


def test_a_store_that_is_away_blocks_no_commit(plain: Checkout, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    plain.artifactstore("--database", str(tmp_path / "file/db"), "git", "install-hook", "--path", "reports")
    before = plain.head()
    told = plain.commit()
    assert "the evidence of this commit is not stored" in told
    assert plain.head() != before
    assert plain.note() == []


def test_a_program_that_is_gone_blocks_no_commit_and_no_push(plain: Checkout, tmp_path: Path) -> None:
    repository = Repository(plain.top)
    for name in ("post-commit", "pre-push"):
        hook = install_hook(repository, name, "reports", python="/nowhere/python")
        Path(hook.path).write_text(
            Path(hook.path).read_text().replace("command artifactstore", "command nowhere")
        )
    told = plain.commit()
    assert "not stored" in told
    remote = bare(plain, tmp_path)
    assert "pushing all the same" in plain.git("push", "--quiet", remote, "main")


def test_what_a_repository_holds_is_not_run_by_the_hook(
    plain: Checkout, packages: Callable[[], list[Package]]
) -> None:
    plain.artifactstore("git", "install-hook", "--path", "reports")
    plain.commit(**{"json.py": "raise SystemExit('run!')", "artifactstore.py": "raise SystemExit('run!')"})
    assert len(packages()) == 1


def bare(checkout: Checkout, tmp_path: Path) -> str:
    """A bare repository to push to."""
    checkout.git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    return str(tmp_path / "remote.git")


def test_a_push_records_what_is_checked_out(
    checkout: Checkout, packages: Callable[[], list[Package]], tmp_path: Path
) -> None:
    checkout.artifactstore("git", "install-hook", "--pre-push", "--path", "reports")
    remote = bare(checkout, tmp_path)
    checkout.git("remote", "add", "origin", remote)
    checkout.git("branch", "other")
    checkout.commit(readme="more")
    checkout.git("push", "--quiet", "origin", "main", "other")
    (package,) = packages()
    assert package.subject == f"remote@{checkout.head()}"
    checkout.git("push", "--quiet", "origin", "--delete", "other")
    checkout.git("push", "--quiet", "origin", NOTES_REF)
    assert checkout.git("--git-dir", remote, "notes", f"--ref={NOTES_REF}", "list", checkout.head())
    assert len(packages()) == 1


def test_a_push_of_commits_without_evidence_is_refused_if_required(
    checkout: Checkout, packages: Callable[[], list[Package]], tmp_path: Path
) -> None:
    checkout.artifactstore("git", "install-hook", "--pre-push", "--required", "--path", "reports")
    remote = bare(checkout, tmp_path)
    checkout.git("branch", "other")
    checkout.commit(readme="more")
    told = checkout.git("push", remote, "main", "other", code=1)
    assert f"no evidence is stored for {checkout.git('rev-parse', 'other')[:12]}" in told
    assert checkout.git("--git-dir", remote, "for-each-ref") == ""
    checkout.git("push", "--quiet", remote, "main")
    assert [package.subject for package in packages()] == [f"shop@{checkout.head()}"]
    checkout.git("tag", "-a", "v1", "-m", "released")
    checkout.git("push", "--quiet", remote, "v1")
    checkout.git("push", "--quiet", remote, NOTES_REF)


def test_a_push_is_refused_while_the_store_is_away_if_required(plain: Checkout, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    database = ("--database", str(tmp_path / "file/db"))
    plain.artifactstore(*database, "git", "install-hook", "--pre-push", "--required", "--path", "reports")
    remote = bare(plain, tmp_path)
    plain.git("push", remote, "main", code=1)
    plain.artifactstore(*database, "git", "install-hook", "--pre-push", "--path", "reports")
    assert "pushing all the same" in plain.git("push", remote, "main")


@pytest.mark.parametrize("folder", [".git/hooks", "own hooks"])
def test_hooks_that_were_there_go_on_and_come_back(plain: Checkout, folder: str, tmp_path: Path) -> None:
    if folder != ".git/hooks":
        plain.git("config", "core.hooksPath", folder)
    hooks = plain.top / folder
    hooks.mkdir(exist_ok=True)
    scripts = {
        "post-commit": '#!/bin/sh\necho "earlier hook in $PWD"\nexit 3\n',
        "pre-push": '#!/bin/sh\necho "earlier hook for $1"\ncat > "$(git rev-parse --git-dir)/seen"\n',
    }
    for name, script in scripts.items():
        (hooks / name).write_text(script)
        (hooks / name).chmod(0o755)
    for _ in range(2):
        plain.artifactstore("git", "install-hook", "--post-commit", "--pre-push", "--path", "reports")
    told = plain.commit()
    assert f"earlier hook in {plain.top}" in told
    assert "evidence stored as" in told
    remote = bare(plain, tmp_path)
    assert f"earlier hook for {remote}" in plain.git("push", remote, "main")
    assert (
        plain.top / ".git/seen"
    ).read_text() == f"refs/heads/main {plain.head()} refs/heads/main {'0' * 40}\n"
    assert plain.artifactstore("git", "uninstall-hook").splitlines() == ["post-commit", "pre-push"]
    assert {
        path.name: path.read_text() for path in hooks.iterdir() if not path.name.endswith(".sample")
    } == scripts
    assert all((hooks / name).stat().st_mode & stat.S_IXUSR for name in scripts)


def test_an_earlier_hook_that_refuses_a_push_still_does(plain: Checkout, tmp_path: Path) -> None:
    hook = plain.top / ".git/hooks/pre-push"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    plain.artifactstore("git", "install-hook", "--pre-push", "--path", "reports")
    plain.git("push", bare(plain, tmp_path), "main", code=1)


def test_uninstalling_leaves_no_trace(plain: Checkout) -> None:
    hooks = plain.top / ".git/hooks"
    before = sorted(hooks.iterdir())
    plain.artifactstore("git", "install-hook", "--post-commit", "--pre-push", "--path", "reports")
    plain.artifactstore("git", "uninstall-hook", "--pre-push")
    assert sorted(set(hooks.iterdir()) - set(before)) == [hooks / "post-commit"]
    plain.artifactstore("git", "uninstall-hook")
    assert sorted(hooks.iterdir()) == before
    assert "no hook of ours" in plain.artifactstore("git", "uninstall-hook")


def test_a_hook_that_is_not_ours_is_left_alone(plain: Checkout) -> None:
    hook = plain.top / ".git/hooks/post-commit"
    hook.write_text("#!/bin/sh\n")
    plain.artifactstore("git", "uninstall-hook")
    assert hook.read_text() == "#!/bin/sh\n"


def test_a_hook_that_pre_commit_has_set_aside_is_removed(plain: Checkout) -> None:
    plain.artifactstore("git", "install-hook", "--path", "reports")
    hook = plain.top / ".git/hooks/post-commit"
    hook.rename(f"{hook}{LEGACY}")
    hook.write_text("#!/bin/sh\n# of pre-commit\n")
    assert plain.artifactstore("git", "uninstall-hook") == "post-commit"
    assert not Path(f"{hook}{LEGACY}").exists()
    assert "pre-commit" in hook.read_text()


def test_two_other_hooks_are_too_many(plain: Checkout) -> None:
    repository = Repository(plain.top)
    hook = install_hook(repository, "post-commit", "reports", python="python3")
    write_tree(Path(hook.path).parent, {f"post-commit{KEPT}": b"one", "post-commit": b"two"})
    with refused(ConflictError, "conflict", "post-commit"):
        install_hook(repository, "post-commit", "reports", python="python3")
    assert Path(hook.path).read_text() == "two"


def test_hooks_of_all_repositories_are_not_touched(plain: Checkout, tmp_path: Path) -> None:
    plain.git("config", "--global", "core.hooksPath", str(tmp_path / "everywhere"))
    told = plain.artifactstore("git", "install-hook", "--path", "reports", code=5)
    assert str(tmp_path / "everywhere") in told
    assert "hint: " in told
    assert not (tmp_path / "everywhere").exists()
    plain.git("config", "--local", "core.hooksPath", ".git/hooks")
    plain.artifactstore("git", "install-hook", "--path", "reports")
    assert "evidence stored" in plain.commit()


def test_a_worktree_records_its_own_evidence(
    checkout: Checkout, packages: Callable[[], list[Package]], tmp_path: Path
) -> None:
    checkout.artifactstore("git", "install-hook", "--path", "reports")
    checkout.git("worktree", "add", "--quiet", "-b", "beside", str(tmp_path / "beside it"))
    beside = checkout.at(tmp_path / "beside it")
    write_tree(beside.top / "reports", {"of-the-worktree": b"1"})
    beside.commit(readme="other")
    assert [package.subject for package in packages()] == [f"shop@{beside.head()}"]
    assert packages()[0].file_count == 1
    assert checkout.note(beside.head())[0].endswith(packages()[0].package_id)
    beside.artifactstore("git", "uninstall-hook")
    assert "evidence" not in checkout.commit(readme="again")


def test_a_worktree_of_a_bare_repository_works_and_the_bare_one_is_refused(
    plain: Checkout, packages: Callable[[], list[Package]], tmp_path: Path
) -> None:
    plain.git("clone", "--quiet", "--bare", ".", str(tmp_path / "store.git"))
    stored = plain.at(tmp_path / "store.git")
    told = stored.artifactstore("git", "install-hook", "--path", "reports", code=5)
    assert "no working tree" in told
    stored.git("remote", "remove", "origin")
    stored.git("worktree", "add", "--quiet", str(tmp_path / "tree"), "main")
    tree = plain.at(tmp_path / "tree")
    write_tree(tree.top / "reports", FILES)
    tree.artifactstore("git", "install-hook", "--path", "reports")
    tree.commit(readme="more")
    assert packages()[0].subject == f"store@{tree.head()}"


def test_a_submodule_has_hooks_of_its_own(
    plain: Checkout, packages: Callable[[], list[Package]], tmp_path: Path
) -> None:
    outer = make(tmp_path / "outer", plain.environment)
    outer.git("submodule", "--quiet", "add", str(plain.top), "inner")
    outer.commit("with a submodule")
    inner = plain.at(outer.top / "inner")
    write_tree(inner.top / "reports", FILES)
    inner.artifactstore("git", "install-hook", "--path", "reports")
    inner.commit(readme="inner")
    assert packages()[0].subject == f"shop@{inner.head()}"
    outer.commit("moves the submodule")
    assert len(packages()) == 1


def test_a_rebase_does_not_record_old_commits_with_new_evidence(
    plain: Checkout, packages: Callable[[], list[Package]]
) -> None:
    plain.git("branch", "base")
    plain.commit("one", one="1")
    plain.commit("two", two="2")
    plain.git("checkout", "--quiet", "base")
    plain.commit("new base", base="b")
    plain.git("checkout", "--quiet", "main")
    plain.artifactstore("git", "install-hook", "--path", "reports")
    plain.git("rebase", "--quiet", "base")
    assert packages() == []
    plain.commit("three", three="3")
    assert len(packages()) == 1


def test_amending_records_the_new_commit(plain: Checkout, packages: Callable[[], list[Package]]) -> None:
    plain.artifactstore("git", "install-hook", "--path", "reports")
    plain.commit()
    first = plain.head()
    plain.git("commit", "--amend", "--allow-empty", "--quiet", "-m", "better said")
    assert [package.subject for package in packages()] == [f"shop@{first}", f"shop@{plain.head()}"]


def test_recording_again_stores_and_notes_nothing(
    plain: Checkout, packages: Callable[[], list[Package]]
) -> None:
    first = plain.artifactstore("git", "record", "--path", "reports")
    note = plain.note()
    assert plain.artifactstore("git", "record", "--path", "reports") == first
    assert plain.note() == note
    assert len(packages()) == 1
    (plain.top / "reports/more").write_text("more")
    second = plain.artifactstore("git", "record", "--path", "reports")
    assert [line for line in plain.note() if line.startswith("Evidence-Package")] == [
        f"Evidence-Package: {first}",
        f"Evidence-Package: {second}",
    ]


def test_a_note_that_is_missing_is_written_later(store: Store, plain: Checkout) -> None:
    repository = Repository(plain.top)
    first = record_commit(store, repository, "reports", actor="ada")
    plain.git("update-ref", "-d", NOTES_REF)
    again = record_commit(store, repository, "reports", actor="ada")
    assert (first.noted, again.noted) == (True, True)
    assert again.package == first.package
    assert again.pushed.unchanged


def test_equal_files_recorded_in_another_way_are_another_package(
    store: Store, plain: Checkout, clock: FakeClock
) -> None:
    record = partial(record_commit, store, Repository(plain.top), actor="ada", clock=clock)
    write_tree(plain.top / "cov", FILES)
    first = record("reports").package
    second = record("cov", retention_class="release-evidence").package
    third = record("reports", retention_class="release-evidence").package
    said = [(package.name, package.metadata["git"]["path"]) for package in (first, second, third)]
    assert said == [("reports", "reports"), ("cov", "cov"), ("reports", "reports")]
    assert [package.retention_class for package in (first, second, third)] == [
        "raw-evidence",
        "release-evidence",
        "release-evidence",
    ]
    # Each of them again is the same package, whichever was the last.
    for package in (first, second, third):
        again = record(package.name, retention_class=package.retention_class)
        assert (again.package, again.pushed.unchanged, again.noted) == (package, True, False)
    named = [line for line in plain.note() if line.startswith("Evidence-Package: ")]
    assert len(named) == 3


@pytest.mark.parametrize("swept", [False, True])
def test_a_package_that_may_go_is_not_the_evidence_of_a_commit(
    store: Store, plain: Checkout, clock: FakeClock, swept: bool
) -> None:
    record = partial(
        record_commit,
        store,
        Repository(plain.top),
        actor="ada",
        retention_class="transient",
        clock=clock,
    )
    write_tree(plain.top / "cov", FILES)
    old = record("cov").package
    clock.now += 3 * 86_400_000_000
    if swept:
        store.sweep(actor="cron")
    record("reports")
    again = record("cov").package
    assert (again.name, again.package_id != old.package_id) == ("cov", True)


def test_a_note_is_written_where_nobody_has_a_name(
    store: Store, plain: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    plain.git("config", "user.useConfigOnly", "true")
    assert record_commit(store, Repository(plain.top), "reports", actor="ada").noted


@pytest.mark.parametrize("path", ["..", ".", "/", "reports/../.."])
def test_evidence_lies_in_the_working_tree(store: Store, plain: Checkout, path: str) -> None:
    repository = Repository(plain.top)
    for call in (
        lambda: has_evidence(repository, path),
        lambda: record_commit(store, repository, path, actor="ada"),
        lambda: install_hook(repository, "post-commit", path, python="python3"),
    ):
        with refused(InvalidInputError, "invalid-input", path):
            call()


def test_a_link_out_of_the_working_tree_is_refused(store: Store, plain: Checkout, tmp_path: Path) -> None:
    (plain.top / "linked").symlink_to(tmp_path)
    with refused(InvalidInputError, "invalid-input", "linked"):
        record_commit(store, Repository(plain.top), "linked", actor="ada")


def test_what_is_wrong_is_said(store: Store, plain: Checkout, tmp_path: Path) -> None:
    repository = Repository(plain.top)
    with refused(NotFoundError, "not-found", "nothing"):
        record_commit(store, repository, "reports", actor="ada", revision="nothing")
    with refused(NotFoundError, "not-found", "--all"):
        record_commit(store, repository, "reports", actor="ada", revision="--all")
    with refused(InvalidInputError, "invalid-input", "missing"):
        record_commit(store, repository, "missing", actor="ada")
    with refused(InvalidInputError, "invalid-input", "pre-commit"):
        install_hook(repository, "pre-commit", "reports", python="python3")
    with refused(InvalidInputError, "invalid-input", "post-commit"):
        install_hook(repository, "post-commit", "reports", python="python3", required=True)
    with refused(InvalidInputError, "invalid-input", "one two"):
        pushed_commits(repository, ["one two\n"])
    with refused(StateError, "no-working-tree", str(tmp_path)):
        Repository(tmp_path)
    with refused(StateError, "evidence-missing", repository.commit().commit_id[:12]):
        require_evidence(store, repository, [repository.commit()])
    assert store.list_packages().items == ()


@pytest.mark.parametrize(
    ("url", "name", "remote"),
    [
        (
            "https://user:s3cret@example.org:8443/team/shop.git?t=s3cret#s3cret",
            "shop",
            "https://example.org:8443/team/shop.git",
        ),
        ("https://s3cret@example.org", "checkout", "https://example.org"),
        ("ssh://git@example.org/team/shop", "shop", "ssh://example.org/team/shop"),
        ("git@example.org:team/shop.git", "shop", "example.org:team/shop.git"),
        ("/srv/git/shop.git/", "shop", None),
        ("../other", "other", None),
        ("file:///srv/git/shop.git", "shop", None),
        ("/srv/git/shop@2.git", "shop@2", None),
        ("tok:s3cret@a@example.org:team/shop.git", "shop", "example.org:team/shop.git"),
        ("ada@example.com:s3cret@example.org:shop", "shop", "example.org:shop"),
        ("tok:s3/cret@example.org:shop", "shop", "example.org:shop"),
        ("https://ada:s3cret@home@[::1]:8443/shop.git", "shop", "https://[::1]:8443/shop.git"),
        # Where the host begins is anybody's guess.
        ("tok:s3cret@example.org", "checkout", None),
        ("https://tok:s3cret/more@example.org/shop", "checkout", None),
        ("https://tok/s3cret@example.org", "checkout", None),
        ("https://tok?s3cret@example.org/shop", "checkout", None),
        ("https://tok#s3cret@example.org/shop", "checkout", None),
        ("ext::sh -c s3cret%20%S%20shop", "checkout", None),
        ("https://example.org:99999/team/shop.git", "checkout", None),
        ("https://example.org:s3cret/shop.git", "checkout", None),
        ("http://[bad/shop", "checkout", None),
    ],
)
def test_the_repository_is_named_by_its_remote_without_secrets(
    person: dict[str, str], tmp_path: Path, url: str, name: str, remote: str | None
) -> None:
    checkout = make(tmp_path / "checkout", person)
    checkout.git("remote", "add", "origin", url)
    repository = Repository(checkout.top)
    assert (repository.name(), repository.remote()) == (name, remote)


def test_a_hook_is_a_readable_script(plain: Checkout) -> None:
    path = plain.artifactstore("git", "install-hook", "--path", "reports")
    script = Path(path).read_text()
    assert script.startswith(f"#!/bin/sh\n{MARK}\n")
    assert "--path=reports" in script
    assert len(script.splitlines()) < 20
    subprocess.run(["sh", "-n", path], check=True)


# Trailers


def test_a_trailer_names_the_package_before_it_is_stored(
    checkout: Checkout, packages: Callable[[], list[Package]]
) -> None:
    checkout.artifactstore("git", "install-hook", "--trailer", "--path", "reports")
    for number in range(2):
        checkout.commit(f"change {number}\n\nwhy\n\nSigned-off-by: Ada <ada@example.org>", readme=f"{number}")
        package = packages()[-1]
        assert checkout.git("log", "-1", "--format=%(trailers:unfold)").splitlines() == [
            "Signed-off-by: Ada <ada@example.org>",
            f"Evidence-Package: {package.package_id}",
        ]
        assert package.subject == f"shop@{checkout.head()}"
        assert checkout.note()[0] == f"Evidence-Package: {package.package_id}"
    assert len(packages()) == 2


def test_an_amended_commit_promises_anew_and_a_copied_one_gets_another_package(
    plain: Checkout, packages: Callable[[], list[Package]]
) -> None:
    plain.artifactstore("git", "install-hook", "--trailer", "--path", "reports")
    plain.commit(readme="one")
    plain.git("commit", "--amend", "--allow-empty", "--no-edit", "--quiet")
    first, second = packages()
    assert plain.git("log", "-1", "--format=%(trailers:key=Evidence-Package,valueonly)") == second.package_id
    copied = plain.head()
    plain.git("checkout", "--quiet", "-b", "other", "HEAD~1")
    plain.commit(other="more")
    plain.git("-c", "core.hooksPath=/dev/null", "cherry-pick", "--allow-empty", copied)
    assert plain.git("log", "-1", "--format=%(trailers:key=Evidence-Package,valueonly)") == second.package_id
    recorded = plain.artifactstore("git", "record", "--path", "reports")
    assert recorded not in {first.package_id, second.package_id}
    assert plain.note()[0] == f"Evidence-Package: {recorded}"


def test_a_promise_is_kept_later(
    plain: Checkout, packages: Callable[[], list[Package]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    plain.artifactstore(
        "--database", str(tmp_path / "file/db"), "git", "install-hook", "--trailer", "--path", "reports"
    )
    assert "is not stored" in plain.commit(readme="one")
    promised = plain.git("log", "-1", "--format=%(trailers:key=Evidence-Package,valueonly)")
    assert plain.artifactstore("git", "record", "--path", "reports") == promised
    assert plain.artifactstore("git", "record", "--path", "reports") == promised
    assert [package.package_id for package in packages()] == [promised]


def test_without_evidence_nothing_is_promised(plain: Checkout) -> None:
    plain.artifactstore("git", "install-hook", "--trailer", "--path", "results")
    plain.commit(readme="one")
    assert plain.git("log", "-1", "--format=%B") == "a change"


def test_an_earlier_hook_that_refuses_a_message_still_does(plain: Checkout) -> None:
    hook = plain.top / ".git/hooks/commit-msg"
    hook.write_text('#!/bin/sh\ngrep -q TICKET "$1"\n')
    hook.chmod(0o755)
    plain.artifactstore("git", "install-hook", "--trailer", "--path", "reports")
    plain.git("commit", "--allow-empty", "-m", "nothing", code=1)
    plain.git("commit", "--allow-empty", "-m", "TICKET 1")
    assert "Evidence-Package" in plain.git("log", "-1", "--format=%B")
    assert plain.artifactstore("git", "uninstall-hook").splitlines() == ["commit-msg", "post-commit"]
    assert "TICKET" in hook.read_text()


def test_a_trailer_that_is_no_id_is_no_promise(
    plain: Checkout, packages: Callable[[], list[Package]]
) -> None:
    plain.git("commit", "--allow-empty", "-m", "one\n\nEvidence-Package: somewhere")
    plain.artifactstore("git", "record", "--path", "reports")
    assert len(packages()) == 1


def test_a_trailer_goes_with_the_hook_that_keeps_to_it(plain: Checkout) -> None:
    plain.artifactstore("git", "install-hook", "--pre-push", "--trailer", "--path", "reports", code=2)


def test_a_hook_does_not_wait_for_ever(plain: Checkout, tmp_path: Path) -> None:
    first = plain.artifactstore("git", "record", "--path", "reports")
    plain.commit(readme="one")
    place = tmp_path / "user/data/artifactstore/artifactstore.db.lock"
    with open(place, "rb+") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)  # as another writer that is stuck does
        told = plain.artifactstore("git", "record", "--path", "reports", "--time-limit", "1", code=7)
    assert "did not answer for 1 s" in told
    assert plain.artifactstore("git", "record", "--path", "reports", "--time-limit", "60") != first
