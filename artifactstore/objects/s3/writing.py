"""Writes of whole objects, and what is asked of each of them: encryption, a storage class, a free key."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from artifactstore.errors import BackendError
from artifactstore.objects.s3.failures import ConditionFailed, KeyMissing
from artifactstore.objects.service import PROBE

if TYPE_CHECKING:
    from artifactstore.objects.s3.bucket import Bucket
    from artifactstore.objects.s3.deletion import Deletion
    from artifactstore.objects.s3.locks import S3Locks

_SAID = b"artifactstore checks that it may write here\n"


class Writing:
    """The writes to a bucket.

    The server checks each body against the sha256 in the signature, in the checksum header, or both.

    Args:
        asked: what each write that makes an object says beside key and body.
    """

    def __init__(self, bucket: Bucket, deletion: Deletion, locks: S3Locks) -> None:
        config = bucket.config
        self.bucket = bucket
        self._deletion = deletion
        self._locks = locks
        self._conditions = True
        self._proved = config.sse is None and config.storage_class is None and config.object_lock is None
        wanted = {"ServerSideEncryption": config.sse, "StorageClass": config.storage_class}
        self.asked: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}

    def put(self, key: str, data: bytes, *, sha256: bytes, replace: bool) -> bool:
        """Store bytes; see `Service.put`."""
        try:
            answer = self._put(key, data, sha256=sha256, replace=replace)
        except ConditionFailed:
            return False
        self.compare(answer, "the write")
        return True

    def _put(self, key: str, data: bytes, *, sha256: bytes, replace: bool) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self.write(
                "put_object",
                replace=replace,
                size=len(data),
                Key=self.bucket.key(key),
                Body=data,
                ChecksumSHA256=base64.b64encode(sha256).decode(),
                **self.asked,
            )
        except KeyMissing:
            raise self.bucket.missing() from None
        return answer

    def write(self, method: str, *, replace: bool, **arguments: Any) -> Any:
        """A write that a taken key refuses, where the server knows how."""
        if not replace and self._conditions:
            try:
                return self.bucket.call(method, IfNoneMatch="*", **arguments)
            except BackendError as error:
                if error.code != "not-implemented":
                    raise
                self._conditions = False
        return self.bucket.call(method, **arguments)

    def prove_once(self) -> None:
        """Prove it before the first write: nothing is sent to a server that would not encrypt it."""
        if not self._proved:
            self.prove()
            self._proved = True

    def prove(self) -> None:
        """Write a probe, look at it, remove it; see `Service.prove_writable`."""
        if self.bucket.config.object_lock is not None:
            self._locks.require()
        probe = f"{PROBE}{uuid.uuid4().hex}"
        answer = self._put(probe, _SAID, sha256=hashlib.sha256(_SAID).digest(), replace=True)
        try:
            self.compare(answer, "a write")
            seen = self.bucket.call("head_object", Key=self.bucket.key(probe))
            self.compare(seen, "what was written")
            wanted = self.bucket.config.storage_class
            given = seen.get("StorageClass") or "STANDARD"
            if wanted is not None and given != wanted:
                raise BackendError(
                    f"{self.bucket.name}: the server ignores the storage class {wanted}, it gives {given}",
                    hint="unset ARTIFACTSTORE_S3_STORAGE_CLASS or configure the class on the server",
                    code="storage-class-ignored",
                )
        finally:
            self._deletion.delete_all([probe])

    def compare(self, answer: dict[str, Any], what: str) -> None:
        """Compare what the server says that it did with what was asked."""
        wanted = self.bucket.config.sse
        given = answer.get("ServerSideEncryption")
        if wanted is not None and given != wanted:
            raise BackendError(
                f"{self.bucket.name}: the server answers as if it had encrypted {what} with {wanted},"
                " but has not",
                hint="unset ARTIFACTSTORE_S3_SSE and encrypt on the server's side, or use another server",
                code="encryption-ignored",
            )
