"""Commands for CI jobs: store what a job has made, and ask whether what is needed is there."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artifactstore.cli import exit_codes, facts, options
from artifactstore.cli.columns import Column
from artifactstore.cli.metadata import collected
from artifactstore.cli.packages import answer, note_leftovers, selection_of
from artifactstore.errors import AccessError, ArtifactStoreError
from artifactstore.facts import members
from artifactstore.paths import printable

if TYPE_CHECKING:
    from artifactstore.interop.ci import CiRun
    from artifactstore.interop.ci_gate import KindResult

_COLUMNS: tuple[Column[KindResult], ...] = (
    Column("KIND", lambda kind: kind.slug),
    Column("VERDICT", lambda kind: "missing" if kind.package_id is None else "found"),
    Column("PACKAGE", lambda kind: kind.package_id or "-"),
    Column("REASON", lambda kind: "" if kind.package_id else "; ".join(kind.reasons)),
)


def _told(what: str) -> Any:
    """An option that stands for what the CI system did not say."""
    return typer.Option(metavar="TEXT", help=what, show_default="what the CI system says")


def push(
    context: options.Context,
    directory: options.Directory,
    name: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What a person calls it.", show_default="the directory's name"),
    ] = None,
    producer: options.Producer = "ci",
    subject: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the evidence is about.", show_default="REPOSITORY@COMMIT"),
    ] = None,
    retention_class: options.RetentionClass = "raw-evidence",
    actor: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Who makes this call.", show_default="the CI system"),
    ] = None,
    metadata: options.MetadataPairs = None,
    metadata_file: options.MetadataFile = None,
    schema: options.MetadataSchema = None,
    repository: Annotated[str | None, _told("Path of the repository on its host.")] = None,
    commit: Annotated[str | None, _told("The commit that the job works on.")] = None,
    ref: Annotated[str | None, _told("Its branch or tag.")] = None,
    job: Annotated[str | None, _told("The job.")] = None,
    run_id: Annotated[str | None, _told("The run, pipeline or build.")] = None,
    attempt: Annotated[str | None, _told("Which try of the job this is.")] = None,
    run_url: Annotated[str | None, _told("Where people can see the run.")] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Append NAME=VALUE lines for later steps.", show_default="$GITHUB_OUTPUT"
        ),
    ] = None,
    summary: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Append a table in Markdown.", show_default="$GITHUB_STEP_SUMMARY"),
    ] = None,
    symlinks: options.Symlinks = "error",
    exclude: options.Exclude = None,
    include: options.Include = None,
    skip_unsafe: options.SkipUnsafe = False,
    as_json: options.Json = False,
) -> None:
    """Store a directory as the evidence of a CI job, and print the id of the package.

    The same attempt of the same job again returns the first package. Outside of the CI systems that are
    known, git says which commit it is, and --run-id makes retries harmless.
    """
    from artifactstore.environment import chosen_environment
    from artifactstore.ingest import open_directory
    from artifactstore.interop.ci import (
        describe_run,
        find_system,
        outputs_of,
        push_from_ci,
        summary_of,
        variables_read,
        with_corrections,
    )

    run = options.invocation(context)
    environment = chosen_environment(variables_read())
    system = find_system(environment)
    said = {
        "repository": repository,
        "commit": commit,
        "ref": ref,
        "job": job,
        "run_id": run_id,
        "attempt": attempt,
        "run_url": run_url,
    }
    ci_run = _completed(with_corrections(describe_run(environment), said), directory)
    described = collected(metadata, metadata_file)
    about = ci_run.subject() if subject is None else subject
    # Looked at before a store is made for it.
    os.close(open_directory(directory))
    with run.store(create=True) as store, run.progress() as progress:
        result = push_from_ci(
            store,
            directory,
            ci_run,
            name=os.path.basename(os.path.abspath(directory)) if name is None else name,
            producer=producer,
            retention_class=retention_class,
            actor=ci_run.system if actor is None else actor,
            subject=about,
            metadata=described,
            metadata_schema=schema,
            selection=selection_of(symlinks, exclude, include, skip_unsafe=skip_unsafe),
            on_progress=progress.on_progress,
        )
    note_leftovers(run, result.ingest)
    if system is not None:
        outputs = outputs or environment.get(system.outputs or "")
        summary = summary or environment.get(system.summary or "")
    for path, text in ((outputs, outputs_of(result)), (summary, summary_of(result))):
        if path:
            _append(path, text)
    answer(run, result, facts.push_summary(result), result.package.package_id, as_json=as_json)


def gate(
    context: options.Context,
    subject: options.Subject,
    require: Annotated[
        list[str],
        typer.Option(metavar="SLUG", help="Metadata schema of the evidence that is needed; repeatable."),
    ],
    newer_than: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Take only what was finalized since, such as 7d."),
    ] = None,
    producer: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Take only packages of this tool.")
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Fail unless there is finalized, intact evidence of every required kind about a subject.

    Every file of the packages that it relies on is read and compared with its digest. Exits with 5, and says
    why, if evidence is missing.
    """
    from artifactstore.interop.ci_gate import judge
    from artifactstore.lifecycle.durations import parse_duration
    from artifactstore.moment import system_clock

    run = options.invocation(context)
    age = None if newer_than is None else parse_duration(newer_than)
    with run.store() as store:
        result = judge(
            store,
            subject=subject,
            required=require,
            now=system_clock(),
            newer_than=age,
            producer=producer,
        )
    if as_json:
        run.output.document({"passed": result.passed, **members(result)})
    else:
        run.output.table(result.kinds, _COLUMNS)
    return exit_codes.OK if result.passed else exit_codes.REFUSED


def _completed(run: CiRun, directory: str) -> CiRun:
    """The run; what its CI system does not say about the commit, git may know."""
    from artifactstore.interop.git_repository import Repository

    if run.repository is not None and run.commit is not None:
        return run
    try:
        checkout = Repository(directory)
        return replace(
            run,
            repository=run.repository or checkout.name(),
            commit=run.commit or checkout.commit().commit_id,
            ref=run.ref or checkout.branch(),
        )
    except ArtifactStoreError:
        return run  # the subject may be said without it


def _append(path: str, text: str) -> None:
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except PermissionError as error:
        raise AccessError(f"cannot write {printable(path)}: permission denied") from error
    except (OSError, ValueError) as error:
        raise ArtifactStoreError(
            f"the package is stored, but {printable(path)} cannot be written", code="output-failed"
        ) from error
