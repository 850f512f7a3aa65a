"""`schema register`, `list`, `show`, `check`, and `--schema` of what stores evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.harness import write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from cli.harness import Program

SLUG = "run.v1"


def test_the_commands(program: Program, tree: Path, tmp_path: Path) -> None:
    schema = (
        write_tree(tmp_path, {"schema.json": b'{"type": "object", "required": ["passed"]}'}) / "schema.json"
    )
    assert program.call("schema", "register", SLUG, str(schema), "--actor", "ada").lines == ["1"]
    assert program.call("schema", "register", SLUG, str(schema)).lines == ["1"]
    (row,) = program.call("schema", "list").rows
    assert (row[:2], row[3]) == ([SLUG, "1"], "ada")
    assert program.call("schema", "show", SLUG).document == {"type": "object", "required": ["passed"]}
    assert program.call("schema", "show", SLUG, "--json").document["registered_by"] == "ada"
    said = ("--producer", "ci", "--subject", "app", "--schema", SLUG)
    package = program.call("push", str(tree), *said, "--metadata", "passed=7").text.strip()
    assert program.call("show", package, "--json").document["metadata_schema"] == SLUG
    refusal = program.call("push", str(tree), *said, code=2)
    assert "metadata-invalid" in refusal.stderr or "breaks the schema" in refusal.stderr
    opened = program.call("package", "create", "--name", "n", *said, "--metadata", "passed=7").text.strip()
    assert program.call("show", opened, "--json").document["metadata_schema"] == SLUG
    bad = write_tree(tmp_path, {"bad.json": b'{"failed": 1}'}) / "bad.json"
    (violation,) = program.call("schema", "check", SLUG, str(bad), "--json", code=3).document
    assert violation["rule"] == "/required"
    good = write_tree(tmp_path, {"good.json": b'{"passed": 1}'}) / "good.json"
    assert program.call("schema", "check", SLUG, str(good)).text == ""
    assert program.call("schema", "show", "other", code=4).text == ""
    assert program.call("schema", "show", SLUG, "--schema-version", "2", code=4).text == ""
