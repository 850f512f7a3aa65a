"""Commands that let packages go: `retention sweep` marks them, `retention gc` deletes their bytes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from artifactstore.cli import life_facts, options
from artifactstore.cli.columns import Fact
from artifactstore.cli.confirmation import confirm, is_to_be_asked
from artifactstore.cli.output import say
from artifactstore.cli.text import count_text, moment_text, size_text
from artifactstore.errors import AccessError, BackendError, BusyError, IntegrityError, InvalidInputError
from artifactstore.facts import gc_document, members, plan_digest, plan_document
from artifactstore.local_files import read_whole
from artifactstore.moment import format_moment, system_clock
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactstore.any_store import AnyStore
    from artifactstore.cli.invocation import Invocation
    from artifactstore.lifecycle.gc_plan import GcPlan
    from artifactstore.results import SweepResult

AcceptClock = Annotated[
    bool,
    typer.Option("--accept-clock", help="Believe a clock more than a year past the newest event."),
]

_PLAN_MAX = 1 << 30  # bytes; a plan of a million packages has some 400 MB


# Sweep


def sweep(
    context: options.Context,
    abandoned_after: Annotated[
        str,
        typer.Option(metavar="DURATION", help="Report open packages that nobody touched for so long."),
    ] = "30d",
    mark_abandoned: Annotated[
        bool, typer.Option("--mark-abandoned", help="Mark those as eligible too.")
    ] = False,
    accept_clock: AcceptClock = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Sweep again every ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS, until stopped."
        ),
    ] = False,
    actor: options.Actor = None,
    as_json: options.Json = False,
    as_lines: options.Jsonl = False,
) -> None:
    """Mark what has expired as eligible for deletion; deletes nothing.

    Lists what has changed. A hold or an extension takes eligibility back.
    """
    from artifactstore.lifecycle.durations import parse_duration

    run = options.invocation(context)
    if as_json and (watch or as_lines):
        raise InvalidInputError("--json is one document; use --jsonl alone", code="usage")
    seconds = parse_duration(abandoned_after)
    with run.store() as store:

        def once() -> SweepResult:
            return store.sweep(
                actor=options.actor_name(actor),
                abandoned_after=seconds,
                mark_abandoned=mark_abandoned,
                accept_clock=accept_clock,
            )

        if watch:
            _watch(run, once, run.settings().retention_sweep_interval_seconds, as_lines=as_lines)
            return
        result = once()
    if as_json:
        run.output.document(result)
    elif as_lines:
        run.output.json_line(result)
    else:
        run.output.table(_changes(result, mark_abandoned=mark_abandoned), life_facts.CHANGE_COLUMNS)
        if not run.brief:
            run.note(_summary(result))


def _changes(result: SweepResult, *, mark_abandoned: bool) -> Iterator[life_facts.Change]:
    for state in result.marked:
        yield life_facts.Change("eligible", "expired", state)
    for state in result.withdrawn:
        yield life_facts.Change("withdrawn", "held" if state.hold_count else "not due any more", state)
    for state in result.abandoned:
        yield life_facts.Change("eligible" if mark_abandoned else "reported", "abandoned", state)


def _summary(result: SweepResult) -> str:
    return (
        f"{len(result.marked)} expired, {len(result.withdrawn)} withdrawn, {len(result.abandoned)} abandoned"
    )


def _watch(run: Invocation, once: Callable[[], SweepResult], interval: int, *, as_lines: bool) -> None:
    """Sweep until SIGTERM or SIGINT, which end a sweep that is under way in good order."""
    with _stop_signals() as stopped:
        while True:
            try:
                result = once()
            except (BusyError, BackendError) as error:
                if isinstance(error, BackendError) and not error.retryable:
                    raise
                run.note(f"warning: {error.message}; the next sweep comes in {interval} s")
            else:
                now = format_moment(system_clock())
                if as_lines:
                    run.output.json_line({"swept_at": now, **members(result)})
                else:
                    run.output.line(f"{now} {_summary(result)}")
                run.output.flush()
            if stopped(interval):
                return


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[int], bool]]:
    """Turn SIGTERM and SIGINT into a wish to stop; the value waits for one, some seconds long."""
    ours, theirs = os.pipe()

    def wish(_number: int, _frame: object) -> None:
        os.write(theirs, b"\0")

    before = {
        number: signal.signal(number, wish)
        for number in (signal.SIGTERM, signal.SIGINT)
        # What is ignored, as in a job that `nohup` has started, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield lambda seconds: bool(select.select([ours], [], [], seconds)[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(ours)
        os.close(theirs)


# Gc


def gc(
    context: options.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be deleted.")] = False,
    plan_out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Only write the plan to a new file, and print its digest."),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Do exactly what this plan says, or nothing if it is stale."),
    ] = None,
    accept_clock: AcceptClock = False,
    yes: options.Yes = False,
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """Delete the bytes of the packages that a sweep has made eligible.

    What other packages share stays. The packages remain as tombstones that say what they held, and why
    and when it went.
    """
    run = options.invocation(context)
    if plan is not None and plan_out is not None:
        raise InvalidInputError("--plan and --plan-out exclude each other", code="usage")
    if dry_run or plan_out is not None:
        with run.store() as store:
            planned = store.plan_gc(plan=None if plan is None else _read_plan(plan))
        _show_plan(run, planned, plan_out, as_json=as_json)
        return
    asking = is_to_be_asked(yes=yes)
    given = None if plan is None else _read_plan(plan)
    with run.store() as store:
        if asking:
            given = _agreed_plan(run, store, given)
        result = store.gc(actor=options.actor_name(actor), plan=given, accept_clock=accept_clock)
        passed_over = [store.explain_retention(package_id).state for package_id in result.passed_over]
    if as_json:
        run.output.document(gc_document(result))
    else:
        run.output.record(
            [
                Fact("plan_digest", plan_digest(result.plan)),
                Fact("collected_count", str(len(result.collected))),
                Fact("passed_over_count", str(len(result.passed_over))),
                Fact("removed_count", str(result.removed_count)),
                Fact("removed_size", str(result.removed_size), size_text(result.removed_size)),
            ]
        )
    if result.unlocked_at is not None:
        run.note(
            f"{count_text(result.locked_count, 'object')} ({size_text(result.locked_size)}) stay until their"
            f" lock ends at {moment_text(result.unlocked_at)}; run gc again then"
        )
    if result.held_count:
        run.note(
            f"{count_text(result.held_count, 'object')} ({size_text(result.held_size)}) stay under a legal"
            " hold that no package explains; gc takes them once somebody lifts it on the server"
        )
    _note_more(run, result.plan)
    for state in passed_over:
        run.note(f"passed over: {state.package_id} {state.name}: {life_facts.saved_by(state)}")
    if result.waiting_count:
        waiting = count_text(result.waiting_count, "object")
        run.note(f"{waiting} not removed: the backend is not there; the next gc that finds it removes them")


def _agreed_plan(run: Invocation, store: AnyStore, given: GcPlan | None) -> GcPlan:
    """The plan that somebody on the terminal has seen and agreed to."""
    planned = store.plan_gc(plan=given)
    if planned.packages:
        for package in planned.packages:
            say(f"{package.package_id}  {package.name}  {package.retention_class}  {package.reason}")
        confirm(run, f"delete {_plan_summary(planned)}")
    return planned


def _show_plan(run: Invocation, planned: GcPlan, plan_out: str | None, *, as_json: bool) -> None:
    if plan_out is not None:
        with run.new_file(plan_out) as stream:
            stream.write(planned.to_bytes())
    if as_json:
        run.output.document(plan_document(planned))
        return
    if plan_out is None or not run.brief:
        run.output.table(planned.packages, life_facts.PLAN_COLUMNS)
        run.note(f"would delete {_plan_summary(planned)}")
        _note_more(run, planned)
    if plan_out is not None:
        run.output.line(plan_digest(planned))


def _note_more(run: Invocation, planned: GcPlan) -> None:
    """Say that an API plans so many packages at a time and no more."""
    if run.settings().api_url is None:
        return
    from artifactstore.client.retention import PACKAGES_AT_ONCE

    if len(planned.packages) >= PACKAGES_AT_ONCE:
        run.note(f"these are the first {PACKAGES_AT_ONCE} packages; run gc again for the rest")


def _plan_summary(planned: GcPlan) -> str:
    return (
        f"{count_text(len(planned.packages), 'package')}, {count_text(planned.object_count, 'object')}:"
        f" {size_text(planned.freed_size)} freed, {size_text(planned.shared_size)} stay because others"
        " share them"
    )


def _read_plan(path: str) -> GcPlan:
    from artifactstore.lifecycle.gc_plan import GcPlan

    try:
        return GcPlan.from_bytes(read_whole(path, limit=_PLAN_MAX))
    except IntegrityError as error:
        raise IntegrityError(
            f"the plan {printable(path)} was cut or altered, or is none: {error.message}",
            hint="write a new one with --plan-out",
            code=error.code,
        ) from error
    except PermissionError as error:
        raise AccessError(f"cannot read {printable(path)}: permission denied") from error
    except OSError as error:
        raise InvalidInputError(f"cannot read the plan {printable(path)}: {error.strerror}") from error
