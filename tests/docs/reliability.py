"""The page about reliability: its promises, and the drills that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docs.pages import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = PROJECT / "docs/reliability.md"


@dataclass(frozen=True)
class Promise:
    """A row of the table of promises.

    Args:
        drills: that prove it, by the names under which they count.
        modules: of the tests, where they are.
    """

    text: str
    drills: tuple[str, ...]
    modules: frozenset[Path]


def section(heading: str) -> str:
    """The text below a heading of the page."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables below a heading, without their heads."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if line.startswith("|---")}
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for number, line in enumerate(lines)
        if number not in heads and not line.startswith("|---")
    ]


def promises() -> list[Promise]:
    """What the store promises."""
    return [
        Promise(
            text,
            tuple(re.findall("`([^`]+)`", drills)),
            frozenset((PAGE.parent / target).resolve() for target in re.findall(r"\]\(([^)]+)\)", places)),
        )
        for text, drills, places in rows("Promises and their drills")
    ]
