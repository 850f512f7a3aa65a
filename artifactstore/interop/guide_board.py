"""Guide-board: one run directory becomes one package.

A runner that embeds the store calls `ingest_run`; `artifactstore guide-board ingest` does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.check import check_directory
from artifactstore.errors import ConflictError, StateError
from artifactstore.interop.guide_board_run import SLUG, Run, read_run, read_schema
from artifactstore.linkage.message import LinkageRequest
from artifactstore.model import FINALIZED, GARBAGE_COLLECTED
from artifactstore.packages import check_details

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from artifactstore.model import Package
    from artifactstore.store import Store

PRODUCER = "guide-board"
# The retention class by kind and verdict (`release/failed`), by kind, or for all others (`*`).
DEFAULT_CLASSES = {"release": "release-evidence", "*": "raw-evidence"}
_TOLD = 10  # differences of a kind


@dataclass(frozen=True, slots=True)
class IngestedRun:
    """What an ingest did.

    Args:
        package: the finalized package of the run.
        unchanged: True if the run was there already.
        link_id: of the message to State Hub, if there is one.
    """

    package: Package
    run_id: str
    verdict: str
    counts: Mapping[str, int]
    unchanged: bool
    link_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What would be stored of a run, and how.

    Args:
        linkage: whom State Hub is to tell of it, if anybody.
    """

    run: Run
    name: str
    subject: str
    retention_class: str
    linkage: LinkageRequest | None


def plan_run(
    run_dir: str | os.PathLike[str],
    *,
    retention_class: str | None = None,
    subject: str | None = None,
    classes: Mapping[str, str] | None = None,
    schema_file: str | os.PathLike[str] | None = None,
    workstream_id: str | None = None,
    task_id: str | None = None,
) -> RunPlan:
    """Check a run directory, and say how it would be stored. Changes nothing, and needs no store.

    Args:
        retention_class: this one, whatever the kind and the verdict are.
        subject: what the package is about; `<name>@<version>` of what was tested by default.
        classes: retention classes by `<kind>/<verdict>`, by `<kind>`, or for all others `*`; they add to
            `DEFAULT_CLASSES`.
        schema_file: another schema than that of the package.
        workstream_id, task_id: what the run belongs to in State Hub, if it is to be told.
    Raises:
        InvalidInputError: the run is missing, broken, still being written, or disagrees with its results, it
            has a file that no package takes, or an argument breaks a rule.
        StateError: a file is missing that the schema demands.
    """
    run = read_run(run_dir, read_schema(schema_file))
    policy = {**DEFAULT_CLASSES, **(classes or {})}
    kind = run.metadata["kind"]
    by_kind = policy.get(f"{kind}/{run.verdict}") or policy.get(kind) or policy["*"]
    said = check_details(
        f"{run.metadata['board']} {run.run_id}",
        PRODUCER,
        run.subject if subject is None else subject,
        by_kind if retention_class is None else retention_class,
        run.metadata,
        SLUG,
    )
    linkage = None
    if workstream_id is not None or task_id is not None:
        linkage = LinkageRequest(workstream_id, task_id, run.verdict, run.counts)
    return RunPlan(run, said.name, said.subject, said.retention_class, linkage)


def ingest_run(
    store: Store,
    run_dir: str | os.PathLike[str],
    *,
    actor: str,
    retention_class: str | None = None,
    subject: str | None = None,
    classes: Mapping[str, str] | None = None,
    schema_file: str | os.PathLike[str] | None = None,
    workstream_id: str | None = None,
    task_id: str | None = None,
) -> IngestedRun:
    """Store a run directory as one finalized package, in one transaction.

    The same run again changes nothing. With a workstream or a task, a message to State Hub is recorded in
    the same transaction; `state_hub.deliver` sends it. The schema is registered before, once all else is
    checked.

    Args:
        others: as in `plan_run`.
    Returns:
        The package, new or not.
    Raises:
        SourceChangedError: the run was written to meanwhile.
        ConflictError: the id of the run is in the store with other content; the message says what differs.
        StateError: the package of the run is collected.
        as `plan_run` and `Store.push`.
    """
    plan = plan_run(
        run_dir,
        retention_class=retention_class,
        subject=subject,
        classes=classes,
        schema_file=schema_file,
        workstream_id=workstream_id,
        task_id=task_id,
    )
    run, linkage = plan.run, plan.linkage
    store.retention_seconds(plan.retention_class)
    store.register_metadata_schema(SLUG, run.schema, actor=actor)
    try:
        result = store.push(
            run.directory,
            name=plan.name,
            producer=PRODUCER,
            subject=plan.subject,
            retention_class=plan.retention_class,
            actor=actor,
            metadata=run.metadata,
            metadata_schema=SLUG,
            idempotency_key=f"{PRODUCER}:{run.run_id}",
            expected=run.digests,
            linkage=linkage,
        )
    except (ConflictError, StateError) as error:
        if error.code not in {"idempotency-conflict", "collected"}:
            raise
        raise _taken(store, plan) from error
    package = result.package
    link_id = None
    if linkage is not None:
        link_id = store.request_linkage(package.package_id, linkage, actor=actor).link_id
    return IngestedRun(package, run.run_id, run.verdict, run.counts, result.unchanged, link_id)


def _taken(store: Store, plan: RunPlan) -> ConflictError | StateError:
    """The refusal of a run whose id was used already."""
    earlier = _earlier(store, plan.run.run_id)
    if earlier is None:
        return ConflictError(
            f"the idempotency key {PRODUCER}:{plan.run.run_id} was used by something that is no run",
            hint="give the run another id",
            code="run-differs",
        )
    if earlier.status == GARBAGE_COLLECTED:
        return StateError(
            f"the run {plan.run.run_id} was stored as package {earlier.package_id}, which is collected: its"
            " bytes are gone",
            hint="a run is stored once: give a new run its own id, or keep the files of this one with"
            " `artifactstore push`",
            code="run-collected",
        )
    return ConflictError(
        f"the run {plan.run.run_id} is package {earlier.package_id} already, with other content:"
        f" {'; '.join(_differences(store, earlier, plan))}",
        hint="a run is never changed: give a new run its own id",
        code="run-differs",
    )


def _earlier(store: Store, run_id: str) -> Package | None:
    """The package of a run, be it collected or not."""
    for status in (FINALIZED, GARBAGE_COLLECTED):
        page = store.list_packages(producer=PRODUCER, status=status, metadata={"run_id": run_id}, limit=1)
        if page.items:
            return page.items[0]
    return None


def _differences(store: Store, earlier: Package, plan: RunPlan) -> list[str]:
    found = []
    for name in ("name", "subject", "retention_class"):
        was, now = getattr(earlier, name), getattr(plan, name)
        if was != now:
            found.append(f"{name.replace('_', ' ')} {was!r}, now {now!r}")
    said = plan.run.metadata
    keys = sorted(key for key in {*earlier.metadata, *said} if earlier.metadata.get(key) != said.get(key))
    if keys:
        found.append(f"metadata {_some(keys)}")
    compared = check_directory(store.get_manifest(earlier.package_id), plan.run.directory)
    for what, paths in (
        ("changed", compared.changed),
        ("missing", compared.missing),
        ("added", compared.unlisted),
    ):
        if paths:
            found.append(f"files {what}: {_some(list(paths))}")
    return found or ["the schema or the way it was stored"]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"{', '.join(names[:_TOLD])}{more}"
