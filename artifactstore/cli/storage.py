"""Commands about the stored bytes: `storage verify`, `repair`, `copy`, `orphans`, and `fsck`."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from artifactstore.cli import options
from artifactstore.cli.columns import Column
from artifactstore.cli.confirmation import confirm, is_to_be_asked
from artifactstore.cli.exit_codes import FINDINGS
from artifactstore.cli.facts import record_of
from artifactstore.cli.object_facts import OBJECT_COLUMNS, Named, ObjectRow, blake3_text, damage_rows
from artifactstore.cli.quantities import parse_shard, parse_share, parse_size
from artifactstore.cli.text import count_text, size_text
from artifactstore.facts import members, plain

if TYPE_CHECKING:
    from artifactstore.lifecycle.fsck import Finding
    from artifactstore.lifecycle.orphans import Orphan

Backend = Annotated[
    str | None, typer.Option(metavar="ID", help="Which backend.", show_default="the one that ingest uses")
]


def verify(
    context: options.Context,
    backend: Backend = None,
    max_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Stop after so much: 10GiB, 500MB or bytes.")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Stop after so long: 1h, 30m.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Only what was not verified for so long: 30d.")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Only a part, chosen anew each time: 5% or 0.05.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only part I of N, for processes that verify beside each other."),
    ] = None,
    package: Annotated[
        str | None, typer.Option(metavar="ID", help="Only the objects of this package.")
    ] = None,
    failed_only: Annotated[
        bool, typer.Option("--failed-only", help="Only what an earlier verify found damaged.")
    ] = False,
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """Read stored objects again, compare both digests, and record what was found.

    The longest unverified come first. Lists what is damaged with the packages that it hurts, and then
    exits with 3.
    """
    from artifactstore.lifecycle.durations import parse_duration

    run = options.invocation(context)
    size = None if max_bytes is None else parse_size(max_bytes)
    seconds = None if max_time is None else parse_duration(max_time)
    age = None if older_than is None else parse_duration(older_than)
    share = None if sample is None else parse_share(sample)
    part = None if shard is None else parse_shard(shard)
    with run.local_store() as store:
        with run.progress() as progress:
            result = store.verify(
                actor=options.actor_name(actor),
                backend=backend,
                package=package,
                max_bytes=size,
                max_seconds=seconds,
                older_than=age,
                sample=share,
                shard=part,
                failed_only=failed_only,
                on_progress=progress.on_objects,
            )
        damages = tuple(map(Named(store).damage, result.failures))
    if as_json:
        run.output.document({**members(result), "failures": plain(damages)})
    else:
        run.output.table(damage_rows("damaged", damages), OBJECT_COLUMNS)
        end = "" if result.complete else "; the budget is used up, the rest comes first the next time"
        run.note(
            f"{count_text(result.object_count, 'object')} read, {size_text(result.size)},"
            f" {count_text(result.location_count, 'location')}: {len(damages)} damaged{end}"
        )
        if result.relocked_count:
            again = count_text(result.relocked_count, "object")
            run.note(f"{again} locked less than the log says: locked again")
    if damages:
        raise typer.Exit(FINDINGS)


def repair(
    context: options.Context,
    backend: Backend = None,
    directory: Annotated[
        str | None,
        typer.Option("--from", metavar="DIR", help="Also look for the bytes here; matched by digest."),
    ] = None,
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """Give damaged objects their bytes again, from another backend or from a directory.

    A damaged object is set aside, never overwritten. Lists what was healed and what was not, with the
    packages and holds that it hurts, and then exits with 3.
    """
    run = options.invocation(context)
    with run.local_store() as store:
        result = store.repair(actor=options.actor_name(actor), backend=backend, directory=directory)
        damages = tuple(map(Named(store).damage, (each.failure for each in result.unhealed)))
    if as_json:
        run.output.document({**members(result), "unhealed": plain(damages)})
    else:
        healed = (
            ObjectRow("healed", blake3_text(each.blake3), each.backend_id, each.origin)
            for each in result.healed
        )
        run.output.table(chain(healed, damage_rows("unhealed", damages)), OBJECT_COLUMNS)
        run.note(f"{len(result.healed)} healed, {len(damages)} not")
    if damages:
        raise typer.Exit(FINDINGS)


def copy(
    context: options.Context,
    source: Annotated[str, typer.Option("--from", metavar="ID", help="Backend that has the objects.")],
    target: Annotated[str, typer.Option("--to", metavar="ID", help="Backend that shall have them too.")],
    package: Annotated[str | None, typer.Option(metavar="ID", help="Only this package.")] = None,
    producer: Annotated[str | None, typer.Option(metavar="TEXT", help="Only packages of this tool.")] = None,
    retention_class: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Only packages of this retention class.")
    ] = None,
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """Put the objects of packages into another backend too; reads fall back to it.

    What is there already is not written again. Lists what is damaged in the source with the packages that
    it hurts, copies the rest, and then exits with 3.
    """
    run = options.invocation(context)
    with run.local_store() as store:
        result = store.copy(
            source=source,
            target=target,
            actor=options.actor_name(actor),
            package=package,
            producer=producer,
            retention_class=retention_class,
        )
        damages = tuple(map(Named(store).damage, result.failures))
    if as_json:
        run.output.document({**members(result), "failures": plain(damages)})
    else:
        run.output.record(fact for fact in record_of(result) if fact.name != "failures")
        run.output.table(damage_rows("damaged", damages), OBJECT_COLUMNS)
    if damages:
        raise typer.Exit(FINDINGS)


def adopt(
    context: options.Context,
    backend: Annotated[str, typer.Option(metavar="ID", help="Which backend.")],
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Take the place of a backend over, whoever it belonged to.

    For a marker that is lost, or a prefix that another store gives up. What lies there and is not in this
    store's log counts as orphaned from then on.
    """
    run = options.invocation(context)
    asking = is_to_be_asked(yes=yes, doing="this takes a place over")
    with run.local_store() as store:
        if asking:
            confirm(run, f"make the place of backend {backend} this store's, whoever it belonged to")
        owner = store.adopt_backend(backend)
    if as_json:
        run.output.document({"backend": backend, "former_owner": owner, "owner": str(store.store_id)})
    else:
        run.note(f"the backend {backend} belonged to {owner or 'no store'}; now it is this store's")


