"""A store for the command line, and evidence to push."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("cli.harness")

from store.harness import SAID, FakeClock, Home  # noqa: E402 - only after assertions are rewritten

from artifactstore.moment import system_clock  # noqa: E402 - as above
from cli.harness import Program  # noqa: E402 - as above

if TYPE_CHECKING:
    from pathlib import Path

DAYS_AGO = 3 * 86_400_000_000  # microseconds; longer ago than transient packages are kept


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


@pytest.fixture
def expired(program: Program, tree: Path) -> str:
    """The id of a transient package `old`, pushed three days ago; it must be the first in its store."""
    with Home(program.directory).open(clock=FakeClock(system_clock() - DAYS_AGO)) as store:
        said = {**SAID, "name": "old", "retention_class": "transient"}
        return store.push(tree, **said).package.package_id


@pytest.fixture
def collected(program: Program, expired: str) -> str:
    """The id of `old`, which is a tombstone."""
    program.call("retention", "sweep", "--actor", "operator")
    program.call("retention", "gc", "--yes", "--actor", "operator")
    return expired
