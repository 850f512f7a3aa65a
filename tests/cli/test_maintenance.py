"""`init`, `migrate`, `replay`, `health`, `config`, `completion`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from store.harness import Home, unprivileged

from artifactstore.schema import SCHEMA_VERSION
from cli.harness import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from cli.harness import Program


def entries(directory: Path) -> list[str]:
    """Everything below a directory."""
    return sorted(str(path) for path in directory.rglob("*"))


def test_init_makes_a_store_once(program: Program) -> None:
    first = program.call("init", "--json").document
    assert first["created"] is True
    assert first["database"] == program.settings["ARTIFACTSTORE_DATABASE_URL"]
    assert first["root"] == program.settings["ARTIFACTSTORE_STORAGE_LOCAL_ROOT"]
    assert program.call("init").text == f"{first['store_id']}\n"
    assert program.call("init", "--json").document["created"] is False
    assert "was here already" in program.seen("init")


def test_init_refuses_an_object_root_of_another_store(program: Program) -> None:
    program.call("init")
    database = program.directory / "other.db"
    assert "belongs to the store" in program.call("--database", str(database), "init", code=7).stderr


def test_migrate_makes_a_store_and_then_has_nothing_to_do(program: Program) -> None:
    first = program.call("migrate", "--json").document
    assert first["version_before"] == first["version_after"]
    assert first["backup"] is None
    assert program.call("health").document["status"] == "ok"
    assert program.call("migrate").stderr == "nothing was to be done\n"
    assert program.call("migrate", "-q").stderr == ""


def test_migrate_rebuilds_an_older_store_after_a_backup(program: Program, pushed: str) -> None:
    files = program.call("files", pushed).stdout
    Home(program.directory).tamper("PRAGMA user_version = 0")
    assert "artifactstore migrate" in program.call("list", code=5).stderr
    document = program.call("migrate", "--json").document
    assert document["version_before"] == 0
    assert document["version_after"] == SCHEMA_VERSION
    assert (program.directory / document["backup"]).is_file()
    assert program.call("files", pushed).stdout == files


def test_backup_writes_a_database_that_works(program: Program, pushed: str) -> None:
    copy = program.directory / "copy.db"
    answer = program.call("backup", str(copy))
    highest = str(len(program.call("events").lines))
    assert answer.rows == [
        ["path", str(copy)],
        ["size", str(copy.stat().st_size)],
        ["highest_sequence", highest],
    ]
    assert f"copy the objects: all of {program.settings['ARTIFACTSTORE_STORAGE_LOCAL_ROOT']}" in answer.stderr
    files = program.call("files", pushed).stdout
    assert program.call("--database", str(copy), "files", pushed).stdout == files
    document = program.call("backup", str(program.directory / "second.db"), "--json").document
    assert document == {
        "path": str(program.directory / "second.db"),
        "size": copy.stat().st_size,
        "event_count": int(highest),
    }


@pytest.mark.parametrize(
    ("name", "code", "mention"),
    [
        ("taken.db", 5, "exists already"),
        ("nowhere/copy.db", 2, "there is no folder"),
        ("-", 2, "cannot go to stdout"),
    ],
)
def test_backup_refuses_names(
    program: Program, pushed: str, monkeypatch: pytest.MonkeyPatch, name: str, code: int, mention: str
) -> None:
    assert pushed
    monkeypatch.chdir(program.directory)
    (program.directory / "taken.db").touch()
    before = entries(program.directory)
    assert mention in program.call("backup", name, code=code).stderr
    assert entries(program.directory) == before
    program.call("--database", str(program.directory / "none.db"), "backup", "copy.db", code=10)
    assert entries(program.directory) == before


def test_a_newer_store_is_refused(program: Program, pushed: str) -> None:
    assert pushed
    Home(program.directory).tamper("PRAGMA user_version = 99")
    for command in ("list", "migrate", "replay"):
        assert "newer" in program.call(command, code=5).stderr


def test_replay_prints_the_sequence_and_both_fingerprints(program: Program, pushed: str) -> None:
    assert pushed
    highest = len(program.call("events").lines)
    checked = program.call("replay", "--check", "--json").document
    assert checked["identical"] is True
    assert checked["highest_sequence"] == checked["event_count"] == highest
    record = dict(program.call("replay").rows)
    assert record["highest_sequence"] == str(highest)
    assert record["fingerprint_before"] == record["fingerprint_after"] == checked["fingerprint_after"]


def test_replay_finds_and_repairs_damaged_views(program: Program, pushed: str) -> None:
    shown = program.call("show", pushed).stdout
    Home(program.directory).tamper("UPDATE artifact_packages SET name = 'forged'")
    found = program.call("replay", "--check", code=3)
    assert "artifactstore replay" in found.stderr
    assert program.call("show", pushed).stdout != shown
    repaired = program.call("replay", "--json")
    assert repaired.document["identical"] is False
    assert program.call("show", pushed).stdout == shown
    assert program.call("replay", "--check").stderr == ""


def test_health_is_the_documented_json(program: Program, pushed: str) -> None:
    expected = {
        "status": "ok",
        "db": {"healthy": True, "reasons": []},
        "backend": {"healthy": True, "reasons": []},
        "warnings": [],
        "oldest_verified_at": program.call("show", pushed, "--json").document["verification"]["oldest_at"],
    }
    for flags in ([], ["--json"], ["-q"]):
        assert program.spawn("health", *flags).document == expected


def test_health_of_an_empty_store_has_nothing_verified(program: Program) -> None:
    program.call("init")
    assert program.call("health").document["oldest_verified_at"] is None


def test_health_without_a_store_creates_nothing(program: Program) -> None:
    document = program.spawn("health", code=10).document
    assert document["status"] == "degraded"
    assert document["db"]["healthy"] is False
    assert document["db"]["reasons"]
    assert not program.directory.exists()


def test_health_of_a_store_that_lost_its_objects(program: Program, pushed: str) -> None:
    assert pushed
    shutil.rmtree(program.directory / "storage")
    before = entries(program.directory)
    document = program.spawn("health", code=1).document
    assert document["db"]["healthy"] is True
    assert document["backend"]["healthy"] is False
    assert "missing" in document["backend"]["reasons"][0]
    assert entries(program.directory) == before


def test_health_of_what_is_no_database(program: Program) -> None:
    program.directory.mkdir()
    (program.directory / "artifactstore.db").write_bytes(b"not SQLite" * 100)
    before = entries(program.directory)
    document = program.spawn("health", code=1).document
    assert document["status"] == "degraded"
    assert document["db"]["healthy"] is False
    assert entries(program.directory) == before


def test_health_of_a_root_that_cannot_be_written(program: Program, pushed: str) -> None:
    assert pushed
    (program.directory / "storage").chmod(0o500)
    with unprivileged():
        document = program.call("health", code=1).document
    assert document["backend"]["healthy"] is False


def test_config_tells_values_and_origins_and_no_secret(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hunter2-hunter2"  # noqa: S105 - it protects nothing
    monkeypatch.setenv("ARTIFACTSTORE_AUTH_TOKENS", secret)
    monkeypatch.setenv("ARTIFACTSTORE_API_TOKEN", secret)
    monkeypatch.setenv("ARTIFACTSTORE_S3_ENDPOINT_URL", f"https://user:{secret}@s3.example.org")
    answers = [
        program.call("config"),
        program.call("config", "--json"),
        program.call("config", "--jsonl"),
        program.call("-vv", "config"),
    ]
    for answer in answers:
        assert secret not in answer.text + answer.stderr
    values = {row[0]: row[1:] for row in answers[0].rows}
    assert values["ARTIFACTSTORE_AUTH_TOKENS"] == ["***", "environment"]
    assert values["ARTIFACTSTORE_LOG_LEVEL"] == ["INFO", "default"]
    assert values["ARTIFACTSTORE_DATABASE_URL"][1] == "flag --database"
    assert values["ARTIFACTSTORE_S3_ENDPOINT_URL"][0] == "https://***@s3.example.org"
    assert {item["name"]: [item["text"], item["origin"]] for item in answers[1].document} == values
    flagged = {row[0]: row[1:] for row in program.call("config", "--no-progress").rows}
    assert flagged["ARTIFACTSTORE_NO_PROGRESS"] == ["true", "flag --no-progress"]


def test_config_works_with_an_api_url(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_API_URL", "http://127.0.0.1:8000")
    assert "http://127.0.0.1:8000" in program.call("config").text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_calls_the_program(program: Program, shell: str) -> None:
    script = program.call("completion", shell).text
    assert f"_ARTIFACTSTORE_COMPLETE=complete_{shell}" in script
    checker = shutil.which(shell)
    if checker is not None:
        subprocess.run([checker, "-n", "-c", script], check=True, timeout=PATIENCE)


def test_an_unknown_shell_is_refused(program: Program) -> None:
    program.call("completion", "tcsh", code=2)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [(["pu"], "push"), (["package", "fin"], "finalize"), (["push", "--symlinks", "fol"], "follow")],
)
def test_bash_completes(program: Program, tmp_path: Path, words: list[str], found: str) -> None:
    starter = tmp_path / "artifactstore"
    starter.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m artifactstore "$@"\n')
    starter.chmod(0o755)
    script = (
        'eval "$(artifactstore completion bash)"\n'
        'COMP_WORDS=(artifactstore "$@")\nCOMP_CWORD=$#\n_artifactstore_completion artifactstore\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = program.environment({"PATH": f"{tmp_path}:/usr/bin:/bin"})
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout.split() == [found]
    assert done.stderr == ""
