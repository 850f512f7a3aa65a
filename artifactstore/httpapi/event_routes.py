"""Routes of the event log: a page of it, a long poll, or a stream without end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from artifactstore import codec
from artifactstore.event_log import to_json
from artifactstore.httpapi.answers import CBOR, EVENT_STREAM, JSON, Answer, document
from artifactstore.httpapi.negotiation import chosen
from artifactstore.httpapi.package_routes import PAGE_SIZE
from artifactstore.httpapi.routes import Parameter, Reply, Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore.events import Event
    from artifactstore.httpapi.routes import Call
    from artifactstore.httpapi.service import Service
    from artifactstore.httpapi.wire import Wire

AFTER_MAX = 2**63 - 1
WAIT_MAX = 60  # seconds
_BEAT = 15.0  # seconds between two signs of life of a stream: they find out whether its client is still there
_AT_ONCE = 500


def read_events(call: Call) -> Answer:
    """The log behind a place, oldest first; with `wait`, an empty answer comes only when the time is up."""
    form = chosen(call.head.fields.get("accept"), (CBOR, JSON, EVENT_STREAM))
    after = call.integer("after", default=0, minimum=0, maximum=AFTER_MAX)
    limit = call.integer("limit", default=1000, minimum=1, maximum=1000)
    wait = call.seconds("wait", maximum=WAIT_MAX)
    if form == EVENT_STREAM:
        last = call.head.fields.get("last-event-id", "")
        if last.isascii() and last.isdigit() and len(last) <= 18:
            after = int(last)
        return Answer(200, EventStream(call.service, after), EVENT_STREAM, {"Vary": "Accept"})
    events = call.store.events(after=after, limit=limit, size=PAGE_SIZE)
    if not events and wait:
        with call.service.waiting():
            call.service.arrivals.wait(after, wait, call.body.fileno())
        events = call.store.events(after=after, limit=limit, size=PAGE_SIZE)
    next_cursor = str(events[-1].sequence if events else after)
    if form == JSON:
        items = [to_json(event) for event in events]
        return document({"items": items, "next_cursor": next_cursor}, fields={"Vary": "Accept"})
    body = codec.encode({"items": [_as_stored(event) for event in events], "next_cursor": next_cursor})
    return Answer(200, body, CBOR, {"Vary": "Accept"})


def _as_stored(event: Event) -> dict[str, codec.Value]:
    """An event as the log has it: ids and digests are bytes, times microseconds."""
    return event._asdict()


class EventStream:
    """Server-sent events: what is in the log behind a place, then what comes.

    It has its place among those who wait before its head is sent: one too many is refused, not cut off.

    Source: HTML, "Server-sent events".
    """

    size = None

    def __init__(self, service: Service, after: int) -> None:
        service.begin_waiting()
        self._service = service
        self._after = after

    def write(self, wire: Wire, write: Callable[[bytes], None]) -> None:
        """Send until the client or the server ends it."""
        write(b": events of an artifactstore\nretry: 1000\n\n")
        while not self._service.arrivals.closed:
            events = self._service.store.events(after=self._after, limit=_AT_ONCE, size=PAGE_SIZE)
            if events:
                write(b"".join(map(_message, events)))
                self._after = events[-1].sequence
            elif not self._service.arrivals.wait(self._after, _BEAT, wire.fileno()):
                if wire.hung_up:
                    return
                write(b":\n\n")

    def close(self) -> None:
        """Give the place back."""
        self._service.end_waiting()


def _message(event: Event) -> bytes:
    data = json.dumps(to_json(event), separators=(",", ":"))
    return f"id: {event.sequence}\nevent: {event.type}\ndata: {data}\n\n".encode()


ROUTES = (
    Route(
        "GET",
        "/events",
        read_events,
        "Read the event log, and wait for what comes",
        Reply(
            "Events, oldest first; hand `next_cursor` back as `after`.",
            "EventList",
            (CBOR, JSON, EVENT_STREAM),
        ),
        query=(
            Parameter(
                "after",
                "Only events behind this sequence.",
                {"type": "integer", "minimum": 0, "maximum": AFTER_MAX, "default": 0},
            ),
            Parameter(
                "limit",
                "At most so many; large events end a page earlier.",
                {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1000},
            ),
            Parameter(
                "wait",
                "Seconds to wait for the first event if there is none yet.",
                {"type": "number", "minimum": 0, "maximum": WAIT_MAX, "default": 0},
            ),
        ),
        fields=(Parameter("Last-Event-ID", "For a stream: go on behind this sequence."),),
        refuses=(406,),
    ),
)
