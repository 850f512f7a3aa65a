"""Where the drills of `crash` happen with all objects on an S3 server: two prefixes of a bucket."""

from __future__ import annotations

import atexit
import hashlib
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from crash.place import Place
from lifecycle.harness import SECOND
from store.harness import LARGE

from artifactstore.digest import digest_pair, object_key
from artifactstore.objects.remote import MARKER, RemoteBackend
from artifactstore.objects.s3.bucket import microseconds
from artifactstore.objects.s3.calls import S3Calls
from artifactstore.objects.s3.service import S3Service
from artifactstore.objects.service import Lock
from s3.places import REMOTE, Server

if TYPE_CHECKING:
    import os
    from pathlib import Path
    from typing import Self

    from artifactstore.objects.backend import Backend

_connections: dict[str, S3Calls] = {}


class SharedService(S3Service):
    """A service whose connection is the process's own: a drill opens thousands of stores."""

    def __init__(self, server: Server, prefix: str, **asked: Any) -> None:
        config = server.config(prefix, multipart_threshold=LARGE, pause=0.01, **asked)
        if server.name not in _connections:
            _connections[server.name] = S3Calls(config)
            atexit.register(_connections[server.name].close)
        super().__init__(config, _connections[server.name])

    def close(self) -> None:
        """Leave it open for the next store."""

    def lock_of(self, key: str) -> Lock:
        """What the server says of an object."""
        seen = self._bucket.call("head_object", Key=self._bucket.key(key))
        until = seen.get("ObjectLockRetainUntilDate")
        held = seen.get("ObjectLockLegalHoldStatus") == "ON"
        return Lock(None if until is None else microseconds(until), held)


@dataclass(frozen=True)
class S3Place(Place):
    """A place whose objects are in a bucket; the local directory of its store stays empty.

    Args:
        server: a running one.
        prefix: holds its backends, and nothing else.
    """

    server: Server = field(kw_only=True)
    prefix: str = field(kw_only=True)

    @classmethod
    def fresh(cls, root: Path, server: Server) -> Self:
        """A place where nothing is yet."""
        return cls(root, server=server, prefix=_new_prefix())

    @property
    def first(self) -> str:
        return REMOTE

    def backends(self) -> dict[str, str | os.PathLike[str] | Backend]:
        return {name: RemoteBackend(self._service(name), backend_id=name) for name in (REMOTE, SECOND)}

    def stored(self, data: bytes, *, second: bool = False) -> bytes | None:
        service, key = self._service(SECOND if second else REMOTE), object_key(digest_pair(data).blake3)
        return _content(service, key)

    def put(self, data: bytes, content: bytes) -> None:
        key = object_key(digest_pair(data).blake3)
        _write(self._service(REMOTE), key, content)

    def set_aside(self) -> list[bytes]:
        service = self._service(REMOTE)
        return [_content(service, found.key) or b"" for found in service.entries("damaged/")]

    def surplus(self) -> list[str]:
        found = super().surplus()
        for service in (self._service(REMOTE), self._service(SECOND)):
            found += [
                each.key
                for each in service.entries("")
                if each.key != MARKER and not each.key.startswith(("blake3/", "damaged/"))
            ]
            found += [f"upload of {key}" for key, _ in service.unfinished("", 1 << 62)]
        return found

    def copied(self, root: Path) -> Self:
        copy = replace(super().copied(root), prefix=_new_prefix())
        for name in (REMOTE, SECOND):
            service, target = self._service(name), copy._service(name)
            for found in service.entries(""):
                _write(target, found.key, _content(service, found.key) or b"")
        return copy

    def remove(self) -> None:
        super().remove()
        for name in (REMOTE, SECOND):
            service = self._service(name)
            service.delete_all([found.key for found in service.entries("")])
            for key, upload in list(service.unfinished("", 1 << 62)):
                service.abort(key, upload)

    def _service(self, name: str) -> SharedService:
        return SharedService(self.server, f"{self.prefix}/{name}")


@dataclass(frozen=True)
class LockingPlace(S3Place):
    """A place whose bucket has Object Lock; what is locked stays in it until its server is thrown away.

    Args:
        bucket: of its own.
    """

    bucket: str = field(kw_only=True)

    @classmethod
    def fresh(cls, root: Path, server: Server) -> Self:
        bucket = f"locked-{uuid.uuid4().hex[:8]}"
        calls = S3Calls(server.config(""))
        calls.call("create_bucket", Bucket=bucket, ObjectLockEnabledForBucket=True)
        calls.close()
        return cls(root, server=server, prefix=_new_prefix(), bucket=bucket)

    def copied(self, root: Path) -> Self:
        copy = super().copied(root)
        for name in (REMOTE, SECOND):
            service, locks = self._service(name), copy._service(name).object_locks
            assert locks is not None
            for found in service.entries("blake3/"):
                seen = service.lock_of(found.key)
                if seen.until is not None:
                    locks.retain(found.key, seen.until)
                if seen.held:
                    locks.hold(found.key, on=True)
        return copy

    def remove(self) -> None:
        Place.remove(self)

    def _service(self, name: str) -> SharedService:
        prefix = f"{self.prefix}/{name}"
        return SharedService(self.server, prefix, bucket=self.bucket, object_lock="GOVERNANCE")


@dataclass(frozen=True)
class VersionedPlace(S3Place):
    """A place whose bucket keeps versions: what is only hidden is still stored.

    Args:
        bucket: of its own.
    """

    bucket: str = field(kw_only=True)

    @classmethod
    def fresh(cls, root: Path, server: Server) -> Self:
        bucket = f"versions-{uuid.uuid4().hex[:8]}"
        calls = S3Calls(server.config(""))
        calls.call("create_bucket", Bucket=bucket)
        enabled = {"Status": "Enabled"}
        calls.call("put_bucket_versioning", Bucket=bucket, VersioningConfiguration=enabled)
        calls.close()
        return cls(root, server=server, prefix=_new_prefix(), bucket=bucket)

    def stored(self, data: bytes, *, second: bool = False) -> bytes | None:
        found = super().stored(data, second=second)
        key = object_key(digest_pair(data).blake3)
        hidden = self._service(SECOND if second else REMOTE).hidden(key)
        return data if found is None and next(hidden, None) is not None else found

    def _service(self, name: str) -> SharedService:
        return SharedService(self.server, f"{self.prefix}/{name}", bucket=self.bucket)


def _new_prefix() -> str:
    return f"drill/{uuid.uuid4().hex[:8]}"


def _content(service: S3Service, key: str) -> bytes | None:
    found = service.head(key)
    if found is None:
        return None
    if not found.size:
        return b""
    part = service.get(key, 0, found.size)
    return None if part is None else part.data


def _write(service: S3Service, key: str, content: bytes) -> None:
    service.put(key, content, sha256=hashlib.sha256(content).digest(), replace=True)
