"""Fences: homes of dependencies, who may read, print and apply, layers, globals, public names.

The rows of the layers stand in docs/explanation/architecture.md, whose own test keeps the imports to them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import artifactstore

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(artifactstore.__file__).parent
INDEPENDENT = "audit/verify.py"  # what an auditor runs: stands for itself and talks to its own terminal

# Each third-party package has one home: a file, or a folder with a slash. A second one is a door to it.
HOMES = {
    "_pytest": "interop/pytest_run.py",
    "aiobotocore": "objects/",
    "apsw": ("connection.py", "database.py", "sqlite_errors.py"),
    "blake3": "digest.py",
    "botocore": "objects/",
    "cbor2": "codec.py",
    "fsspec": ("objects/", "interop/filesystem.py"),
    "jsonschema": "metadata/validation.py",
    "jsonschema_specifications": "metadata/validation.py",  # a part of jsonschema
    "platformdirs": "settings.py",
    "pytest": ("pytest_plugin.py", "interop/pytest_evidence.py", "interop/pytest_run.py"),
    "rich": "cli/",
    "s3fs": "objects/",
    "typer": "cli/",
}
HEAVY = (
    "apsw",
    "asyncio",
    "blake3",
    "cbor2",
    "fsspec",
    "http.client",
    "http.server",
    "jsonschema",
    "rich",
    "s3fs",
    "ssl",
    "typer",
)
# Module-level names of values that nobody changes, of loggers and of types.
UNCHANGING = re.compile(r"_?[A-Z][A-Z0-9_]*|__\w+__|_log|_logger|_?[A-Z][A-Za-z0-9]*")
MUTATORS = {
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "setdefault",
    "update",
}
GLOBALS = {("forks.py", "_watch")}  # a fork concerns the whole process, and its hooks cannot be taken back


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its path, parsed."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    }


MODULES = modules()
OURS = pytest.mark.parametrize("module", [module for module in MODULES if module != INDEPENDENT])


def is_at_home(module: str, home: str | tuple[str, ...]) -> bool:
    homes = (home,) if isinstance(home, str) else home
    return any(module.startswith(each) if each.endswith("/") else module == each for each in homes)


def imports(tree: ast.AST, *, types_too: bool = True) -> Iterator[str]:
    """The dotted names of all imported modules, also of those in functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types_too:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their module in full"
            if node.module in {"artifactstore", "artifactstore.cli", "artifactstore.objects"}:
                yield from (f"{node.module}.{name.name}" for name in node.names)
            yield str(node.module)
        yield from imports(node, types_too=types_too)


