"""The commands put together, and how one of them is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]  # it has no __all__
from typer.main import get_command

from artifactstore.cli import (
    deletion,
    exporting,
    log,
    maintenance,
    packages,
    reading,
    retention,
    storage,
)
from artifactstore.cli.exit_codes import MEANINGS
from artifactstore.cli.failures import guarded
from artifactstore.cli.invocation import Invocation
from artifactstore.cli.maintenance import PROGRAM
from artifactstore.cli.options import Command, global_options
from artifactstore.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    Commands = dict[str, Callable[..., None]]


def application() -> typer.Typer:
    """The tree of commands."""
    codes = "\n".join(f"{code:>3} {meaning}" for code, meaning in MEANINGS.items())
    root = typer.Typer(
        callback=global_options,
        epilog=f"\b\nExit codes:\n{codes}",
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=False,
        rich_markup_mode=None,  # with it, rich would be imported for every help text
        pretty_exceptions_enable=False,
    )
    evidence: Commands = {
        "push": packages.push,
        "list": reading.list_packages,
        "show": reading.show,
        "files": reading.files,
        "cat": reading.cat,
        "manifest": reading.manifest,
        "export": exporting.export,
        "check": exporting.check,
        "find": reading.find,
        "events": log.events,
    }
    steps: Commands = {
        "create": packages.create,
        "add": packages.add,
        "finalize": packages.finalize,
    }
    life: Commands = {
        "extend": retention.extend,
        "hold": retention.hold,
        "release": retention.release,
        "history": retention.history,
        "explain": retention.explain,
        "sweep": deletion.sweep,
        "gc": deletion.gc,
    }
    stored: Commands = {
        "verify": storage.verify,
        "repair": storage.repair,
        "copy": storage.copy,
        "orphans": storage.orphans,
    }
    upkeep: Commands = {
        "init": maintenance.init,
        "health": maintenance.health,
        "config": maintenance.config,
        "migrate": maintenance.migrate,
        "replay": maintenance.replay,
        "fsck": storage.fsck,
        "completion": maintenance.completion,
        "version": maintenance.version,
    }
    _add(root, evidence)
    for name, described, commands in (
        ("package", "Build a package step by step.", steps),
        ("retention", "How long packages are kept, and how they go.", life),
        ("storage", "The stored bytes: check, repair, copy them.", stored),
    ):
        group = typer.Typer(help=described, rich_markup_mode=None)
        _add(group, commands)
        root.add_typer(group, name=name)
    _add(root, upkeep)
    return root


def _add(group: typer.Typer, commands: Commands) -> None:
    for name, command in commands.items():
        group.command(name, cls=Command)(command)


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
        code: int | None = get_command(application()).main(
            arguments, prog_name=PROGRAM, standalone_mode=False, obj=invocation
        )
    except usage_error as error:
        command = PROGRAM if error.ctx is None else error.ctx.command_path
        raise InvalidInputError(
            " ".join(error.format_message().split()), hint=f"run `{command} --help`", code="usage"
        ) from None
    return code or 0
