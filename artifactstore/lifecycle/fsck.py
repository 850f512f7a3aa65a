"""Fsck: log, views and objects agree. The checker behind the command, and behind the tests."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import codec, events, manifest, queries, rebuild
from artifactstore.database import fetch
from artifactstore.errors import ArtifactStoreError, IntegrityError
from artifactstore.lifecycle.verify import StoredObject, check
from artifactstore.reader import open_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from artifactstore.database import Connection, Database, Row
    from artifactstore.objects.backend import Backend


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not agree.

    Args:
        part: `database`, `log`, `views`, `objects`, `manifests` or `retention`.
        what: the thing and what is wrong with it.
    """

    part: str
    what: str


@dataclass(frozen=True, slots=True)
class FsckResult:
    """What was looked at and what was found."""

    event_count: int
    location_count: int
    package_count: int
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether everything agrees."""
        return not self.findings


def fsck(
    database: Database, backends: Mapping[str, Backend], store_id: uuid.UUID, *, read: bool
) -> FsckResult:
    """Check a whole store; see `Store.fsck`. Changes nothing."""
    with database.read() as connection:
        findings = [Finding("database", line) for line in _integrity(connection)]
        findings += [Finding("log", line) for line in _log(connection)]
        newest = events.newest_sequence(connection)
        used = fetch(connection, "SELECT count(*) FROM storage_locations WHERE state <> 'deleted'")[0][0]
        packages = fetch(connection, "SELECT count(*) FROM artifact_packages")[0][0]
        findings += [Finding("objects", line) for line in _objects(connection, backends, read=read)]
        findings += [Finding("manifests", line) for line in _manifests(connection, backends, store_id)]
        findings += [Finding("retention", line) for line in _retention(connection)]
    try:
        replayed = rebuild.replay(database, check=True)
        if not replayed.identical:
            findings.append(
                Finding("views", "they are not what the log says; `artifactstore replay` mends them")
            )
    except ArtifactStoreError as error:
        findings.append(Finding("views", f"the log cannot be replayed: {error.message}"))
    return FsckResult(newest, used, packages, tuple(findings))


def _integrity(connection: Connection) -> Iterator[str]:
    for (line,) in fetch(connection, "PRAGMA integrity_check"):
        if line != "ok":
            yield str(line)


def _log(connection: Connection) -> Iterator[str]:
    """Gapless, canonical, hashed right, and time does not run backwards."""
    expected, newest = 1, 0
    rows: Iterator[Row] = iter(connection.execute("SELECT * FROM events ORDER BY sequence"))
    for sequence, event_id, kind, package_id, actor, recorded_at, payload, leaf in rows:
        if sequence != expected:
            yield f"after event {expected - 1} comes {sequence}"
        expected = int(sequence) + 1
        columns = (sequence, event_id, kind, package_id, actor, recorded_at, payload)
        if events.leaf_hash(*columns) != leaf:
            yield f"event {sequence} does not have its leaf hash"
        try:
            codec.decode(payload)
        except IntegrityError as error:
            yield f"the payload of event {sequence} is {error.message}"
        if int(recorded_at) < newest:
            yield f"event {sequence} was recorded before the one in front of it"
        newest = int(recorded_at)


def _objects(connection: Connection, backends: Mapping[str, Backend], *, read: bool) -> Iterator[str]:
    """Every live location has its bytes; no object is without an owner."""
    rows = fetch(
        connection,
        "SELECT l.backend_id, l.blake3, coalesce(f.sha256, p.manifest_sha256), l.size, min(l.state)"
        " FROM storage_locations l LEFT JOIN artifact_files f ON f.sequence = l.sequence"
        " JOIN artifact_packages p ON p.sequence = l.package_sequence"
        " WHERE l.state <> 'deleted' GROUP BY l.backend_id, l.blake3",
    )
    sizes = {
        backend_id: {stored.blake3: stored.size for stored in backend.stored()}
        for backend_id, backend in backends.items()
    }
    owned: dict[str, set[bytes]] = {backend_id: set() for backend_id in backends}
    for backend_id, blake3, sha256, size, state in rows:
        name = f"blake3:{blake3.hex()} in backend {backend_id}"
        if backend_id not in backends:
            yield f"{name}: the backend is not configured"
            continue
        owned[backend_id].add(blake3)
        if state == "failed":
            yield f"{name}: a verify found it damaged"
            continue
        backend = backends[backend_id]
        if read:
            failure = check(backend, StoredObject(blake3, sha256, size))
            if failure is not None:
                yield f"{name}: {failure}"
            continue
        found = sizes[backend_id].get(blake3)
        if found != size:
            found = backend.size_of(blake3)
        if found != size:
            yield f"{name}: " + ("missing" if found is None else f"{found} bytes instead of {size}")
    pending = {
        (blake3, backend_id)
        for blake3, backend_id in fetch(connection, "SELECT blake3, backend_id FROM pending_deletions")
    }
    for backend_id, listed in sizes.items():
        for blake3 in listed:
            if blake3 not in owned[backend_id] and (blake3, backend_id) not in pending:
                yield f"blake3:{blake3.hex()} in backend {backend_id}: no location names it"


def _manifests(connection: Connection, backends: Mapping[str, Backend], store_id: uuid.UUID) -> Iterator[str]:
    """The manifest of each package that still has its bytes says what the views say."""
    rows = fetch(
        connection,
        "SELECT p.sequence, p.manifest_blake3, p.manifest_size, p.manifest_sha256, p.content_digest,"
        " l.backend_id FROM artifact_packages p JOIN storage_locations l ON l.blake3 = p.manifest_blake3"
        " AND l.package_sequence = p.sequence AND l.state = 'stored'"
        " WHERE p.status = 'finalized' GROUP BY p.sequence",
    )
    for sequence, blake3, size, sha256, content_digest, backend_id in rows:
        package = queries.package(connection, sequence)
        name = f"package {package.package_id}"
        if backend_id not in backends:
            continue
        try:
            with open_object(backends[backend_id].open(blake3, size), blake3, size, name) as stream:
                data = stream.read()
            found = manifest.decode(data)
        except ArtifactStoreError as error:
            yield f"{name}: {error.message}"
            continue
        if hashlib.sha256(data).digest() != sha256:
            yield f"{name}: the manifest does not have its sha256"
        if found.content_digest.value != content_digest:
            yield f"{name}: the manifest has another content digest than the log"
        if found.files != tuple(queries.manifest_files(connection, sequence)):
            yield f"{name}: the manifest lists other files than the log"
        described = (found.package.package_id, found.package.store_id, found.package.name)
        if described != (package.package_id, str(store_id), package.name):
            yield f"{name}: the manifest describes another package"


def _retention(connection: Connection) -> Iterator[str]:
    """Nothing that is held was touched."""
    rows = fetch(
        connection,
        "SELECT DISTINCT p.package_id FROM retention_holds h"
        " JOIN artifact_packages p ON p.sequence = h.package_sequence"
        " JOIN retention_state r ON r.package_sequence = p.sequence"
        " WHERE h.released_at IS NULL AND (r.collected_at IS NOT NULL OR EXISTS"
        "  (SELECT 1 FROM storage_locations l"
        "   WHERE l.package_sequence = p.sequence AND l.state = 'deleted'))",
    )
    for (package_id,) in rows:
        yield f"package {uuid.UUID(bytes=package_id)} is held, but its bytes were released"
