"""The reference is complete and says what the code says."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import subprocess
import sys

import pytest

import artifactstore
from artifactstore.lifecycle.retention import DEFAULT_CLASSES
from artifactstore.registry import Registry
from artifactstore.settings import variables
from docs.pages import PROJECT

REFERENCE = PROJECT / "docs/reference"
GENERATOR = runpy.run_path(str(REFERENCE / "generate.py"))
SOURCES = sorted((PROJECT / "artifactstore").rglob("*.py"))


def page(name: str) -> str:
    """The text of a page of the reference."""
    return (REFERENCE / name).read_text(encoding="utf-8")


def test_the_generated_parts_are_current() -> None:
    done = subprocess.run(
        [sys.executable, REFERENCE / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run python docs/reference/generate.py: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("command", GENERATOR["command_names"]())
def test_every_command_and_option_is_documented(command: str) -> None:
    _, _, below = page("cli.md").partition(f"\n## {command}\n")
    text = below.partition("\n## ")[0]
    shared = page("cli.md").partition("\n## artifactstore push\n")[0]
    options = re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", GENERATOR["help_text"](command), re.MULTILINE)
    assert text
    assert [option for option in options if option not in text and option not in shared] == []


def test_every_public_name_is_documented() -> None:
    text = page("library.md") + page("errors.md")
    names = [name for name in artifactstore.__all__ if name != "__version__"]
    names += [f"Store.{name}" for name, _ in inspect.getmembers(artifactstore.Store) if name[0] != "_"]
    names += [f"Registry.{name}" for name, _ in inspect.getmembers(Registry) if name[0] != "_"]
    heading = re.compile(r"^#+ (?:artifactstore\.)?(\S+)$|^\| `(\w+)` \|", re.MULTILINE)
    documented = {name for pair in heading.findall(text) for name in pair}
    assert [name for name in names if name not in documented] == []


def test_every_setting_is_documented() -> None:
    names = [variable.name for variable in variables().values()]
    assert re.findall(r"^\| `([A-Z0-9_]+)` \|", page("settings.md"), re.MULTILINE) == sorted(
        names, key=lambda name: (name not in GENERATOR["IN_USE"], names.index(name))
    )


def test_settings_without_effect_are_really_not_used() -> None:
    code = "\n".join(source.read_text(encoding="utf-8") for source in SOURCES if source.name != "settings.py")
    used = {
        variable.name
        for attribute, variable in variables().items()
        if re.search(rf"settings(?:\(\))?\.{attribute}\b", code)
    }
    assert used == set(GENERATOR["IN_USE"])


def test_every_error_is_documented() -> None:
    documented = re.findall(r"^\| `(\w+)` \| `\w+` \| `([a-z-]+)` \|", page("errors.md"), re.MULTILINE)
    assert documented == [(kind.__name__, kind.default_code) for kind in GENERATOR["error_classes"]()]


def test_every_code_is_documented() -> None:
    raised = {code for source in SOURCES for code in _codes(ast.parse(source.read_text(encoding="utf-8")))}
    _, _, table = page("errors.md").partition("\n## Codes\n")
    documented = [
        code
        for cell in re.findall("^\\| (`.*?`) \\|", table, re.MULTILINE)
        for code in re.findall("`(.*?)`", cell)
    ]
    assert sorted(documented) == sorted(raised | {"internal", "os-error"})


def _codes(tree: ast.AST) -> list[str]:
    """The texts that stand as `code=` in a call."""
    return [
        text.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for argument in call.keywords
        if argument.arg == "code"
        for text in ast.walk(argument.value)
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
    ]


def test_the_retention_classes_are_documented() -> None:
    text = (PROJECT / "docs/how-to/push-from-ci.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)`.*? \| (?:([\d,]+) days?|for ever)", text, re.MULTILINE)
    kept = {name: int(days.replace(",", "")) * 86_400 if days else None for name, days in rows}
    assert kept == DEFAULT_CLASSES
