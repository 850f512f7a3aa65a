"""The page about reliability names each drill that a test counts, each planted bug, and nothing else."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from mutants.catalogue import MUTANTS

from docs.pages import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = (PROJECT / "docs/reliability.md").read_text(encoding="utf-8")
# Calls of other names in this project do not have this argument.
COUNTS = "tried"


def section(heading: str) -> str:
    """The text below a heading of the page."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
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


def patterns(value: ast.expr, tree: ast.Module) -> Iterator[str]:
    """What a name may be, as regular expressions: written out, with holes, or handed on to a function."""
    match value:
        case ast.Constant(value=str(text)):
            yield re.escape(text)
        case ast.JoinedStr(values=parts):
            yield "".join(
                re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in parts
            )
        case ast.Name(id=name):
            yield from (found for given in values_of(name, tree) for found in patterns(given, tree))


def values_of(name: str, tree: ast.Module) -> Iterator[ast.expr]:
    """What a module gives a name: a constant of its own, or an argument of a function that has it."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield value
            case ast.FunctionDef(name=function, args=arguments):
                names = [argument.arg for argument in arguments.args if argument.arg != "self"]
                if name in names:
                    yield from arguments_of(function, names.index(name), tree)


def arguments_of(function: str, position: int, tree: ast.Module) -> Iterator[ast.expr]:
    """What the calls of a function put at a position."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=given):
                if called == function and len(given) > position:
                    yield given[position]


def counted() -> dict[str, str]:
    """The names of all drills that tests count, as regular expressions, and the files of the tests."""
    found = {}
    for path in sorted((PROJECT / "tests").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="count"), args=[name], keywords=keywords):
                    if any(keyword.arg == COUNTS for keyword in keywords):
                        names = list(patterns(name, tree))
                        assert names, f"{path}:{node.lineno}: write out the name of the drill"
                        found |= dict.fromkeys(names, str(path.relative_to(PROJECT)))
    return found


def test_each_drill_has_its_figures_and_its_promise() -> None:
    figures = [cells[0] for cells in rows("Figures")]
    assert len(figures) == len(set(figures))
    known = counted()
    assert [name for name in figures if not any(re.fullmatch(each, name) for each in known)] == []
    assert [each for each in known if not any(re.fullmatch(each, name) for name in figures)] == []
    promised = [
        name for cells in rows("Promises and their drills") for name in re.findall("`([^`]+)`", cells[1])
    ]
    assert sorted(set(promised)) == sorted(figures)


def test_each_drill_is_where_the_page_says() -> None:
    known = counted()
    for promise, drills, place in rows("Promises and their drills"):
        linked = {target.removeprefix("../") for target in re.findall(r"\]\(([^)]+)\)", place)}
        counting = {
            file
            for name in re.findall("`([^`]+)`", drills)
            for each, file in known.items()
            if re.fullmatch(each, name)
        }
        assert linked == counting, promise


def test_the_figures_are_those_of_sound_runs() -> None:
    for name, tried, fired, violations in rows("Figures"):
        assert int(tried.replace(",", "")) >= int(fired.replace(",", "")) > 0, name
        assert violations == "0", name


def test_each_planted_bug_is_listed() -> None:
    listed = re.findall(r"^- (.+)$", section("Bugs that we plant"), re.MULTILINE)
    assert listed == [mutant.name for mutant in MUTANTS]
