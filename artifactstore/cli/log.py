"""The command that reads the event log: `events`."""

from __future__ import annotations

import select
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from artifactstore.cli import options
from artifactstore.cli.exit_codes import READER_GONE
from artifactstore.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactstore.events import Event
    from artifactstore.store import Store

_AT_ONCE = 1000
_PAUSE = 0.5  # seconds between two looks at the log


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
) -> None:
    """Print the event log, oldest first, one JSON object a line."""
    from artifactstore.events import to_json

    run = options.invocation(context)
    if follow and as_json:
        raise InvalidInputError(
            "a log that is followed is no JSON document", hint="leave --json out", code="usage"
        )
    with run.store() as store:
        if as_json:
            run.output.array(to_json(event) for event in _stored(store, after, limit))
            return
        last, count = after, 0
        while True:
            for event in _stored(store, last, None if limit is None else limit - count):
                run.output.json_line(to_json(event))
                last, count = event.sequence, count + 1
            run.output.flush()
            if not follow or count == limit:
                return
            _pause()


def _stored(store: Store, after: int, limit: int | None) -> Iterator[Event]:
    """The events that are in the log now, some of them in memory at a time."""
    left = limit
    while left is None or left > 0:
        page = store.events(after=after, limit=_AT_ONCE if left is None else min(left, _AT_ONCE))
        yield from page
        if not page:
            return
        after = page[-1].sequence
        left = None if left is None else left - len(page)


def _pause() -> None:
    """Wait until it is time to look again, or until nobody reads our output any more."""
    try:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)  # errors only, which come unasked
    except (OSError, ValueError):
        time.sleep(_PAUSE)
        return
    if poller.poll(_PAUSE * 1000):
        raise SystemExit(READER_GONE)
