"""The views: ordinary tables that are a pure function of the events.

`apply` reads nothing but the events and the rows that earlier ones made: no clock, no randomness, no
settings. So a replay gives identical bytes, and a change of a view's schema needs no migration of data.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Any

from artifactstore import codec, event_log, events, model, schema
from artifactstore.errors import IntegrityError
from artifactstore.lifecycle.projection import STORED, Lifecycle
from artifactstore.schema import DOTTED_KEY_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from artifactstore.codec import Value
    from artifactstore.connection import Connection
    from artifactstore.events import Event

_BATCH = 5000  # events folded into one set of statements
_ROWS = 1000  # of a view, encoded at once
# Columns of a new package, and of its retention, that later events fill.
_STATUS, _SEAL, _FILE_COUNT, _TOTAL_SIZE = 5, slice(10, 16), 16, 17
_EXPIRES_AT = 3


def apply(connection: Connection, batch: Iterable[Event]) -> None:
    """Project events onto the views, in the caller's transaction.

    The events are folded first and written with one statement a table, which is what makes a replay fast;
    the rows are the same as one by one.
    """
    fold = _Fold(connection)
    for event in batch:
        fold.add(event)
    fold.write()


class _Fold:
    """The rows that a run of events makes, gathered by table."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sequences: dict[bytes, int] = {}
        # Rows that these events make, by the sequence of the package: later ones of them change it here.
        self._packages: dict[int, list[Any]] = {}
        self._metadata: list[tuple[str, str, int]] = []
        self._files: list[tuple[object, ...]] = []
        self._locations: list[tuple[bytes, str, int, int, int]] = []
        self._totals: dict[int, tuple[int, int]] = {}
        self._finalized: list[tuple[object, ...]] = []
        self._retention: dict[int, list[Any]] = {}
        self._expiries: list[tuple[object, ...]] = []
        self._classes: list[tuple[object, ...]] = []
        self._schemas: list[tuple[object, ...]] = []
        self._keys: list[tuple[object, ...]] = []
        self._handlers: dict[str, Callable[[Event], None]] = {
            events.STORE_CREATED: lambda _event: None,
            events.CLASS_DEFINED: self._class_defined,
            events.SCHEMA_REGISTERED: self._schema_registered,
            events.PACKAGE_CREATED: self._package_created,
            events.FILE_INGESTED: self._file_ingested,
            events.PACKAGE_FINALIZED: self._package_finalized,
        }
        self._history: list[tuple[int, int]] = []
        self._has_rows = False
        self._lifecycle = Lifecycle(connection)

    def add(self, event: Event) -> None:
        handler = self._handlers.get(event.type)
        if handler is None and event.type in self._lifecycle.types:
            # Rare events change rows that gathered ones may still have to make.
            self._write_rows()
            self._lifecycle.apply(event, None if event.package_id is None else self._package_sequence(event))
            self._note_key(event)
            return
        if handler is None:
            message = f"event {event.sequence} has the unknown type {event.type[:80]!r}"
            raise IntegrityError(message, hint="was it written by a newer artifactstore?")
        self._has_rows = True
        try:
            handler(event)
        except (KeyError, TypeError, AttributeError) as error:
            raise _wrong_payload(event, error) from error
        self._note_key(event)

    def _note_key(self, event: Event) -> None:
        idempotency = event.payload.get("idempotency")
        if isinstance(idempotency, dict):
            try:
                self._keys.append((idempotency["key"], idempotency["request"], event.sequence))
                self._has_rows = True
            except KeyError as error:
                raise _wrong_payload(event, error) from error

    def _class_defined(self, event: Event) -> None:
        payload: Mapping[str, Any] = event.payload
        self._classes.append((payload["retention_class"], payload["default_duration_seconds"]))

    def _schema_registered(self, event: Event) -> None:
        payload: Mapping[str, Any] = event.payload
        self._schemas.append(
            (
                payload["slug"],
                payload["version"],
                event.sequence,
                payload["digest"],
                codec.encode(payload["body"]),
                event.recorded_at,
                event.actor,
            )
        )

    def _package_created(self, event: Event) -> None:
        payload: Mapping[str, Any] = event.payload
        package_id = _package_id(event)
        self._sequences[package_id] = event.sequence
        self._packages[event.sequence] = [
            event.sequence,
            package_id,
            payload["name"],
            payload["producer"],
            payload["subject"],
            model.OPEN,
            codec.encode(payload["metadata"]),
            payload["metadata_schema"],
            payload["created_at"],
            event.actor,
            *[None] * 6,
            0,
            0,
        ]
        self._retention[event.sequence] = [
            event.sequence, payload["retention_class"], payload["retention_seconds"], None
        ]  # fmt: skip
        self._history.append((event.sequence, event.sequence))
        flattened = flatten_metadata(payload["metadata"])
        self._metadata.extend((key, value, event.sequence) for key, value in flattened)

    def _file_ingested(self, event: Event) -> None:
        payload: Mapping[str, Any] = event.payload
        package = self._package_sequence(event)
        sequence, size, blake3 = event.sequence, payload["size"], payload["blake3"]
        self._files.append(
            (
                sequence,
                package,
                payload["relative_path"],
                payload["media_type"],
                size,
                blake3,
                payload["sha256"],
                payload["executable"],
            )
        )
        self._locations.append((blake3, payload["backend_id"], sequence, package, size))
        row = self._packages.get(package)
        if row is not None:
            row[_FILE_COUNT] += 1
            row[_TOTAL_SIZE] += size
        else:
            count, total = self._totals.get(package, (0, 0))
            self._totals[package] = (count + 1, total + size)

    def _package_finalized(self, event: Event) -> None:
        payload: Mapping[str, Any] = event.payload
        package = self._package_sequence(event)
        size = payload["manifest_size"]
        seal = (
            event.recorded_at,
            event.actor,
            payload["manifest_blake3"],
            payload["manifest_sha256"],
            size,
            payload["content_digest"],
        )
        self._locations.append(
            (payload["manifest_blake3"], payload["backend_id"], event.sequence, package, size)
        )
        if package in self._packages:
            row = self._packages[package]
            row[_STATUS], row[_SEAL] = model.FINALIZED, seal
            self._retention[package][_EXPIRES_AT] = payload["expires_at"]
        else:
            self._finalized.append((model.FINALIZED, *seal, package))
            self._expiries.append((payload["expires_at"], package))
        self._history.append((package, event.sequence))

    def _package_sequence(self, event: Event) -> int:
        package_id = _package_id(event)
        sequence = self._sequences.get(package_id)
        if sequence is None:
            row = self._connection.execute(
                "SELECT sequence FROM artifact_packages WHERE package_id = ?", (package_id,)
            ).fetchone()
            if row is None:
                message = f"event {event.sequence} is about a package that was never created"
                raise IntegrityError(message)
            sequence = self._sequences[package_id] = int(row[0])
        return sequence

    def write(self) -> None:
        """Write all that was gathered."""
        self._write_rows()
        self._lifecycle.write()

    def _write_rows(self) -> None:
        """Write all rows. Inserts come before updates, since both may be about one package."""
        if not self._has_rows:
            return
        self._has_rows = False
        # What the lifecycle has gathered came before all of these.
        self._lifecycle.write()

        def many(sql: str, rows: Collection[Sequence[object]]) -> None:
            # A rare event writes what came before it: mostly nothing.
            if rows:
                self._connection.executemany(sql, rows)

        many("INSERT INTO retention_classes VALUES (?, ?)", self._classes)
        many(
            "INSERT INTO artifact_packages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self._packages.values(),
        )
        many(
            "INSERT INTO retention_state VALUES (?, ?, ?, ?, 0, NULL, NULL, NULL, NULL, NULL, NULL)",
            self._retention.values(),
        )
        many("INSERT INTO retention_history VALUES (?, ?)", self._history)
        many("INSERT OR IGNORE INTO package_metadata VALUES (?, ?, ?)", self._metadata)
        many("INSERT INTO artifact_files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._files)
        # In key order, since digests are random and the table is sorted by them.
        self._locations.sort()
        many(f"INSERT INTO storage_locations VALUES (?, ?, ?, ?, ?, '{STORED}', NULL, NULL)", self._locations)
        # An object that is used again is no longer waiting to be removed.
        if self._locations and self._lifecycle.deletions_are_pending():
            many(
                "DELETE FROM pending_deletions WHERE blake3 = ? AND backend_id = ?",
                [row[:2] for row in self._locations],
            )
        many(
            "UPDATE artifact_packages SET file_count = file_count + ?, total_size = total_size + ?"
            " WHERE sequence = ?",
            [(count, size, package) for package, (count, size) in self._totals.items()],
        )
        many(
            "UPDATE artifact_packages SET status = ?, finalized_at = ?, finalized_by = ?,"
            " manifest_blake3 = ?, manifest_sha256 = ?, manifest_size = ?, content_digest = ?"
            " WHERE sequence = ?",
            self._finalized,
        )
        many("UPDATE retention_state SET expires_at = ? WHERE package_sequence = ?", self._expiries)
        many("INSERT INTO metadata_schemas VALUES (?, ?, ?, ?, ?, ?, ?)", self._schemas)
        many("INSERT INTO idempotency_keys VALUES (?, ?, ?)", self._keys)
        for rows in (
            self._classes, self._packages, self._retention, self._history, self._metadata, self._files,
            self._locations, self._finalized, self._expiries, self._schemas, self._keys,
        ):  # fmt: skip
            rows.clear()
        self._totals.clear()


def _wrong_payload(event: Event, error: Exception) -> IntegrityError:
    return IntegrityError(f"event {event.sequence} does not say what a {event.type} says: {error!r}")


def _package_id(event: Event) -> bytes:
    if event.package_id is None:
        raise IntegrityError(f"event {event.sequence} of type {event.type} names no package")
    return event.package_id


def flatten_metadata(metadata: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    """The scalars of a document by dotted key, each entry of a list under the list's key.

    `{"run": {"id": 7}, "tags": ["a", "b"]}` gives `run.id=7`, `tags=a`, `tags=b`. What has a longer key than
    `DOTTED_KEY_MAX` is left out.
    """
    stack: list[tuple[str, Value]] = list(metadata.items())
    while stack:
        key, value = stack.pop()
        if len(key) > DOTTED_KEY_MAX:
            continue
        if isinstance(value, dict):
            stack.extend((f"{key}.{name}", entry) for name, entry in value.items())
        elif isinstance(value, list | tuple):
            stack.extend((key, entry) for entry in value)
        else:
            yield key, scalar_text(value)


def scalar_text(value: Value) -> str:
    """A scalar as a filter writes it: text as it is, the rest as in JSON."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


# Replay


def rebuild(source: Connection, target: Connection) -> int:
    """Fill the empty views of one database from the events of another, or of the same one.

    Returns:
        The number of events applied.
    """
    count = 0
    stream = event_log.read(source, after=0)
    while batch := list(islice(stream, _BATCH)):
        apply(target, batch)
        count += len(batch)
    return count


def replay(connection: Connection) -> int:
    """Drop every view and rebuild it, in the caller's write transaction.

    Returns:
        The number of events applied.
    """
    drop(connection)
    for statement in schema.VIEW_STATEMENTS:
        connection.execute(schema.statement_text(statement))
    count = rebuild(connection, connection)
    for statement in schema.INDEX_STATEMENTS:
        connection.execute(schema.statement_text(statement))
    connection.pragma("user_version", schema.SCHEMA_VERSION)
    return count


def drop(connection: Connection) -> None:
    """Drop everything but the log and its guards, also what an older version or somebody else has made."""
    log = {schema.statement_text(text) for text in schema.EVENT_STATEMENTS}
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    surplus = [
        (str(kind), str(name)) for kind, name, sql in rows if schema.statement_text(str(sql)) not in log
    ]
    # Tables come last, since they take their triggers and indexes with them.
    for kind, name in sorted(surplus, key=lambda item: item[0] == "table"):
        quoted = name.replace('"', '""')
        connection.execute(f'DROP {kind} "{quoted}"')


def fingerprint(connection: Connection) -> str:
    """A digest of all rows of all views: equal fingerprints are equal views.

    Source: docs/format.md, "Fingerprint".
    """
    digest = hashlib.sha256()
    for name, key in schema.VIEW_KEYS.items():
        digest.update(codec.encode_ordered(name))
        rows = connection.execute(f"SELECT * FROM {name} ORDER BY {key}")
        try:
            while block := list(islice(rows, _ROWS)):
                digest.update(codec.encode_sequence(block))
        finally:
            # A statement that damage has ended would keep the table from being dropped.
            rows.close(True)
    return f"sha256:{digest.hexdigest()}"
