"""No version with a known defect is allowed by pyproject.toml, or installed here."""

from __future__ import annotations

from importlib.metadata import distributions
from typing import TYPE_CHECKING

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from supply.known_bad import KNOWN_BAD, KnownBad
from supply.requirements import extras, lowest, requirements

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ASKED = {canonicalize_name(asked.name): asked for asked in requirements(*extras())}
INSTALLED = {canonicalize_name(found.name): found.version for found in distributions()}


def overlap(one: SpecifierSet, other: SpecifierSet) -> list[str]:
    """Versions that are in both; the lower end of an overlap is 0 or a version that one of the two names."""
    named = ["0", *(clause.version.removesuffix(".*") for each in (one, other) for clause in each)]
    return [version for version in named if one.contains(version) and other.contains(version)]


@pytest.mark.parametrize(
    ("allowed", "bad", "found"),
    [
        (">=6.1.4", "<6.1.4", []),
        (">=6.1.3", "<6.1.4", ["6.1.3"]),
        (">=6.1", "<6.1.4", ["6.1"]),
        (">=6,<7", ">=6.5,<6.6", ["6.5"]),
        (">=6,<7,!=6.5.*", ">=6.5,<6.6", []),
        (">=6", "==6.5", ["6.5"]),
        ("", "<6", ["0"]),
    ],
)
def test_an_overlap_is_found(allowed: str, bad: str, found: list[str]) -> None:
    assert overlap(SpecifierSet(allowed), SpecifierSet(bad, prereleases=True)) == found


@pytest.mark.parametrize("row", KNOWN_BAD, ids=lambda row: f"{row.package}{row.versions}")
def test_no_known_bad_version_is_allowed_or_installed(row: KnownBad) -> None:
    asked = ASKED.get(canonicalize_name(row.package))
    if asked is not None:
        assert overlap(asked.specifier, row.specifier) == [], row.reason
    installed = INSTALLED.get(canonicalize_name(row.package))
    assert installed is None or not row.specifier.contains(installed), row.reason


@pytest.mark.parametrize("asked", ASKED.values(), ids=str)
def test_every_dependency_has_a_lower_bound(asked: Requirement) -> None:
    """Without one, an old version that somebody has already would do."""
    assert asked.specifier.contains(lowest(asked))
