"""Bytes under keys in a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactstore.errors import AccessError, ArtifactStoreError, BackendError
from artifactstore.objects.s3.bucket import Bucket, microseconds
from artifactstore.objects.s3.deletion import Deletion
from artifactstore.objects.s3.failures import BeyondEnd, KeyMissing
from artifactstore.objects.s3.locks import S3Locks
from artifactstore.objects.s3.multipart import Multipart, read
from artifactstore.objects.s3.writing import Writing
from artifactstore.objects.service import Found, Range

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from artifactstore.objects.backend import Fill
    from artifactstore.objects.s3.calls import S3Calls
    from artifactstore.objects.s3.config import S3Config
    from artifactstore.objects.service import Lock


class S3Service:
    """A prefix of a bucket; see `Service`.

    Args:
        calls: the connection; one of its own if not given.
    """

    def __init__(self, config: S3Config, calls: S3Calls | None = None) -> None:
        self._config = config
        self._bucket = Bucket(config, calls)
        self._locks = S3Locks(self._bucket)
        self._deletion = Deletion(self._bucket)
        self._writing = Writing(self._bucket, self._deletion, self._locks)
        self._multipart = Multipart(self._writing)

    def __repr__(self) -> str:
        return f"<S3Service {self.name}>"

    @property
    def name(self) -> str:
        """Bucket, prefix and endpoint."""
        return self._config.name

    # Reading

    def head(self, key: str) -> Found | None:
        """What lies under a key; see `Service.head`. The answer does not tell a missing bucket."""
        try:
            answer = self._bucket.call("head_object", Key=self._bucket.key(key))
        except KeyMissing:
            return None
        except AccessError as error:
            raise self._explained(error, key) from None
        return Found(key, int(answer["ContentLength"]), microseconds(answer["LastModified"]))

    def _explained(self, refusal: AccessError, key: str) -> ArtifactStoreError:
        """The same refusal with its reason: an answer to HEAD has no body that could say it."""
        try:
            self._bucket.call("get_object", Key=self._bucket.key(key), Range="bytes=0-0")
        except (BeyondEnd, KeyMissing):
            return refusal
        except ArtifactStoreError as error:
            return error
        return refusal

    def require(self) -> None:
        """Raise if the bucket is gone; see `Service.require`."""
        self._bucket.require()

    def get(self, key: str, start: int, length: int) -> Range | None:
        """A part of what lies under a key; see `Service.get`."""
        wanted = f"bytes={start}-{start + length - 1}"
        try:
            answer = self._bucket.call("get_object", size=length, Key=self._bucket.key(key), Range=wanted)
        except KeyMissing:
            return None
        except BeyondEnd:
            # An object that was emptied, or cut short before the range.
            found = self.head(key)
            if found is None:
                return None
            data: bytes | bytearray = b""
            size = found.size
        else:
            data, size = self._ranged(answer, start, length)
        expected = max(0, min(length, size - start))
        if len(data) != expected:
            raise BackendError(
                f"{self.name}: {len(data)} bytes came instead of {expected}",
                code="connection-lost",
                retryable=True,
            )
        return Range(data, size)

    def _ranged(self, answer: dict[str, Any], start: int, length: int) -> tuple[bytes | bytearray, int]:
        """What came of an object, and the size of the whole."""
        data = answer["Body"]
        _, _, whole = str(answer.get("ContentRange", "")).rpartition("/")
        if whole.isdigit():
            return data, int(whole)
        if start == 0:
            return data[:length], len(data)  # the server sent all
        raise BackendError(f"{self.name}: the server does not serve ranges", code="no-ranges")

    def entries(self, prefix: str) -> Iterator[Found]:
        """All keys with a prefix, a page at a time; see `Service.entries`."""
        for page in self._bucket.pages(
            "list_objects_v2",
            {"ContinuationToken": "NextContinuationToken"},
            Prefix=self._bucket.key(prefix),
            MaxKeys=self._config.page_size,
        ):
            for entry in page.get("Contents", ()):
                moment = microseconds(entry["LastModified"])
                yield Found(self._bucket.relative(entry["Key"]), int(entry["Size"]), moment)

    def hidden(self, prefix: str) -> Iterator[Found]:
        """Keys below whose newest version, a marker of a deletion, others lie; see `Service.hidden`."""
        if not self._bucket.keeps_versions():
            return
        marked: dict[str, int] = {}
        sizes: dict[str, int] = {}
        for page in self._bucket.pages(
            "list_object_versions",
            {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"},
            Prefix=self._bucket.key(prefix),
            MaxKeys=self._config.page_size,
        ):
            for entry in page.get("DeleteMarkers", ()):
                if entry["IsLatest"]:
                    marked[self._bucket.relative(entry["Key"])] = microseconds(entry["LastModified"])
            # The newest version of a key is listed first, so its marker is known by now.
            for entry in page.get("Versions", ()):
                key = self._bucket.relative(entry["Key"])
                if key in marked:
                    sizes[key] = sizes.get(key, 0) + int(entry["Size"])
        for key, size in sizes.items():
            yield Found(key, size, marked[key])

    # Writing

    def put(self, key: str, data: bytes | memoryview, *, sha256: bytes, replace: bool) -> bool:
        """Store bytes; see `Service.put`."""
        self._writing.prove_once()
        return self._writing.put(key, bytes(data), sha256=sha256, replace=replace)

    def upload(self, key: str, fill: Fill, size: int, *, sha256: bytes, replace: bool) -> bool:
        """Store a stream, in parts from the threshold on; see `Service.upload`."""
        if size < self._config.multipart_threshold:
            return self.put(key, read(fill, size + 1), sha256=sha256, replace=replace)
        self._writing.prove_once()
        return self._multipart.upload(key, fill, size, replace=replace)

    def copy(self, key: str, target: str) -> bool:
        """Copy on the server, in parts if it is large; see `Service.copy`."""
        found = self.head(key)
        if found is None:
            return False
        try:
            self._multipart.copy(key, target, found.size)
        except KeyMissing:
            return False
        return True

    def prove_writable(self) -> None:
        """Write a probe, look at it, remove it; see `Service.prove_writable`."""
        self._writing.prove()

    # Deletion, locks, unfinished uploads

    def delete_all(self, keys: Sequence[str], *, released: Collection[str] = ()) -> dict[str, Lock]:
        """Free keys; see `Service.delete_all`."""
        return self._deletion.delete_all(keys, released=released)

    @property
    def object_locks(self) -> S3Locks | None:
        """The locks of the bucket, if the configuration asks for them; see `Service.object_locks`."""
        return None if self._config.object_lock is None else self._locks

    def unfinished(self, prefix: str, before: int) -> Iterator[tuple[str, str]]:
        """Multipart uploads that nobody has completed; see `Service.unfinished`."""
        return self._multipart.unfinished(prefix, before)

    def abort(self, key: str, upload: str) -> None:
        """Throw an unfinished upload away; see `Service.abort`."""
        self._multipart.abort(key, upload)

    def close(self) -> None:
        """Close the connections; see `Service.close`."""
        self._bucket.calls.close()
