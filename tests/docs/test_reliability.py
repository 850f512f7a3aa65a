"""The page about reliability names each drill that a test counts, each planted bug, and nothing else."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mutants.catalogue import MUTANTS

from docs.pages import PROJECT
from docs.reliability import promises, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TESTS = PROJECT / "tests"


@dataclass(frozen=True)
class Module:
    """A module of the tests."""

    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """Its code."""
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @property
    def name(self) -> str:
        """By which the others import it."""
        return ".".join(self.path.relative_to(TESTS).with_suffix("").parts)

    def knows(self, other: Module, function: str) -> bool:
        """Whether a function of another module can be called here by its own name."""
        return self is other or any(
            isinstance(node, ast.ImportFrom)
            and node.module == other.name
            and function in {alias.name for alias in node.names}
            for node in ast.walk(self.tree)
        )


@dataclass(frozen=True)
class Counted:
    """What a drill counts under: a regular expression, and where its name stands."""

    pattern: str
    module: Module

    def is_name(self, name: str) -> bool:
        """Whether it may be this name."""
        return re.fullmatch(self.pattern, name) is not None


MODULES = [Module(path) for path in sorted(TESTS.rglob("*.py"))]


def written_out(value: ast.expr, module: Module) -> Iterator[Counted]:
    """What a name may be: a text, one with holes, a constant, or what callers hand to a function."""
    match value:
        case ast.Constant(value=str(text)):
            yield Counted(re.escape(text), module)
        case ast.JoinedStr(values=parts):
            texts = (re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in parts)
            yield Counted("".join(texts), module)
        case ast.Name(id=name):
            for node in ast.walk(module.tree):
                match node:
                    case ast.Assign(targets=[ast.Name(id=target)], value=constant) if target == name:
                        yield from written_out(constant, module)
                    case ast.FunctionDef(name=function, args=arguments):
                        names = [argument.arg for argument in arguments.args if argument.arg != "self"]
                        if name in names:
                            yield from handed_over(module, function, names.index(name))


def handed_over(module: Module, function: str, position: int) -> Iterator[Counted]:
    """What the calls of a function have at a position, in its module and in those that import it."""
    for caller in MODULES:
        for node in ast.walk(caller.tree) if caller.knows(module, function) else ():
            match node:
                case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=given):
                    if called == function and len(given) > position:
                        yield from written_out(given[position], caller)


def counted() -> list[Counted]:
    """All drills that tests count; another call of such a name in the tests has no argument `tried`."""
    found = []
    for module in MODULES:
        for node in ast.walk(module.tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="count"), args=[name], keywords=keywords):
                    if any(keyword.arg == "tried" for keyword in keywords):
                        names = list(written_out(name, module))
                        assert names, f"{module.path}:{node.lineno}: write out the name of the drill"
                        found += names
    return found


def test_each_drill_has_its_figures_and_its_promise() -> None:
    figures = [cells[0] for cells in rows("Figures")]
    assert len(figures) == len(set(figures))
    known = counted()
    assert [name for name in figures if not any(each.is_name(name) for each in known)] == []
    assert [each for each in known if not any(each.is_name(name) for name in figures)] == []
    assert {name for promise in promises() for name in promise.drills} == set(figures)


def test_each_drill_is_where_the_page_says() -> None:
    known = counted()
    for promise in promises():
        assert promise.modules == {
            each.module.path for each in known if any(each.is_name(name) for name in promise.drills)
        }, promise.text


def test_the_figures_are_those_of_sound_runs() -> None:
    for name, run, tried, fired, violations in rows("Figures"):
        assert re.fullmatch(r"full|sample( x \d+)?", run), name
        assert int(tried.replace(",", "")) >= int(fired.replace(",", "")) > 0, name
        assert violations == "0", name


def test_each_planted_bug_is_listed() -> None:
    listed = [(name, re.findall("`([^`]+)`", drills)) for name, drills in rows("Bugs that we plant")]
    assert listed == [(mutant.name, list(mutant.drills)) for mutant in MUTANTS]
