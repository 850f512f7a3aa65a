"""How the program starts: cheaply, from every door, with the global options wherever they stand."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from artifactstore.version import __version__
from cli.harness import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from cli.harness import Program

HEAVY = ("fsspec", "s3fs", "jsonschema", "rich", "asyncio", "http.server", "apsw")


def imported_by(statement: str) -> set[str]:
    """The modules that are loaded after a statement in a fresh interpreter."""
    script = f"import sys\n{statement}\nprint(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    return set(done.stderr.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not imported_by("import artifactstore").intersection({*HEAVY, "typer", "blake3", "cbor2"})


@pytest.mark.parametrize("arguments", [["--help"], ["push", "--help"], ["package", "add", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    statement = f"from artifactstore.cli.application import run\nassert run({arguments!r}) == 0"
    loaded = imported_by(statement)
    assert "typer" in loaded  # else this test would prove nothing
    assert not loaded.intersection(HEAVY)


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_the_version_loads_next_to_nothing(argument: str) -> None:
    statement = (
        f"sys.argv = ['artifactstore', {argument!r}]\nimport artifactstore.cli\nartifactstore.cli.main()"
    )
    loaded = imported_by(statement)
    assert "artifactstore.cli.output" in loaded  # else this test would prove nothing
    assert not loaded.intersection({*HEAVY, "typer", "typing", "dataclasses", "contextlib", "json", "re"})


def test_what_only_asks_a_store_loads_nothing_that_fills_or_exports_one(
    program: Program, pushed: str
) -> None:
    places = [
        f"--database={program.directory / 'artifactstore.db'}",
        f"--root={program.directory / 'storage'}",
    ]
    arguments = ["show", pushed, *places]
    loaded = imported_by(f"from artifactstore.cli.application import run\nassert run({arguments!r}) == 0")
    assert "artifactstore.package_queries" in loaded  # else this test would prove nothing
    filling = {"ingest", "scan", "seen_files", "known_files", "sources", "workers", "objects.local_batch"}
    other = {"export", "check", "manifest", "results", "health", "rebuild", "linkage.message", "dotenv"}
    assert not loaded.intersection(f"artifactstore.{name}" for name in filling | other)
    assert not loaded.intersection({"ctypes", "tempfile", *HEAVY} - {"apsw"})


@pytest.mark.parametrize("arguments", [["version"], ["--version"], ["-q", "--version"], ["-v", "version"]])
def test_the_version_is_printed_alone(program: Program, arguments: list[str]) -> None:
    assert program.spawn(*arguments).text == f"{__version__}\n"


def test_the_version_as_json(program: Program) -> None:
    assert program.call("version", "--json").document == {"version": __version__}


def test_no_argument_at_all_shows_the_help(program: Program) -> None:
    answer = program.spawn()
    assert answer.text.startswith("Usage: artifactstore")
    assert "130 interrupted" in answer.text


@pytest.mark.parametrize("before", [True, False])
def test_global_options_stand_before_or_after_the_command(
    program: Program, tmp_path: Path, before: bool
) -> None:
    flags = ["--database", str(tmp_path / "else" / "db"), "--root", str(tmp_path / "else" / "objects"), "-q"]
    answer = program.spawn(*flags, "init") if before else program.spawn("init", *flags)
    assert (tmp_path / "else" / "db").is_file()
    assert (tmp_path / "else" / "objects").is_dir()
    assert not program.directory.exists()
    assert len(answer.lines) == 1


def test_an_env_file_is_read_instead_of_the_one_here(program: Program, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ARTIFACTSTORE_LOG_LEVEL=ERROR\n")
    (tmp_path / "other.env").write_text("ARTIFACTSTORE_LOG_LEVEL=DEBUG\n")
    assert ["ARTIFACTSTORE_LOG_LEVEL", "ERROR", ".env line 1"] in program.call("config").rows
    other = str(tmp_path / "other.env")
    row = ["ARTIFACTSTORE_LOG_LEVEL", "DEBUG", f"{other} line 1"]
    assert row in program.call("config", "--env-file", other).rows


def test_a_missing_env_file_is_refused(program: Program) -> None:
    assert "nowhere.env" in program.call("config", "--env-file", "nowhere.env", code=2).stderr
