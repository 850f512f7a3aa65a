"""The command that reads the event log: `events`."""

from __future__ import annotations

import contextlib
import select
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from artifactstore.cli import options
from artifactstore.cli.exit_codes import READER_GONE
from artifactstore.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactstore.any_store import AnyStore
    from artifactstore.events import Event

_AT_ONCE = 1000
_PAUSE = 1.0  # seconds between two looks whether anybody reads our output


def events(
    context: options.Context,
    after: Annotated[
        int, typer.Option(metavar="N", help="Only events behind this sequence.", min=0, max=2**63 - 1)
    ] = 0,
    limit: Annotated[int | None, typer.Option(metavar="N", help="At most so many.", min=1)] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is appended, until stopped.")
    ] = False,
    as_json: options.Json = False,
    as_lines: options.Jsonl = False,
) -> None:
    """Print the event log, oldest first, one JSON object a line."""
    from artifactstore.event_log import to_json

    run = options.invocation(context)
    if as_json and as_lines:
        raise InvalidInputError("--json and --jsonl exclude each other", code="usage")
    if follow and as_json:
        raise InvalidInputError(
            "a log that is followed is no JSON document", hint="leave --json out", code="usage"
        )
    with run.store() as store:
        if as_json:
            run.output.array(to_json(event) for event in _stored(store, after, limit))
            return
        last, count = after, 0
        for event in _stored(store, after, limit):
            run.output.json_line(to_json(event))
            last, count = event.sequence, count + 1
        if not follow or count == limit:
            return
        with contextlib.closing(store.arrivals()) as arrivals:
            while count != limit:
                run.output.flush()
                while not arrivals.wait(last, _PAUSE):
                    _end_without_reader()
                for event in _stored(store, last, None if limit is None else limit - count):
                    run.output.json_line(to_json(event))
                    last, count = event.sequence, count + 1


def _stored(store: AnyStore, after: int, limit: int | None) -> Iterator[Event]:
    """The events that are in the log now, some of them in memory at a time."""
    left = limit
    while left is None or left > 0:
        page = store.events(after=after, limit=_AT_ONCE if left is None else min(left, _AT_ONCE))
        yield from page
        if not page:
            return
        after = page[-1].sequence
        left = None if left is None else left - len(page)


def _end_without_reader() -> None:
    """End if nobody reads our output any more."""
    try:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)  # errors only, which come unasked
    except (OSError, ValueError):
        return
    if poller.poll(0):
        raise SystemExit(READER_GONE)
