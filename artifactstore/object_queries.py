"""Questions to the views about objects: who holds one, where it lies, and how well it is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore import fields
from artifactstore.connection import fetch, fetch_one
from artifactstore.digest import ALGORITHMS, DIGEST_SIZE, Digest, is_lower_hex
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.file_queries import FILE_COLUMNS, file_of_row
from artifactstore.model import FileHit, Verification
from artifactstore.moment import id_text
from artifactstore.package_queries import PACKAGE_COLUMNS, package_of_row
from artifactstore.query_arguments import MIN_PREFIX, prefix_range

if TYPE_CHECKING:
    from artifactstore.connection import Connection


def find_object(connection: Connection, text: str) -> list[FileHit]:
    """All places that hold the object with this digest.

    Args:
        text: `algorithm:hex`, or hex alone, which is looked for under both algorithms; a unique prefix
            is enough.
    Raises:
        InvalidInputError: not a digest, or the prefix fits several objects.
        NotFoundError: no file has it.
    """
    algorithm, separator, digits = fields.check_text(text, field="a digest").lower().rpartition(":")
    if (separator and algorithm not in ALGORITHMS) or not is_lower_hex(digits):
        raise InvalidInputError(
            f"not a digest: {text[:80]!r}", hint="write blake3:<hex>, sha256:<hex> or hex"
        )
    if not MIN_PREFIX <= len(digits) <= 2 * DIGEST_SIZE:
        raise InvalidInputError(
            f"a digest has {MIN_PREFIX} to {2 * DIGEST_SIZE} hex digits, {text[:80]!r} has {len(digits)}"
        )
    low, high = prefix_range(digits, DIGEST_SIZE)
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
    hits = _hits(connection, *found) if found else []
    if not hits:
        hint = _hint_of_manifest(connection, *found) if found else None
        raise NotFoundError(f"no file has the digest {text!r}", hint=hint)
    return hits


def _hint_of_manifest(connection: Connection, blake3: bytes) -> str | None:
    """Where to look with a digest that no file has: people hand on that of a manifest."""
    package_id = connection.execute(
        "SELECT p.package_id FROM storage_locations l JOIN artifact_packages p"
        " ON p.sequence = l.package_sequence AND p.manifest_blake3 = l.blake3 WHERE l.blake3 = ? LIMIT 1",
        (blake3,),
    ).get
    return (
        None
        if package_id is None
        else f"it is that of a manifest: `artifactstore show {id_text(package_id)}`"
    )


def _hits(connection: Connection, blake3: bytes) -> list[FileHit]:
    rows = connection.execute(
        f"SELECT e.event_id, e.package_id, {FILE_COLUMNS}, {PACKAGE_COLUMNS} FROM storage_locations l"
        " JOIN artifact_files f ON f.sequence = l.sequence JOIN events e ON e.sequence = f.sequence"
        " JOIN artifact_packages p ON p.sequence = f.package_sequence"
        " JOIN retention_state r ON r.package_sequence = p.sequence"
        " WHERE l.blake3 = ? GROUP BY f.sequence ORDER BY f.sequence",
        (blake3,),
    ).fetchall()
    return [FileHit(package_of_row(row[8:]), file_of_row(row[:8])) for row in rows]


def known_object(connection: Connection, digest: Digest, backend_id: str) -> tuple[bytes, bytes, int] | None:
    """Both digests and the size of bytes that a file of a package still needs, undamaged in a backend."""
    column = "l.blake3" if digest.algorithm == "blake3" else "f.sha256"
    rows = fetch(
        connection,
        "SELECT f.blake3, f.sha256, f.size FROM artifact_files f"
        " JOIN storage_locations l ON l.blake3 = f.blake3 AND l.sequence = f.sequence"
        f" WHERE {column} = ? AND l.backend_id = ? AND l.state NOT IN ('deleted', 'failed') LIMIT 1",
        (digest.value, backend_id),
    )
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else None


def backend_is_used(connection: Connection, backend_id: str) -> bool:
    """Whether the log says that a backend holds any object."""
    found: int = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM storage_locations WHERE backend_id = ? AND state <> 'deleted')",
        (backend_id,),
    ).get
    return bool(found)


def used_backends(connection: Connection) -> list[str]:
    """The ids of all backends that hold objects by the log; a step of an index each."""
    rows = connection.execute(
        "WITH RECURSIVE used (backend_id) AS (SELECT min(backend_id) FROM storage_locations"
        "  WHERE state <> 'deleted' UNION ALL SELECT (SELECT min(l.backend_id) FROM storage_locations l"
        "   WHERE l.state <> 'deleted' AND l.backend_id > used.backend_id)"
        "  FROM used WHERE used.backend_id IS NOT NULL)"
        " SELECT backend_id FROM used WHERE backend_id IS NOT NULL"
    )
    return [str(row[0]) for row in rows]


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


def was_named(connection: Connection, blake3: bytes, backend_id: str) -> bool:
    """Whether an object has or had a location in a backend."""
    sql = "SELECT 1 FROM storage_locations WHERE blake3 = ? AND backend_id = ? LIMIT 1"
    return bool(fetch(connection, sql, (blake3, backend_id)))


def failed_objects(connection: Connection, backend_id: str) -> list[bytes]:
    """blake3 of the objects of a backend that a verify found damaged."""
    sql = "SELECT DISTINCT blake3 FROM storage_locations WHERE backend_id = ? AND state = 'failed'"
    return [row[0] for row in fetch(connection, sql, (backend_id,))]


def readable_backends(connection: Connection, blake3: bytes, preferred: str) -> list[str]:
    """The backends that should hold an object: undamaged ones first, then by preference."""
    rows = fetch(
        connection,
        "SELECT backend_id FROM storage_locations WHERE blake3 = ? AND state <> 'deleted'"
        " GROUP BY backend_id ORDER BY max(state = 'failed'), backend_id <> ?, backend_id",
        (blake3, preferred),
    )
    return [row[0] for row in rows]


def read_elsewhere(connection: Connection, package: int, preferred: str) -> set[bytes]:
    """The objects of a package for which `readable_backends` is more, or other, than the preferred backend.

    Args:
        package: the key of its rows.
    """
    rows = fetch(
        connection,
        "SELECT DISTINCT every.blake3 FROM storage_locations own"
        " JOIN storage_locations every ON every.blake3 = own.blake3 AND every.state <> 'deleted'"
        " WHERE own.package_sequence = ? AND (every.backend_id <> ? OR every.state = 'failed')",
        (package, preferred),
    )
    return {row[0] for row in rows}
