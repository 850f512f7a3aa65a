"""`artifactstore ci gate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cli.harness import Program

KIND = "ci.tests.v1"


def test_the_command_fails_until_the_evidence_is_there(program: Program, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "object", "required": ["ci"]}')
    program.call("schema", "register", KIND, str(tmp_path / "schema.json"))
    gate = ("ci", "gate", "--subject", "shop@abc", "--require", KIND, "--newer-than", "7d")
    assert program.call(*gate, "--json", code=5).document["passed"] is False
    assert program.call(*gate, code=5).rows == [[KIND, "missing", "-", "no such evidence"]]
    job = ("--repository", "team/shop", "--commit", "abc", "--schema", KIND)
    pushed = program.call("ci", "push", str(tree), *job).text.strip()
    assert program.call(*gate).rows == [[KIND, "found", pushed, ""]]
    document = program.call(*gate, "--json").document
    assert (document["subject"], document["passed"]) == ("shop@abc", True)
    assert document["kinds"] == [{"slug": KIND, "package_id": pushed, "reasons": []}]
    assert program.call(*gate, "--require", "ci.scan.v1", code=5).rows[1][:2] == ["ci.scan.v1", "missing"]


def test_the_command_tells_a_wrong_question_from_missing_evidence(program: Program) -> None:
    gate = ("ci", "gate", "--subject", "shop@abc")
    program.call(*gate, "--require", KIND, code=10)
    program.call("init")
    program.call(*gate, code=2)
    program.call(*gate, "--require", KIND, "--newer-than", "soon", code=2)
