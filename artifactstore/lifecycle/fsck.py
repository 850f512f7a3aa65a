"""Fsck: log, views and objects agree. The checker behind the command, and behind the tests.

Each part is judged by what was found sound before it, so that one fault does not accuse what depends on it:
the views by the log if that is whole; objects and manifests by the views, or by what a replay makes of the
log where the views or their indexes are damaged; objects by their own names where nothing else is left.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import file_queries, manifest, package_queries, rebuild, schema, views
from artifactstore.connection import fetch, scratch
from artifactstore.errors import AccessError, ArtifactStoreError, BackendError, IntegrityError
from artifactstore.lifecycle import inspection, object_locks
from artifactstore.lifecycle.comparison import View
from artifactstore.lifecycle.object_check import MISSING, StoredObject, check
from artifactstore.lifecycle.verify import packages_of
from artifactstore.moment import id_text
from artifactstore.reader import open_object

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Iterator, Mapping

    from artifactstore.connection import Connection, Row
    from artifactstore.database import Database
    from artifactstore.objects.backend import Backend


_NAMED = 3  # packages that are named beside a damaged object


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
    database: Database,
    backends: Mapping[str, Backend],
    unavailable: Mapping[str, Backend],
    store_id: uuid.UUID,
    *,
    read: bool,
) -> FsckResult:
    """Check a whole store; see `Store.fsck`. Changes nothing."""
    # Before the snapshot: the log can only have grown since.
    last = database.last_acknowledged()
    with database.read() as connection, scratch() as replayed:
        found = _Findings(database)
        whole = found.add("database", inspection.schema(connection))
        found.add("database", inspection.file(connection))
        found.add("log", inspection.log(database, connection, last))
        if "log" not in found.parts and found.add("log", _replay(database, connection, replayed)):
            identical = rebuild.fingerprint(database, connection) == views.fingerprint(replayed)
            if whole and (found.parts or not identical):
                for name in schema.VIEW_KEYS:
                    found.add("views", View(name, connection, replayed).differences())
            sound = replayed if found.parts else connection
        elif "database" not in found.parts or inspection.views_are_sound(database, connection):
            sound = connection
        else:
            # There is nothing to judge anything by.
            found.add("objects", _named_wrong(backends) if read else ())
            return FsckResult(inspection.newest(database, connection), 0, 0, tuple(found))
        if sound is replayed:
            schema.add_indexes(replayed)
        found.add("objects", _places(backends, unavailable, store_id))
        found.add("objects", _objects(sound, backends, unavailable, read=read))
        found.add("manifests", _manifests(sound, backends, store_id))
        found.add("retention", _retention(sound))
        found.add("retention", _locks(sound, backends))
        live = "SELECT count(*) FROM storage_locations WHERE state <> 'deleted'"
        packages = "SELECT count(*) FROM artifact_packages"
        return FsckResult(
            inspection.newest(database, connection),
            fetch(sound, live)[0][0],
            fetch(sound, packages)[0][0],
            tuple(found),
        )


class _Findings:
    """What was found so far."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: dict[Finding, None] = {}

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found)

    @property
    def parts(self) -> set[str]:
        """The parts that something was found in."""
        return {finding.part for finding in self._found}

    def add(self, part: str, lines: Iterable[str]) -> bool:
        """Take what is found in a part; where the file itself is damaged, that is one more finding.

        Returns:
            True if nothing was found.
        """
        before = len(self._found)
        try:
            with self._database.translated():
                for line in lines:
                    self._found[Finding(part, line)] = None
        except IntegrityError as error:
            self._found[Finding("database", error.message)] = None
        return len(self._found) == before


def _replay(database: Database, connection: Connection, replayed: Connection) -> Iterator[str]:
    try:
        with database.translated():
            views.rebuild(connection, replayed)
    except ArtifactStoreError as error:
        yield f"it cannot be replayed: {error.message}"


def _places(
    backends: Mapping[str, Backend], unavailable: Mapping[str, Backend], store_id: uuid.UUID
) -> Iterator[str]:
    for backend_id, backend in (*backends.items(), *unavailable.items()):
        for problem in backend.problems(store_id):
            yield f"backend {backend_id}: {problem}"


def _named_wrong(backends: Mapping[str, Backend]) -> Iterator[str]:
    """Objects whose bytes do not have the digest that is their name."""
    for backend_id, backend in backends.items():
        for stored in backend.stored():
            name = f"blake3:{stored.blake3.hex()} in backend {backend_id}"
            failure = _judged(backend, StoredObject(stored.blake3, None, stored.size), name)
            if failure is not None:
                yield f"{name}: {failure}"


