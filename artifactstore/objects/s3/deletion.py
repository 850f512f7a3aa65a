"""Deletion: many keys in one request, and all versions where a bucket keeps them.

On a bucket with versions a plain delete only hides an object behind a marker; the bytes go with their
version. So nothing is hidden there: what breaks off leaves an object that the next deletion finds, while RGW
says of a hidden one that it is gone.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from artifactstore.errors import AccessError, BackendError
from artifactstore.objects.s3.bucket import microseconds
from artifactstore.objects.s3.failures import KeyMissing
from artifactstore.objects.service import Lock

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from artifactstore.objects.s3.bucket import Bucket

_TOGETHER = 1000  # keys in one request. Source: Amazon S3 API reference, "DeleteObjects"
_TIMEOUT = 300.0  # seconds for one such request
_THREADS = 16


class Deletion:
    """How keys of a bucket become free; see `Service.delete_all`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._together = True

    def delete_all(self, keys: Sequence[str], *, released: Collection[str] = ()) -> dict[str, Lock]:
        """Free keys, with all versions of what lies there; see `Service.delete_all`."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max(1, min(_THREADS, len(keys)))) as pool:
            versioned = list(keys)
            if keys and not self._keeps_versions():
                versioned = []
                for start in range(0, len(keys), _TOGETHER):
                    some = keys[start : start + _TOGETHER]
                    done, hidden = self._delete_together(some)
                    versioned += hidden
                    alone = [key for key in some if key not in done]
                    hides = pool.map(self._delete_alone, alone)
                    versioned += [key for key, hid in zip(alone, hides, strict=True) if hid]
            locks = pool.map(lambda key: self._delete_versions(key, lift=key in released), versioned)
            return {key: lock for key, lock in zip(versioned, locks, strict=True) if lock is not None}

    def _keeps_versions(self) -> bool:
        if self._bucket.config.object_lock is not None:
            return True
        try:
            return self._bucket.keeps_versions()
        except (AccessError, BackendError) as error:
            if error.code not in {"access-denied", "not-implemented"}:
                raise
            return False  # then the answer to each delete says whether it has only hidden something

    def _delete_together(self, keys: Sequence[str]) -> tuple[set[str], list[str]]:
        """One request for many keys.

        Returns:
            Which are free; and which of these are only hidden. The others failed, or the server does not know
            such requests.
        """
        if not self._together or len(keys) < 2:
            return set(), []
        wanted = {"Objects": [{"Key": self._bucket.key(key)} for key in keys], "Quiet": False}
        try:
            answer = self._bucket.call("delete_objects", timeout=_TIMEOUT, Delete=wanted)
        except KeyMissing:
            raise self._bucket.missing() from None
        except BackendError as error:
            if error.code != "not-implemented":
                raise
            self._together = False
            return set(), []
        deleted = {self._bucket.relative(entry["Key"]): entry for entry in answer.get("Deleted", ())}
        return set(deleted), [key for key, entry in deleted.items() if _is_hidden(entry)]

    def _delete_alone(self, key: str) -> bool:
        """A request for one key; true if the object is only hidden."""
        try:
            return _is_hidden(self._bucket.call("delete_object", Key=self._bucket.key(key)))
        except KeyMissing:
            self._bucket.require()
            return False

    def _delete_versions(self, key: str, *, lift: bool) -> Lock | None:
        """Remove all versions of an object; how it is locked, if some of them stay.

        The newest goes last, and only if no other is left: an older one may be damaged, and must not come to
        light.

        Args:
            lift: legal holds on it are over.
        """
        found = list(self._versions(key))
        versions = [version for version, is_marker in reversed(found) if not is_marker]
        locks: list[Lock] = []
        for version in versions:
            if locks and version == versions[-1]:
                break
            lock = self._delete_version(key, version, lift=lift)
            if lock is not None:
                locks.append(lock)
        for version, is_marker in found:
            if is_marker:
                self._delete_one(key, version)
        if not locks:
            return None
        ends = [lock.until for lock in locks if lock.until is not None]
        return Lock(max(ends, default=None), any(lock.held for lock in locks))

    def _versions(self, key: str) -> Iterator[tuple[str, bool]]:
        """Id of each version of an object, the newest first, and whether it is a marker of a deletion."""
        whole = self._bucket.key(key)
        for page in self._bucket.pages(
            "list_object_versions",
            {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"},
            Prefix=whole,
            MaxKeys=self._bucket.config.page_size,
        ):
            for name, is_marker in (("Versions", False), ("DeleteMarkers", True)):
                for entry in page.get(name, ()):
                    if entry["Key"] == whole:
                        yield str(entry["VersionId"]), is_marker

    def _delete_one(self, key: str, version: str) -> None:
        try:
            self._bucket.call("delete_object", Key=self._bucket.key(key), VersionId=version)
        except KeyMissing:
            self._bucket.require()

    def _delete_version(self, key: str, version: str, *, lift: bool) -> Lock | None:
        """Remove a version; how it is locked, if it stays."""
        try:
            self._delete_one(key, version)
        except AccessError as error:
            refusal = error
        else:
            return None
        which: dict[str, Any] = {"Key": self._bucket.key(key), "VersionId": version}
        try:
            seen = self._bucket.call("head_object", **which)
        except KeyMissing:
            return None
        until = seen.get("ObjectLockRetainUntilDate")
        held = seen.get("ObjectLockLegalHoldStatus") == "ON"
        if held and lift:
            self._bucket.call("put_object_legal_hold", **which, LegalHold={"Status": "OFF"})
            held = False
            if until is None or until <= datetime.datetime.now(datetime.UTC):
                self._delete_one(key, version)
                return None
        if until is None and not held:
            raise refusal
        return Lock(None if until is None else microseconds(until), held)


def _is_hidden(answer: dict[str, Any]) -> bool:
    """Whether a delete has only added a marker: only a bucket with versions says so much."""
    return bool(answer.get("DeleteMarker") or answer.get("VersionId") or answer.get("DeleteMarkerVersionId"))
