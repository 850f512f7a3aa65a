"""The targets of the Makefile that change what a user has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from docs.isolation import isolated_environment

from artifactstore import Store

PROJECT = Path(__file__).parents[1]


def test_migrate_fresh_leaves_nothing_of_the_store_before(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    for program in ("python", "artifactstore"):
        (environment / "bin" / program).symlink_to(Path(sys.executable).with_name(program))
    (tmp_path / "pyproject.toml").touch()
    os.utime(tmp_path / "pyproject.toml", (0, 0))
    (environment / "installed").touch()
    var = tmp_path / "var"
    with Store.open(var / "artifactstore.db", var / "storage") as store:
        before = store.store_id
    # What an ingest and an upload leave beside the database.
    for name in ("seen/directory", "uploads/session"):
        path = var / f"artifactstore.db.{name}"
        path.parent.mkdir()
        path.touch()
    (var / "notes.txt").touch()
    done = subprocess.run(
        ["make", "--file", PROJECT / "Makefile", "migrate-fresh", f"VENV={environment}"],
        cwd=tmp_path,
        env=isolated_environment(tmp_path / "user"),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with Store.open(var / "artifactstore.db", var / "storage", create=False) as store:
        assert store.store_id != before
    kept = {path.name for path in var.iterdir()} - {"artifactstore.db-wal", "artifactstore.db-shm"}
    assert kept == {"artifactstore.db", "artifactstore.db.lock", "storage", "notes.txt"}


def test_bench_runs_all_sets_with_all_peers_and_writes_the_page(tmp_path: Path) -> None:
    for path in ("bin/python", "installed"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    done = subprocess.run(
        ["make", "--dry-run", "bench", f"VENV={tmp_path}", "BENCH_ARGS=--quick"],
        cwd=PROJECT,
        # Below another make, this one would say which directory it is in.
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.split() == [
        f"{tmp_path}/bin/python", "-m", "benchmarks", "--peers", "all", "--page", "--quick",
    ]  # fmt: skip
