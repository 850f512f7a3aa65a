"""Questions to the views about the files of packages, in the order of the bytes of their paths."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, cast

from artifactstore.connection import fetch
from artifactstore.digest import Digest, is_lower_hex
from artifactstore.errors import IntegrityError, InvalidInputError, NotFoundError
from artifactstore.model import File, Page
from artifactstore.moment import id_text
from artifactstore.paths import parents
from artifactstore.query_arguments import ID_TEXT, bad_cursor, check_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactstore.connection import Connection
    from artifactstore.manifest import ManifestFile

FILE_COLUMNS = "f.relative_path, f.media_type, f.size, f.blake3, f.sha256, f.executable"


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


def file_of_id(connection: Connection, file_id: str) -> File:
    """The file whose ingest event has this id.

    Raises:
        InvalidInputError: it is no id.
        NotFoundError: no file has it.
    """
    digits = file_id.replace("-", "").lower()
    if len(file_id) > ID_TEXT or len(digits) != 32 or not is_lower_hex(digits):
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


def file_sequence(connection: Connection, sequence: int, relative_path: str) -> int:
    """The key of a file's row, which is the sequence of its ingest event."""
    sql = "SELECT sequence FROM artifact_files WHERE package_sequence = ? AND relative_path = ?"
    return int(fetch(connection, sql, (sequence, relative_path))[0][0])


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


def file_of_row(row: tuple[object, ...] | None) -> File:
    if row is None:
        raise IntegrityError("a file has lost its row", hint="run `artifactstore replay`")
    event_id, package_id, relative_path, media_type, size, blake3, sha256, executable = row
    return File(
        file_id=id_text(cast("bytes", event_id)),
        package_id=id_text(cast("bytes", package_id)),
        relative_path=cast("str", relative_path),
        media_type=cast("str", media_type),
        size=cast("int", size),
        digest=Digest("blake3", cast("bytes", blake3)),
        sha256=Digest("sha256", cast("bytes", sha256)),
        executable=bool(executable),
    )


def _path_cursor(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_cursor(cursor) from None
