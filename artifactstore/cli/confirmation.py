"""Asking a person before something is deleted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from artifactstore.cli.exit_codes import FAILED
from artifactstore.cli.output import say
from artifactstore.errors import InvalidInputError

if TYPE_CHECKING:
    from artifactstore.cli.invocation import Invocation


def is_to_be_asked(*, yes: bool, doing: str = "this deletes") -> bool:
    """Whether somebody must be asked before anything is deleted.

    Args:
        doing: what the command does, for the error.
        yes: the caller has agreed in advance.
    Raises:
        InvalidInputError: nobody can be asked.
    """
    if yes:
        return False
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise InvalidInputError(
            f"{doing}, and without a terminal nobody can be asked", hint="say --yes", code="usage"
        )
    return True


def confirm(run: Invocation, deed: str) -> None:
    """Ask a person on the terminal and go on only after a yes.

    Args:
        deed: what will be done, as an order: `delete 3 packages`.
    Raises:
        typer.Exit: the answer was another one.
    """
    run.output.flush()
    say(f"about to {deed}")
    print("go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        say("nothing was done")
        raise typer.Exit(FAILED)
