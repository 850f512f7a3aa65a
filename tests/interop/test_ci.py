"""`artifactstore ci push` in the environments of the CI systems, and `ci gate`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from docs.isolation import isolated_environment
from store.harness import SAID, refused, write_tree

from artifactstore import InvalidInputError, Store
from artifactstore.interop.ci import (
    GENERIC,
    SYSTEMS,
    CiRun,
    describe_run,
    outputs_of,
    push_from_ci,
    summary_of,
    variables_read,
    with_corrections,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from artifactstore import Package

SECRET = "s3cr3t-t0ken"  # noqa: S105 - it must show up nowhere
COMMIT = "0f3c2d1a" * 5
# What jobs find in their environment, secrets among it.
GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": f"https://x-access-token:{SECRET}@github.example",
    "GITHUB_REPOSITORY": "team/shop",
    "GITHUB_SHA": COMMIT,
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_JOB": "test",
    "GITHUB_RUN_ID": "118",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_TOKEN": SECRET,
    "ACTIONS_RUNTIME_TOKEN": SECRET,
}
GITLAB = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_PROJECT_PATH": "team/tools/shop",
    "CI_COMMIT_SHA": COMMIT,
    "CI_COMMIT_REF_NAME": "main",
    "CI_JOB_NAME": "test 1/2",
    "CI_JOB_ID": "9001",
    "CI_PIPELINE_ID": "118",
    "CI_JOB_URL": "https://gitlab.example/team/tools/shop/-/jobs/9001",
    "CI_REPOSITORY_URL": f"https://gitlab-ci-token:{SECRET}@gitlab.example/team/tools/shop.git",
    "CI_JOB_TOKEN": SECRET,
}
JENKINS = {
    "JENKINS_URL": "https://jenkins.example/",
    "JOB_NAME": "shop/main",
    "BUILD_NUMBER": "118",
    "BUILD_URL": "https://jenkins.example/job/shop/118/",
    "GIT_URL": f"https://ada:{SECRET}@git.example/team/shop.git",
    "GIT_COMMIT": COMMIT,
    "GIT_BRANCH": "origin/main",
    "NPM_TOKEN": SECRET,
}
BUILDKITE = {
    "CI": "true",
    "BUILDKITE": "true",
    "BUILDKITE_REPO": "git@git.example:team/shop.git",
    "BUILDKITE_COMMIT": COMMIT,
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_LABEL": "tests",
    "BUILDKITE_JOB_ID": "018f-job",
    "BUILDKITE_BUILD_ID": "018f-build",
    "BUILDKITE_RETRY_COUNT": "0",
    "BUILDKITE_BUILD_URL": "https://buildkite.example/team/shop/builds/118",
    "BUILDKITE_AGENT_ACCESS_TOKEN": SECRET,
}
AZURE = {
    "TF_BUILD": "True",
    "BUILD_REPOSITORY_NAME": "team/shop",
    "BUILD_SOURCEVERSION": COMMIT,
    "BUILD_SOURCEBRANCH": "refs/heads/main",
    "SYSTEM_JOBDISPLAYNAME": "tests",
    "SYSTEM_JOBID": "12f1170f",
    "SYSTEM_JOBATTEMPT": "1",
    "BUILD_BUILDID": "118",
    "SYSTEM_COLLECTIONURI": "https://azure.example/team/",
    "SYSTEM_TEAMPROJECT": "shop",
    "SYSTEM_ACCESSTOKEN": SECRET,
}
KNOWN: dict[str, tuple[Mapping[str, str], dict[str, str]]] = {
    "github-actions": (
        GITHUB,
        {
            "repository": "team/shop",
            "ref": "refs/heads/main",
            "job": "test",
            "run_id": "118",
            "attempt": "1",
            "run_url": "https://github.example/team/shop/actions/runs/118",
        },
    ),
    "gitlab": (
        GITLAB,
        {
            "repository": "team/tools/shop",
            "ref": "main",
            "job": "test 1/2",
            "job_id": "9001",
            "run_id": "118",
            "run_url": "https://gitlab.example/team/tools/shop/-/jobs/9001",
        },
    ),
    "jenkins": (
        JENKINS,
        {
            "repository": "team/shop",
            "ref": "origin/main",
            "job": "shop/main",
            "run_id": "shop/main#118",
            "run_url": "https://jenkins.example/job/shop/118/",
        },
    ),
    "buildkite": (
        BUILDKITE,
        {
            "repository": "team/shop",
            "ref": "main",
            "job": "tests",
            "job_id": "018f-job",
            "run_id": "018f-build",
            "attempt": "0",
            "run_url": "https://buildkite.example/team/shop/builds/118#018f-job",
        },
    ),
    "azure-pipelines": (
        AZURE,
        {
            "repository": "team/shop",
            "ref": "refs/heads/main",
            "job": "tests",
            "job_id": "12f1170f",
            "run_id": "118",
            "attempt": "1",
            "run_url": "https://azure.example/team/shop/_build/results?buildId=118",
        },
    ),
}
# What makes the next attempt of the same job another one.
NEXT_ATTEMPT = {
    "github-actions": {"GITHUB_RUN_ATTEMPT": "2"},
    "gitlab": {"CI_JOB_ID": "9002"},
    "jenkins": {"BUILD_NUMBER": "119"},
    "buildkite": {"BUILDKITE_JOB_ID": "018f-again", "BUILDKITE_RETRY_COUNT": "1"},
    "azure-pipelines": {"SYSTEM_JOBATTEMPT": "2"},
}


@dataclass(frozen=True)
class Job:
    """A job of a CI system, in a folder with results."""

    folder: Path
    environment: Mapping[str, str]
    printed: list[str] = field(default_factory=list)

    def run(self, *arguments: str, code: int = 0, more: Mapping[str, str] | None = None) -> str:
        """What a step of the job answers."""
        done = subprocess.run(
            ["artifactstore", *arguments],
            cwd=self.folder,
            env={**isolated_environment(self.folder.parent / "user"), **self.environment, **(more or {})},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        self.printed.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout.strip()

    def packages(self) -> list[Package]:
        """What is stored, oldest first."""
        place = self.folder.parent / "user/data/artifactstore"
        with Store.open(place / "artifactstore.db", place / "storage", create=False) as store:
            return list(reversed(store.list_packages().items))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The folder of a job, with results in it."""
    write_tree(tmp_path / "work", {"results/junit.xml": b"<testsuites/>\n"})
    return tmp_path / "work"


