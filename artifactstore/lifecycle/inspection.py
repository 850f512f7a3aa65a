"""The database file and the log, each looked at by itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from artifactstore import acknowledged, codec, event_log
from artifactstore.connection import fetch, scratch
from artifactstore.errors import IntegrityError
from artifactstore.schema import EVENT_STATEMENTS, INDEX_STATEMENTS, VIEW_KEYS, statement_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactstore.connection import Connection, Row
    from artifactstore.database import Database


def schema(connection: Connection) -> Iterator[str]:
    """Tables, indexes and triggers are those of a store."""
    for name in _foreign_names(connection):
        yield f"the schema of {name!a} is not that of a store"


def file(connection: Connection) -> Iterator[str]:
    """What SQLite itself finds, with the names of the tables and indexes that it calls trees."""
    rows = fetch(connection, "SELECT rootpage, name FROM sqlite_schema WHERE rootpage > 0")
    names = {f"Tree {page} ": f"{name}: " for page, name in rows}
    for (lines,) in fetch(connection, "PRAGMA integrity_check"):
        for line in str(lines).removeprefix("*** in database main ***").strip().splitlines():
            if line != "ok":
                yield re.sub(r"^Tree \d+ ", lambda found: names.get(found[0], found[0]), line)


def views_are_sound(database: Database, connection: Connection) -> bool:
    """Whether SQLite finds no damage in the views; what they say may still be wrong."""
    try:
        with database.translated():
            return all(
                fetch(connection, f"PRAGMA integrity_check({name})") == [("ok",)] for name in VIEW_KEYS
            )
    except IntegrityError:
        return False


def newest(database: Database, connection: Connection) -> int:
    """The sequence of the last event, 0 if the log is too damaged to tell."""
    try:
        with database.translated():
            return event_log.newest_sequence(connection)
    except IntegrityError:
        return 0


def log(database: Database, connection: Connection, last: acknowledged.Head | None) -> Iterator[str]:
    """Gapless, canonical, hashed right, as long as it was, and time does not run backwards."""
    expected, newest = 1, 0
    # Texts as bytes: a damaged one may be no Unicode.
    rows: Iterator[Row] = connection.execute(
        "SELECT sequence, event_id, CAST(type AS BLOB), package_id, CAST(actor AS BLOB), recorded_at,"
        " payload, leaf_hash FROM events ORDER BY sequence"
    )
    try:
        with database.translated():
            for row in rows:
                sequence, *_, recorded_at, payload, leaf = row
                if sequence != expected:
                    yield f"event {expected} is missing: after {expected - 1} comes {sequence}"
                expected = int(sequence) + 1
                if leaf is None or _leaf_hash(row) != leaf:
                    yield f"event {sequence} does not have its leaf hash"
                    continue
                try:
                    codec.decode(payload)
                except IntegrityError as error:
                    yield f"the payload of event {sequence} is {error.message}"
                if recorded_at < newest:
                    yield f"event {sequence} was recorded before the one in front of it"
                newest = recorded_at
    except IntegrityError as error:
        yield f"event {expected} cannot be read, nor what follows it: {error.message}"
    what = acknowledged.lost(connection, last)
    if what is not None:
        yield what


def _leaf_hash(row: Row) -> bytes | None:
    """The leaf hash that an event must have; None if its columns are not what those of an event are."""
    sequence, event_id, kind, package_id, actor, recorded_at, payload, _ = row
    try:
        return event_log.leaf_hash(
            sequence, event_id, kind.decode(), package_id, actor.decode(), recorded_at, payload
        )
    except (AttributeError, TypeError, ValueError):
        return None


def _foreign_names(connection: Connection) -> list[str]:
    """Tables, indexes and triggers that are not as in a new store, with all that SQLite notes of them."""
    sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema"
    found = {(*row[:3], row[3] and statement_text(row[3])) for row in connection.execute(sql)}
    with scratch() as model:
        for statement in (*EVENT_STATEMENTS, *INDEX_STATEMENTS):
            model.execute(statement_text(statement))
        expected = {(*row[:3], row[3] and statement_text(row[3])) for row in model.execute(sql)}
    return sorted({str(row[1]) for row in found ^ expected})
