"""The commands put together, and how one of them is run."""

from __future__ import annotations

from importlib import import_module
from typing import cast

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]  # it has no __all__
from typer.main import get_command

from artifactstore.cli.exit_codes import MEANINGS
from artifactstore.cli.failures import guarded
from artifactstore.cli.invocation import PROGRAM, Invocation
from artifactstore.cli.options import Command, global_options
from artifactstore.errors import InvalidInputError

# Where each command is; its module is imported when it is wanted.
_EVIDENCE = {
    "push": "packages.push",
    "list": "reading.list_packages",
    "show": "reading.show",
    "files": "reading.files",
    "cat": "reading.cat",
    "manifest": "reading.manifest",
    "export": "exporting.export",
    "check": "exporting.check",
    "find": "reading.find",
    "events": "log.events",
    "serve": "serving.serve",
}
_GROUPS = {
    "package": (
        "Build a package step by step.",
        {"create": "packages.create", "add": "packages.add", "finalize": "packages.finalize"},
    ),
    "schema": (
        "Schemas that metadata keeps to.",
        {
            "register": "schemas.register",
            "list": "schemas.list_schemas",
            "show": "schemas.show",
            "check": "schemas.check",
        },
    ),
    "retention": (
        "How long packages are kept, and how they go.",
        {
            "extend": "retention.extend",
            "hold": "retention.hold",
            "release": "retention.release",
            "history": "retention.history",
            "explain": "retention.explain",
            "sweep": "deletion.sweep",
            "gc": "deletion.gc",
        },
    ),
    "guide-board": (
        "The evidence of guide-board runs.",
        {"ingest": "guide_board.ingest", "link": "guide_board.link"},
    ),
    "ci": (
        "The evidence of CI jobs.",
        {"push": "ci.push", "gate": "ci.gate"},
    ),
    "git": (
        "The evidence of commits.",
        {
            "record": "git.record",
            "trailer": "git.trailer",
            "install-hook": "git.install_hook",
            "uninstall-hook": "git.uninstall_hook",
        },
    ),
    "storage": (
        "The stored bytes: check, repair, copy them.",
        {
            "verify": "storage.verify",
            "repair": "storage.repair",
            "copy": "storage.copy",
            "orphans": "storage.orphans",
            "adopt": "storage.adopt",
        },
    ),
}
_UPKEEP = {
    "init": "maintenance.init",
    "health": "maintenance.health",
    "config": "maintenance.config",
    "backup": "maintenance.backup",
    "migrate": "maintenance.migrate",
    "replay": "maintenance.replay",
    "fsck": "storage.fsck",
    "completion": "maintenance.completion",
    "version": "maintenance.version",
}


def application(only: str | None = None) -> typer.Typer:
    """The tree of commands.

    Args:
        only: name of a command or group; the others are left out, and with them the time to import them.
    """
    codes = "\n".join(f"{code:>3} {meaning}" for code, meaning in MEANINGS.items())
    root = typer.Typer(
        callback=global_options,
        epilog=f"\b\nExit codes:\n{codes}",
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=False,
        rich_markup_mode=None,  # with it, rich would be imported for every help text
        pretty_exceptions_enable=False,
    )
    _add(root, _EVIDENCE, only)
    for name, (described, commands) in _GROUPS.items():
        if only in {None, name}:
            group = typer.Typer(help=described, rich_markup_mode=None)
            _add(group, commands, None)
            root.add_typer(group, name=name)
    _add(root, _UPKEEP, only)
    return root


def _add(group: typer.Typer, commands: dict[str, str], only: str | None) -> None:
    for name, place in commands.items():
        if only in {None, name}:
            module, _, function = place.partition(".")
            command = getattr(import_module(f"artifactstore.cli.{module}"), function)
            group.command(name, cls=Command)(command)


def _first_command(arguments: list[str]) -> str | None:
    """The command if it is the first argument: then no help or error can need to know the others."""
    known = {*_EVIDENCE, *_GROUPS, *_UPKEEP}
    return arguments[0] if arguments[0] in known else None


def run(arguments: list[str]) -> int:
    """Run the command that the arguments name; its answer goes to stdout, a report of failure to stderr.

    Args:
        arguments: without the name of the program; none asks for help.
    Returns:
        The exit code.
    Raises:
        SystemExit: whoever read the answer is gone.
    """
    invocation = Invocation()

    def action() -> int:
        code = _dispatch(arguments or ["--help"], invocation)
        invocation.output.flush()
        return code

    return guarded(
        action,
        invocation.output,
        json=not {"--json", "--jsonl"}.isdisjoint(arguments),
        verbosity=lambda: invocation.verbosity,
    )


def _dispatch(arguments: list[str], invocation: Invocation) -> int:
    # The base of typer's usage errors has no public name in the oldest version that we allow.
    usage_error = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
    completion_init()
    try:
        code: int | None = get_command(application(_first_command(arguments))).main(
            arguments, prog_name=PROGRAM, standalone_mode=False, obj=invocation
        )
    except usage_error as error:
        command = PROGRAM if error.ctx is None else error.ctx.command_path
        raise InvalidInputError(
            " ".join(error.format_message().split()), hint=f"run `{command} --help`", code="usage"
        ) from None
    return code or 0
