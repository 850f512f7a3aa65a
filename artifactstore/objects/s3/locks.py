"""Object Lock: what keeps bytes from everybody."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from artifactstore.errors import AccessError, BackendError, ObjectNotFoundError
from artifactstore.objects.s3.failures import KeyMissing

if TYPE_CHECKING:
    from artifactstore.objects.s3.bucket import Bucket

_SECOND = 1_000_000  # microseconds


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
        moment = _datetime(until)
        try:
            self._bucket.call(
                "put_object_retention",
                Key=self._bucket.key(key),
                Retention={"Mode": self._bucket.config.object_lock, "RetainUntilDate": moment},
            )
        except AccessError:
            # A lock is never shortened: is it longer already?
            if not self._is_locked(key, moment):
                raise
        except KeyMissing:
            raise self._missing(key) from None

    def _is_locked(self, key: str, until: datetime.datetime) -> bool:
        try:
            seen = self._bucket.call("head_object", Key=self._bucket.key(key))
        except KeyMissing:
            raise self._missing(key) from None
        present = seen.get("ObjectLockRetainUntilDate")
        return present is not None and bool(present >= until)

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

    def _missing(self, key: str) -> ObjectNotFoundError:
        return ObjectNotFoundError(
            f"{self._bucket.name}: {key} is missing, so it cannot be locked",
            hint="run `artifactstore storage verify` and `storage repair`",
        )


def _datetime(moment: int) -> datetime.datetime:
    """Microseconds as a date of full seconds, not before them."""
    return datetime.datetime.fromtimestamp(-(-moment // _SECOND), tz=datetime.UTC)
