"""What pyproject.toml asks for, and the lowest versions that it allows."""

from __future__ import annotations

import tomllib

from docs.pages import PROJECT
from packaging.requirements import Requirement

OURSELVES = "artifactstore"


def requirements(*extras: str) -> list[Requirement]:
    """The dependencies at run time, and those of some extras."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    found = [Requirement(line) for line in lines]
    return [requirement for requirement in found if requirement.name != OURSELVES]


def extras() -> list[str]:
    """The names of all extras."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"])


def lowest(requirement: Requirement) -> str:
    """The version of its lower bound."""
    (bound,) = [clause.version for clause in requirement.specifier if clause.operator in {">=", "=="}]
    return bound
