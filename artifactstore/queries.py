"""Questions to the views, each answered by an index; cursors are keys, never offsets."""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from artifactstore import codec, model
from artifactstore.database import fetch, fetch_one
from artifactstore.digest import ALGORITHMS, DIGEST_SIZE, Digest, is_lower_hex
from artifactstore.errors import IntegrityError, InvalidInputError, NotFoundError
from artifactstore.fields import DOTTED_KEY_MAX
from artifactstore.manifest import ManifestFile
from artifactstore.model import File, FileHit, Package, Page, Verification
from artifactstore.paths import parents, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from artifactstore.codec import Value
    from artifactstore.database import Connection

LIMIT_MAX = 1000  # items of one page
METADATA_FILTERS_MAX = 32  # each is a join
MIN_PREFIX = 4  # hex digits of a shortened id or digest

_PACKAGE_COLUMNS = """
    p.package_id, p.name, p.producer, p.subject, p.status, r.retention_class, r.retention_seconds,
    r.expires_at, p.metadata, p.metadata_schema, p.created_at, p.created_by, p.finalized_at, p.finalized_by,
    p.manifest_blake3, p.manifest_sha256, p.manifest_size, p.content_digest, p.file_count, p.total_size"""
_FILE_COLUMNS = "f.relative_path, f.media_type, f.size, f.blake3, f.sha256, f.executable"


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
    digits = package_id.replace("-", "").lower()
    if not MIN_PREFIX <= len(digits) <= 32 or not is_lower_hex(digits):
        raise InvalidInputError(
            f"not a package id: {package_id[:80]!r}",
            hint=f"give the UUID or at least its first {MIN_PREFIX} digits",
        )
    low, high = _prefix_range(digits, 16)
    rows = connection.execute(
        "SELECT sequence, package_id FROM artifact_packages WHERE package_id BETWEEN ? AND ?"
        " ORDER BY package_id LIMIT 4",
        (low, high),
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
        f"SELECT {_PACKAGE_COLUMNS} FROM artifact_packages p"
        " JOIN retention_state r ON r.package_sequence = p.sequence WHERE p.sequence = ?",
        (sequence,),
    ).fetchone()
    return _package(row)


def list_packages(
    connection: Connection, wanted: PackageFilter, *, limit: int, cursor: str | None
) -> Page[Package]:
    """Packages, newest first.

    Raises:
        InvalidInputError: the limit, the cursor or the status is not one.
    """
    check_limit(limit)
    if wanted.status is not None and wanted.status not in model.PACKAGE_STATUSES:
        raise InvalidInputError(
            f"unknown status {wanted.status!r}", hint=f"one of {', '.join(model.PACKAGE_STATUSES)}"
        )
    _check_askable(wanted)
    joins = ["artifact_packages p JOIN retention_state r ON r.package_sequence = p.sequence"]
    conditions: list[str] = []
    values: list[object] = []
    for number, (key, text) in enumerate(wanted.metadata.items()):
        joins.append(f"JOIN package_metadata m{number} ON m{number}.package_sequence = p.sequence")
        conditions.append(f"m{number}.key = ? AND m{number}.value = ?")
        values += [key, text]
    for condition, value in (
        ("p.producer = ?", wanted.producer),
        ("p.subject = ?", wanted.subject),
        ("r.retention_class = ?", wanted.retention_class),
        # What is collected is listed on request only.
        ("p.status = ?" if wanted.status else "p.status <> ?", wanted.status or model.GARBAGE_COLLECTED),
        ("p.name = ?", wanted.name),
        ("p.created_at > ?", wanted.created_after),
        ("p.created_at < ?", wanted.created_before),
        ("p.sequence < ?", None if cursor is None else _sequence_cursor(cursor)),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT p.sequence, {_PACKAGE_COLUMNS} FROM {' '.join(joins)} {where}"
        " ORDER BY p.sequence DESC LIMIT ?",
        (*values, limit + 1),
    ).fetchall()
    more = len(rows) > limit
    del rows[limit:]
    return Page(tuple(_package(row[1:]) for row in rows), str(rows[-1][0]) if more else None)


def list_files(connection: Connection, sequence: int, *, limit: int, cursor: str | None) -> Page[File]:
    """The files of a package, sorted by the bytes of their relative path."""
    check_limit(limit)
    rows = connection.execute(
        f"SELECT e.event_id, e.package_id, {_FILE_COLUMNS} FROM artifact_files f"
        " JOIN events e ON e.sequence = f.sequence"
        " WHERE f.package_sequence = ? AND f.relative_path > ? ORDER BY f.relative_path LIMIT ?",
        (sequence, "" if cursor is None else _path_cursor(cursor), limit + 1),
    ).fetchall()
    more = len(rows) > limit
    del rows[limit:]
    next_cursor = base64.urlsafe_b64encode(str(rows[-1][2]).encode()).decode() if more else None
    return Page(tuple(_file(row) for row in rows), next_cursor)


