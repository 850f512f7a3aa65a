"""Commands that store evidence: `push`, and `package create`, `add`, `finalize` to do it step by step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from artifactstore.cli import facts, options
from artifactstore.cli.metadata import collected
from artifactstore.cli.source import STANDARD_INPUT, standard_input
from artifactstore.errors import InvalidInputError

if TYPE_CHECKING:
    from artifactstore.cli.columns import Fact
    from artifactstore.cli.invocation import Invocation
    from artifactstore.results import IngestResult
    from artifactstore.scan import Selection


def push(
    context: options.Context,
    directory: options.Directory,
    producer: options.Producer,
    subject: options.Subject,
    name: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What a person calls it.", show_default="the directory's name"),
    ] = None,
    retention_class: options.RetentionClass = "raw-evidence",
    actor: options.Actor = None,
    metadata: options.MetadataPairs = None,
    metadata_file: options.MetadataFile = None,
    schema: options.MetadataSchema = None,
    symlinks: options.Symlinks = "error",
    exclude: options.Exclude = None,
    include: options.Include = None,
    skip_unsafe: options.SkipUnsafe = False,
    no_cache: options.NoCache = False,
    if_changed: Annotated[
        bool,
        typer.Option(
            "--if-changed",
            help="Return a package of this producer, subject and class with the same files, if there is one.",
        ),
    ] = False,
    idempotency_key: options.IdempotencyKey = None,
    as_json: options.Json = False,
) -> None:
    """Store a directory as a finalized package.

    Prints the id of the package; on a terminal also what was stored.
    """
    from artifactstore.ingest import open_directory

    run = options.invocation(context)
    described = collected(metadata, metadata_file)
    selection = selection_of(symlinks, exclude, include, skip_unsafe=skip_unsafe)
    # Looked at before a store is made for it.
    os.close(open_directory(directory))
    with run.store(create=True) as store, run.progress() as progress:
        result = store.push(
            directory,
            name=os.path.basename(os.path.abspath(directory)) if name is None else name,
            producer=producer,
            subject=subject,
            retention_class=retention_class,
            actor=options.actor_name(actor),
            metadata=described,
            metadata_schema=schema,
            selection=selection,
            cache=not no_cache,
            if_changed=if_changed,
            idempotency_key=idempotency_key,
            on_progress=progress.on_progress,
        )
    note_leftovers(run, result.ingest)
    answer(run, result, facts.push_summary(result), result.package.package_id, as_json=as_json)


def create(
    context: options.Context,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What a person calls it.")],
    producer: options.Producer,
    subject: options.Subject,
    retention_class: options.RetentionClass = "raw-evidence",
    actor: options.Actor = None,
    metadata: options.MetadataPairs = None,
    metadata_file: options.MetadataFile = None,
    schema: options.MetadataSchema = None,
    idempotency_key: options.IdempotencyKey = None,
    as_json: options.Json = False,
) -> None:
    """Open a package that files can be added to, and print its id."""
    run = options.invocation(context)
    described = collected(metadata, metadata_file)
    with run.store(create=True) as store:
        package_id = store.create_package(
            name=name,
            producer=producer,
            subject=subject,
            retention_class=retention_class,
            actor=options.actor_name(actor),
            metadata=described,
            metadata_schema=schema,
            idempotency_key=idempotency_key,
        )
        package = store.get_package(package_id)
    answer(run, package, facts.record_of(package), package_id, as_json=as_json)


def add(
    context: options.Context,
    package: options.PackageId,
    path: Annotated[
        str | None,
        typer.Argument(metavar="PATH", help="Name of the file in the package.", show_default=False),
    ] = None,
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="The file to read; - reads stdin.", show_default=False),
    ] = None,
    directory: Annotated[
        str | None, typer.Option(metavar="DIR", help="Add all files of a directory instead.")
    ] = None,
    media_type: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Media type of the file.", show_default="guessed from its name"),
    ] = None,
    executable: Annotated[
        bool | None,
        typer.Option(
            "--executable/--not-executable", help="Its executable bit.", show_default="that of the file"
        ),
    ] = None,
    actor: options.Actor = None,
    symlinks: options.Symlinks = "error",
    exclude: options.Exclude = None,
    include: options.Include = None,
    skip_unsafe: options.SkipUnsafe = False,
    no_cache: options.NoCache = False,
    idempotency_key: options.IdempotencyKey = None,
    as_json: options.Json = False,
) -> None:
    """Add one file, or all files of a directory, to an open package.

    Prints the digest of the file, or how many files were added.
    """
    run = options.invocation(context)
    selection = selection_of(symlinks, exclude, include, skip_unsafe=skip_unsafe)
    if directory is not None and path is None and media_type is None and executable is None:
        with run.store() as store, run.progress() as progress:
            result = store.ingest_directory(
                package,
                directory,
                actor=options.actor_name(actor),
                selection=selection,
                cache=not no_cache,
                idempotency_key=idempotency_key,
                on_progress=progress.on_progress,
            )
        note_leftovers(run, result)
        answer(run, result, facts.ingest_facts(result), str(result.file_count), as_json=as_json)
    elif directory is None and path is not None and source is not None and selection == selection_of():
        with run.store() as store:
            file = store.ingest_file(
                package,
                path,
                standard_input() if source == STANDARD_INPUT else source,
                actor=options.actor_name(actor),
                media_type=media_type,
                executable=executable,
                idempotency_key=idempotency_key,
            )
        answer(run, file, facts.record_of(file), str(file.digest), as_json=as_json)
    else:
        raise InvalidInputError(
            "give either PATH and SOURCE and what describes a file, or --directory and what selects files",
            hint="run `artifactstore package add --help`",
            code="usage",
        )


def finalize(
    context: options.Context,
    package: options.PackageId,
    actor: options.Actor = None,
    idempotency_key: options.IdempotencyKey = None,
    as_json: options.Json = False,
) -> None:
    """Seal a package, and print the digest of its manifest."""
    run = options.invocation(context)
    with run.store() as store:
        digest = store.finalize_package(
            package, actor=options.actor_name(actor), idempotency_key=idempotency_key
        )
        sealed = store.get_package(package)
    answer(run, sealed, facts.record_of(sealed), str(digest), as_json=as_json)


def answer(run: Invocation, value: object, told: list[Fact], bare: str, *, as_json: bool) -> None:
    """The whole value as JSON, the bare answer for scripts, or the facts for a person."""
    if as_json:
        run.output.document(value)
    elif run.brief:
        run.output.line(bare)
    else:
        run.output.record(told)


def selection_of(
    symlinks: str = "error",
    exclude: list[str] | None = None,
    include: list[str] | None = None,
    *,
    skip_unsafe: bool = False,
) -> Selection:
    """What the options say about the files of a directory."""
    from artifactstore.scan import Selection

    return Selection(
        symlinks=symlinks,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        skip_unsafe=skip_unsafe,
    )


def note_leftovers(run: Invocation, result: IngestResult) -> None:
    """Tell what was left out and what a person should know."""
    for file in result.skipped:
        run.note(f"skipped: {file.path}: {file.reason}")
    for warning in result.warnings:
        run.note(f"warning: {warning}")
