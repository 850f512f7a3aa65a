"""Objects in a remote place, on the same keys as in a local root: `blake3/ab/cd/abcd...`.

An object goes straight to its final key. That is safe, since the key is its digest and no event names it yet:
what stays without an event is an orphan, found by its age.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
import uuid
from typing import TYPE_CHECKING

from artifactstore.digest import DIGEST_SIZE, is_lower_hex, object_key
from artifactstore.errors import (
    AccessError,
    ArtifactStoreError,
    BackendError,
    IntegrityError,
    ObjectNotFoundError,
    StateError,
)
from artifactstore.forks import watch
from artifactstore.objects.backend import Stored
from artifactstore.objects.remote_batch import SET_ASIDE, RemoteBatch
from artifactstore.objects.remote_reader import FIRST_BLOCK, RemoteReader
from artifactstore.objects.service import PROBE

if TYPE_CHECKING:
    import io
    from collections.abc import Collection, Iterable, Iterator

    from artifactstore.objects.backend import Named
    from artifactstore.objects.service import Found, Lock, ObjectLocks, Service

MARKER = "artifactstore.json"
_MARKER_FORMAT = 1
_MARKER_SIZE = 4096  # bytes at most
_TOP = "blake3/"
_THREADS = 16  # calls at once


class RemoteBackend:
    """A place for objects behind a service.

    Args:
        service: keeps bytes under keys.
        backend_id: its name in the log.
    """

    def __init__(self, service: Service, *, backend_id: str) -> None:
        self._service = service
        self._backend_id = backend_id
        self._looked: tuple[float, bool, tuple[str, ...]] | None = None
        self._looking = threading.Lock()
        watch(self)

    def __repr__(self) -> str:
        return f"<RemoteBackend {self._backend_id}: {self._service.name}>"

    @property
    def backend_id(self) -> str:
        """The name under which the log knows it."""
        return self._backend_id

    @property
    def folder(self) -> str:
        """Empty; see `Backend.folder`."""
        return ""

    # The marker

    def attach(self, store_id: uuid.UUID, *, create: bool) -> None:
        """Make sure that the place belongs to this store; see `Backend.attach`."""
        self._looked = None  # what is learned now is newer
        owner = self._owner()
        if owner is None and create:
            self.check_free()
            _write_marker(self._service, store_id, replace=False)
            # Read back: another store may have been faster, and not every service refuses the second.
            owner = self._owner()
        if owner is None:
            raise self._unmarked()
        if owner != str(store_id):
            raise self._foreign(owner)

    def require(self) -> None:
        """Raise if the marker cannot be read; see `Backend.require`."""
        if self._owner() is None:
            raise self._unmarked()

    def take_over(self, store_id: uuid.UUID) -> str | None:
        """Write a marker of this store, whatever stands there; see `Backend.take_over`."""
        self._looked = None
        owner = self._owner()
        _write_marker(self._service, store_id, replace=True)
        return owner

    def check_free(self) -> None:
        """Refuse a place that holds something without a marker; see `Backend.check_free`."""
        owner = self._owner()
        if owner is not None:
            raise self._foreign(owner)
        for found in self._service.entries(""):
            if found.key.startswith(PROBE):
                continue
            raise BackendError(
                f"{self._service.name} is not empty and no store has marked it: {found.key!r}",
                hint="choose another prefix, or take it over with `artifactstore storage adopt`",
                code="backend-not-empty",
            )

    def _owner(self) -> str | None:
        """The store id in the marker, or None without one."""
        found = self._service.get(MARKER, 0, _MARKER_SIZE)
        if found is None:
            return None
        try:
            marker = json.loads(found.data)
            form, owner = marker["format"], str(uuid.UUID(marker["store_id"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"the marker {MARKER} in {self._service.name} is damaged: {error}"
            raise BackendError(message, hint="restore it from a backup", code="marker-damaged") from None
        if form != _MARKER_FORMAT:
            message = f"{self._service.name} has format {form!r}, newer than {_MARKER_FORMAT}"
            raise StateError(message, hint="upgrade artifactstore", code="store-too-new")
        return owner

    def _unmarked(self) -> BackendError:
        return BackendError(
            f"{self._service.name} has no marker {MARKER}",
            hint="check bucket and prefix, or mark it with `artifactstore storage adopt`",
            code="backend-missing",
        )

    def _foreign(self, owner: str) -> BackendError:
        return BackendError(
            f"{self._service.name} belongs to the store {owner}",
            hint="one store, one prefix: choose another, or take it over with `artifactstore storage adopt`",
            code="backend-foreign",
        )

    # Adding

    def batch(
        self, *, keep: bool = False, damaged: frozenset[bytes] = frozenset(), named: Named | None = None
    ) -> RemoteBatch:
        """Begin to add objects; see `Backend.batch`."""
        return RemoteBatch(self._service, keep=keep, damaged=damaged, named=named)

    def remove_stale(self, *, older_than: int, dry_run: bool = False) -> int:
        """Abort uploads that nobody completes, and remove old probes; see `Backend.remove_stale`."""
        before = time.time_ns() // 1000 - older_than * 1_000_000
        uploads = [each for top in (_TOP, f"{SET_ASIDE}/") for each in self._service.unfinished(top, before)]
        probes = [each.key for each in self._service.entries(PROBE) if each.written_at <= before]
        probes += [each.key for each in self._service.hidden(PROBE) if each.written_at <= before]
        if dry_run:
            return len(uploads) + len(probes)
        for key, upload in uploads:
            self._service.abort(key, upload)
        locked = self._service.delete_all(probes) if probes else ()
        return len(uploads) + len(probes) - len(locked)

    # Reading

    def open(self, blake3: bytes, size: int) -> io.RawIOBase:
        """A stream over an object; see `Backend.open`."""
        key = object_key(blake3)
        first: bytes | bytearray = b""
        with self._naming(blake3):
            if size == 0:
                found = self._service.head(key)
                if found is None:
                    self._service.require()
                length = None if found is None else found.size
            else:
                part = self._service.get(key, 0, min(size, FIRST_BLOCK))
                first, length = (b"", None) if part is None else (part.data, part.size)
        if length is None:
            raise self._missing(blake3)
        if length != size:
            message = f"the object blake3:{blake3.hex()} has {length} bytes instead of {size}"
            raise IntegrityError(message, hint="restore it from a copy; see `artifactstore storage repair`")

        def fetch(start: int, wanted: int) -> bytes | bytearray:
            with self._naming(blake3):
                part = self._service.get(key, start, wanted)
            if part is None:
                raise self._missing(blake3)
            if part.size != size:
                raise IntegrityError(f"the object blake3:{blake3.hex()} changed while it was read")
            return part.data

        return RemoteReader(fetch, size, first)

    @contextlib.contextmanager
    def _naming(self, blake3: bytes) -> Iterator[None]:
        """Let the refusals of the service, which name the place, name the object too."""
        try:
            yield
        except (AccessError, BackendError) as error:
            raise error.about(f"blake3:{blake3.hex()} in backend {self._backend_id}") from error.__cause__

    def _missing(self, blake3: bytes) -> ObjectNotFoundError:
        message = f"the object blake3:{blake3.hex()} is missing in backend {self._backend_id}"
        return ObjectNotFoundError(message, hint="restore it from a copy; see `artifactstore storage repair`")

    def size_of(self, blake3: bytes) -> int | None:
        """The size of an object; see `Backend.size_of`."""
        found = self._service.head(object_key(blake3))
        if found is None:
            self._service.require()
            return None
        return found.size

    def missing(self, wanted: Iterable[tuple[bytes, int]]) -> list[bytes]:
        """Which objects are not there, many asked at once; see `Backend.missing`."""
        from concurrent.futures import ThreadPoolExecutor

        sizes = dict(wanted)
        if not sizes:
            return []
        with ThreadPoolExecutor(min(_THREADS, len(sizes))) as pool:
            heads = pool.map(lambda blake3: self._service.head(object_key(blake3)), sizes)
            found = dict(zip(sizes, heads, strict=True))
        if None in found.values():
            self._service.require()
        return [blake3 for blake3, head in found.items() if head is None or head.size != sizes[blake3]]

    def stored(self) -> Iterator[Stored]:
        """All objects; see `Backend.stored`."""
        return _objects(self._service.entries(_TOP))

    def hidden(self) -> Iterator[Stored]:
        """What a deletion has hidden and not removed; see `Backend.hidden`."""
        return _objects(self._service.hidden(_TOP))

    @property
    def object_locks(self) -> ObjectLocks | None:
        """The locks of the place; see `Backend.object_locks`."""
        return self._service.object_locks

    def remove_all(self, wanted: Iterable[bytes], *, released: Collection[bytes] = ()) -> dict[bytes, Lock]:
        """Remove objects, many at once; see `Backend.remove_all`."""
        keys = {object_key(blake3): blake3 for blake3 in wanted}
        locked = self._service.delete_all(list(keys), released=frozenset(map(object_key, released)))
        return {keys[key]: lock for key, lock in locked.items()}

    def problems(
        self, store_id: uuid.UUID, *, claimed: bool = True, deep: bool = False, max_age: float = 0
    ) -> tuple[str, ...]:
        """Why the place cannot be used; see `Backend.problems`."""
        with self._looking:
            if self._looked is not None:
                looked_at, looked_deep, known = self._looked
                if time.monotonic() - looked_at < max_age and looked_deep >= deep:
                    return known
            found = self._problems(store_id, claimed=claimed, deep=deep)
            # Its age counts from its end: a place that hangs would else be looked at for everybody who asks.
            self._looked = time.monotonic(), deep, found
            return found

    def _problems(self, store_id: uuid.UUID, *, claimed: bool, deep: bool) -> tuple[str, ...]:
        try:
            owner = self._owner()
            if owner is not None and owner != str(store_id):
                raise self._foreign(owner)
            if owner is None and claimed:
                return (f"{self._service.name} has no marker {MARKER}",)
            if deep:
                self._service.prove_writable()
        except ArtifactStoreError as error:
            return (error.message,)
        return ()

    def before_fork(self) -> None:
        """Wait for nobody: a look may take long."""

    def after_fork(self, *, in_child: bool) -> None:
        """Forget in the child a look that goes on in the parent."""
        if in_child:
            self._looking = threading.Lock()

    def close(self) -> None:
        """Release connections."""
        self._service.close()


def _objects(entries: Iterable[Found]) -> Iterator[Stored]:
    """Those entries that are objects."""
    for found in entries:
        name = found.key.rpartition("/")[2]
        if len(name) == 2 * DIGEST_SIZE and is_lower_hex(name):
            blake3 = bytes.fromhex(name)
            if found.key == object_key(blake3):
                yield Stored(blake3, found.size, found.written_at)


def _write_marker(service: Service, store_id: uuid.UUID, *, replace: bool) -> None:
    data = json.dumps({"format": _MARKER_FORMAT, "store_id": str(store_id)}).encode() + b"\n"
    service.put(MARKER, data, sha256=hashlib.sha256(data).digest(), replace=replace)
