"""`list`, `show`, `files`, `find`, `cat`, `manifest`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store.harness import TREE

from artifactstore.manifest import decode

if TYPE_CHECKING:
    from cli.harness import Program


@pytest.fixture
def three(program: Program, tree: Path) -> list[str]:
    """Three packages, oldest first; the last one is open."""
    push = ["push", str(tree), "--producer", "ci", "--retention-class", "transient"]
    first = program.call(*push, "--subject", "one", "--metadata", "run.id=7").text.strip()
    second = program.call(*push, "--subject", "two", "--name", "special").text.strip()
    create = ["package", "create", "--name", "open", "--producer", "cd", "--subject", "one"]
    return [first, second, program.call(*create).text.strip()]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], [2, 1, 0]),
        (["--producer", "ci"], [1, 0]),
        (["--subject", "one"], [2, 0]),
        (["--retention-class", "transient"], [1, 0]),
        (["--status", "open"], [2]),
        (["--name", "special"], [1]),
        (["--metadata", "run.id=7"], [0]),
        (["--metadata", "run.id=8"], []),
        (["--producer", "ci", "--subject", "one"], [0]),
        (["--created-after", "2000-01-01"], [2, 1, 0]),
        (["--created-before", "2000-01-01T00:00:00+01:00"], []),
        (["--limit", "1"], [2]),
        (["--limit", "1", "--all"], [2, 1, 0]),
    ],
)
def test_list_filters(program: Program, three: list[str], filters: list[str], found: list[int]) -> None:
    expected = [three[number] for number in found]
    assert [row[0] for row in program.call("list", *filters).rows] == expected
    lines = program.call("list", *filters, "--jsonl").lines
    assert [json.loads(line)["package_id"] for line in lines] == expected


def test_a_list_goes_on_where_it_ended(program: Program, three: list[str]) -> None:
    page = program.call("list", "--limit", "2", "--json").document
    assert [item["package_id"] for item in page["items"]] == [three[2], three[1]]
    rest = program.call("list", "--cursor", page["next_cursor"], "--json").document
    assert [item["package_id"] for item in rest["items"]] == [three[0]]
    assert rest["next_cursor"] is None
    everything = program.call("list", "--all", "--json").document
    assert everything == {"items": [*page["items"], *rest["items"]], "next_cursor": None}
    told = program.call("list", "--limit", "2")
    assert told.stderr == f"there are more: --cursor {page['next_cursor']}, or --all\n"
    assert program.call("list", "--limit", "2", "-q").stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--limit", "0"],
        ["--limit", "1001"],
        ["--cursor", "x"],
        ["--created-after", "soon"],
        ["--metadata", "x"],
    ],
)
def test_wrong_filters_are_refused(program: Program, arguments: list[str]) -> None:
    program.call("init")
    program.call("list", *arguments, code=2)


def test_show_tells_everything(program: Program, pushed: str) -> None:
    document = program.call("show", pushed, "--json").document
    record = dict(line.split("\t") for line in program.call("show", pushed).lines)
    assert list(record)[: len(document) - 2] == list(document)[:-2]
    assert list(document)[-2:] == ["retention", "verification"]
    assert record["package_id"] == document["package_id"] == pushed
    assert record["total_size"] == str(sum(map(len, TREE.values())))
    assert record["created_at"] == document["created_at"]
    assert record["metadata"] == "{}"
    assert record["metadata_schema"] == ""


def test_ids_may_be_shortened(program: Program, pushed: str) -> None:
    short = pushed[:8]
    for command in (["show"], ["files"], ["manifest"]):
        assert program.call(*command, short).stdout == program.call(*command, pushed).stdout
    assert program.call("cat", pushed[:4], "README.md").stdout == TREE["README.md"]


def test_an_id_that_is_short_for_several_is_refused(program: Program, three: list[str]) -> None:
    assert three[0][:4] == three[1][:4]
    answer = program.call("show", three[0][:4], code=2)
    assert three[0] in answer.stderr
    assert "hint: give more digits" in answer.stderr


def test_show_draws_the_tree(program: Program, pushed: str) -> None:
    record, tree = program.call("show", pushed, "--tree").text.split("\n\n")
    assert record.startswith("package_id\t")
    assert tree.splitlines() == [
        f"evidence (7 files, {sum(map(len, TREE.values()))} B)",
        "├── README.md  11 B",
        "├── bin/  17 B",
        "│   └── run.sh  17 B",
        "├── empty.log  0 B",
        "├── logs-old/  12 B",
        "│   └── c.log  12 B",
        "├── logs/  14 B",
        "│   ├── a.log  7 B",
        "│   └── b.log  7 B",
        "└── résultats/  2 B",
        "    └── données.json  2 B",
    ]


def test_a_deep_tree_is_drawn(program: Program, tmp_path: Path) -> None:
    depth = 1500
    program.call("package", "create", "--name", "deep", "--producer", "ci", "--subject", "app")
    package = program.call("list").rows[0][0]
    Path("leaf").write_bytes(b"x")
    program.call("package", "add", package, f"{'d/' * depth}leaf", "leaf")
    lines = program.call("show", package, "--tree").lines
    assert lines[-1].endswith("└── leaf  1 B")
    assert len([line for line in lines if line.endswith("d/  1 B")]) == depth


def test_files_are_listed_in_order(program: Program, pushed: str) -> None:
    paths = sorted(TREE, key=str.encode)
    assert [row[0] for row in program.call("files", pushed).rows] == paths
    array = program.call("files", pushed, "--json").document
    lines = [json.loads(line) for line in program.call("files", pushed, "--jsonl").lines]
    assert array == lines
    assert [file["relative_path"] for file in array] == paths
    assert all(file["size"] == len(TREE[file["relative_path"]]) for file in array)
    assert [file["relative_path"] for file in array if file["executable"]] == ["bin/run.sh"]


def test_more_files_than_a_page_holds(program: Program, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(2500):
        (many / f"{number:04}").write_bytes(b"")
    package = program.call("push", str(many), "--producer", "ci", "--subject", "app").text.strip()
    assert [row[0] for row in program.call("files", package).rows] == [f"{n:04}" for n in range(2500)]
    assert len(program.call("files", package, "--json").document) == 2500
    assert len(program.call("events").lines) == len(program.call("events", "--json").document) > 2500


def test_an_empty_answer_is_still_json(program: Program) -> None:
    program.call("init")
    assert program.call("list", "--json").document == {"items": [], "next_cursor": None}
    assert program.call("list", "--jsonl").stdout == b""
    assert program.call("list").stdout == b""
    assert program.call("events", "--after", "1000", "--json").document == []


@pytest.mark.parametrize("algorithm", ["sha256:", ""])
@pytest.mark.parametrize("digits", [8, 64])
def test_bytes_are_found_by_their_digest(program: Program, pushed: str, algorithm: str, digits: int) -> None:
    digest = hashlib.sha256(TREE["logs/a.log"]).hexdigest()
    rows = program.call("find", f"{algorithm}{digest[:digits]}").rows
    assert [row[:2] for row in rows] == [[pushed, "logs/a.log"], [pushed, "logs/b.log"]]
    assert {row[5] for row in rows} == {f"sha256:{digest}"}
    (first, _) = program.call("find", f"{algorithm}{digest[:digits]}", "--json").document
    assert first["package"]["package_id"] == pushed
    assert first["file"]["relative_path"] == "logs/a.log"


def test_a_digest_that_nobody_has(program: Program, pushed: str) -> None:
    assert pushed
    program.call("find", "0" * 64, code=4)
    program.call("find", "md5:abcd", code=2)


def test_cat_writes_the_very_bytes(program: Program, pushed: str) -> None:
    for path, data in TREE.items():
        assert program.call("cat", pushed, path).stdout == data
    program.call("cat", pushed, "nowhere", code=4)
    program.call("cat", pushed, "../README.md", code=2)


def test_cat_of_a_damaged_object_fails(program: Program, pushed: str) -> None:
    digest = program.call("files", pushed).rows[0][4].removeprefix("blake3:")
    path = program.directory / "storage" / "blake3" / digest[:2] / digest[2:4] / digest
    path.chmod(0o600)
    path.write_bytes(b"X" * len(path.read_bytes()))
    answer = program.call("cat", pushed, "README.md", code=3)
    assert answer.stdout == b""
    assert "blake3:" in answer.stderr
    program.call("export", pushed, "out", code=3)
    assert not Path("out").exists()
    path.unlink()
    assert "missing" in program.call("cat", pushed, "README.md", code=3).stderr
    # What a link in its place points to is not read.
    secret = program.directory / "secret"
    secret.write_bytes(TREE["README.md"])
    path.symlink_to(secret)
    answer = program.call("cat", pushed, "README.md", code=3)
    assert (answer.stdout, str(secret) in answer.stderr) == (b"", False)


def test_the_manifest_in_both_forms(program: Program, pushed: str) -> None:
    data = program.call("manifest", pushed, "--format", "cbor").stdout
    manifest = decode(data)
    assert {file.relative_path for file in manifest.files} == set(TREE)
    document = program.call("manifest", pushed).document
    assert document == manifest.to_json()
    assert program.call("manifest", pushed, "--json").document == document
    program.call("manifest", pushed, "--format", "cbor", "-o", "m.cbor")
    assert Path("m.cbor").read_bytes() == data
    assert program.call("manifest", pushed, "--format", "cbor", "-o", "-").stdout == data


def test_a_file_that_exists_is_not_overwritten(program: Program, pushed: str) -> None:
    Path("precious").write_text("precious")
    program.call("manifest", pushed, "-o", "precious", code=5)
    program.call("export", pushed, "-o", "precious", code=5)
    assert Path("precious").read_text() == "precious"


def test_binary_data_is_kept_from_terminals(program: Program, pushed: str) -> None:
    for command in (["manifest", pushed, "--format", "cbor"], ["export", pushed, "-o", "-"]):
        assert "error: a terminal cannot show binary data" in program.seen(*command, code=2)