def attributes(tree: ast.AST) -> set[str]:
    """All dotted names like `os.environ` that the code uses."""
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def names(tree: ast.AST) -> set[str]:
    """All plain names that the code uses."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("module", MODULES)
def test_every_dependency_has_one_home(module: str) -> None:
    for name in imports(MODULES[module]):
        package = name.partition(".")[0]
        if package in sys.stdlib_module_names or package in {"artifactstore", "_typeshed"}:
            continue
        assert package in HOMES, f"{module} imports {package}, which has no home"
        assert is_at_home(module, HOMES[package]), (
            f"{module} imports {package}, whose home is {HOMES[package]}"
        )


def test_the_independent_checker_imports_nothing_but_the_standard_library() -> None:
    assert {name.partition(".")[0] for name in imports(MODULES[INDEPENDENT])} <= {*sys.stdlib_module_names}


@OURS
def test_only_one_module_reads_the_environment(module: str) -> None:
    reading = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.path.expandvars"}
    found = attributes(MODULES[module]) & reading
    assert not any(
        name in {"environ", "getenv"} for name in names(MODULES[module]) if module != "environment.py"
    )
    assert not found or module == "environment.py"


@OURS
def test_only_the_command_line_prints(module: str) -> None:
    talks = {"sys.stdout", "sys.stderr", "sys.stdin"} & attributes(MODULES[module])
    assert (not talks and not {"print", "input"} & names(MODULES[module])) or module.startswith("cli/")


@OURS
def test_only_the_log_itself_is_applied_to_the_views(module: str) -> None:
    calls = {ast.unparse(node.func) for node in ast.walk(MODULES[module]) if isinstance(node, ast.Call)}
    assert "views.apply" not in calls or module == "commit.py"
    assert not any(call == "apply" for call in calls) or module == "views.py"
    assert "artifactstore.views.apply" not in set(imports(MODULES[module]))


def test_views_know_neither_clock_nor_chance_nor_machine() -> None:
    allowed = {"__future__", "collections", "hashlib", "itertools", "typing", "artifactstore"}
    parts = [MODULES["views.py"], MODULES["lifecycle/projection.py"]]
    assert {name.partition(".")[0] for part in parts for name in imports(part)} <= allowed
    ours = {
        name for part in parts for name in imports(part, types_too=False) if name.startswith("artifactstore.")
    }
    known = ("codec", "errors", "event_log", "events", "fields", "lifecycle.projection", "model", "schema")
    assert ours <= {f"artifactstore.{name}" for name in known}


@pytest.mark.parametrize(
    "module", ["views.py", "codec.py", "manifest.py", "paths.py", "schema.py", "fields.py"]
)
def test_what_decides_what_is_stored_does_no_input_and_output(module: str) -> None:
    used = {name.partition(".")[0] for name in imports(MODULES[module], types_too=False)}
    assert not used & {"os", "io", "pathlib", "socket", "tempfile", "time", "random", "secrets", "locale"}
    assert "open" not in names(MODULES[module])


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        f"artifactstore.{module.removesuffix('.py').replace('/', '.')}": set(imports(tree, types_too=False))
        for module, tree in MODULES.items()
    }

    def follow(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"{' -> '.join(above)} -> {module}"
        if module not in done:
            for imported in graph[module]:
                if imported in graph:
                    follow(imported, (*above, module))
            done.add(module)

    done: set[str] = set()
    for module in graph:
        follow(module, ())


@pytest.mark.parametrize(
    "module",
    [
        module
        for module in MODULES
        if "/" not in module and module not in {"app.py", "environment.py", "__init__.py", "pytest_plugin.py"}
    ],
)
def test_nothing_below_the_edges_knows_them(module: str) -> None:
    edges = {
        "artifactstore.client",
        "artifactstore.app",
        "artifactstore.registry",
        "artifactstore.cli",
        "artifactstore.environment",
        "artifactstore.settings",
    }
    known = {
        name for name in imports(MODULES[module]) if any(f"{name}.".startswith(f"{edge}.") for edge in edges)
    }
    assert not known or module == "__main__.py"


@OURS
def test_no_module_keeps_a_changing_value(module: str) -> None:
    tree = MODULES[module]
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))
    targets = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    targets = [name for name in targets if (module, name) not in GLOBALS]
    assert [name for name in targets if not UNCHANGING.fullmatch(name)] == []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attribute)):
                assert name not in targets or attribute not in MUTATORS, ast.unparse(node)
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                assert name not in targets, ast.unparse(node)


@OURS
def test_importing_does_no_work(module: str) -> None:
    """At the top of a module stand definitions, and calls only to make a value of one of them."""
    for node in MODULES[module].body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), ast.unparse(node)
        assert not isinstance(node, ast.For | ast.While | ast.With | ast.Delete), ast.unparse(node)
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}, ast.unparse(
                node.test
            )


def test_the_public_names_are_those_of_the_list() -> None:
    assert artifactstore.__all__ == sorted(artifactstore.__all__)
    assert dir(artifactstore) == artifactstore.__all__
    for name in artifactstore.__all__:
        assert getattr(artifactstore, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        artifactstore.nothing  # noqa: B018 - looking it up is the test


def test_type_checkers_see_the_names_of_the_list() -> None:
    """The imports that only they see are the same as the table by which names are really found."""
    (block,) = (node for node in MODULES["__init__.py"].body if isinstance(node, ast.If))
    seen = {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {*seen, "__version__"} == set(artifactstore.__all__)
    for name, home in seen.items():
        assert getattr(importlib.import_module(home), name) is getattr(artifactstore, name)


@pytest.mark.parametrize("name", [name for name in artifactstore.__all__ if name != "__version__"])
def test_public_things_say_what_they_are(name: str) -> None:
    thing = getattr(artifactstore, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        methods = inspect.getmembers(
            thing, lambda member: inspect.isfunction(member) or inspect.ismethod(member)
        )
        for method_name, method in methods:
            if not method_name.startswith("_") and (method.__module__ or "").startswith("artifactstore"):
                assert inspect.getdoc(method), f"{name}.{method_name}"


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = f"import sys, artifactstore; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_store_at_work_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    unneeded = (
        "asyncio",
        "fsspec",
        "http.client",
        "http.server",
        "jsonschema",
        "platformdirs",
        "rich",
        "s3fs",
        "sqlite3",
        "typer",
    )
    script = (
        "import sys, artifactstore\n"
        "with artifactstore.open(sys.argv[1]) as store:\n"
        "    said = dict(name='n', producer='p', subject='s', retention_class='transient', actor='a')\n"
        "    package = store.create_package(**said)\n"
        "    store.ingest_file(package, 'a', b'a', actor='a')\n"
        "    store.finalize_package(package, actor='a')\n"
        "    store.export_package(package, sys.argv[1] + '/out')\n"
        f"print(*[name for name in {unneeded!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
