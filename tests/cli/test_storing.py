"""`push`, and `package create`, `add`, `finalize`."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store.harness import TREE

if TYPE_CHECKING:
    from cli.harness import Answer, Program

SAID = ("--producer", "ci", "--subject", "app")


def shown(program: Program, package: str) -> dict[str, object]:
    """A package as JSON."""
    document: dict[str, object] = program.call("show", package, "--json").document
    return document


def test_push_prints_the_id_alone(program: Program, tree: Path) -> None:
    answer = program.spawn("push", str(tree), *SAID)
    (package,) = answer.lines
    assert shown(program, package)["status"] == "finalized"
    assert answer.stderr == ""


def test_a_package_is_named_after_its_directory_and_pushed_by_the_user(program: Program, tree: Path) -> None:
    here = shown(program, program.call("push", str(tree), *SAID).text.strip())
    assert here["name"] == "evidence"
    assert here["created_by"] == pwd.getpwuid(os.geteuid()).pw_name
    os.chdir(tree)
    assert shown(program, program.call("push", ".", *SAID).text.strip())["name"] == "evidence"
    assert shown(program, program.call("push", "logs/", *SAID).text.strip())["name"] == "logs"


def test_what_is_said_of_a_package_is_kept(program: Program, tree: Path, tmp_path: Path) -> None:
    document = tmp_path / "metadata.json"
    document.write_text('{"run": {"id": 7, "ok": true}, "tags": ["a", "b"], "note": "é"}')
    answer = program.call(
        "push", str(tree), "--name", "nightly", "--producer", "ci", "--subject", "app", "--actor", "ada",
        "--retention-class", "release-evidence", "--metadata", "branch=a=b", "--metadata", "empty=",
        "--metadata-file", str(document), "--json",
    )  # fmt: skip
    package = answer.document["package"]
    assert package["name"] == "nightly"
    assert package["created_by"] == "ada"
    assert package["retention_class"] == "release-evidence"
    assert package["metadata"] == {
        "run": {"id": 7, "ok": True},
        "tags": ["a", "b"],
        "note": "é",
        "branch": "a=b",
        "empty": "",
    }


def test_metadata_is_read_from_stdin(program: Program, tree: Path) -> None:
    answer = program.spawn("push", str(tree), *SAID, "--metadata-file", "-", "--json", stdin=b'{"a": 1.5}')
    assert answer.document["package"]["metadata"] == {"a": 1.5}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": 1, "a": 2}', "comes twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "1e999"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        (b"[1]", "list"),
        (b"", "Expecting value"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": "\\ud800"}', "Unicode"),
        (b'{"a": 123456789012345678901234567890}', "64 bits"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"a": "' + b"x" * (9 << 20) + b'"}', "larger than"),
        (b'{"a": "' + b"x" * (2 << 20) + b'"}', "1048576 are allowed"),
    ],
    ids=lambda value: value[:20].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_metadata_that_is_no_strict_json_is_refused(
    program: Program, tree: Path, tmp_path: Path, data: bytes, said: str
) -> None:
    document = tmp_path / "metadata.json"
    document.write_bytes(data)
    answer = program.call("push", str(tree), *SAID, "--metadata-file", str(document), code=2)
    assert said in answer.stderr
    assert len(answer.stderr) < 1000
    assert program.call("init").lines  # the store may be there, but it is empty
    assert program.call("list").lines == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metadata", "novalue"], "not KEY=VALUE"),
        (["--metadata", "=x"], "not KEY=VALUE"),
        (["--metadata", "a=1", "--metadata", "a=2"], "twice"),
        (["--metadata-file", "nowhere.json"], "No such file"),
        (["--metadata-file", "."], "Is a directory"),
    ],
)
def test_other_wrong_metadata_is_refused(
    program: Program, tree: Path, arguments: list[str], said: str
) -> None:
    assert said in program.call("push", str(tree), *SAID, *arguments, code=2).stderr
    assert not program.directory.exists()


def test_a_key_in_the_file_and_on_the_command_line_is_refused(program: Program, tree: Path) -> None:
    Path("metadata.json").write_text('{"a": 1}')
    flags = ["--metadata-file", "metadata.json", "--metadata", "a=2"]
    assert "given twice" in program.call("push", str(tree), *SAID, *flags, code=2).stderr


def test_push_json_says_what_was_done(program: Program, tree: Path) -> None:
    first = program.call("push", str(tree), *SAID, "--json").document
    assert list(first) == ["package", "ingest", "unchanged"]
    assert first["unchanged"] is False
    assert first["ingest"]["file_count"] == len(TREE)
    assert first["ingest"]["new_object_count"] == len(set(TREE.values()))
    assert first["package"]["created_at"].endswith("Z")
    assert first["package"]["manifest_digest"].startswith("blake3:")
    assert first["package"]["content_digest"].startswith("sha256:")
    again = program.call("push", str(tree), *SAID, "--json").document
    assert again["ingest"]["new_object_count"] == 0
    assert again["package"]["package_id"] != first["package"]["package_id"]
    assert again["package"]["content_digest"] == first["package"]["content_digest"]


def test_if_changed_returns_the_package_that_is_there(program: Program, tree: Path) -> None:
    first = program.call("push", str(tree), *SAID).text
    assert program.call("push", str(tree), *SAID, "--if-changed").text == first
    (tree / "README.md").write_text("changed")
    assert program.call("push", str(tree), *SAID, "--if-changed").text != first


def test_an_idempotency_key_returns_the_first_result(program: Program, tree: Path) -> None:
    first = program.call("push", str(tree), *SAID, "--idempotency-key", "run-7").text
    assert program.call("push", str(tree), *SAID, "--idempotency-key", "run-7").text == first
    other = ["--producer", "cd", "--subject", "app", "--idempotency-key", "run-7"]
    assert program.call("push", str(tree), *other, code=5).stdout == b""


def paths_of(program: Program, answer: Answer) -> list[str]:
    """The paths of the package that a push has made."""
    return [row[0] for row in program.call("files", answer.text.strip()).rows]


def test_globs_choose_the_files(program: Program, tree: Path) -> None:
    answer = program.call("push", str(tree), *SAID, "--include", "*.log", "--exclude", "logs-old")
    assert paths_of(program, answer) == ["empty.log", "logs/a.log", "logs/b.log"]


def test_links_are_refused_skipped_or_followed(program: Program, tree: Path) -> None:
    (tree / "link").symlink_to("README.md")
    refused = program.call("push", str(tree), *SAID, code=2)
    assert "hint: use --symlinks skip" in refused.stderr
    skipped = program.call("push", str(tree), *SAID, "--symlinks", "skip")
    assert skipped.stderr == "skipped: link: it is a symbolic link\n"
    assert "link" not in paths_of(program, skipped)
    followed = program.call("push", str(tree), *SAID, "--symlinks", "follow")
    assert "link" in paths_of(program, followed)


def test_what_is_skipped_is_told_and_recorded(program: Program, tree: Path) -> None:
    (tree / "two\nlines").write_text("x")
    os.mkfifo(tree / "fifo")
    assert program.call("push", str(tree), *SAID, code=2).stdout == b""
    answer = program.call("push", str(tree), *SAID, "--skip-unsafe")
    assert "skipped: fifo: it is a FIFO, socket or device\n" in answer.stderr
    assert "skipped: two\\nlines: it holds the control character U+000A\n" in answer.stderr
    metadata = shown(program, answer.text.strip())["metadata"]
    assert isinstance(metadata, dict)
    assert [entry["path"] for entry in metadata["artifactstore.skipped"]] == ["fifo", "two\nlines"]
    assert program.call("push", str(tree), *SAID, "--skip-unsafe", "-q").stderr == ""


def test_a_byte_that_is_no_text_is_recorded_as_the_format_says(program: Program, tree: Path) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/a\xff\xc3\xbc")).write_text("x")
    answer = program.call("push", str(tree), *SAID, "--skip-unsafe")
    metadata = shown(program, answer.text.strip())["metadata"]
    assert isinstance(metadata, dict)
    assert [entry["path"] for entry in metadata["artifactstore.skipped"]] == ["a\\xff\u00fc"]


def test_warnings_go_to_stderr(program: Program, tree: Path) -> None:
    (tree / "a\\b").write_text("x")
    answer = program.call("push", str(tree), *SAID)
    assert answer.stderr.startswith("warning: 'a\\\\b' has a backslash")
    assert len(answer.lines) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere", *SAID], 2, "'nowhere'"),
        (["evidence/README.md", *SAID], 2, "Not a directory"),
        (["evidence", *SAID, "--retention-class", "eternal"], 2, "raw-evidence"),
        (["evidence", "--producer", "", "--subject", "app"], 2, "producer"),
        (["evidence", *SAID, "--actor", "a\nb"], 2, "actor"),
        (["store", *SAID], 2, "the store itself"),
    ],
)
def test_a_refused_push_changes_nothing(
    program: Program, tree: Path, arguments: list[str], code: int, said: str
) -> None:
    assert tree.name == "evidence"
    program.call("init")
    before = program.call("events").stdout
    answer = program.call("push", *arguments, code=code)
    assert said in answer.stderr
    assert answer.stdout == b""
    assert program.call("events").stdout == before


def test_a_package_is_built_step_by_step(program: Program, tree: Path) -> None:
    package = program.call("package", "create", "--name", "steps", *SAID).text.strip()
    assert shown(program, package)["status"] == "open"
    readme = program.call("package", "add", package, "docs/README.md", str(tree / "README.md"))
    stdin = program.spawn("package", "add", package, "from/stdin.txt", "-", stdin=b"# Evidence\n")
    assert readme.text == stdin.text  # equal bytes, equal digest
    assert readme.text.startswith("blake3:")
    assert program.call("package", "add", package, "--directory", str(tree / "logs")).text == "2\n"
    digest = program.call("package", "finalize", package).text.strip()
    assert shown(program, package)["manifest_digest"] == digest
    assert [row[0] for row in program.call("files", package).rows] == [
        "a.log",
        "b.log",
        "docs/README.md",
        "from/stdin.txt",
    ]
    assert program.call("cat", package, "from/stdin.txt").stdout == b"# Evidence\n"


def test_the_steps_as_json(program: Program, tree: Path) -> None:
    created = program.call("package", "create", "--name", "steps", *SAID, "--json").document
    package = created["package_id"]
    assert created["status"] == "open"
    flags = ["--media-type", "text/x-odd", "--executable", "--json"]
    file = program.call("package", "add", package, "run", str(tree / "README.md"), *flags).document
    assert file["media_type"] == "text/x-odd"
    assert file["executable"] is True
    assert file["package_id"] == package
    directory = ["--directory", str(tree), "--exclude", "logs", "--json"]
    added = program.call("package", "add", package, *directory).document
    assert added["file_count"] == len(TREE) - 2
    assert program.call("package", "finalize", package, "--json").document["status"] == "finalized"


def test_the_steps_on_a_terminal(program: Program, tree: Path) -> None:
    assert "open" in program.seen("package", "create", "--name", "steps", *SAID)
    package = program.call("list").rows[0][0]
    added = program.seen("package", "add", package, "a", str(tree / "README.md"))
    assert "media type" in added
    assert "file count        2" in program.seen("package", "add", package, "--directory", str(tree / "logs"))
    assert "finalized" in program.seen("package", "finalize", package)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["package", "add", "{open}", "a.log", "evidence/README.md"], 5),  # it is there already
        (["package", "add", "{open}", "../escape", "evidence/README.md"], 2),
        (["package", "add", "{open}", "new", "nowhere"], 2),
        (["package", "add", "{open}", "new", "store/artifactstore.db"], 2),
        (["package", "add", "{open}", "--directory", "nowhere"], 2),
        (["package", "add", "{sealed}", "new", "evidence/README.md"], 5),
        (["package", "add", "ffff", "new", "evidence/README.md"], 4),
        (["package", "finalize", "{sealed}"], 5),
        (["package", "finalize", "{empty}"], 5),
        (["package", "finalize", "not-an-id"], 2),
        (["manifest", "{open}"], 5),
        (["export", "{open}", "out"], 5),
    ],
)
def test_refused_steps_change_nothing(program: Program, pushed: str, arguments: list[str], code: int) -> None:
    names = {"{sealed}": pushed}
    for name in ("{open}", "{empty}"):
        names[name] = program.call("package", "create", "--name", name, *SAID).text.strip()
    program.call("package", "add", names["{open}"], "a.log", "evidence/logs/a.log")
    before = program.call("events").stdout
    program.call(*(names.get(argument, argument) for argument in arguments), code=code)
    assert program.call("events").stdout == before


def test_idempotency_keys_of_the_steps(program: Program, tree: Path) -> None:
    create = ["package", "create", "--name", "steps", *SAID, "--idempotency-key", "c"]
    package = program.call(*create).text.strip()
    assert program.call(*create).text.strip() == package
    add = ["package", "add", package, "a", str(tree / "README.md"), "--idempotency-key", "a"]
    assert program.call(*add).text == program.call(*add).text
    finalize = ["package", "finalize", package, "--idempotency-key", "f"]
    assert program.call(*finalize).text == program.call(*finalize).text
    count = sum(1 for line in program.call("events").lines if json.loads(line)["package_id"] == package)
    assert count == 3
