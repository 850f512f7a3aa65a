"""Object Lock: what keeps bytes from everybody."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING

from artifactstore.errors import AccessError, BackendError, ObjectNotFoundError
from artifactstore.objects.s3.bucket import microseconds
from artifactstore.objects.s3.failures import KeyMissing
from artifactstore.objects.service import Lock

if TYPE_CHECKING:
    from artifactstore.objects.s3.bucket import Bucket

_SECOND = 1_000_000  # microseconds
# Ceph keeps the end of a lock in 32 bits of seconds: a later one would be one in the past, and lock nothing.
_LAST = (2**32 - 1) * _SECOND


class S3Locks:
    """The locks of the objects of a bucket; see `ObjectLocks`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def require(self) -> None:
        """Raise if the bucket has no Object Lock."""
        try:
            found = self._bucket.call("get_object_lock_configuration")
        except KeyMissing:
            found = {}
        except BackendError as error:
            if error.retryable or error.code == "no-such-bucket":
                raise
            found = {}
        if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise BackendError(
                f"{self._bucket.name}: the bucket has no Object Lock",
                hint="make a bucket with Object Lock, or set ARTIFACTSTORE_S3_OBJECT_LOCK=off",
                code="object-lock-missing",
            )

    def retain(self, key: str, until: int) -> None:
        """Lock an object at least until an instant; see `ObjectLocks.retain`."""
        until = min(until, _LAST)
        if _has_passed(until):
            return  # servers refuse such a date
        try:
            self._bucket.call(
                "put_object_retention",
                Key=self._bucket.key(key),
                Retention={"Mode": self._bucket.config.object_lock, "RetainUntilDate": _datetime(until)},
            )
        except KeyMissing:
            raise self._missing(key) from None
        except (AccessError, BackendError):
            # A lock is never shortened: is it longer already? And some servers fail where nothing lies.
            if not self.covers(key, Lock(until, held=False)):
                raise

    def hold(self, key: str, *, on: bool) -> None:
        """Put an object under a legal hold, or end it; see `ObjectLocks.hold`."""
        try:
            self._bucket.call(
                "put_object_legal_hold",
                Key=self._bucket.key(key),
                LegalHold={"Status": "ON" if on else "OFF"},
            )
        except KeyMissing:
            raise self._missing(key) from None
        except BackendError:
            self._seen(key)  # some servers fail where nothing lies
            raise

    def covers(self, key: str, wanted: Lock) -> bool:
        """Compare the lock of an object; see `ObjectLocks.covers`."""
        seen = self._seen(key)
        if wanted.held and not seen.held:
            return False
        if wanted.until is None or _has_passed(wanted.until):
            return True
        return seen.until is not None and seen.until >= min(wanted.until, _LAST)

    def _seen(self, key: str) -> Lock:
        try:
            answer = self._bucket.call("head_object", Key=self._bucket.key(key))
        except KeyMissing:
            raise self._missing(key) from None
        until = answer.get("ObjectLockRetainUntilDate")
        held = answer.get("ObjectLockLegalHoldStatus") == "ON"
        return Lock(None if until is None else microseconds(until), held)

    def _missing(self, key: str) -> ObjectNotFoundError:
        return ObjectNotFoundError(
            f"{self._bucket.name}: {key} is missing, so it cannot be locked",
            hint="run `artifactstore storage verify` and `storage repair`",
        )


def _datetime(moment: int) -> datetime.datetime:
    """Microseconds as a date of full seconds, not before them."""
    return datetime.datetime.fromtimestamp(-(-moment // _SECOND), tz=datetime.UTC)


def _has_passed(moment: int) -> bool:
    return moment <= time.time_ns() // 1000
