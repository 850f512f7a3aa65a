"""Planting a bug: a copy of the package with other text, and an interpreter whose `artifactstore` it is."""

from __future__ import annotations

import shutil
import sysconfig
import venv
from pathlib import Path
from textwrap import dedent, indent
from typing import TYPE_CHECKING

import artifactstore

if TYPE_CHECKING:
    from mutants.catalogue import Mutant

PACKAGE = Path(artifactstore.__file__).parent


def changed(source: str, hunk: str) -> str:
    """The source with one hunk of a diff applied, at the indentation at which its lines stand.

    Raises:
        LookupError: the lines do not stand there exactly once.
    """
    signed = [(line[:1], line[1:]) for line in hunk.strip("\n").splitlines()]
    old = [line for sign, line in signed if sign != "+"]
    new = [line for sign, line in signed if sign != "-"]
    lines = source.splitlines()
    windows = (dedent("\n".join(lines[start : start + len(old)])) for start in range(len(lines)))
    places = [start for start, window in enumerate(windows) if window.splitlines() == old]
    if len(places) != 1:
        raise LookupError(f"these lines stand there {len(places)} times instead of once:\n{hunk}")
    (start,) = places
    indentation = lines[start].removesuffix(old[0])
    lines[start : start + len(old)] = indent("\n".join(new), indentation).splitlines()
    return "\n".join(lines) + "\n"


def mutated(mutant: Mutant) -> dict[str, str]:
    """The modules that a bug changes, by their path in the package; each can be compiled."""
    sources: dict[str, str] = {}
    for module, diff in mutant.diffs.items():
        source = (PACKAGE / module).read_text(encoding="utf-8")
        for hunk in diff.split("\n@@\n"):
            source = changed(source, hunk)
        compile(source, module, "exec")
        sources[module] = source
    return sources


def plant(mutant: Mutant, root: Path) -> Path:
    """Plant a bug below a new folder.

    An environment of its own gives the bug to whatever a drill starts by `sys.executable` too, in any folder
    and with any variables.

    Returns:
        The interpreter that has it.
    """
    shutil.copytree(PACKAGE, root / "source/artifactstore", ignore=shutil.ignore_patterns("__pycache__"))
    for module, source in mutated(mutant).items():
        (root / "source/artifactstore" / module).write_text(source, encoding="utf-8")
    venv.create(root / "venv", symlinks=True)
    python = root / "venv/bin/python"
    (packages,) = (root / "venv/lib").glob("python*/site-packages")
    # The folders of the environment at work come second; its own `.pth` files are not read from there.
    folders = [root / "source", sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (packages / "planted.pth").write_text("".join(f"{folder}\n" for folder in folders), encoding="utf-8")
    return python
