"""Repositories for the tests of the doors, and a person who works in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("interop.checkout")

from docs.isolation import isolated_environment  # noqa: E402 - only after assertions are rewritten

from artifactstore import Store  # noqa: E402 - as above
from interop.checkout import Checkout, make  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artifactstore import Package


@pytest.fixture
def person(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who uses git: settings, store and repositories of their own."""
    environment = isolated_environment(tmp_path / "user")
    (tmp_path / "user/.gitconfig").write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
        '[protocol "file"]\n\tallow = always\n'
    )
    return environment


@pytest.fixture(params=["plain", "folder with 'spaces' and é"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path, person: dict[str, str]) -> Checkout:
    """A repository with one commit, and evidence that is not in it."""
    return make(tmp_path / request.param / "shop", person)


@pytest.fixture
def plain(tmp_path: Path, person: dict[str, str]) -> Checkout:
    """The same in a folder with a usual name."""
    return make(tmp_path / "shop", person)


@pytest.fixture
def packages(tmp_path: Path) -> Callable[[], list[Package]]:
    """What the person has stored, oldest first."""

    def stored() -> list[Package]:
        place = tmp_path / "user/data/artifactstore"
        if not place.exists():
            return []
        with Store.open(place / "artifactstore.db", place / "storage", create=False) as store:
            return list(reversed(store.list_packages().items))

    return stored
