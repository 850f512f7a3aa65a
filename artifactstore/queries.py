"""Questions to the views, each answered by an index; cursors are keys, never offsets."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from artifactstore import codec, fields, model
from artifactstore.database import fetch
from artifactstore.digest import Digest, is_lower_hex
from artifactstore.errors import IntegrityError, InvalidInputError, NotFoundError
from artifactstore.model import File, Package, Page
from artifactstore.moment import id_text
from artifactstore.paths import parents, printable
from artifactstore.schema import DOTTED_KEY_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from artifactstore.codec import Value
    from artifactstore.database import Connection
    from artifactstore.manifest import ManifestFile

LIMIT_MAX = 1000  # items of one page
METADATA_FILTERS_MAX = 32  # each is a join
MIN_PREFIX = 4  # hex digits of a shortened id or digest
_UUID_TEXT = 36  # characters of a whole id

PACKAGE_COLUMNS = """
    p.package_id, p.name, p.producer, p.subject, p.status, r.retention_class, r.retention_seconds,
    r.expires_at, p.metadata, p.metadata_schema, p.created_at, p.created_by, p.finalized_at, p.finalized_by,
    p.manifest_blake3, p.manifest_sha256, p.manifest_size, p.content_digest, p.file_count, p.total_size"""
FILE_COLUMNS = "f.relative_path, f.media_type, f.size, f.blake3, f.sha256, f.executable"


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


def id_range(text: str, *, what: str) -> tuple[bytes, bytes]:
    """The lowest and the highest id that an id or the first digits of one can mean.

    Args:
        what: whose id it is: `package`, `hold`.
    Raises:
        InvalidInputError: it is neither.
    """
    digits = fields.check_text(text, field=f"the id of a {what}").replace("-", "").lower()
    if len(text) > _UUID_TEXT or not MIN_PREFIX <= len(digits) <= 32 or not is_lower_hex(digits):
        raise InvalidInputError(
            f"not a {what} id: {text[:80]!r}",
            hint=f"give the UUID or at least its first {MIN_PREFIX} digits",
        )
    return prefix_range(digits, 16)


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


def list_files(connection: Connection, sequence: int, *, limit: int, cursor: str | None) -> Page[File]:
    """The files of a package, sorted by the bytes of their relative path."""
    check_limit(limit)
    rows = connection.execute(
        f"SELECT e.event_id, e.package_id, {FILE_COLUMNS} FROM artifact_files f"
        " JOIN events e ON e.sequence = f.sequence"
        " WHERE f.package_sequence = ? AND f.relative_path > ? ORDER BY f.relative_path LIMIT ?",
        (sequence, "" if cursor is None else _path_cursor(cursor), limit + 1),
    ).fetchall()
    more = len(rows) > limit
    del rows[limit:]
    next_cursor = base64.urlsafe_b64encode(str(rows[-1][2]).encode()).decode() if more else None
    return Page(tuple(file_of_row(row) for row in rows), next_cursor)


def file_at(connection: Connection, sequence: int, relative_path: str) -> File | None:
    """The file of a package at a relative path, or None."""
    row = connection.execute(
        f"SELECT e.event_id, e.package_id, {FILE_COLUMNS} FROM artifact_files f"
        " JOIN events e ON e.sequence = f.sequence WHERE f.package_sequence = ? AND f.relative_path = ?",
        (sequence, relative_path),
    ).fetchone()
    return None if row is None else file_of_row(row)


def file_of_event(connection: Connection, event_sequence: int) -> File:
    """The file that an ingest event made."""
    row = connection.execute(
        f"SELECT e.event_id, e.package_id, {FILE_COLUMNS} FROM artifact_files f"
        " JOIN events e ON e.sequence = f.sequence WHERE f.sequence = ?",
        (event_sequence,),
    ).fetchone()
    return file_of_row(row)


def colliding_path(connection: Connection, sequence: int, relative_path: str) -> str | None:
    """A path of the package that cannot stand beside a new one: the same, a folder of it, or below it."""
    taken: str | None = connection.execute(
        "SELECT relative_path FROM artifact_files"
        " WHERE package_sequence = ? AND relative_path >= ? AND relative_path < ? LIMIT 1",
        (sequence, f"{relative_path}/", f"{relative_path}0"),
    ).get
    for path in () if taken else (relative_path, *parents(relative_path)):
        taken = connection.execute(
            "SELECT relative_path FROM artifact_files WHERE package_sequence = ? AND relative_path = ?",
            (sequence, path),
        ).get
        if taken:
            break
    return taken


def manifest_files(connection: Connection, sequence: int) -> Iterator[ManifestFile]:
    """The files of a package as its manifest lists them, in that order."""
    from artifactstore.manifest import ManifestFile

    rows = connection.execute(
        f"SELECT {FILE_COLUMNS} FROM artifact_files f WHERE f.package_sequence = ? ORDER BY f.relative_path",
        (sequence,),
    )
    for path, media_type, size, blake3, sha256, executable in rows:
        yield ManifestFile(path, media_type, size, blake3, sha256, bool(executable))


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


def file_of_id(connection: Connection, file_id: str) -> File:
    """The file whose ingest event has this id.

    Raises:
        InvalidInputError: it is no id.
        NotFoundError: no file has it.
    """
    digits = file_id.replace("-", "").lower()
    if len(file_id) > _UUID_TEXT or len(digits) != 32 or not is_lower_hex(digits):
        raise InvalidInputError(f"not the id of a file: {file_id[:80]!r}", hint="give the UUID")
    rows = fetch(
        connection,
        "SELECT f.sequence FROM events e JOIN artifact_files f ON f.sequence = e.sequence"
        " WHERE e.event_id = ?",
        (bytes.fromhex(digits),),
    )
    if not rows:
        raise NotFoundError(f"no file {file_id!r}", hint="the files of a package list their ids")
    return file_of_event(connection, rows[0][0])


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


def file_sequence(connection: Connection, sequence: int, relative_path: str) -> int:
    """The key of a file's row, which is the sequence of its ingest event."""
    sql = "SELECT sequence FROM artifact_files WHERE package_sequence = ? AND relative_path = ?"
    return int(fetch(connection, sql, (sequence, relative_path))[0][0])


