"""How failures are reported: three lines or one JSON object on stderr, an exit code, never a traceback."""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import TYPE_CHECKING

import pytest

import artifactstore
from artifactstore.cli import exit_codes
from artifactstore.cli.failures import guarded
from artifactstore.cli.output import Output
from artifactstore.errors import (
    AccessError,
    ArtifactStoreError,
    BackendError,
    BusyError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    ObjectNotFoundError,
    SettingsError,
    StateError,
    StoreNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.harness import Program


def subclasses(kind: type[ArtifactStoreError]) -> Iterator[type[ArtifactStoreError]]:
    """A class and all below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def test_every_error_has_an_exit_code() -> None:
    for module in pkgutil.walk_packages(artifactstore.__path__, "artifactstore."):
        if not module.name.endswith(("__main__", "audit.verify")):
            importlib.import_module(module.name)
    kinds = set(subclasses(ArtifactStoreError))
    assert len(kinds) > 10
    assert kinds == set(exit_codes.BY_ERROR)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ArtifactStoreError("x"), 1),
        (InvalidInputError("x"), 2),
        (SettingsError("x"), 2),
        (IntegrityError("x"), 3),
        (ObjectNotFoundError("x"), 3),
        (NotFoundError("x"), 4),
        (ConflictError("x"), 5),
        (StateError("x"), 5),
        (AccessError("x"), 6),
        (BackendError("x"), 7),
        (BusyError("x"), 8),
        (StoreNotFoundError("x"), 10),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_exit_codes(error: ArtifactStoreError, code: int) -> None:
    assert exit_codes.exit_code(error) == code


def test_an_error_tells_what_why_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        cause = PermissionError(13, "Permission denied", "/here\x1b[31m")
        raise AccessError("cannot\nread", hint="ask") from cause

    assert guarded(action, Output(None)) == exit_codes.ACCESS
    assert capsys.readouterr().err.splitlines() == [
        "error: cannot\\nread",
        "cause: PermissionError: [Errno 13] Permission denied: '/here\\x1b[31m'",
        "hint: ask",
    ]


def test_what_nobody_expected_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise KeyError("surprise")

    assert guarded(action, Output(None)) == exit_codes.FAILED
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: internal error: KeyError: 'surprise'"
    assert "-vv" in lines[1]
    assert guarded(action, Output(None), verbosity=lambda: 2) == exit_codes.FAILED
    assert "Traceback (most recent call last):" in capsys.readouterr().err


def test_an_error_of_the_system_is_no_internal_error(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise OSError(24, "Too many open files")

    assert guarded(action, Output(None)) == exit_codes.FAILED
    assert capsys.readouterr().err == "error: the operating system refused: [Errno 24] Too many open files\n"


def test_an_interruption_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise KeyboardInterrupt

    assert guarded(action, Output(None)) == exit_codes.INTERRUPTED
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["show", "01a2"],
        ["files", "01a2"],
        ["cat", "01a2", "x"],
        ["manifest", "01a2"],
        ["export", "01a2", "x"],
        ["find", "abcd"],
        ["events"],
        ["replay"],
        ["package", "add", "01a2", "x", "-"],
        ["package", "finalize", "01a2"],
        ["retention", "extend", "01a2", "--forever"],
        ["retention", "hold", "01a2", "--reason", "x"],
        ["retention", "release", "01a2", "01a2", "--reason", "x"],
        ["retention", "history", "01a2"],
        ["retention", "explain", "01a2"],
        ["retention", "gc", "--dry-run"],
        ["storage", "verify"],
        ["storage", "repair"],
        ["storage", "copy", "--from", "local", "--to", "second"],
        ["storage", "orphans"],
        ["fsck"],
    ],
    ids=" ".join,
)
def test_without_a_store_nothing_is_made(program: Program, arguments: list[str]) -> None:
    answer = program.call(*arguments, code=10)
    assert answer.stdout == b""
    error, hint = answer.stderr.splitlines()
    assert error.startswith("error: there is no store at ")
    assert "artifactstore init" in hint
    assert not program.directory.exists()


def test_with_json_an_error_is_a_json_object(program: Program) -> None:
    answer = program.spawn("list", "--json", code=10)
    problem = json.loads(answer.stderr)
    assert list(problem) == ["code", "message", "hint"]
    assert problem["code"] == "store-not-found"
    assert answer.stdout == b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["list", "--no-such"], "No such option: --no-such"),
        (["show"], "Missing argument 'ID'."),
        (["push", "."], "Missing option '--producer'."),
        (["list", "--limit", "many"], "Invalid value for '--limit'"),
        (["push", ".", "--symlinks", "maybe"], "Invalid value for '--symlinks'"),
        (["package"], "Missing command."),
        (["package", "add", "01a2"], "give either PATH and SOURCE"),
        (["package", "add", "01a2", "path"], "give either PATH and SOURCE"),
        (["package", "add", "01a2", "path", "-", "--directory", "x"], "give either PATH and SOURCE"),
        (["package", "add", "01a2", "path", "-", "--exclude", "x"], "give either PATH and SOURCE"),
        (
            ["package", "add", "01a2", "--directory", "x", "--media-type", "a/b"],
            "give either PATH and SOURCE",
        ),
        (["export", "01a2"], "give either DIR or --output FILE"),
        (["export", "01a2", "x", "-o", "-"], "give either DIR or --output FILE"),
        (["export", "01a2", "-o", "-", "--json"], "not both"),
        (["show", "01a2", "--tree", "--json"], "exclude each other"),
        (["manifest", "01a2", "--format", "cbor", "--json"], "exclude each other"),
        (["config", "--json", "--jsonl"], "exclude each other"),
        (["events", "--follow", "--json"], "followed"),
        (["events", "--json", "--jsonl"], "exclude each other"),
        (["retention", "sweep", "--watch", "--json"], "use --jsonl"),
        (["retention", "sweep", "--abandoned-after", "soon"], "not a duration: 'soon'"),
        (["retention", "gc", "--plan", "x", "--plan-out", "y"], "exclude each other"),
        (["retention", "gc"], "this deletes"),
        (["retention", "gc", "--json"], "this deletes"),
        (["storage", "orphans", "--delete"], "this deletes"),
        (["storage", "orphans", "--older-than", "0"], "is not between 1 second"),
        (["storage", "verify", "--sample", "0"], "not a share over 0% and up to 100%: '0'"),
        (["storage", "verify", "--sample", "0%"], "not a share"),
        (["storage", "verify", "--sample", "101%"], "not a share"),
        (["storage", "verify", "--sample", "5"], "not a share"),
        (["storage", "verify", "--sample", "-1"], "not a share"),
        (["storage", "verify", "--sample", "nan"], "not a share"),
        (["storage", "verify", "--shard", "3/2"], "not a part of so many: '3/2'"),
        (["storage", "verify", "--shard", "0/2"], "not a part of so many"),
        (["storage", "verify", "--shard", "half"], "not a part of so many"),
        (["storage", "verify", "--max-bytes", "0"], "not a size: '0'"),
        (["storage", "verify", "--max-bytes", "10XB"], "not a size"),
        (["storage", "verify", "--max-time", "1 hour"], "not a duration"),
        (["storage", "copy", "--from", "local"], "Missing option '--to'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(program: Program, arguments: list[str], said: str) -> None:
    answer = program.call(*arguments, code=2)
    assert said in answer.stderr
    assert answer.stdout == b""
    assert not program.directory.exists()
    if {"--json", "--jsonl"}.isdisjoint(arguments):
        assert answer.stderr.startswith("error: ")
    else:
        assert json.loads(answer.stderr)["code"] == "usage"


def test_usage_errors_name_the_help_of_the_command(program: Program) -> None:
    assert "hint: run `artifactstore package add --help`\n" in program.call("package", "add", code=2).stderr


def test_tracebacks_are_for_those_who_ask_twice(program: Program) -> None:
    assert "Traceback" not in program.call("-v", "list", code=10).stderr
    assert "Traceback" in program.call("-vv", "list", code=10).stderr
    assert "Traceback" in program.call("-v", "list", "-v", code=10).stderr


LOCAL_COMMANDS = [
    ["init"],
    ["migrate"],
    ["replay"],
    ["fsck"],
    ["storage", "verify"],
    ["storage", "repair"],
    ["storage", "copy", "--from", "a", "--to", "b"],
    ["storage", "orphans"],
]


@pytest.mark.parametrize("command", LOCAL_COMMANDS, ids=" ".join)
def test_what_works_on_a_store_of_this_machine_does_not_ignore_an_api(
    program: Program, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_API_URL", "http://127.0.0.1:8000")
    assert "ARTIFACTSTORE_API_URL (environment) names an API" in program.call(*command, code=2).stderr
    assert not program.directory.exists()


@pytest.mark.parametrize("command", [["list"], ["push", ".", "--producer", "p", "--subject", "s"]])
def test_a_store_and_an_api_are_not_both_named(
    program: Program, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_API_URL", "http://127.0.0.1:8000")
    assert "--database and --root name a store" in program.call(*command, code=2).stderr
    assert not program.directory.exists()


def test_a_wrong_setting_is_refused_with_its_origin(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_LOG_LEVEL", "LOUD")
    answer = program.call("list", code=2)
    assert "ARTIFACTSTORE_LOG_LEVEL (environment): 'LOUD'" in answer.stderr


def test_warnings_about_settings_are_logged_in_the_chosen_form(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_LOG_LEVL", "INFO")
    monkeypatch.setenv("ARTIFACTSTORE_LOG_FORMAT", "json")
    record = json.loads(program.call("config").stderr)
    assert record["level"] == "WARNING"
    assert "did you mean ARTIFACTSTORE_LOG_LEVEL?" in record["message"]
    assert program.call("config", "-q").stderr == ""
