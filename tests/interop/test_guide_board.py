"""Guide-board runs: what is taken, what is refused, and that a run is stored once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, FakeClock, Home, refused

from artifactstore import ConflictError, InvalidInputError, SourceChangedError, StateError, Store
from artifactstore.interop import guide_board
from artifactstore.interop.guide_board import ingest_run, plan_run
from artifactstore.interop.guide_board_run import SCHEMA_FILE, SLUG, read_schema
from interop.runs import FAILED_JUNIT, FAILED_RUN, JUNIT, RUN, write_run

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400_000_000  # microseconds
EXAMPLES = Path(__file__).parents[2] / "examples" / "guide_board"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def test_a_run_becomes_a_package(store: Store, run_dir: Path) -> None:
    found = ingest_run(store, run_dir, actor="ada")
    package = found.package
    assert (found.run_id, found.verdict, found.unchanged, found.link_id) == ("run-7", "passed", False, None)
    assert (package.name, package.producer, package.subject, package.status) == (
        "opencmis-tck run-7",
        "guide-board",
        "acme-cmis@4.2",
        "finalized",
    )
    assert package.retention_class == "raw-evidence"
    assert package.metadata_schema == SLUG
    assert package.metadata == {**RUN, "junit": {"documents": 1, "failed_tests": []}}
    types = {file.relative_path: file.media_type for file in store.list_files(package.package_id).items}
    assert types == {
        "captures/1.request.txt": "text/plain",
        "junit/board.xml": "application/xml",
        "logs/board.log": "text/plain",
        "report/index.html": "text/html",
        "run.json": "application/json",
    }
    assert store.list_packages(metadata={"run_id": "run-7", "verdict": "passed"}).items == (package,)


def test_failed_tests_are_named(store: Store, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", FAILED_RUN, FAILED_JUNIT)
    package = ingest_run(store, run_dir, actor="ada").package
    assert package.metadata["junit"] == {"documents": 1, "failed_tests": ["suite.Types::read"]}
    assert store.list_packages(metadata={"junit.failed_tests": "suite.Types::read"}).items == (package,)


def test_many_failed_tests_are_counted(store: Store, tmp_path: Path) -> None:
    cases = "".join(f'<testcase name="t{number}"><failure/></testcase>' for number in range(1200))
    counts = {"total": 1200, "passed": 0, "failed": 1200, "errors": 0, "skipped": 0}
    run = {**RUN, "verdict": "failed", "counts": counts}
    run_dir = write_run(tmp_path / "run", run, f"<testsuite>{cases}</testsuite>")
    junit: Any = ingest_run(store, run_dir, actor="ada").package.metadata["junit"]
    assert (len(junit["failed_tests"]), junit["failed_tests_omitted"]) == (1000, 200)


def test_what_the_schema_does_not_know_is_kept_aside(store: Store, tmp_path: Path) -> None:
    run = {
        **RUN,
        "operator": "ada",
        "suite": {**RUN["suite"], "flavour": "long"},
        "extensions": {"rack": 7},
    }
    metadata = ingest_run(store, write_run(tmp_path / "run", run), actor="ada").package.metadata
    assert metadata["extensions"] == {"rack": 7, "operator": "ada", "suite": {"flavour": "long"}}
    assert metadata["suite"] == RUN["suite"]
    twice = {**RUN, "operator": "ada", "extensions": {"operator": "bob"}}
    with refused(InvalidInputError, "run-broken", "operator"):
        ingest_run(store, write_run(tmp_path / "twice", twice), actor="ada")


def test_the_same_run_again_changes_nothing(store: Store, home: Home, run_dir: Path) -> None:
    first = ingest_run(store, run_dir, actor="ada")
    with home.unchanged():
        again = ingest_run(store, run_dir, actor="bob")
    assert (again.package, again.unchanged) == (first.package, True)


def test_many_ingests_at_once_make_one_package(store: Store, run_dir: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: ingest_run(store, run_dir, actor="ada", workstream_id="WS-1"), range(8))
        )
    assert len({each.package.package_id for each in found}) == len({each.link_id for each in found}) == 1
    assert len(store.list_packages(producer="guide-board").items) == len(store.list_linkages()) == 1


def _other_log(run_dir: Path) -> None:
    (run_dir / "logs" / "board.log").write_text("other")


def _more_and_less(run_dir: Path) -> None:
    (run_dir / "logs" / "board.log").unlink()
    (run_dir / "logs" / "more.log").write_text("more")


def _other_subject(run_dir: Path) -> None:
    write_run(run_dir, {**RUN, "subject": {**RUN["subject"], "version": "4.3"}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_log, ["files changed: logs/board.log"]),
        (_more_and_less, ["files missing: logs/board.log", "files added: logs/more.log"]),
        (_other_subject, ["'acme-cmis@4.2', now 'acme-cmis@4.3'", "metadata subject", "changed: run.json"]),
    ],
)
def test_a_run_id_with_other_content_is_refused(
    store: Store, home: Home, run_dir: Path, change: Callable[[Path], None], said: list[str]
) -> None:
    package = ingest_run(store, run_dir, actor="ada").package
    change(run_dir)
    with home.unchanged(), refused(ConflictError, "run-differs", "run-7", package.package_id, *said):
        ingest_run(store, run_dir, actor="ada")


@pytest.mark.parametrize("change", [lambda _run_dir: None, _other_log, _other_subject])
def test_a_run_whose_package_is_collected_is_refused(
    store: Store, home: Home, clock: FakeClock, run_dir: Path, change: Callable[[Path], None]
) -> None:
    package = ingest_run(store, run_dir, actor="ada", retention_class="transient").package
    clock.now += 3 * DAY
    store.sweep(actor="cron")
    store.gc(actor="cron")
    change(run_dir)
    said = ["run-7", f"was stored as package {package.package_id}", "collected"]
    with home.unchanged(), refused(StateError, "run-collected", *said) as caught:
        ingest_run(store, run_dir, actor="ada", retention_class="transient")
    assert "artifactstore push" in str(caught.value.hint)


def test_a_run_id_that_something_else_has_used_is_refused(store: Store, home: Home, run_dir: Path) -> None:
    store.register_metadata_schema(SLUG, read_schema(), actor="ada")
    store.create_package(**SAID, idempotency_key="guide-board:run-7")
    with home.unchanged(), refused(ConflictError, "run-differs", "guide-board:run-7") as caught:
        ingest_run(store, run_dir, actor="ada")
    assert caught.value.hint == "give the run another id"


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in RUN.items() if key != name}


def told(**changes: Any) -> dict[str, Any]:
    return {**RUN, **changes}


COUNTS = RUN["counts"]
BROKEN: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "no finished_at": (without("finished_at"), "run-unfinished", ["finished_at"]),
    "finished_at is null": (told(finished_at=None), "run-unfinished", ["finished_at"]),
    "no verdict": (without("verdict"), "run-broken", ["/required", "verdict"]),
    "another verdict": (told(verdict="ok"), "run-broken", ["/verdict", '"ok"', "passed"]),
    "a bad id": (told(run_id="a b"), "run-broken", ["/run_id", '"a b"']),
    "no instant": (told(started_at="yesterday"), "run-broken", ["/started_at", "yesterday"]),
    "no such day": (
        told(finished_at="2026-99-99T99:99:99Z"),
        "run-broken",
        ["/finished_at", '"2026-99-99T99:99:99Z"', "no such instant"],
    ),
    "no such hour": (
        told(started_at="2026-11-22T25:15:00Z"), "run-broken", ["/started_at", '"2026-11-22T25:15:00Z"']
    ),
    "ends before it starts": (
        told(finished_at="2026-11-22T20:14:59.999999Z"),
        "run-broken",
        ["/finished_at", '"2026-11-22T20:14:59.999999Z"', '"2026-11-22T20:15:00Z"', "before /started_at"],
    ),
    "a password": (
        told(subject={**RUN["subject"], "endpoint": "http://me:x@h/"}), "run-broken", ["/subject/endpoint"]
    ),
    "a negative count": (told(counts={**COUNTS, "failed": -1}), "run-broken", ["/counts/failed", "-1"]),
    "another kind": (told(kind="party"), "run-broken", ["/kind"]),
    "wrong counts": (told(counts={**COUNTS, "passed": 3}), "verdict-disagrees", ["passed: 3 said, 2 found"]),
    "failed without failures": (told(verdict="failed"), "verdict-disagrees", ["failed", "none of 3"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_run_is_refused_and_nothing_is_stored(
    store: Store, home: Home, tmp_path: Path, name: str
) -> None:
    run, code, said = BROKEN[name]
    run_dir = write_run(tmp_path / "run", run)
    with home.unchanged(), refused(InvalidInputError, code, *said):
        ingest_run(store, run_dir, actor="ada", workstream_id="WS-1")


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ({"retention_class": "nope"}, "unknown-retention-class", "nope"),
        ({"retention_class": ""}, "invalid-field", "retention class"),
        ({"subject": " x"}, "invalid-field", "subject"),
        ({"task_id": ""}, "invalid-field", "task"),
        ({"actor": ""}, "invalid-field", "actor"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_stored(
    store: Store, home: Home, run_dir: Path, said: dict[str, str], code: str, told: str
) -> None:
    with home.unchanged(), refused(InvalidInputError, code, told):
        ingest_run(store, run_dir, **{"actor": "ada", **said})


def test_files_that_cannot_be_stored_are_refused_and_nothing_is_stored(
    store: Store, home: Home, run_dir: Path, tmp_path: Path
) -> None:
    (run_dir / "logs" / "link").symlink_to("board.log")
    with home.unchanged(), refused(InvalidInputError, "symlink", "logs/link"):
        ingest_run(store, run_dir, actor="ada")
    board = "b" * 200
    long = write_run(tmp_path / "long", told(board=board, run_id="r" * 100))
    with home.unchanged(), refused(InvalidInputError, "invalid-field", "name"):
        ingest_run(store, long, actor="ada")


def test_passed_with_failures_is_refused(store: Store, home: Home, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", {**FAILED_RUN, "verdict": "passed"}, FAILED_JUNIT)
    with home.unchanged(), refused(InvalidInputError, "verdict-disagrees", "1 of 3"):
        ingest_run(store, run_dir, actor="ada")
    none = dict.fromkeys(COUNTS, 0)
    run_dir = write_run(tmp_path / "none", told(counts=none), "<testsuite/>")
    with home.unchanged(), refused(InvalidInputError, "verdict-disagrees", "0 of 0"):
        ingest_run(store, run_dir, actor="ada")


def test_a_run_that_was_cut_short_is_kept(store: Store, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", {**FAILED_RUN, "verdict": "incomplete"}, FAILED_JUNIT)
    assert ingest_run(store, run_dir, actor="ada").verdict == "incomplete"


def test_what_is_no_finished_run(store: Store, home: Home, run_dir: Path, tmp_path: Path) -> None:
    def refusal(code: str, *said: str, path: Path = run_dir) -> None:
        with home.unchanged(), refused(InvalidInputError, code, *said):
            ingest_run(store, path, actor="ada")

    refusal("run-missing", "nowhere", path=tmp_path / "nowhere")
    refusal("run-missing", "run.json", path=run_dir / "logs")
    (run_dir / "run.lock").touch()
    refusal("run-unfinished", "run.lock")
    (run_dir / "run.lock").unlink()
    for text in ("", "[]", '{"run_id": 1, "run_id": 2}', '{"a": NaN}'):
        (run_dir / "run.json").write_text(text)
        refusal("run-broken", "run.json")
    (run_dir / "run.json").unlink()
    os.mkfifo(run_dir / "run.json")
    refusal("not-a-regular-file", "run.json")
    (run_dir / "run.json").unlink()
    write_run(run_dir, junit="<html/>")
    refusal("junit-broken", "junit/board.xml")


@pytest.mark.parametrize("path", ["run.json", "junit/board.xml"])
def test_a_run_that_changes_after_it_was_checked_is_refused(
    store: Store, home: Home, run_dir: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_run(run_dir)
    store.register_metadata_schema(SLUG, plan.run.schema, actor="ada")
    with (run_dir / path).open("a") as file:
        file.write("\n")
    monkeypatch.setattr(guide_board, "plan_run", lambda *_arguments, **_further: plan)
    with home.unchanged(), refused(SourceChangedError, "source-changed", path):
        ingest_run(store, run_dir, actor="ada")


@pytest.mark.parametrize("missing", ["report/index.html", "junit/board.xml"])
def test_a_run_without_its_report_is_refused(store: Store, home: Home, run_dir: Path, missing: str) -> None:
    (run_dir / missing).unlink()
    with home.unchanged(), refused(StateError, "required-files-missing", missing.partition("/")[0]):
        ingest_run(store, run_dir, actor="ada")


def test_the_class_is_chosen_by_kind_and_verdict(tmp_path: Path) -> None:
    def chosen(run: dict[str, Any], junit: str = JUNIT, **further: Any) -> str:
        return plan_run(write_run(tmp_path / "run", run, junit), **further).retention_class

    assert chosen(RUN) == "raw-evidence"
    assert chosen(told(kind="release")) == "release-evidence"
    assert chosen(told(kind="release"), retention_class="transient") == "transient"
    policy = {"*": "transient", "scheduled": "summary-evidence", "scheduled/failed": "raw-evidence"}
    assert chosen(RUN, classes=policy) == "transient"
    assert chosen(told(kind="release"), classes=policy) == "release-evidence"
    assert chosen(told(kind="scheduled"), classes=policy) == "summary-evidence"
    assert chosen({**FAILED_RUN, "kind": "scheduled"}, FAILED_JUNIT, classes=policy) == "raw-evidence"


def test_another_schema_can_be_used(store: Store, run_dir: Path, tmp_path: Path) -> None:
    body = json.loads(SCHEMA_FILE.read_text())
    body["properties"]["kind"]["enum"].append("audit")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(body))
    write_run(run_dir, told(kind="audit"))
    with refused(InvalidInputError, "run-broken", "/kind"):
        ingest_run(store, run_dir, actor="ada")
    ingest_run(store, run_dir, actor="ada", schema_file=other)
    assert store.get_metadata_schema(SLUG).body == body
    assert store.get_metadata_schema(SLUG).body != read_schema()


def test_the_schema_in_the_repository_is_the_one_of_the_package() -> None:
    repository = Path(__file__).parents[2] / "schemas" / SCHEMA_FILE.name
    assert repository.read_bytes() == SCHEMA_FILE.read_bytes()


@pytest.mark.parametrize("strict", [False, True])
def test_a_real_board(store: Store, tmp_path: Path, strict: bool) -> None:
    run_dir = tmp_path / "real"
    command = [sys.executable, str(EXAMPLES / "make_run.py"), str(run_dir), "--kind", "release"]
    done = subprocess.run(
        [*command, *["--strict"] * strict], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = ingest_run(store, run_dir, actor="ada")
    assert found.verdict == ("failed" if strict else "passed")
    assert found.package.file_count > 400
    assert found.package.retention_class == "release-evidence"
    junit: Any = found.package.metadata["junit"]
    assert len(junit["failed_tests"]) == found.counts["failed"] == 2 * strict
    assert not (EXAMPLES / "tck" / "__pycache__").exists()