def _objects(
    connection: Connection,
    backends: Mapping[str, Backend],
    unavailable: Mapping[str, Backend],
    *,
    read: bool,
) -> Iterator[str]:
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
    unknown: Counter[str] = Counter()
    for backend_id, blake3, sha256, size, state in rows:
        name = f"blake3:{blake3.hex()} in backend {backend_id}"
        if backend_id in unavailable:
            continue
        if backend_id not in backends:
            unknown[backend_id] += 1
            continue
        owned[backend_id].add(blake3)
        failure: str | None = None
        if state == "failed":
            failure = "a verify found it damaged"
        elif read:
            failure = _judged(backends[backend_id], StoredObject(blake3, sha256, size), name)
        else:
            found = sizes[backend_id].get(blake3)
            if found != size:
                # The list may be older than the object.
                found = backends[backend_id].size_of(blake3)
            if found != size:
                failure = MISSING if found is None else f"{found} bytes instead of {size}"
        if failure is not None:
            yield f"{name}: {failure}; needed by {_packages(connection, blake3)}"
    for backend_id, count in unknown.items():
        yield f"backend {backend_id} is not configured; objects in it: {count}"
    pending = {
        (blake3, backend_id)
        for blake3, backend_id in fetch(connection, "SELECT blake3, backend_id FROM pending_deletions")
    }
    for backend_id, listed in sizes.items():
        for blake3 in listed:
            if blake3 not in owned[backend_id] and (blake3, backend_id) not in pending:
                yield f"blake3:{blake3.hex()} in backend {backend_id}: no location names it"


def _judged(backend: Backend, wanted: StoredObject, name: str) -> str | None:
    """What is wrong with an object, be it that its place does not give it, and still gives its marker."""
    try:
        return check(backend, wanted)
    except (AccessError, BackendError) as error:
        backend.require()
        return f"not read: {error.message.removeprefix(f'{name}: ')}"


def _packages(connection: Connection, blake3: bytes) -> str:
    found = packages_of(connection, blake3)
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"package {', '.join(found[:_NAMED])}{more}"


def _manifests(connection: Connection, backends: Mapping[str, Backend], store_id: uuid.UUID) -> Iterator[str]:
    """The manifest of each package that still has its bytes says what the views say."""
    rows = fetch(
        connection,
        "SELECT p.sequence, p.manifest_blake3, p.manifest_size, p.manifest_sha256, p.content_digest,"
        " l.backend_id FROM artifact_packages p JOIN storage_locations l ON l.blake3 = p.manifest_blake3"
        " AND l.package_sequence = p.sequence AND l.state = 'stored'"
        " WHERE p.status = 'finalized'",
    )
    # From the first of the backends that should have it; further copies are looked at as objects.
    chosen: dict[int, Row] = {}
    for backend_id in backends:
        for row in rows:
            if row[-1] == backend_id:
                chosen.setdefault(row[0], row)
    for sequence, blake3, size, sha256, content_digest, backend_id in chosen.values():
        package = package_queries.package(connection, sequence)
        name = f"package {package.package_id}"
        try:
            with open_object(backends[backend_id].open(blake3, size), blake3, size, "its manifest") as stream:
                data = stream.read()
            found = manifest.decode(data)
        except ArtifactStoreError as error:
            yield f"{name}: {error.message}"
            continue
        if hashlib.sha256(data).digest() != sha256:
            yield f"{name}: the manifest does not have its sha256"
        if found.content_digest.value != content_digest:
            yield f"{name}: the manifest has another content digest than the log"
        if found.files != tuple(file_queries.manifest_files(connection, sequence)):
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
        yield f"package {id_text(package_id)} is held, but its bytes were released"


def _locks(connection: Connection, backends: Mapping[str, Backend]) -> Iterator[str]:
    """A place with locks keeps each object at least as long as the log says."""
    for backend_id, backend in backends.items():
        if backend.object_locks is None:
            continue
        # What is damaged is locked when it is mended.
        sound = "SELECT DISTINCT blake3 FROM storage_locations WHERE backend_id = ? AND state = 'stored'"
        objects = (blake3 for (blake3,) in fetch(connection, sound, (backend_id,)))
        count = len(object_locks.weaker(connection, backend, objects))
        if count:
            hint = "run `artifactstore storage verify`"
            yield f"backend {backend_id}: objects that are locked less than the log says: {count}; {hint}"
