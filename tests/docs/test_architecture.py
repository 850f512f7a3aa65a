"""The table of layers in the architecture is true: it has every module, and imports only go upwards in it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from docs.pages import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE = PROJECT / "artifactstore"
OUTSIDE = {"audit.verify"}  # stands below the table: it imports nothing of ours


def layers() -> list[set[str]]:
    """The modules of each row of the table."""
    text = (PROJECT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [a-z ]+ \| (`.*) \|$", text.partition("## Layers")[2].partition("\n## ")[0], re.M)
    return [set(re.findall("`([a-z0-9_.]+)`", row)) - {".env"} for row in rows]


def modules() -> dict[str, Path]:
    """Every module of the package; the command line and HTTP are one each."""
    found = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")
    }
    inner = ("cli.", "httpapi.", "__")
    named = {name for name in found if not name.startswith(inner) and "__init__" not in name}
    return {name: found[name] for name in named}


def imports(tree: ast.AST) -> Iterator[str]:
    """What is imported at run time, at the top or in a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "artifactstore":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("artifactstore."):
            inner = str(node.module).removeprefix("artifactstore.")
            folder = (PACKAGE / inner).is_dir()
            yield from (f"{inner}.{name.name}" if folder else inner for name in node.names)
        yield from imports(node)


def test_every_module_has_a_layer() -> None:
    named = [name for layer in layers() for name in sorted(layer)]
    assert sorted(named) == sorted({*modules(), "cli", "httpapi"} - OUTSIDE)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_upwards(module: str) -> None:
    allowed: set[str] = set()
    for layer in layers() if module not in OUTSIDE else []:
        allowed |= layer
        if module in layer:
            break
    assert set(imports(ast.parse(modules()[module].read_text(encoding="utf-8")))) <= allowed