def file_at(connection: Connection, sequence: int, relative_path: str) -> File | None:
    """The file of a package at a relative path, or None."""
    row = connection.execute(
        f"SELECT e.event_id, e.package_id, {_FILE_COLUMNS} FROM artifact_files f"
        " JOIN events e ON e.sequence = f.sequence WHERE f.package_sequence = ? AND f.relative_path = ?",
        (sequence, relative_path),
    ).fetchone()
    return None if row is None else _file(row)


def file_of_event(connection: Connection, event_sequence: int) -> File:
    """The file that an ingest event made."""
    row = connection.execute(
        f"SELECT e.event_id, e.package_id, {_FILE_COLUMNS} FROM artifact_files f"
        " JOIN events e ON e.sequence = f.sequence WHERE f.sequence = ?",
        (event_sequence,),
    ).fetchone()
    return _file(row)


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
    rows = connection.execute(
        f"SELECT {_FILE_COLUMNS} FROM artifact_files f WHERE f.package_sequence = ? ORDER BY f.relative_path",
        (sequence,),
    )
    for path, media_type, size, blake3, sha256, executable in rows:
        yield ManifestFile(path, media_type, size, blake3, sha256, bool(executable))


def same_content(connection: Connection, *, producer: str, subject: str, content_digest: bytes) -> int | None:
    """The newest finalized package of this producer and subject with exactly these files.

    One that a sweep has marked does not count: its bytes may go at any time.
    """
    found: int | None = connection.execute(
        "SELECT max(p.sequence) FROM artifact_packages p"
        " JOIN retention_state r ON r.package_sequence = p.sequence"
        " WHERE p.content_digest = ? AND p.producer = ? AND p.subject = ? AND p.status = ?"
        " AND r.eligible_at IS NULL",
        (content_digest, producer, subject, model.FINALIZED),
    ).get
    return found


def find_object(connection: Connection, text: str) -> list[FileHit]:
    """All places that hold the object with this digest.

    Args:
        text: `algorithm:hex`, or hex alone, which is looked for under both algorithms; a unique prefix
            is enough.
    Raises:
        InvalidInputError: not a digest, or the prefix fits several objects.
        NotFoundError: no file has it.
    """
    algorithm, separator, digits = text.rpartition(":")
    if (separator and algorithm not in ALGORITHMS) or not is_lower_hex(digits):
        raise InvalidInputError(
            f"not a digest: {text[:80]!r}", hint="write blake3:<hex>, sha256:<hex> or hex"
        )
    if not MIN_PREFIX <= len(digits) <= 2 * DIGEST_SIZE:
        raise InvalidInputError(
            f"a digest has {MIN_PREFIX} to {2 * DIGEST_SIZE} hex digits, {text[:80]!r} has {len(digits)}"
        )
    low, high = _prefix_range(digits, DIGEST_SIZE)
    found: set[bytes] = set()
    if algorithm in {"", "blake3"}:
        rows = connection.execute(
            "SELECT DISTINCT blake3 FROM storage_locations WHERE blake3 BETWEEN ? AND ? LIMIT 2", (low, high)
        )
        found.update(row[0] for row in rows)
    if algorithm in {"", "sha256"}:
        rows = connection.execute(
            "SELECT DISTINCT sha256, blake3 FROM artifact_files WHERE sha256 BETWEEN ? AND ? LIMIT 2",
            (low, high),
        )
        found.update(row[1] for row in rows)
    if len(found) > 1:
        raise InvalidInputError(
            f"the digest {text!r} is short for several objects",
            hint="give more digits",
            code="ambiguous-digest",
        )
    hits = _hits(connection, found.pop()) if found else []
    if not hits:
        raise NotFoundError(f"no file has the digest {text!r}")
    return hits


def _hits(connection: Connection, blake3: bytes) -> list[FileHit]:
    rows = connection.execute(
        f"SELECT e.event_id, e.package_id, {_FILE_COLUMNS}, {_PACKAGE_COLUMNS} FROM storage_locations l"
        " JOIN artifact_files f ON f.sequence = l.sequence JOIN events e ON e.sequence = f.sequence"
        " JOIN artifact_packages p ON p.sequence = f.package_sequence"
        " JOIN retention_state r ON r.package_sequence = p.sequence"
        " WHERE l.blake3 = ? GROUP BY f.sequence ORDER BY f.sequence",
        (blake3,),
    ).fetchall()
    return [FileHit(_package(row[8:]), _file(row[:8])) for row in rows]