def idempotent_event(connection: Connection, key: str) -> tuple[bytes, int] | None:
    """What a key was used for: the digest of the request and the sequence of the event that it made."""
    row: tuple[bytes, int] | None = connection.execute(
        "SELECT request, sequence FROM idempotency_keys WHERE idempotency_key = ?", (key,)
    ).fetchone()
    return row


def check_limit(limit: int) -> None:
    """Refuse a page size that is not one."""
    if not 1 <= fields.check_integer(limit, field="a limit") <= LIMIT_MAX:
        raise InvalidInputError(f"a limit is 1 to {LIMIT_MAX}, not {codec.integer_text(limit)}")


def check_integer(value: int | None, *, name: str) -> None:
    """Refuse what is no whole number, or one that SQLite cannot compare."""
    if value is None:
        return
    if not codec.INTEGER_MIN <= fields.check_integer(value, field=name) <= codec.INTEGER_MAX:
        raise InvalidInputError(f"{name} {codec.integer_text(value)} does not fit into 64 bits")


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


def prefix_range(digits: str, size: int) -> tuple[bytes, bytes]:
    width = 2 * size
    return bytes.fromhex(digits.ljust(width, "0")), bytes.fromhex(digits.ljust(width, "f"))


def _sequence_cursor(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise _bad_cursor(cursor)
    return int(cursor)


def _path_cursor(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise _bad_cursor(cursor) from None


def _bad_cursor(cursor: str) -> InvalidInputError:
    return InvalidInputError(
        f"not a cursor: {printable(cursor)}",
        hint="hand back `next_cursor` of the page before",
        code="bad-cursor",
    )


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


def file_of_row(row: tuple[object, ...] | None) -> File:
    if row is None:
        raise IntegrityError("a file has lost its row", hint="run `artifactstore replay`")
    event_id, package_id, relative_path, media_type, size, blake3, sha256, executable = row
    return File(
        file_id=_uuid_text(event_id),
        package_id=_uuid_text(package_id),
        relative_path=cast("str", relative_path),
        media_type=cast("str", media_type),
        size=cast("int", size),
        digest=Digest("blake3", cast("bytes", blake3)),
        sha256=Digest("sha256", cast("bytes", sha256)),
        executable=bool(executable),
    )
