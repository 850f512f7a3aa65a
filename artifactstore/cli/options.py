"""The arguments and options that several commands share, each named and explained once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer.core import TyperCommand

from artifactstore.cli.invocation import Invocation

if TYPE_CHECKING:
    from typer._click.core import Context as AnyContext
    from typer._click.core import Parameter

Context = typer.Context


def invocation(context: typer.Context) -> Invocation:
    """The run of the program that a command belongs to."""
    return context.find_root().ensure_object(Invocation)


# Global options


def _remember(context: typer.Context, parameter: typer.CallbackParam, value: object) -> None:
    """Note what a global option says; called for each of them, given or not."""
    if value is None or value is False or value == 0:
        return
    run = invocation(context)
    match parameter.name:
        case "database":
            run.overrides["ARTIFACTSTORE_DATABASE_URL"] = str(value)
        case "root":
            run.overrides["ARTIFACTSTORE_STORAGE_LOCAL_ROOT"] = str(value)
        case "api_url":
            run.overrides["ARTIFACTSTORE_API_URL"] = str(value)
        case "api_token":
            run.overrides["ARTIFACTSTORE_API_TOKEN"] = str(value)
        case "no_progress":
            run.overrides["ARTIFACTSTORE_NO_PROGRESS"] = "true"
        case "env_file":
            run.env_file = str(value)
        case "quiet":
            run.quiet = True
        case "verbose" if isinstance(value, int):
            run.verbosity += value
        case "version":
            _print_version(run)


def _print_version(run: Invocation) -> None:
    from artifactstore.version import __version__

    run.output.line(__version__)
    raise typer.Exit


def global_options(
    database: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Database of the store.", callback=_remember, expose_value=False),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Root of the store's objects.", callback=_remember, expose_value=False
        ),
    ] = None,
    api_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Work on the store behind this HTTP API instead.",
            callback=_remember,
            expose_value=False,
        ),
    ] = None,
    api_token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="Bearer token for it; others see it in the list of processes, the environment is better.",
            callback=_remember,
            expose_value=False,
        ),
    ] = None,
    env_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Read this instead of ./.env.", callback=_remember, expose_value=False
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="The answer only.", callback=_remember, expose_value=False),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            metavar="",
            help="Log more; twice: tracebacks too.",
            callback=_remember,
            expose_value=False,
        ),
    ] = 0,
    no_progress: Annotated[
        bool,
        typer.Option("--no-progress", help="No progress line.", callback=_remember, expose_value=False),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_remember,
            expose_value=False,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Keep evidence: content-addressed packages with manifests, retention and an append-only event log."""


class Command(TyperCommand):
    """A command that takes the global options too: they may stand before or after its name."""

    def get_params(self, ctx: AnyContext) -> list[Parameter]:
        """Its own parameters, then the global ones."""
        *own, help_option = super().get_params(ctx)
        everywhere = (each for each in ctx.find_root().command.params if each.name != "version")
        return [*own, *everywhere, help_option]


# How to answer

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]
Jsonl = Annotated[bool, typer.Option("--jsonl", help="Answer with one JSON object a line.")]

# What to act upon

PackageId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of a package, or a unique prefix of at least 4 digits.")
]
Directory = Annotated[str, typer.Argument(metavar="DIR", help="The directory of evidence.")]
OutputFile = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a new file; - is stdout.")
]

# What is said about a package

Producer = Annotated[str, typer.Option(metavar="TEXT", help="The tool that made the evidence.")]
Subject = Annotated[str, typer.Option(metavar="TEXT", help="What the evidence is about.")]
RetentionClass = Annotated[str, typer.Option(metavar="CLASS", help="Decides how long it is kept.")]
Actor = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Who makes this call.", show_default="the name of the user"),
]
MetadataPairs = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="KEY=VALUE", help="An entry of the metadata, as text; repeatable."),
]
MetadataFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="A JSON object with entries of the metadata; - reads stdin."),
]
MetadataSchema = Annotated[
    str | None,
    typer.Option("--schema", metavar="SLUG", help="A registered schema that the metadata keeps to."),
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="The same key again returns the first result and adds nothing."),
]

# Which files of a directory are taken

Symlinks = Annotated[
    Literal["error", "skip", "follow"],
    typer.Option(help="Refuse links, leave them out, or take what they point to inside the directory."),
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Leave out what matches; repeatable.")
]
Include = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Take only files that match; repeatable.")
]
SkipUnsafe = Annotated[
    bool, typer.Option("--skip-unsafe", help="Leave out what breaks a rule instead of refusing it all.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Read files again that look as they did when they were last read.")
]


# Before something is deleted

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")]


def actor_name(given: str | None) -> str:
    """Who makes the call: the given name, else that of the user whom the process runs as."""
    if given is not None:
        return given
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"
