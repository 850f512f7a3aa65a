"""Writes the generated parts of the reference: `python docs/reference/generate.py [--check]`.

A page keeps what stands outside its markers. Between them stands what the code says of itself: the help of
the commands, the docstrings of the public names, the settings template, the table of errors. With `--check`
nothing is written, and the exit code is 1 if a page is out of date.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import inspect
import io
import os
import re
import sys
import textwrap
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import artifactstore
from artifactstore import errors, registry
from artifactstore.app import build_registry
from artifactstore.cli import exit_codes
from artifactstore.cli.application import application, run
from artifactstore.httpapi import refusals
from artifactstore.httpapi.routes import BYTES
from artifactstore.httpapi.schemas import schemas
from artifactstore.httpapi.table import ROUTES
from artifactstore.interop.ci import CiRun, describe_run, push_from_ci
from artifactstore.interop.ci_gate import GateResult, KindResult, judge
from artifactstore.interop.filesystem import ArtifactFileSystem
from artifactstore.interop.git import RecordedCommit, record_commit
from artifactstore.interop.git_hooks import Hook, install_hook, uninstall_hook
from artifactstore.interop.git_repository import Commit, Repository
from artifactstore.lifecycle.fsck import Finding
from artifactstore.lifecycle.gc_plan import PlannedPackage
from artifactstore.lifecycle.orphans import Orphan
from artifactstore.lifecycle.repair import Healed, Unhealed
from artifactstore.lifecycle.verify import Failure
from artifactstore.manifest import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactstore.httpapi.routes import Route

HERE = Path(__file__).parent
BEGIN, END = "<!-- generated: begin", "<!-- generated: end -->"
GLOBAL_OPTIONS = "  --database PATH"  # the first of those that every command has, and that stand last
LINE = 100  # characters of a signature

# Settings that have an effect; the others are read and checked only.
IN_USE = (
    "ARTIFACTSTORE_DATABASE_URL",
    "ARTIFACTSTORE_STORAGE_LOCAL_ROOT",
    "ARTIFACTSTORE_LOG_LEVEL",
    "ARTIFACTSTORE_LOG_FORMAT",
    "ARTIFACTSTORE_NO_PROGRESS",
    "ARTIFACTSTORE_AUTH_TOKENS",
    "ARTIFACTSTORE_ANON_READ",
    "ARTIFACTSTORE_API_URL",
    "ARTIFACTSTORE_API_TOKEN",
    "ARTIFACTSTORE_GUIDE_BOARD_SCHEMA",
    "ARTIFACTSTORE_RETENTION_CONFIG_PATH",
    "ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS",
    "ARTIFACTSTORE_STORAGE_BACKENDS",
    "ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND",
    "ARTIFACTSTORE_STORAGE_BACKEND_ROUTES",
    "ARTIFACTSTORE_S3_ENDPOINT_URL",
    "ARTIFACTSTORE_S3_REGION",
    "ARTIFACTSTORE_S3_BUCKET",
    "ARTIFACTSTORE_S3_KEY_PREFIX",
    "ARTIFACTSTORE_S3_ACCESS_KEY_REF",
    "ARTIFACTSTORE_S3_SECRET_KEY_REF",
    "ARTIFACTSTORE_S3_STORAGE_CLASS",
    "ARTIFACTSTORE_S3_SSE",
    "ARTIFACTSTORE_S3_OBJECT_LOCK",
    "ARTIFACTSTORE_S3_MULTIPART_THRESHOLD_BYTES",
    "ARTIFACTSTORE_S3_MULTIPART_CHUNK_BYTES",
    "STATE_HUB_URL",
    "STATE_HUB_WORKSTREAM_ID",
    "STATE_HUB_TASK_ID",
)


# Parts of public values, which nobody makes.
PARTS = (Failure, Finding, Healed, Orphan, PlannedPackage, Unhealed)

# What programs call that record commits and CI jobs, and the values that it gives.
DOORS = (
    ArtifactFileSystem,
    describe_run,
    push_from_ci,
    judge,
    Repository,
    record_commit,
    install_hook,
    uninstall_hook,
)
GIVEN = (CiRun, Commit, GateResult, Hook, KindResult, RecordedCommit)


# The command line


def command_names() -> list[str]:
    """Every command as it is typed, the program's own name first."""
    root = application()
    names = ["artifactstore"]
    names += [f"artifactstore {command.name}" for command in root.registered_commands]
    for group in root.registered_groups:
        if group.typer_instance is None:
            continue
        names.append(f"artifactstore {group.name}")
        names += [
            f"artifactstore {group.name} {command.name}"
            for command in group.typer_instance.registered_commands
        ]
    return names