def orphans(
    context: options.Context,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete them, and what dead processes left.")
    ] = False,
    older_than: Annotated[
        str,
        typer.Option(metavar="DURATION", help="Leave younger objects alone: an ingest may need them."),
    ] = "24h",
    yes: options.Yes = False,
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """Find objects that no location names, and locations that have no object.

    Exits with 3 if an object is missing that a location names.
    """
    from artifactstore.lifecycle.durations import parse_duration

    run = options.invocation(context)
    seconds = parse_duration(older_than)
    asking = delete and is_to_be_asked(yes=yes)
    name = options.actor_name(actor)
    with run.local_store() as store:
        if asking:
            found = store.orphans(actor=name, older_than=seconds)
            if found.orphans or found.stale_count:
                size = size_text(sum(each.size for each in found.orphans))
                confirm(
                    run,
                    f"delete {count_text(len(found.orphans), 'object')} that no location names, {size},"
                    f" and {count_text(found.stale_count, 'dead staging folder')}",
                )
        result = store.orphans(actor=name, delete=delete, older_than=seconds)
        missing = tuple(map(Named(store).damage, result.missing))
    if as_json:
        run.output.document({**members(result), "missing": plain(missing)})
    else:
        rows = (
            ObjectRow(_orphan_state(each), blake3_text(each.blake3), each.backend_id, size_text(each.size))
            for each in result.orphans
        )
        run.output.table(chain(rows, damage_rows("missing", missing)), OBJECT_COLUMNS)
        run.note(
            f"{count_text(len(result.orphans), 'orphan')}, {result.protected_count} too young to judge,"
            f" {len(missing)} missing, {count_text(result.stale_count, 'dead staging folder')}"
        )
    if missing:
        raise typer.Exit(FINDINGS)


def _orphan_state(orphan: Orphan) -> str:
    if orphan.deleted:
        return "deleted"
    return "released" if orphan.pending else "orphan"


_FINDING_COLUMNS: tuple[Column[Finding], ...] = (
    Column("PART", lambda finding: finding.part),
    Column("WHAT", lambda finding: finding.what),
)


def fsck(
    context: options.Context,
    read: Annotated[bool, typer.Option("--read", help="Read all objects and compare their digests.")] = False,
    as_json: options.Json = False,
) -> None:
    """Check that log, views, objects and manifests agree; changes nothing.

    Lists what does not, and then exits with 3.
    """
    run = options.invocation(context)
    with run.local_store() as store:
        result = store.fsck(read=read)
    if as_json:
        run.output.document({"clean": result.clean, **members(result)})
    else:
        run.output.table(result.findings, _FINDING_COLUMNS)
        run.note(
            f"{'clean' if result.clean else count_text(len(result.findings), 'finding')}:"
            f" {count_text(result.event_count, 'event')}, {count_text(result.package_count, 'package')},"
            f" {count_text(result.location_count, 'location')}"
        )
        if any(finding.part == "views" for finding in result.findings):
            run.note("`artifactstore replay` rebuilds the views")
    if not result.clean:
        raise typer.Exit(FINDINGS)
