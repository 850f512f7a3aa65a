"""The doors with a store behind an HTTP API: what CI jobs mostly have."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import fsspec
import pytest
from client.serving import TOKEN, Served, serving
from docs.isolation import isolated_environment
from store.harness import TREE, write_tree

from artifactstore import AccessError
from interop.test_ci import GITHUB, Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.harness import Home

    from interop.checkout import Checkout

KIND = "ci.tests.v1"


@pytest.fixture
def served(home: Home) -> Iterator[Served]:
    """A server in front of an empty store."""
    with home.open() as store, serving(store) as running:
        yield running


@pytest.fixture
def api(served: Served) -> dict[str, str]:
    """What an environment says that uses it."""
    return {"ARTIFACTSTORE_API_URL": served.url, "ARTIFACTSTORE_API_TOKEN": TOKEN}


def test_a_job_pushes_and_asks_the_gate(served: Served, api: dict[str, str], tmp_path: Path) -> None:
    served.store.register_metadata_schema(KIND, {"type": "object", "required": ["ci"]}, actor="ada")
    job = Job(write_tree(tmp_path / "work", {"results/junit.xml": b"<testsuites/>"}), {**GITHUB, **api})
    gate = ("ci", "gate", "--subject", f"shop@{GITHUB['GITHUB_SHA']}", "--require", KIND)
    job.run(*gate, code=5)
    first = job.run("ci", "push", "results", "--schema", KIND)
    assert job.run("ci", "push", "results", "--schema", KIND) == first
    assert first in job.run(*gate)
    (package,) = served.store.list_packages().items
    assert (package.package_id, package.metadata_schema) == (first, KIND)
    assert package.metadata["ci"]["run_id"] == "118"
    # Nothing went to a store of the runner.
    assert not (tmp_path / "user/data/artifactstore").exists()


def test_a_hook_records_commits(served: Served, api: dict[str, str], plain: Checkout) -> None:
    plain.environment.update(api)
    plain.artifactstore("--api-url", served.url, "git", "install-hook", "--path", "reports")
    assert TOKEN not in (plain.top / ".git/hooks/post-commit").read_text().split()
    told = plain.commit(readme="one")
    (package,) = served.store.list_packages().items
    assert f"evidence stored as {package.package_id}" in told
    assert package.subject == f"shop@{plain.head()}"
    assert plain.note()[0] == f"Evidence-Package: {package.package_id}"
    assert plain.artifactstore("git", "record", "--path", "reports") == package.package_id


def test_an_id_that_a_server_chooses_is_not_promised(api: dict[str, str], plain: Checkout) -> None:
    plain.environment.update(api)
    plain.artifactstore("git", "install-hook", "--trailer", "--path", "reports", code=2)
    plain.git(
        "commit", "--allow-empty", "-m", f"one\n\nEvidence-Package: {'0' * 8}-0000-7000-8000-{'0' * 12}"
    )
    assert "an API chooses the ids" in plain.artifactstore("git", "record", "--path", "reports")


def test_a_test_run_is_recorded(served: Served, api: dict[str, str], tmp_path: Path) -> None:
    suite = write_tree(tmp_path / "shop", {"test_a.py": b"def test_a(evidence): evidence.write('a', 'b')\n"})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--artifactstore"],
        cwd=suite,
        env={**isolated_environment(tmp_path / "user"), **api},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (package,) = served.store.list_packages().items
    assert package.package_id in done.stdout
    assert served.store.read_file(package.package_id, "evidence/test_a.py/test_a/a") == b"b"
    assert not (tmp_path / "user/data/artifactstore").exists()


def test_files_are_read_in_place(
    served: Served, api: dict[str, str], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"name": "n", "producer": "p", "subject": "s", "retention_class": "transient", "actor": "ada"}
    package = served.store.push(tree, **said).package.package_id
    for name, value in api.items():
        monkeypatch.setenv(name, value)
    artifacts = fsspec.filesystem("artifact")
    assert artifacts.find(package) == sorted(f"{package}/{path}" for path in TREE)
    for path, data in TREE.items():
        assert artifacts.cat_file(f"{package}/{path}") == data
    assert artifacts.cat_file(f"{package}/README.md", start=2, end=5) == TREE["README.md"][2:5]
    with pytest.raises(FileNotFoundError):
        artifacts.info(f"{package}/nothing")
    monkeypatch.setenv("ARTIFACTSTORE_API_TOKEN", "wrong")
    with pytest.raises(AccessError):
        fsspec.filesystem("artifact").info(f"{package}/README.md")
