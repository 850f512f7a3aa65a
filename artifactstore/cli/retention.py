"""Commands about the retention of one package: `extend`, `hold`, `release`, `history`, `explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from artifactstore.cli import life_facts, options
from artifactstore.cli.columns import Fact
from artifactstore.errors import InvalidInputError
from artifactstore.moment import format_moment, parse_moment

if TYPE_CHECKING:
    from artifactstore.cli.invocation import Invocation
    from artifactstore.model import Hold


def extend(
    context: options.Context,
    package: options.PackageId,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Keep it until then: 2030-12-31 or RFC 3339.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Keep it so much longer: 90d, 7y, 2h30m, P90D.")
    ] = None,
    for_ever: Annotated[bool, typer.Option("--forever", help="Keep it for ever.")] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why.")] = None,
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """Keep a finalized package longer, and print its new expiry.

    Retention only grows: an earlier expiry is refused.
    """
    from artifactstore.lifecycle.durations import parse_duration

    run = options.invocation(context)
    if (until is not None) + (by is not None) + for_ever != 1:
        raise InvalidInputError("give one of --until, --by and --forever", code="usage")
    instant = None if until is None else parse_moment(until)
    seconds = None if by is None else parse_duration(by)
    with run.store() as store:
        state = store.extend_retention(
            package,
            actor=options.actor_name(actor),
            until=instant,
            by=seconds,
            for_ever=for_ever,
            reason=reason,
        )
    if as_json:
        run.output.document(state)
    elif run.brief:
        run.output.line("never" if state.expires_at is None else format_moment(state.expires_at))
    else:
        run.output.record(
            [
                Fact("package", f"{state.name} ({state.package_id})"),
                Fact("expires", life_facts.expiry_text(state)),
            ]
        )


def hold(
    context: options.Context,
    package: options.PackageId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it may not be deleted.")],
    authority: Annotated[str | None, typer.Option(metavar="TEXT", help="Who ordered it.")] = None,
    case: Annotated[str | None, typer.Option(metavar="TEXT", help="Under which case.")] = None,
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """Forbid the deletion of a package, and print the id of the hold.

    A package may have several holds; each is released by its id.
    """
    run = options.invocation(context)
    with run.store() as store:
        applied = store.apply_hold(
            package, reason=reason, actor=options.actor_name(actor), authority=authority, case_id=case
        )
    _answer(run, applied, as_json=as_json)


def release(
    context: options.Context,
    package: options.PackageId,
    hold: Annotated[str, typer.Argument(metavar="HOLD", help="Id of the hold.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is over.")],
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """End one hold of a package; others go on."""
    run = options.invocation(context)
    with run.store() as store:
        released = store.release_hold(package, hold, reason=reason, actor=options.actor_name(actor))
    _answer(run, released, as_json=as_json)


def history(
    context: options.Context,
    package: options.PackageId,
    as_json: options.Json = False,
    as_lines: options.Jsonl = False,
) -> None:
    """List everything that ever touched the retention of a package, oldest first."""
    from artifactstore.event_log import to_json

    run = options.invocation(context)
    with run.store() as store:
        found = store.retention_history(package)
    if as_json or as_lines:
        run.output.listing(map(to_json, found), (), as_json=as_json, as_lines=as_lines)
    else:
        run.output.table(found, life_facts.HISTORY_COLUMNS)


def explain(
    context: options.Context,
    package: options.PackageId,
    as_json: options.Json = False,
) -> None:
    """Say in plain words why a package is kept, until when, and what would happen to it now."""
    run = options.invocation(context)
    with run.store() as store:
        found = store.explain_retention(package)
    if as_json:
        run.output.document(found)
        return
    state = found.state
    run.output.record(
        [
            Fact("package", f"{state.name} ({state.package_id})"),
            Fact("status", state.status),
            *life_facts.retention_facts(found),
            Fact("sweep_would", found.sweep),
            Fact("gc_would", found.gc),
        ]
    )


def _answer(run: Invocation, hold: Hold, *, as_json: bool) -> None:
    if as_json:
        run.output.document(hold)
    elif run.brief:
        run.output.line(hold.hold_id)
    else:
        run.output.record(life_facts.hold_facts(hold))
