"""`guide-board ingest` and `guide-board link`."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from interop import hub as hubs
from interop.runs import RUN, write_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from interop.hub import Hub

    from cli.harness import Program


@pytest.fixture
def run_dir(tmp_path: Path) -> str:
    return str(write_run(tmp_path / "run"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hubs.running() as found:
        monkeypatch.setenv("STATE_HUB_URL", found.url)
        monkeypatch.setenv("STATE_HUB_WORKSTREAM_ID", "WS-1")
        yield found


def test_ingest_prints_the_package_and_its_digest(program: Program, run_dir: str) -> None:
    (line,) = program.call("guide-board", "ingest", run_dir, "--actor", "ada").lines
    package, digest = line.split(" ")
    shown = program.call("show", package, "--json").document
    assert shown["manifest_digest"] == digest
    assert (shown["retention_class"], shown["subject"], shown["created_by"]) == (
        "raw-evidence", "acme-cmis@4.2", "ada",
    )  # fmt: skip
    assert program.call("guide-board", "ingest", run_dir).lines == [line]
    assert program.call("guide-board", "ingest", run_dir, "--json").document["unchanged"] is True
    assert program.call("guide-board", "link").lines == []


def test_what_is_said_decides(program: Program, run_dir: str) -> None:
    said = ("--subject", "app", "--class-for", "development/passed=transient", "--json")
    package = program.call("guide-board", "ingest", run_dir, *said).document["package"]
    assert (package["subject"], package["retention_class"]) == ("app", "transient")
    answer = program.call("guide-board", "ingest", run_dir, "--retention-class", "raw-evidence", code=5)
    assert "'transient', now 'raw-evidence'" in answer.stderr
    program.call("guide-board", "ingest", run_dir, "--class-for", "development", code=2)


def test_a_dry_run_makes_no_store(program: Program, run_dir: str, tmp_path: Path) -> None:
    plan = program.call("guide-board", "ingest", run_dir, "--dry-run", "--json").document
    assert (plan["retention_class"], plan["metadata"]["run_id"]) == ("raw-evidence", "run-7")
    write_run(tmp_path / "bad", {**RUN, "verdict": "failed"})
    program.call("guide-board", "ingest", str(tmp_path / "bad"), "--dry-run", code=2)
    program.call("guide-board", "ingest", str(tmp_path / "bad"), code=2)
    assert not program.directory.exists()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["ingest", "dry run"])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        (("--retention-class", "nope"), "unknown retention class 'nope'"),
        (("--retention-class", ""), "it is empty"),
        (("--class-for", "development=nope"), "unknown retention class 'nope'"),
        (("--subject", " x"), "begins or ends with a blank"),
        (("--workstream", " x"), "workstream ' x' is not allowed"),
        (("--actor", " x"), "actor ' x' is not allowed"),
    ],
)
def test_what_is_refused_makes_no_store(
    program: Program, run_dir: str, hub: Hub, said: tuple[str, ...], told: str, dry: tuple[str, ...]
) -> None:
    assert told in program.call("guide-board", "ingest", run_dir, *said, *dry, code=2).stderr
    assert not program.directory.exists()
    assert not hub.told


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["ingest", "dry run"])
def test_the_policy_may_name_further_classes(
    program: Program, run_dir: str, dry: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[retention_classes.nightly]\ndefault_duration_seconds = 86400\n")
    monkeypatch.setenv("ARTIFACTSTORE_RETENTION_CONFIG_PATH", str(policy))
    program.call("guide-board", "ingest", run_dir, "--retention-class", "nightly", *dry)
    program.call("guide-board", "ingest", run_dir, "--retention-class", "nope", *dry, code=2)


def test_the_hub_is_told(program: Program, run_dir: str, hub: Hub) -> None:
    answer = program.call("guide-board", "ingest", run_dir, "--task", "T-1")
    assert answer.stderr == ""
    ((_, _, body),) = hub.told
    assert (body["workstream_id"], body["task_id"]) == ("WS-1", "T-1")
    assert answer.text.startswith(body["package_id"])
    (row,) = program.call("guide-board", "link", "--all", "--json").document
    assert (row["state"], row["attempts"]) == ("delivered", 1)


def test_a_hub_that_is_down_costs_a_warning(
    program: Program, run_dir: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("STATE_HUB_URL", f"http://127.0.0.1:{port}")
    answer = program.call("guide-board", "ingest", run_dir)
    assert len(answer.lines) == 1
    assert "warning: State Hub was not told: it cannot be reached" in answer.stderr
    assert program.call("guide-board", "link", "--retry", "--all", code=7).rows[0][4] == "due"
    monkeypatch.setenv("STATE_HUB_URL", hub.url)
    assert program.call("guide-board", "link", "--retry").lines == []  # not due yet
    assert program.call("guide-board", "link", "--retry", "--all").rows[0][4] == "delivered"
    assert len(hub.told) == 1
    assert program.call("guide-board", "link").lines == []


def test_the_next_ingest_delivers_what_is_due(
    program: Program, run_dir: str, hub: Hub, tmp_path: Path
) -> None:
    program.call("guide-board", "ingest", run_dir)
    hub.told.clear()
    hub.answers.append((500, b"", {}))
    program.call("guide-board", "ingest", str(write_run(tmp_path / "2", {**RUN, "run_id": "run-8"})))
    program.call("guide-board", "ingest", str(write_run(tmp_path / "3", {**RUN, "run_id": "run-9"})))
    # The one that failed waits for its time; the new one is told.
    assert len({body["package_id"] for _, _, body in hub.told}) == 2
    assert len(program.call("guide-board", "link").lines) == 1


def test_without_a_hub(program: Program, run_dir: str) -> None:
    answer = program.call("guide-board", "ingest", run_dir, "--workstream", "WS-1")
    assert "STATE_HUB_URL is not set" in answer.stderr
    assert program.call("guide-board", "link", "--all").lines == []
    assert "set STATE_HUB_URL" in program.call("guide-board", "link", "--retry", code=2).stderr
