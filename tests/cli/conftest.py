"""A store for the command line, and evidence to push."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("cli.harness")

from cli.harness import Program  # noqa: E402 - only after assertions are rewritten

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The command line on a store that is not there yet, with no settings but those of the test."""
    for name in list(os.environ):
        if name.startswith(("ARTIFACTSTORE_", "STATE_HUB_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Program(tmp_path / "store")


@pytest.fixture
def pushed(program: Program, tree: Path) -> str:
    """The id of a package with the evidence of `tree`."""
    answer = program.call("push", str(tree), "--producer", "ci", "--subject", "app", "--actor", "ada")
    return answer.text.strip()
