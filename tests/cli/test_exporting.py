"""`export` and `check`."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store.harness import TREE, read_tree, unprivileged, write_tree

if TYPE_CHECKING:
    from cli.harness import Program

KIT = "ARTIFACTSTORE-AUDIT"


@pytest.fixture
def exported(program: Program, pushed: str) -> Path:
    """An export of the pushed package."""
    program.call("export", pushed, "out")
    return Path("out")


def test_an_export_has_the_evidence_and_the_kit(program: Program, pushed: str) -> None:
    answer = program.call("export", pushed, "out")
    assert answer.rows == [
        ["file_count", str(len(TREE))],
        ["total_size", str(sum(map(len, TREE.values())))],
        ["audit_directory", KIT],
    ]
    found = read_tree(Path("out"))
    assert {path: data for path, data in found.items() if not path.startswith(KIT)} == TREE
    assert f"{KIT}/verify.py" in found


def test_an_export_without_the_kit(program: Program, pushed: str) -> None:
    assert program.call("export", pushed, "out", "--bare", "--json").document["audit_directory"] is None
    assert read_tree(Path("out")) == TREE
    assert program.call("export", pushed, "again", "--bare", "-q").stdout == b""


PLANTED = ["artifactstore-AUDIT", "ARTIFACTSTORE-AUDIT-new"]


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("way", [["out"], ["-o", "package.tar"], ["-o", "-"], ["out", "--json"]])
def test_a_planted_kit_is_told_of_however_quiet(
    program: Program, tmp_path: Path, way: list[str], *, quiet: bool, bare: bool
) -> None:
    tree = write_tree(tmp_path / "planted", {f"{name}/verify.py": b"import antigravity" for name in PLANTED})
    package = program.call("push", str(tree), "--producer", "ci", "--subject", "app").text.strip()
    options = [*(["-q"] if quiet else []), *(["--bare"] if bare else [])]
    answer = program.spawn("export", package, *way, *options)
    assert all(repr(name) in answer.stderr for name in PLANTED)
    kit = "has no auditor's kit" if bare else f"The auditor's kit is {KIT}-2:"
    assert kit in answer.stderr
    assert "Run nothing from there" in answer.stderr
    if "--json" in way:
        assert answer.document["look_alikes"] == sorted(PLANTED)


def test_evidence_without_a_planted_kit_is_told_nothing_of_it(program: Program, pushed: str) -> None:
    assert "WARNING" not in program.call("export", pushed, "out").stderr


def test_an_export_as_tar_is_the_same_each_time(program: Program, pushed: str, exported: Path) -> None:
    piped = program.spawn("export", pushed, "-o", "-").stdout
    program.call("export", pushed, "-o", "package.tar")
    assert Path("package.tar").read_bytes() == piped
    with tarfile.open(fileobj=io.BytesIO(piped)) as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        found = {name: file.read() for name, file in members.items() if file is not None}
    assert found == read_tree(exported)


def test_an_export_does_not_overwrite(program: Program, pushed: str, exported: Path) -> None:
    before = read_tree(exported)
    program.call("export", pushed, "out", code=5)
    assert read_tree(exported) == before


def test_a_failed_export_leaves_no_half_file(program: Program, pushed: str) -> None:
    for path in (program.directory / "storage" / "blake3").rglob("*"):
        if path.is_file() and path.stat().st_size == len(TREE["bin/run.sh"]):
            path.unlink()
    before = sorted(os.listdir("."))
    program.call("export", pushed, "-o", "package.tar", code=3)
    program.call("export", pushed, "out", code=3)
    assert sorted(os.listdir(".")) == before
    # What was piped has no end mark: no reader takes it for whole.
    assert not program.spawn("export", pushed, "-o", "-", code=3).stdout.endswith(bytes(1024))


@pytest.mark.parametrize("target", ["nowhere/package.tar", "locked/package.tar"])
def test_an_export_to_where_nothing_can_be_written(program: Program, pushed: str, target: str) -> None:
    Path("locked").mkdir(mode=0o500)
    with unprivileged():
        answer = program.call("export", pushed, "-o", target, code=6 if "locked" in target else 1)
    assert f"error: cannot write '{target}'" in answer.stderr
    assert "cause: " in answer.stderr


@pytest.mark.parametrize("place", ["storage/tmp/out", "storage/out", "artifactstore.db-journal"])
@pytest.mark.parametrize(
    "command",
    [
        ["export", "ID", "PLACE"],
        ["export", "ID", "--output", "PLACE"],
        ["manifest", "ID", "--output", "PLACE"],
        ["backup", "PLACE"],
        ["retention", "gc", "--plan-out", "PLACE"],
    ],
    ids=["export", "tar", "manifest", "backup", "plan"],
)
def test_no_command_writes_into_the_store(
    program: Program, pushed: str, command: list[str], place: str
) -> None:
    target = program.directory / place
    words = [{"ID": pushed, "PLACE": str(target)}.get(word, word) for word in command]
    answer = program.call(*words, code=2)
    assert "belongs to the store itself" in answer.stderr
    assert not target.exists()


def test_an_intact_directory_passes_without_a_word_on_stdout(program: Program, exported: Path) -> None:
    answer = program.call("check", str(exported))
    assert answer.stdout == b""
    assert answer.stderr.startswith("intact: 7 files, ")
    assert program.call("check", str(exported), "-q").stderr == ""


def test_check_needs_no_store_and_no_settings(
    program: Program, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_LOG_LEVEL", "LOUD")
    program.call("--database", "nowhere", "check", str(exported))
    assert not Path("nowhere").exists()


def damage(exported: Path) -> None:
    """Change, remove and add a file."""
    (exported / "README.md").write_text("# evidence\n")
    (exported / "empty.log").unlink()
    (exported / "surplus").write_text("x")


def test_damage_is_named(program: Program, exported: Path) -> None:
    damage(exported)
    answer = program.call("check", str(exported), code=3)
    assert answer.rows == [["CHANGED", "README.md"], ["MISSING", "empty.log"], ["UNLISTED", "surplus"]]
    assert answer.stderr.startswith("damaged: ")


def test_damage_as_json(program: Program, pushed: str, exported: Path) -> None:
    intact = program.call("check", str(exported), "--json").document
    assert intact["intact"] is True
    assert intact["manifest_digest"] == program.call("show", pushed, "--json").document["manifest_digest"]
    damage(exported)
    document = program.call("check", str(exported), "--json", code=3).document
    assert document["intact"] is False
    assert document["changed"] == ["README.md"]
    assert document["missing"] == ["empty.log"]
    assert document["unlisted"] == ["surplus"]
    assert program.call("check", str(exported), "--jsonl", code=3).lines == [
        '{"finding":"CHANGED","path":"README.md"}',
        '{"finding":"MISSING","path":"empty.log"}',
        '{"finding":"UNLISTED","path":"surplus"}',
    ]


def test_the_original_is_checked_against_a_manifest(program: Program, pushed: str, tree: Path) -> None:
    program.call("manifest", pushed, "--format", "cbor", "-o", "manifest.cbor")
    program.call("check", str(tree), "--manifest", "manifest.cbor")
    (tree / "README.md").write_text("later")
    program.call("check", str(tree), "--manifest", "manifest.cbor", code=3)


def test_a_manifest_must_be_named_where_there_is_no_single_kit(
    program: Program, pushed: str, exported: Path
) -> None:
    program.call("export", pushed, "bare", "--bare")
    assert "holds no auditor's kit" in program.call("check", "bare", code=2).stderr
    # The export of an export: its evidence has a kit of its own.
    package = program.call("push", str(exported), "--producer", "ci", "--subject", "app").text.strip()
    program.call("export", package, "twice")
    assert "holds 2 auditor's kits" in program.call("check", "twice", code=2).stderr
    program.call("check", "twice", "--manifest", f"twice/{KIT}-2/manifest.cbor")


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["nowhere"], 2, "nowhere"),
        (["nowhere", "--manifest", f"out/{KIT}/manifest.cbor"], 2, "nowhere"),
        (["out", "--manifest", "nowhere"], 2, "nowhere"),
        (["out", "--manifest", f"out/{KIT}/manifest.json"], 2, f"out/{KIT}/manifest.json"),
        (["out", "--manifest", "out/README.md"], 3, "out/README.md"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    program: Program, exported: Path, arguments: list[str], code: int, named: str
) -> None:
    assert exported.is_dir()
    answer = program.call("check", *arguments, code=code)
    assert answer.stdout == b""
    assert repr(named) in answer.stderr