def help_text(command: str) -> str:
    """What `--help` prints, on 80 columns."""
    os.environ["COLUMNS"] = "80"
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(stream):
        run([*command.split()[1:], "--help"])
        stream.flush()
    return stream.buffer.getvalue().decode().rstrip()


def commands_page() -> Iterator[str]:
    """The help of each command, the options that all share only once."""
    for command in command_names():
        text = help_text(command)
        if command != "artifactstore":
            text = text.partition(f"\n{GLOBAL_OPTIONS}")[0].rstrip()
            text = text.removesuffix("\n\nOptions:")
        yield f"## {command}\n\n```text\n{text}\n```"


# The library


def signature(name: str, call: Callable[..., object]) -> str:
    """The name with its parameters, on one line or one line each."""
    parts: list[str] = []
    star = False
    for parameter in inspect.signature(call).parameters.values():
        if parameter.name in {"self", "cls"}:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        default = parameter.default
        shown = getattr(default, "__name__", None) or repr(default)
        given = "" if default is parameter.empty else f" = {shown}"
        parts.append(f"{parameter.name}: {parameter.annotation}{given}")
    returned = inspect.signature(call).return_annotation
    arrow = "" if returned in {inspect.Signature.empty, "None"} else f" -> {returned}"
    line = f"{name}({', '.join(parts)}){arrow}"
    if len(line) <= LINE:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){arrow}"])


