"""The files of `examples/ci` and the hooks for pre-commit do what they say: their scripts are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from docs.isolation import isolated_environment
from docs.pages import PROJECT
from store.harness import write_tree

from interop.test_ci import GITHUB, GITLAB, JENKINS, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artifactstore import Package
    from interop.checkout import Checkout

EXAMPLES = PROJECT / "examples/ci"
NAMES = ("results", "two words", "$(touch pwned)", "`touch pwned`; touch pwned")


def read_yaml(path: Path) -> Any:
    """A document in YAML."""
    yaml = pytest.importorskip("yaml", reason="PyYAML, which comes with pre-commit, is not installed")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def run_script(script: str, folder: Path, environment: dict[str, str], code: int = 0) -> str:
    """What a step of a job prints."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**isolated_environment(folder.parent / "user"), **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("directory", NAMES)
def test_the_action_for_github_stores_a_directory(tmp_path: Path, directory: str) -> None:
    action = read_yaml(EXAMPLES / "artifactstore-push/action.yml")
    folder = write_tree(tmp_path / "work", {f"{directory}/junit.xml": b"<testsuites/>\n"})
    commands = tmp_path / "temp/artifactstore/bin"
    commands.mkdir(parents=True)
    (commands / "artifactstore").symlink_to(os.path.join(os.path.dirname(sys.executable), "artifactstore"))
    inputs = {name: said.get("default", "") for name, said in action["inputs"].items()}
    inputs["directory"] = directory
    (step,) = [step for step in action["runs"]["steps"] if step.get("id") == "push"]
    variables = {
        name: re.sub(r"\$\{\{ inputs\.([a-z-]+) }}", lambda match: inputs[match[1]], text)
        for name, text in step["env"].items()
    }
    assert "${{" not in step["run"]
    environment = {
        **GITHUB,
        **variables,
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
    }
    package_id = run_script(step["run"], folder, environment).strip()
    outputs = dict(line.split("=") for line in (tmp_path / "outputs").read_text().splitlines())
    assert outputs["package_id"] == package_id
    for output in action["outputs"].values():
        (name,) = re.findall(r"steps\.push\.outputs\.(\w+)", output["value"])
        assert outputs[name]
    (package,) = Job(folder, {}).packages()
    assert package.name == directory
    assert not list(tmp_path.rglob("pwned"))


def test_the_snippet_for_gitlab_stores_results_and_hands_on_their_id(tmp_path: Path) -> None:
    snippet = read_yaml(EXAMPLES / "gitlab.yml")
    folder = write_tree(tmp_path / "work", {"results/junit.xml": b"<testsuites/>\n"})
    variables = {
        name: value.replace("/srv", str(tmp_path))
        for name, value in snippet[".evidence"]["variables"].items()
    }
    assert snippet["test"]["extends"] == snippet["release"]["extends"] == ".evidence"
    (script,) = snippet["test"]["after_script"]
    (tmp_path / "evidence").mkdir()
    environment = {**GITLAB, **variables, "CI_PROJECT_NAME": "shop"}
    run_script("echo '{}' | artifactstore schema register ci.tests.v1 -", folder, environment)
    (gate,) = snippet["release"]["script"]
    run_script(gate, folder, environment, code=5)
    package_id = run_script(script, folder, environment).strip()
    run_script(gate, folder, environment)
    dotenv = (folder / snippet["test"]["artifacts"]["reports"]["dotenv"]).read_text()
    assert f"package_id={package_id}\n" in dotenv
    assert (tmp_path / "evidence/artifactstore.db").is_file()


def test_the_snippet_for_jenkins_stores_results(tmp_path: Path) -> None:
    text = (EXAMPLES / "Jenkinsfile").read_text(encoding="utf-8")
    folder = write_tree(tmp_path / "work", {"results/junit.xml": b"<testsuites/>\n"})
    (script,) = re.findall("sh '(artifactstore .*)'", text)
    assert re.findall("ARTIFACTSTORE_[A-Z_]+", text) == [
        "ARTIFACTSTORE_DATABASE_URL",
        "ARTIFACTSTORE_STORAGE_LOCAL_ROOT",
    ]
    run_script(script, folder, JENKINS)
    assert [package.subject for package in Job(folder, {}).packages()] == [f"shop@{JENKINS['GIT_COMMIT']}"]


# pre-commit


def test_pre_commit_accepts_our_hooks() -> None:
    pre_commit("validate-manifest", str(PROJECT / ".pre-commit-hooks.yaml"), folder=PROJECT)


def test_the_commands_of_the_hooks_exist(plain: Checkout, packages: Callable[[], list[Package]]) -> None:
    for hook in read_yaml(PROJECT / ".pre-commit-hooks.yaml"):
        program, *arguments = hook["entry"].split()
        assert program == "artifactstore"
        plain.artifactstore(*arguments, "--path", "reports")
    (package,) = packages()
    assert package.subject == f"shop@{plain.head()}"


@pytest.mark.slow
def test_pre_commit_runs_our_hooks(
    plain: Checkout, packages: Callable[[], list[Package]], tmp_path: Path
) -> None:
    ours = tmp_path / "artifactstore"
    ours.mkdir()
    for name in ("artifactstore", "schemas", "pyproject.toml", "README.md", ".pre-commit-hooks.yaml"):
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, ours / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, ours / name)
    project = plain.at(ours)
    project.git("init", "--quiet")
    project.commit("all of it")
    config = (
        f"repos:\n- repo: {ours}\n  rev: {project.head()}\n  hooks:\n"
        "  - id: artifactstore-record\n    args: [--path, reports]\n"
        "  - id: artifactstore-require\n    args: [--path, reports]\n"
    )
    write_tree(plain.top, {".pre-commit-config.yaml": config.encode()})
    with_index = {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "http", "HTTP"))
    }
    environment = {**with_index, **plain.environment, "PRE_COMMIT_HOME": str(tmp_path / "cache")}
    pre_commit(
        "install", "--hook-type", "post-commit", "--hook-type", "pre-push", folder=plain.top, env=environment
    )
    prepared = pre_commit("install-hooks", folder=plain.top, env=environment, check=False)
    if prepared.returncode:
        assert "from versions: none" in prepared.stdout, prepared.stdout
        pytest.skip("no package index can be reached")
    checkout = type(plain)(plain.top, environment)
    told = checkout.commit("with pre-commit")
    assert "keep the evidence of the commit" in told
    (package,) = packages()
    assert package.subject == f"shop@{checkout.head()}"
    assert checkout.note()[0].endswith(package.package_id)
    checkout.git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    checkout.git("push", "--quiet", str(tmp_path / "remote.git"), "main")
    shutil.rmtree(plain.top / "reports")
    checkout.commit("without evidence")
    checkout.git("push", str(tmp_path / "remote.git"), "main", code=1)


def pre_commit(
    *arguments: str, folder: Path, env: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run pre-commit itself."""
    pytest.importorskip("pre_commit", reason="pre-commit is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", *arguments],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0 or not check, done.stdout
    return done