@pytest.mark.parametrize("name", KNOWN)
def test_what_the_system_says_goes_into_the_package(results: Path, name: str) -> None:
    environment, expected = KNOWN[name]
    job = Job(results, environment)
    package_id = job.run("ci", "push", "results")
    (package,) = job.packages()
    assert package.package_id == package_id
    assert package.metadata == {"ci": {"system": name, "commit": COMMIT, **expected}}
    assert (package.subject, package.producer, package.name) == (f"shop@{COMMIT}", "ci", "results")
    assert package.created_by == name


@pytest.mark.parametrize("name", KNOWN)
def test_secrets_stay_out(results: Path, name: str) -> None:
    job = Job(results, KNOWN[name][0])
    job.run("ci", "push", "results", "--json", "-vv")
    stored = [path for path in (results.parent / "user").rglob("*") if path.is_file()]
    assert len(stored) > 3
    assert [path for path in stored if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in "".join(job.printed)


@pytest.mark.parametrize("name", KNOWN)
def test_a_retry_adds_nothing_and_the_next_attempt_does(results: Path, name: str) -> None:
    job = Job(results, KNOWN[name][0])
    first = job.run("ci", "push", "results")
    assert job.run("ci", "push", "results") == first
    assert job.run("ci", "push", "results", more=NEXT_ATTEMPT[name]) != first
    assert len(job.packages()) == 2
    # Other bytes from the very same attempt: somebody should look at that.
    (results / "results/junit.xml").write_text("<testsuites other=''/>")
    job.run("ci", "push", "results", code=5)
    assert job.run("ci", "push", "results", "--name", "second look")
    assert len(job.packages()) == 3


def test_github_gets_outputs_and_a_summary(results: Path) -> None:
    (results / "outputs").write_text("earlier=1\n")
    files = {"GITHUB_OUTPUT": str(results / "outputs"), "GITHUB_STEP_SUMMARY": str(results / "summary")}
    package_id = Job(results, {**GITHUB, **files}).run("ci", "push", "results")
    lines = (results / "outputs").read_text().splitlines()
    assert lines[:2] == ["earlier=1", f"package_id={package_id}"]
    assert lines[2].startswith("manifest_digest=blake3:")
    assert lines[3:] == ["file_count=1", "total_size=14", "unchanged=false"]
    summary = (results / "summary").read_text()
    assert summary.startswith("### Evidence\n\n| | |\n|---|---|\n")
    assert f"| package id | `{package_id}` |\n" in summary
    assert f"| subject | `shop@{COMMIT}` |\n" in summary


def test_outputs_go_where_the_caller_says(results: Path) -> None:
    job = Job(results, GITLAB)
    job.run("ci", "push", "results", "--outputs", "evidence.env", "--summary", "evidence.md")
    assert "package_id=" in (results / "evidence.env").read_text()
    assert "### Evidence" in (results / "evidence.md").read_text()


def test_outputs_that_cannot_be_written_fail_the_step_and_a_retry_is_harmless(results: Path) -> None:
    job = Job(results, {**GITHUB, "GITHUB_OUTPUT": str(results / "missing/outputs")})
    job.run("ci", "push", "results", code=1)
    assert "the package is stored" in job.printed[0]
    job.run("ci", "push", "results", "--outputs", "outputs")
    assert len(job.packages()) == 1
    assert "unchanged=true" in (results / "outputs").read_text()


def test_elsewhere_git_says_which_commit_it_is(results: Path) -> None:
    job = Job(results, {})
    for command in (
        ["init", "--quiet", "-b", "main"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one", "--allow-empty"],
    ):
        subprocess.run(["git", *command], cwd=results, check=True)
    job.run("ci", "push", "results", "--run-id", "7", "--job", "nightly")
    job.run("ci", "push", "results", "--run-id", "7", "--job", "nightly")
    (package,) = job.packages()
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=results, check=True, capture_output=True, text=True
    )
    commit = head.stdout.strip()
    assert package.metadata["ci"] == {
        "system": GENERIC,
        "repository": "work",
        "commit": commit,
        "ref": "main",
        "job": "nightly",
        "run_id": "7",
    }
    assert package.subject == f"work@{commit}"


def test_without_a_commit_a_subject_is_needed(results: Path) -> None:
    job = Job(results, {})
    job.run("ci", "push", "results", code=2)
    assert "give --subject" in job.printed[0]
    assert not (results.parent / "user/data/artifactstore").exists()
    job.run("ci", "push", "results", "--subject", "app-1.4")
    assert [package.subject for package in job.packages()] == ["app-1.4"]


def test_what_the_caller_says_wins(results: Path) -> None:
    Job(results, GITHUB).run(
        "ci",
        "push",
        "results",
        "--commit",
        "abc",
        "--run-url",
        "https://x.example/1",
        "--metadata",
        "shard=2",
    )
    (package,) = Job(results, {}).packages()
    assert package.subject == "shop@abc"
    assert package.metadata["ci"]["run_url"] == "https://x.example/1"
    assert package.metadata["shard"] == "2"


def test_an_entry_of_the_metadata_is_not_overwritten(store: Store, tree: Path) -> None:
    with refused(InvalidInputError, "invalid-input", "'ci'"):
        push_from_ci(store, str(tree), CiRun(GENERIC), **SAID, metadata={"ci": "mine"})
    assert store.list_packages().items == ()


@pytest.mark.parametrize("value", ["two\nlines", "x" * 2000, "bell\x07", "   "])
def test_values_that_no_system_gives_are_not_believed(value: str) -> None:
    run = describe_run({**GITHUB, "GITHUB_REF": value})
    assert run.ref is None
    assert run.commit == COMMIT


def test_each_system_is_recognised_by_itself_and_reads_its_own_variables_only() -> None:
    marks = [system.mark for system in SYSTEMS]
    assert len(set(marks)) == len(marks)
    assert {system.name for system in SYSTEMS} == set(KNOWN)
    for environment, _ in KNOWN.values():
        assert [mark for mark in marks if mark in environment] == [next(iter(set(marks) & set(environment)))]
    assert not any(
        word in name for name in variables_read() for word in ("TOKEN", "SECRET", "PASSWORD", "KEY_ID")
    )


def test_a_job_without_an_identity_has_no_key() -> None:
    assert CiRun(GENERIC).idempotency_key("results") is None
    run = describe_run(GITHUB)
    keys = {
        run.idempotency_key("results"),
        run.idempotency_key("coverage"),
        with_corrections(run, {"job": "lint"}).idempotency_key("results"),
        with_corrections(run, {"attempt": "2"}).idempotency_key("results"),
    }
    assert len(keys) == 4
    assert describe_run(dict(GITHUB)).idempotency_key("results") in keys


def test_a_name_cannot_break_the_summary(store: Store, tree: Path) -> None:
    said: dict[str, Any] = {**SAID, "name": "a|b`c"}
    result = push_from_ci(store, str(tree), CiRun(GENERIC), **said)
    assert "| name | `a\\|b'c` |" in summary_of(result)
    assert all(line.count("=") == 1 for line in outputs_of(result).splitlines())