def described(thing: object) -> str:
    """A docstring as Markdown: its sections become lists."""
    text = inspect.getdoc(thing) or ""
    head, *sections = re.split(r"^(Args|Returns|Raises|Crash|Source):", text, flags=re.MULTILINE)
    blocks = [head.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        entries = _entries(body)
        if title in {"Args", "Raises"} and len(entries) > 0:
            blocks.append("\n".join([f"{title}:\n", *(f"- {_entry(entry)}" for entry in entries)]))
        else:
            blocks.append(f"{title}: {' '.join(entries)}")
    return "\n\n".join(blocks)


def _entries(body: str) -> list[str]:
    """The entries of a section, each on one line."""
    lines = textwrap.dedent(body.strip("\n")).splitlines()
    entries: list[str] = []
    for line in lines:
        if entries and (line.startswith(" ") or not line):
            entries[-1] = f"{entries[-1]} {line.strip()}".strip()
        elif line:
            entries.append(line.strip())
    return entries


def _entry(text: str) -> str:
    names, colon, meaning = text.partition(": ")
    if not colon or not re.fullmatch(r"\w+(, \w+)*", names):
        return text
    return f"{', '.join(f'`{name}`' for name in names.split(', '))}: {meaning}"


def call_section(name: str, call: Callable[..., object]) -> str:
    """One function or method."""
    return f"### {name}\n\n```pyi\n{signature(name, call)}\n```\n\n{described(call)}"


def class_section(kind: type) -> Iterator[str]:
    """A class with its public methods, those that it inherits from us included."""
    yield f"## {kind.__name__}\n\n{described(kind)}"
    seen: set[str] = set()
    for origin in kind.__mro__[:-1]:
        for name, member in vars(origin).items():
            call = getattr(member, "__func__", member)
            if not name.startswith("_") and inspect.isfunction(call) and name not in seen:
                seen.add(name)
                yield call_section(f"{kind.__name__}.{name}", call)


def value_section(kind: type) -> str:
    """A value: its fields, then its properties and methods. `|` in a type would end a cell of the table."""
    head, _, arguments = described(kind).partition("\n\nArgs:\n\n")
    meanings = dict(re.findall(r"^- `(\w+)`: (.*)$", arguments, flags=re.MULTILINE))
    rows = ["| field | type | |", "|---|---|---|"]
    rows += [f"| `{name}` | `{kinds}` | {meanings.get(name, '')} |" for name, kinds in _fields(kind)]
    blocks = [f"### {kind.__name__}", head, "\n".join(rows)]
    for name, member in vars(kind).items():
        if isinstance(member, property | classmethod | FunctionType) and not name.startswith("_"):
            summary = (inspect.getdoc(member) or "").partition("\n\n")[0].replace("\n", " ")
            call = "" if isinstance(member, property) else "()"
            blocks.append(f"`{kind.__name__}.{name}{call}`: {summary}")
    return "\n\n".join(blocks)


def _fields(kind: type) -> list[tuple[str, str]]:
    named: tuple[str, ...] = getattr(kind, "_fields", ()) or tuple(
        field.name for field in dataclasses.fields(kind)
    )
    return [(name, str(_annotation(kind, name)).replace(" | ", " or ")) for name in named]


def _annotation(kind: type, name: str) -> str:
    annotation = inspect.get_annotations(kind)[name]
    return getattr(annotation, "__forward_arg__", annotation)


def library_page() -> Iterator[str]:
    """Every public name."""
    public = {name: getattr(artifactstore, name) for name in artifactstore.__all__ if name != "__version__"}
    functions = {name: value for name, value in public.items() if inspect.isfunction(value)}
    values: list[Any] = [
        value
        for value in public.values()
        if isinstance(value, type)
        and value not in {artifactstore.Store, artifactstore.Client}
        and not issubclass(value, artifactstore.ArtifactStoreError)
    ]
    yield "## Functions"
    for name, value in functions.items():
        yield call_section(f"artifactstore.{name}", value)
    yield call_section("artifactstore.manifest.decode", decode)
    yield from class_section(artifactstore.Store)
    yield from class_section(registry.Registry)
    yield from class_section(artifactstore.Client)
    yield call_section("artifactstore.app.build_registry", build_registry)
    yield "## Doors for other programs"
    for call in DOORS:
        yield call_section(f"{call.__module__}.{call.__name__}", call)
    yield "## Values"
    for kind in sorted([*values, *PARTS, *GIVEN], key=lambda kind: kind.__name__):
        yield value_section(kind)


# Settings


def settings_page() -> Iterator[str]:
    """Every variable, as the template explains it."""
    said = _template()
    yield "## In use"
    yield _settings_table(list(IN_USE), said)


def _settings_table(names: list[str], said: dict[str, str]) -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name in names:
        meaning, _, default = said[name].partition(" Default: ")
        rows.append(f"| `{name}` | {default.removesuffix('.')} | {meaning} |")
    return "\n".join(rows)


def _template() -> dict[str, str]:
    """The comment above each variable of `.env.example`."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in (HERE.parents[1] / ".env.example").read_text(encoding="utf-8").splitlines():
        assignment = re.match(r"(?:# )?([A-Z0-9_]+)=", line)
        if assignment is not None:
            found[assignment[1]] = " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    return found


# Errors


def errors_page() -> Iterator[str]:
    """Every class of error with its code and exit code, and what exit codes mean."""
    rows = ["| class | below | code | exit | |", "|---|---|---|---|---|"]
    for kind in error_classes():
        above = kind.__mro__[1].__name__
        summary = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")
        code = exit_codes.BY_ERROR.get(kind, exit_codes.FAILED)
        rows.append(f"| `{kind.__name__}` | `{above}` | `{kind.default_code}` | {code} | {summary} |")
    yield "## Classes\n\n" + "\n".join(rows)
    rows = ["| exit code | meaning |", "|---|---|"]
    rows += [f"| {code} | {meaning} |" for code, meaning in exit_codes.MEANINGS.items()]
    yield "## Exit codes\n\n" + "\n".join(rows)


def error_classes() -> list[type[errors.ArtifactStoreError]]:
    """The tree of errors, in the order in which it is written."""
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ArtifactStoreError)
    ]


# HTTP


def http_page() -> Iterator[str]:
    """Every route, as the table of routes has it, and the statuses of errors."""
    yield "## Routes"
    rows = ["| route | token | |", "|---|---|---|"]
    for route in ROUTES:
        anchor = re.sub(r"[^a-z0-9_ -]", "", f"{route.method} {route.path}".lower()).replace(" ", "-")
        rows.append(
            f"| [`{route.method} {route.path}`](#{anchor}) | {route.scope or 'none'} | {route.summary} |"
        )
    yield "\n".join(rows)
    for route in ROUTES:
        yield "\n\n".join(_route_blocks(route))
    rows = ["| class | status |", "|---|---|"]
    rows += [f"| `{kind.__name__}` | {refusals.BY_ERROR[kind]} |" for kind in error_classes()]
    yield "## Statuses of errors\n\n" + "\n".join(rows)
    told = (f"`{code}`: {status}" for code, status in refusals.BY_CODE.items())
    yield "These codes have a status of their own: " + ", ".join(told) + "."


def _route_blocks(route: Route) -> Iterator[str]:
    yield f"### {route.method} {route.path}"
    yield route.description or (inspect.getdoc(route.respond) or "").replace("\n", " ")
    taken = [("query", each) for each in route.query] + [("field", each) for each in route.fields]
    if taken:
        rows = ["| | name | |", "|---|---|---|"]
        rows += [f"| {place} | `{each.name}` | {each.description} |" for place, each in taken]
        yield "\n".join(rows)
    if route.body is not None:
        yield f"Takes {_body_text(route)}."
    kinds = ", ".join(f"`{kind}`" for kind in route.reply.media_types)
    yield f"Answers {route.reply.status}{f' ({kinds})' if kinds else ''}: {route.reply.description}"


def _body_text(route: Route) -> str:
    if route.body == BYTES:
        return "the bytes of a file"
    members = schemas()[route.body]
    names = [
        f"`{name}`" if name in members["required"] else f"`{name}` (optional)"
        for name in members["properties"]
    ]
    return f"a JSON object with {', '.join(names)}" if names else "nothing, or an empty JSON object"


# Pages


def generated(page: Callable[[], Iterator[str]], note: str = "") -> str:
    """The part of a page that this program writes, with its markers."""
    return "\n\n".join([f"{BEGIN} by docs/reference/generate.py{note} -->", *page(), END])


def typer_note() -> str:
    """Which typer made the help texts: another one may set them differently."""
    return f" with typer {'.'.join(importlib.metadata.version('typer').split('.')[:2])}"


def pages() -> dict[str, str]:
    """What each page has to contain between its markers."""
    return {
        "cli.md": generated(commands_page, typer_note()),
        "library.md": generated(library_page),
        "settings.md": generated(settings_page),
        "errors.md": generated(errors_page),
        "http.md": generated(http_page),
    }


def main(arguments: list[str]) -> int:
    """Write the pages, or say which of them are out of date."""
    check = "--check" in arguments
    stale = []
    for name, part in pages().items():
        page = HERE / name
        text = page.read_text(encoding="utf-8")
        begin, end = text.index(BEGIN), text.index(END) + len(END)
        if text[begin:end] == part or (check and name == "cli.md" and typer_note() not in text):
            continue
        stale.append(name)
        if not check:
            page.write_text(text[:begin] + part + text[end:], encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"{name} {'is out of date' if check else 'written'}\n")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
