"""Commands for guide-board runs: store one, and tell State Hub of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from artifactstore.cli import exit_codes, options
from artifactstore.cli.columns import Column, Fact
from artifactstore.cli.text import moment_text
from artifactstore.errors import ArtifactStoreError, InvalidInputError, SettingsError
from artifactstore.fields import check_label
from artifactstore.moment import format_moment, system_clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.cli.invocation import Invocation
    from artifactstore.interop.guide_board import IngestedRun, RunPlan
    from artifactstore.interop.state_hub import StateHub
    from artifactstore.model import Linkage
    from artifactstore.store import Store

LINKAGE_COLUMNS: tuple[Column[Linkage], ...] = (
    Column("LINK", lambda link: link.link_id),
    Column("PACKAGE", lambda link: link.package_id),
    Column("WORKSTREAM", lambda link: link.workstream_id or ""),
    Column("TASK", lambda link: link.task_id or ""),
    Column("STATE", lambda link: link.state),
    Column("ATTEMPTS", lambda link: str(link.attempts), right=True),
    Column(
        "RETRY",
        lambda link: "" if link.retry_at is None else format_moment(link.retry_at),
        lambda link: "" if link.retry_at is None else moment_text(link.retry_at),
    ),
    Column("FAILURE", lambda link: link.failure or ""),
)


def ingest(
    context: options.Context,
    run_dir: Annotated[str, typer.Argument(metavar="RUN_DIR", help="The directory of a finished run.")],
    retention_class: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS", help="Decides how long it is kept.", show_default="by the kind of the run"
        ),
    ] = None,
    class_for: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=CLASS",
            help="The class of a kind of runs, of KIND/VERDICT, or of all others (*); repeatable.",
        ),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the evidence is about.", show_default="NAME@VERSION"),
    ] = None,
    workstream: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Tell State Hub.", show_default="$STATE_HUB_WORKSTREAM_ID"),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="ID", help="Tell State Hub.", show_default="$STATE_HUB_TASK_ID")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the run, say what would be stored, and store nothing.")
    ] = False,
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """Store a run directory of a guide-board as a finalized package.

    Prints the package's id and its manifest's digest. The same run again changes nothing; a run id with
    other content is refused. Afterwards State Hub is told what it is due, if STATE_HUB_URL is set.
    """
    from artifactstore.app import require_retention_class
    from artifactstore.interop.guide_board import ingest_run, plan_run

    run = options.invocation(context)
    settings = run.local_settings()
    hub = _hub(run)
    said: dict[str, Any] = {
        "retention_class": retention_class,
        "subject": subject,
        "classes": _classes(class_for),
        "schema_file": settings.guide_board_schema,
        "workstream_id": None if hub is None else workstream or settings.state_hub_workstream_id,
        "task_id": None if hub is None else task or settings.state_hub_task_id,
    }
    # All of it is checked before a store is made for it.
    who = check_label(options.actor_name(actor), field="actor")
    plan = plan_run(run_dir, **said)
    require_retention_class(settings, plan.retention_class)
    if dry_run:
        _tell_plan(run, plan, as_json=as_json)
        return
    if hub is None and (workstream or task):
        run.note("warning: State Hub is not told, since STATE_HUB_URL is not set")
    with run.local_store(create=True) as store:
        ingested = ingest_run(store, run_dir, actor=who, **said)
        if hub is not None:
            _deliver_quietly(run, store, hub, who)
    _tell(run, ingested, as_json=as_json)


def link(
    context: options.Context,
    retry: Annotated[bool, typer.Option("--retry", help="Deliver what is due.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --retry: also what is not due yet. Else: also what arrived.")
    ] = False,
    actor: options.Actor = None,
    as_json: options.Json = False,
    as_lines: options.Jsonl = False,
) -> None:
    """List what State Hub is still to be told, or deliver it.

    Exit code 7 if something was tried and did not arrive.
    """
    run = options.invocation(context)
    failed = False
    if retry:
        from artifactstore.interop.state_hub import deliver

        hub = _hub(run)
        if hub is None:
            raise SettingsError("there is no State Hub to tell", hint="set STATE_HUB_URL")
        with run.local_store() as store:
            tried = deliver(
                store, hub, actor=options.actor_name(actor), now=system_clock(), everything=everything
            )
        failed = any(not delivery.delivered for delivery in tried)
        found = tuple(delivery.linkage for delivery in tried)
    else:
        with run.local_store() as store:
            found = store.list_linkages(undelivered=not everything)
    run.output.listing(found, LINKAGE_COLUMNS, as_json=as_json, as_lines=as_lines)
    if failed:
        raise typer.Exit(exit_codes.BACKEND)


def _hub(run: Invocation) -> StateHub | None:
    url = run.settings().state_hub_url
    if url is None:
        return None
    from artifactstore.interop.state_hub import StateHub

    return StateHub(url)


def _deliver_quietly(run: Invocation, store: Store, hub: StateHub, actor: str) -> None:
    """Whatever happens here, the run is stored."""
    from artifactstore.interop.state_hub import deliver

    try:
        tried = deliver(store, hub, actor=actor, now=system_clock())
    except ArtifactStoreError as error:
        run.note(f"warning: State Hub was not told: {error.message}")
        return
    failures = [str(delivery.linkage.failure) for delivery in tried if not delivery.delivered]
    if failures:
        times = f" {len(failures)} messages" if len(failures) > 1 else ""
        run.note(
            f"warning: State Hub was not told{times}: {', '.join(dict.fromkeys(failures))};"
            " `artifactstore guide-board link --retry` tries again"
        )


def _classes(texts: list[str] | None) -> dict[str, str]:
    found = {}
    for text in texts or ():
        kind, separator, retention_class = text.partition("=")
        if not separator or not kind or not retention_class:
            raise InvalidInputError(f"not KIND=CLASS: {text[:80]!a}", code="usage")
        found[kind] = retention_class
    return found


def _tell(run: Invocation, ingested: IngestedRun, *, as_json: bool) -> None:
    package = ingested.package
    if as_json:
        run.output.document(ingested)
    elif run.brief:
        run.output.line(f"{package.package_id} {package.manifest_digest}")
    else:
        run.output.record(
            [
                Fact("package", package.package_id),
                Fact("manifest", str(package.manifest_digest)),
                Fact("run", ingested.run_id),
                Fact("verdict", f"{ingested.verdict} ({_counts(ingested.counts)})"),
                Fact("class", package.retention_class),
                Fact("stored", "it was there already" if ingested.unchanged else "new"),
            ]
        )


def _tell_plan(run: Invocation, plan: RunPlan, *, as_json: bool) -> None:
    if as_json:
        said = {name: getattr(plan, name) for name in ("name", "subject", "retention_class")}
        run.output.document({**said, "metadata": plan.run.metadata})
        return
    run.output.record(
        [
            Fact("run", plan.run.run_id),
            Fact("name", plan.name),
            Fact("subject", plan.subject),
            Fact("class", plan.retention_class),
            Fact("verdict", f"{plan.run.verdict} ({_counts(plan.run.counts)})"),
        ]
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