def package_of_event(connection: Connection, event_sequence: int) -> int:
    """The key of the package that an event is about."""
    found: int = connection.execute(
        "SELECT p.sequence FROM events e JOIN artifact_packages p ON p.package_id = e.package_id"
        " WHERE e.sequence = ?",
        (event_sequence,),
    ).get
    return found


def backend_is_used(connection: Connection, backend_id: str) -> bool:
    """Whether the log says that a backend holds any object."""
    found: int = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM storage_locations WHERE backend_id = ? AND state <> 'deleted')",
        (backend_id,),
    ).get
    return bool(found)


def retention_classes(connection: Connection) -> dict[str, int | None]:
    """The store's own classes with their seconds after finalize, None for ever."""
    return {
        row[0]: row[1]
        for row in fetch(
            connection, "SELECT retention_class, default_duration_seconds FROM retention_classes"
        )
    }


def backend_verification(connection: Connection, backend_id: str) -> Verification:
    """How well a backend is checked, from its indexes."""
    live = "FROM storage_locations l JOIN events e ON e.sequence = l.sequence WHERE l.backend_id = ?"
    never = fetch_one(
        connection,
        f"SELECT e.recorded_at {live} AND l.state <> 'deleted' AND l.verified_at IS NULL"
        " ORDER BY l.sequence LIMIT 1",
        (backend_id,),
    )
    read = fetch_one(
        connection,
        f"SELECT l.verified_at {live} AND l.state <> 'deleted' AND l.verified_at IS NOT NULL"
        " ORDER BY l.verified_at LIMIT 1",
        (backend_id,),
    )
    moments = [row[0] for row in (never, read) if row is not None]
    return Verification(len(failed_objects(connection, backend_id)), min(moments, default=None))


def package_verification(connection: Connection, sequence: int) -> Verification:
    """How well the bytes of a package are checked."""
    [(failed, oldest)] = fetch(
        connection,
        "SELECT coalesce(sum(l.state = 'failed'), 0), min(coalesce(l.verified_at, e.recorded_at))"
        " FROM storage_locations l JOIN events e ON e.sequence = l.sequence"
        " WHERE l.package_sequence = ? AND l.state <> 'deleted'",
        (sequence,),
    )
    return Verification(failed, oldest)


def failed_objects(connection: Connection, backend_id: str) -> list[bytes]:
    """blake3 of the objects of a backend that a verify found damaged."""
    sql = "SELECT DISTINCT blake3 FROM storage_locations WHERE backend_id = ? AND state = 'failed'"
    return [row[0] for row in fetch(connection, sql, (backend_id,))]


def file_sequence(connection: Connection, sequence: int, relative_path: str) -> int:
    """The key of a file's row, which is the sequence of its ingest event."""
    sql = "SELECT sequence FROM artifact_files WHERE package_sequence = ? AND relative_path = ?"
    return int(fetch(connection, sql, (sequence, relative_path))[0][0])


def readable_backends(connection: Connection, blake3: bytes, preferred: str) -> list[str]:
    """The backends that should hold an object: undamaged ones first, then by preference."""
    rows = fetch(
        connection,
        "SELECT backend_id FROM storage_locations WHERE blake3 = ? AND state <> 'deleted'"
        " GROUP BY backend_id ORDER BY max(state = 'failed'), backend_id <> ?, backend_id",
        (blake3, preferred),
    )
    return [row[0] for row in rows]


def idempotent_event(connection: Connection, key: str) -> tuple[bytes, int] | None:
    """What a key was used for: the digest of the request and the sequence of the event that it made."""
    row: tuple[bytes, int] | None = connection.execute(
        "SELECT request, sequence FROM idempotency_keys WHERE idempotency_key = ?", (key,)
    ).fetchone()
    return row


def check_limit(limit: int) -> None:
    """Refuse a page size that is not one."""
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidInputError(f"a limit is 1 to {LIMIT_MAX}, not {limit}")


def check_integer(value: int | None, *, name: str) -> None:
    """Refuse a number that SQLite cannot compare."""
    if value is not None and not codec.INTEGER_MIN <= value <= codec.INTEGER_MAX:
        raise InvalidInputError(f"{name} {value} does not fit into 64 bits")


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


def _prefix_range(digits: str, size: int) -> tuple[bytes, bytes]:
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


def _package(row: tuple[object, ...] | None) -> Package:
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
    return str(uuid.UUID(bytes=cast("bytes", value)))


def _digest(algorithm: str, value: object) -> Digest | None:
    return None if value is None else Digest(algorithm, cast("bytes", value))


def _file(row: tuple[object, ...] | None) -> File:
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
