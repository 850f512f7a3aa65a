"""Questions to the views about packages, each answered by an index; cursors are keys, never offsets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from artifactstore import codec, model
from artifactstore.connection import fetch
from artifactstore.digest import Digest
from artifactstore.errors import IntegrityError, InvalidInputError, NotFoundError
from artifactstore.model import Package, Page
from artifactstore.moment import id_text
from artifactstore.paths import printable
from artifactstore.query_arguments import bad_cursor, check_integer, check_limit, id_range
from artifactstore.schema import DOTTED_KEY_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.codec import Value
    from artifactstore.connection import Connection

METADATA_FILTERS_MAX = 32  # each is a join

PACKAGE_COLUMNS = """
    p.package_id, p.name, p.producer, p.subject, p.status, r.retention_class, r.retention_seconds,
    r.expires_at, p.metadata, p.metadata_schema, p.created_at, p.created_by, p.finalized_at, p.finalized_by,
    p.manifest_blake3, p.manifest_sha256, p.manifest_size, p.content_digest, p.file_count, p.total_size"""


@dataclass(frozen=True, slots=True)
class PackageFilter:
    """Which packages to list; everything given must hold.

    Args:
        created_after: microseconds, exclusive.
        created_before: microseconds, exclusive.
        metadata: dotted key to the text of a scalar.
    """

    producer: str | None = None
    subject: str | None = None
    retention_class: str | None = None
    status: str | None = None
    name: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def package_sequence(connection: Connection, package_id: str) -> int:
    """The key of a package's rows, from its id or a unique prefix of it.

    Raises:
        InvalidInputError: not an id, or the prefix fits several packages.
        NotFoundError: no package has it.
    """
    rows = connection.execute(
        "SELECT sequence, package_id FROM artifact_packages WHERE package_id BETWEEN ? AND ?"
        " ORDER BY package_id LIMIT 4",
        id_range(package_id, what="package"),
    ).fetchall()
    if not rows:
        raise NotFoundError(f"no package {package_id!r}", hint="see `artifactstore list`")
    if len(rows) > 1:
        candidates = ", ".join(_uuid_text(row[1]) for row in rows[:3])
        raise InvalidInputError(
            f"the id {package_id!r} is short for several packages: {candidates}{', ...' * (len(rows) > 3)}",
            hint="give more digits",
            code="ambiguous-id",
        )
    return cast("int", rows[0][0])


def package(connection: Connection, sequence: int) -> Package:
    """A package by the key of its rows."""
    row = connection.execute(
        f"SELECT {PACKAGE_COLUMNS} FROM artifact_packages p"
        " JOIN retention_state r ON r.package_sequence = p.sequence WHERE p.sequence = ?",
        (sequence,),
    ).fetchone()
    return package_of_row(row)


def list_packages(
    connection: Connection, wanted: PackageFilter, *, limit: int, size: int | None, cursor: str | None
) -> Page[Package]:
    """Packages, newest first.

    Args:
        size: bytes of metadata with which the page ends; the first package comes in any case.
    Raises:
        InvalidInputError: the limit, the cursor or the status is not one.
    """
    check_limit(limit)
    if wanted.status is not None and wanted.status not in model.PACKAGE_STATUSES:
        raise InvalidInputError(
            f"unknown status {printable(wanted.status)}", hint=f"one of {', '.join(model.PACKAGE_STATUSES)}"
        )
    _check_askable(wanted)
    joins = ["artifact_packages p JOIN retention_state r ON r.package_sequence = p.sequence"]
    key, narrow = _walked(wanted)
    status = "p.status" if not narrow else "+p.status"  # the plus keeps SQLite from its index
    conditions: list[str] = []
    values: list[object] = []
    for number, (dotted, text) in enumerate(wanted.metadata.items()):
        joins.append(f"JOIN package_metadata m{number} ON m{number}.package_sequence = p.sequence")
        conditions.append(f"m{number}.key = ? AND m{number}.value = ?")
        values += [dotted, text]
    for condition, value in (
        ("p.producer = ?", wanted.producer),
        ("p.subject = ?", wanted.subject),
        ("r.retention_class = ?", wanted.retention_class),
        # What is collected is listed on request only.
        (f"{status} {'=' if wanted.status else '<>'} ?", wanted.status or model.GARBAGE_COLLECTED),
        ("p.name = ?", wanted.name),
        ("p.created_at > ?", wanted.created_after),
        ("p.created_at < ?", wanted.created_before),
        (f"{key} < ?", None if cursor is None else _sequence_cursor(cursor)),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    found = connection.execute(
        f"SELECT p.sequence, length(p.metadata), {PACKAGE_COLUMNS} FROM {' '.join(joins)} {where}"
        f" ORDER BY {key} DESC LIMIT ?",
        (*values, limit + 1),
    )
    rows: list[tuple[object, ...]] = []
    more, left = False, math.inf if size is None else size
    for row in found:
        left -= row[1]
        if more := len(rows) == limit or (left < 0 and bool(rows)):
            break
        rows.append(row)
    found.close()
    return Page(tuple(package_of_row(row[2:]) for row in rows), str(rows[-1][0]) if more else None)


def _walked(wanted: PackageFilter) -> tuple[str, bool]:
    """The key whose index gives the packages newest first, so that a page is read without sorting.

    All keys are equal in the join, but SQLite sorts what it walks by one and is to give by another.

    Returns:
        The key, and whether few packages are expected behind it: more than the status tells apart.
    """
    if wanted.metadata:
        return "m0.package_sequence", True
    if wanted.producer is not None or wanted.subject is not None or wanted.name is not None:
        return "p.sequence", True
    if wanted.retention_class is not None:
        return "r.package_sequence", True
    return "p.sequence", False


def same_content(
    connection: Connection,
    *,
    producer: str,
    subject: str,
    retention_class: str,
    content_digest: bytes,
    now: int,
) -> int | None:
    """The newest finalized package of this producer, subject and class with exactly these files.

    One whose time is over, or that a sweep has marked, does not count: its bytes may go at any time.

    Args:
        now: microseconds.
    """
    found: int | None = connection.execute(
        "SELECT max(p.sequence) FROM artifact_packages p"
        " JOIN retention_state r ON r.package_sequence = p.sequence"
        " WHERE p.content_digest = ? AND p.producer = ? AND p.subject = ? AND p.status = ?"
        " AND r.retention_class = ? AND r.eligible_at IS NULL"
        " AND (r.expires_at IS NULL OR r.expires_at > ?)",
        (content_digest, producer, subject, model.FINALIZED, retention_class, now),
    ).get
    return found


def package_of_event(connection: Connection, event_sequence: int) -> int:
    """The key of the package that an event is about."""
    found: int = connection.execute(
        "SELECT p.sequence FROM events e JOIN artifact_packages p ON p.package_id = e.package_id"
        " WHERE e.sequence = ?",
        (event_sequence,),
    ).get
    return found


def retention_classes(connection: Connection) -> dict[str, int | None]:
    """The store's own classes with their seconds after finalize, None for ever."""
    return {
        row[0]: row[1]
        for row in fetch(
            connection, "SELECT retention_class, default_duration_seconds FROM retention_classes"
        )
    }


