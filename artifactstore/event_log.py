"""The event log: how events are written down, and how they are read.

The log is the truth of a store. Events are appended, never changed and never removed. The leaf hash of an
event covers an envelope with the SHA-256 of the payload in the payload's place, so that a leaf is small and
an event can be proved without disclosing what it says.

Source: RFC 9162 §2.1.1 (leaf hash); docs/format.md.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from itertools import accumulate, islice, takewhile
from typing import TYPE_CHECKING

from artifactstore import codec
from artifactstore.errors import IntegrityError
from artifactstore.events import (
    FORMAT,
    LINKAGE_REQUESTED,
    PACKAGE_CREATED,
    SCHEMA_REGISTERED,
    STORE_CREATED,
    Draft,
    Event,
)
from artifactstore.moment import format_moment, id_text, take_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artifactstore.codec import Value
    from artifactstore.connection import Connection
    from artifactstore.moment import IdSource

_ROWS = 1000  # read and decoded at once


# Writing


def append(
    connection: Connection,
    drafts: Sequence[Draft],
    *,
    actor: str,
    recorded_at: int,
    new_id: IdSource,
) -> list[Event]:
    """Append events in the caller's write transaction.

    Args:
        recorded_at: microseconds, not before that of the newest event.
    """
    sequence = newest_sequence(connection)
    appended: list[Event] = []
    rows = []
    for draft, event_id in zip(drafts, take_ids(new_id, len(drafts)), strict=True):
        sequence += 1
        payload = _encode_payload(draft)
        leaf = leaf_hash(sequence, event_id, draft.type, draft.package_id, actor, recorded_at, payload)
        rows.append((sequence, event_id, draft.type, draft.package_id, actor, recorded_at, payload, leaf))
        appended.append(
            Event(sequence, event_id, draft.type, draft.package_id, actor, recorded_at, draft.payload, leaf)
        )
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return appended


def _encode_payload(draft: Draft) -> bytes:
    # Metadata, schemas and messages come from outside: they need the full encoder; all else is in order.
    if draft.type in {PACKAGE_CREATED, SCHEMA_REGISTERED, LINKAGE_REQUESTED}:
        return codec.encode(draft.payload)
    return codec.encode_ordered(draft.payload)


def leaf_hash(
    sequence: int,
    event_id: bytes,
    event_type: str,
    package_id: bytes | None,
    actor: str,
    recorded_at: int,
    payload: bytes,
) -> bytes:
    """The RFC 9162 leaf hash of an event's envelope.

    Args:
        payload: the encoded payload, of which only the SHA-256 enters.
    """
    envelope = codec.encode_ordered(
        [sequence, event_id, event_type, package_id, actor, recorded_at, hashlib.sha256(payload).digest()]
    )
    return hashlib.sha256(b"\x00" + envelope).digest()


# Reading


def newest_sequence(connection: Connection) -> int:
    """The sequence of the last event, 0 in an empty log."""
    newest: int = connection.execute("SELECT coalesce(max(sequence), 0) FROM events").get
    return newest


def newest_moment(connection: Connection) -> int:
    """When the last event was recorded, in microseconds; 0 in an empty log."""
    row = connection.execute("SELECT recorded_at FROM events ORDER BY sequence DESC LIMIT 1").fetchone()
    return row[0] if row else 0


def last_before(connection: Connection, moment: int) -> int:
    """The sequence of the last event that was recorded before an instant in microseconds, 0 if none was.

    Time in the log never runs backwards, so a few looks find it.
    """

    def recorded_at(sequence: int) -> int:
        found: int = connection.execute("SELECT recorded_at FROM events WHERE sequence = ?", (sequence,)).get
        return found

    return bisect_left(range(1, newest_sequence(connection) + 1), moment, key=recorded_at)


def store_id(connection: Connection) -> bytes:
    """The 16 bytes that name this store, from its first event."""
    for event in read(connection, after=0, limit=1):
        found = event.payload.get("store_id")
        if event.type == STORE_CREATED and isinstance(found, bytes) and len(found) == 16:
            if event.payload.get("format") != FORMAT:
                raise IntegrityError(f"the log has another format than {FORMAT}")
            return found
    raise IntegrityError("event 1 is not the creation of a store, with which every log begins")


def event_id_of(connection: Connection, sequence: int) -> bytes:
    """The id of an event by its sequence."""
    found: bytes = connection.execute("SELECT event_id FROM events WHERE sequence = ?", (sequence,)).get
    return found


def read(connection: Connection, *, after: int, limit: int = -1) -> Iterator[Event]:
    """Events in order, as they are in the log.

    Args:
        after: the sequence before the first event wanted.
        limit: at most so many; negative for all.
    """
    rows = connection.execute(
        "SELECT sequence, event_id, type, package_id, actor, recorded_at, payload, leaf_hash"
        " FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (after, limit),
    )
    while block := list(islice(rows, _ROWS)):
        try:
            payloads = codec.decode_sequence([row[6] for row in block])
        except IntegrityError:
            payloads = [_decode_payload(row[0], row[6]) for row in block]
        for row, payload in zip(block, payloads, strict=True):
            if not isinstance(payload, dict):
                raise IntegrityError(f"the payload of event {row[0]} is not a map")
            yield Event._make((*row[:6], payload, row[7]))


def count_within(connection: Connection, *, after: int, limit: int, size: int) -> int:
    """How many events, as by `read`, have at most so many bytes of payloads; the first one counts."""
    # SQLite knows the length of a payload without reading it.
    lengths = connection.execute(
        "SELECT length(payload) FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit)
    )
    sums = accumulate(length for (length,) in lengths)
    return max(1, sum(1 for _ in takewhile(lambda total: total <= size, sums)))


def _decode_payload(sequence: int, payload: object) -> Value:
    if not isinstance(payload, bytes):
        raise IntegrityError(f"the payload of event {sequence} is no bytes")
    try:
        return codec.decode(payload)
    except IntegrityError as error:
        raise IntegrityError(f"the payload of event {sequence} is {error.message}") from error


def to_json(event: Event) -> dict[str, Value]:
    """The JSON projection of an event: ids as UUID text, digests as `algorithm:hex`, times as RFC 3339."""
    return {
        "sequence": event.sequence,
        "event_id": id_text(event.event_id),
        "type": event.type,
        "package_id": None if event.package_id is None else id_text(event.package_id),
        "actor": event.actor,
        "recorded_at": format_moment(event.recorded_at),
        "payload": {name: _json_value(name, value) for name, value in event.payload.items()},
        "leaf_hash": f"sha256:{event.leaf_hash.hex()}",
    }


def _json_value(name: str, value: Value) -> Value:
    if isinstance(value, bytes):
        if len(value) == 16:
            return id_text(value)
        return f"{'blake3' if name.endswith('blake3') else 'sha256'}:{value.hex()}"
    if isinstance(value, int) and name.endswith("_at"):
        return format_moment(value)
    if isinstance(value, dict) and name == "idempotency":
        return {key: _json_value(key, entry) for key, entry in value.items()}
    return value