def idempotent_event(connection: Connection, key: str) -> tuple[bytes, int] | None:
    """What a key was used for: the digest of the request and the sequence of the event that it made."""
    row: tuple[bytes, int] | None = connection.execute(
        "SELECT request, sequence FROM idempotency_keys WHERE idempotency_key = ?", (key,)
    ).fetchone()
    return row


def _check_askable(wanted: PackageFilter) -> None:
    """Refuse filters that SQLite cannot answer."""
    check_integer(wanted.created_after, name="created after")
    check_integer(wanted.created_before, name="created before")
    texts = (wanted.producer, wanted.subject, wanted.retention_class, wanted.status, wanted.name)
    for text in (*texts, *wanted.metadata, *wanted.metadata.values()):
        if text is not None and not _is_unicode(text):
            raise InvalidInputError(f"the filter {ascii(text)[:80]} is not valid Unicode text")
    for key in wanted.metadata:
        if len(key) > DOTTED_KEY_MAX:
            raise InvalidInputError(
                f"the metadata cannot be filtered by {printable(key)}",
                hint=f"a dotted key has at most {DOTTED_KEY_MAX} characters",
            )
    if len(wanted.metadata) > METADATA_FILTERS_MAX:
        raise InvalidInputError(
            f"{len(wanted.metadata)} filters of metadata are too many, {METADATA_FILTERS_MAX} are allowed"
        )


def _is_unicode(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(text.encode() or True)
    except UnicodeEncodeError:
        return False


def _sequence_cursor(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise bad_cursor(cursor)
    return int(cursor)


def package_of_row(row: tuple[object, ...] | None) -> Package:
    if row is None:
        raise IntegrityError("a package has lost its row", hint="run `artifactstore replay`")
    (package_id, name, producer, subject, status, retention_class, retention_seconds, expires_at) = row[:8]
    (metadata, schema, created_at, created_by, finalized_at, finalized_by) = row[8:14]
    (blake3, sha256, manifest_size, content_digest, file_count, total_size) = row[14:]
    return Package(
        package_id=_uuid_text(package_id),
        name=cast("str", name),
        producer=cast("str", producer),
        subject=cast("str", subject),
        status=cast("str", status),
        retention_class=cast("str", retention_class),
        retention_seconds=cast("int | None", retention_seconds),
        expires_at=cast("int | None", expires_at),
        metadata=cast("dict[str, Value]", codec.decode_trusted(cast("bytes", metadata))),
        metadata_schema=cast("str | None", schema),
        created_at=cast("int", created_at),
        created_by=cast("str", created_by),
        finalized_at=cast("int | None", finalized_at),
        finalized_by=cast("str | None", finalized_by),
        manifest_digest=_digest("blake3", blake3),
        manifest_sha256=_digest("sha256", sha256),
        manifest_size=cast("int | None", manifest_size),
        content_digest=_digest("sha256", content_digest),
        file_count=cast("int", file_count),
        total_size=cast("int", total_size),
    )


def _uuid_text(value: object) -> str:
    return id_text(cast("bytes", value))


def _digest(algorithm: str, value: object) -> Digest | None:
    return None if value is None else Digest(algorithm, cast("bytes", value))
