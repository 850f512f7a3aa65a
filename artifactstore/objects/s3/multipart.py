"""Objects that travel in parts: uploads, copies on the server, and what broken ones have left."""

from __future__ import annotations

import base64
import hashlib
import logging
import math
from typing import TYPE_CHECKING, Any

from artifactstore.errors import ArtifactStoreError, BackendError
from artifactstore.objects.s3.bucket import microseconds
from artifactstore.objects.s3.failures import ConditionFailed, KeyMissing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from artifactstore.objects.backend import Fill
    from artifactstore.objects.s3.writing import Writing

_log = logging.getLogger(__name__)

_PARTS_MAX = 10_000  # Source: Amazon S3 user guide, "Multipart upload limits"
_IN_FLIGHT = 3  # parts
_IN_FLIGHT_SIZE = 128 << 20  # bytes of them, for very large objects
_COMPLETE_TIMEOUT = 300.0  # seconds; the server puts the parts together
_COPY_TIMEOUT = 300.0  # seconds; the server copies up to a gibibyte


class Multipart:
    """Uploads and copies in parts; nothing of them is visible before they are complete.

    What fails before its completion is asked for is aborted, and so is what the first answer says to come too
    late. Otherwise a completion may be under way or done, and servers are known that lose bytes of the object
    when they abort beside a completion, or after one.
    Source: github.com/ceph/ceph/pull/60771, github.com/seaweedfs/seaweedfs/issues/11382.
    """

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self._bucket = writing.bucket

    def upload(self, key: str, fill: Fill, size: int, *, replace: bool) -> bool:
        """Store a stream; see `Service.upload`."""
        before = self._look(key) if replace else None
        upload = self._begin(key, ChecksumAlgorithm="SHA256")
        try:
            parts = self._upload_parts(key, upload, fill, size)
        except BaseException:
            self._abandon(key, upload)
            raise
        return self._complete(key, upload, parts, size, replace=replace, before=before)

    def copy(self, key: str, target: str, size: int) -> None:
        """Copy so many bytes on the server, in one request if they are few.

        Raises:
            KeyMissing: there is nothing to copy.
        """
        source = {"Bucket": self._bucket.config.bucket, "Key": self._bucket.key(key)}
        step = self._bucket.config.copy_size
        if size <= step:
            self._bucket.call(
                "copy_object",
                timeout=_COPY_TIMEOUT,
                Key=self._bucket.key(target),
                CopySource=source,
                **self._writing.asked,
            )
            return
        upload = self._begin(target)
        try:
            parts = [
                self._copy_part(target, upload, number, source, start, min(start + step, size))
                for number, start in enumerate(range(0, size, step), 1)
            ]
        except BaseException:
            self._abandon(target, upload)
            raise
        self._complete(target, upload, parts, size, replace=True)

    def unfinished(self, prefix: str, before: int) -> Iterator[tuple[str, str]]:
        """Uploads that nobody has completed; see `Service.unfinished`."""
        whole = self._bucket.key(prefix)
        for page in self._bucket.pages(
            "list_multipart_uploads",
            {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"},
            Prefix=whole,
            MaxUploads=self._bucket.config.page_size,
        ):
            for entry in page.get("Uploads", ()):
                # Some servers list whole buckets whatever the prefix.
                if entry["Key"].startswith(whole) and microseconds(entry["Initiated"]) <= before:
                    key, upload = self._bucket.relative(entry["Key"]), str(entry["UploadId"])
                    if not self._may_be_complete(key, upload):
                        yield key, upload

    def _may_be_complete(self, key: str, upload: str) -> bool:
        """Whether the object under the key may be made of the very parts of an unfinished upload."""
        found = self._look(key)
        if found is None:
            return False
        pages = self._bucket.pages(
            "list_parts",
            {"PartNumberMarker": "NextPartNumberMarker"},
            Key=self._bucket.key(key),
            UploadId=upload,
            MaxParts=self._bucket.config.page_size,
        )
        try:
            size = sum(int(part["Size"]) for page in pages for part in page.get("Parts", ()))
        except KeyMissing:
            return True  # there is nothing left to abort
        return size == int(found["ContentLength"])

    def abort(self, key: str, upload: str) -> None:
        """Throw an unfinished upload away; see `Service.abort`."""
        try:
            self._bucket.call("abort_multipart_upload", Key=self._bucket.key(key), UploadId=upload)
        except KeyMissing:
            return

    def _begin(self, key: str, **further: Any) -> str:
        try:
            begun = self._bucket.call(
                "create_multipart_upload", Key=self._bucket.key(key), **further, **self._writing.asked
            )
        except KeyMissing:
            raise self._bucket.missing() from None
        return str(begun["UploadId"])

    def _upload_parts(self, key: str, upload: str, fill: Fill, size: int) -> list[dict[str, Any]]:
        """All parts of a stream, a few at a time in memory and on their way."""
        from concurrent.futures import ThreadPoolExecutor

        part_size = max(self._bucket.config.part_size, math.ceil(size / _PARTS_MAX))
        in_flight = max(1, min(_IN_FLIGHT, _IN_FLIGHT_SIZE // part_size))
        futures: list[Future[dict[str, Any]]] = []
        with ThreadPoolExecutor(in_flight, thread_name_prefix="artifactstore-part") as pool:
            try:
                while True:
                    if len(futures) >= in_flight:
                        futures[-in_flight].result()
                    data = read(fill, part_size)
                    if data or not futures:
                        futures.append(pool.submit(self._upload_part, key, upload, len(futures) + 1, data))
                    if len(data) < part_size:
                        return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _upload_part(self, key: str, upload: str, number: int, data: bytes) -> dict[str, Any]:
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        try:
            answer = self._bucket.call(
                "upload_part",
                size=len(data),
                Key=self._bucket.key(key),
                UploadId=upload,
                PartNumber=number,
                Body=data,
                ChecksumSHA256=checksum,
            )
        except KeyMissing:
            raise self._upload_gone() from None
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _copy_part(
        self, target: str, upload: str, number: int, source: dict[str, str], start: int, end: int
    ) -> dict[str, Any]:
        answer = self._bucket.call(
            "upload_part_copy",
            timeout=_COPY_TIMEOUT,
            Key=self._bucket.key(target),
            UploadId=upload,
            PartNumber=number,
            CopySource=source,
            CopySourceRange=f"bytes={start}-{end - 1}",
        )
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    def _complete(
        self,
        key: str,
        upload: str,
        parts: list[dict[str, Any]],
        size: int,
        *,
        replace: bool,
        before: dict[str, Any] | None = None,
    ) -> bool:
        """Make an object of the parts; false if the key was taken.

        Args:
            before: what is to be replaced.
        Raises:
            AccessError, BackendError: it is not there afterwards; whether it will be, nobody knows.
        """
        failure: ArtifactStoreError | None = None
        try:
            self._writing.write(
                "complete_multipart_upload",
                replace=replace,
                timeout=_COMPLETE_TIMEOUT,
                Key=self._bucket.key(key),
                UploadId=upload,
                MultipartUpload={"Parts": parts},
            )
        except ConditionFailed as refusal:
            if not refusal.repeated:
                self._abandon(key, upload)
            return False
        except KeyMissing:  # perhaps an answer was lost, and the repeated call found the upload completed
            failure = self._upload_gone()
        except ArtifactStoreError as error:
            failure = error
        found = self._look(key)
        if found is None or int(found["ContentLength"]) != size:
            raise failure or self._upload_gone()
        if failure is not None and before is not None and _written(found) == _written(before):
            raise failure
        self._writing.compare(found, "the upload")
        return True

    def _look(self, key: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._bucket.call("head_object", Key=self._bucket.key(key))
        except KeyMissing:
            return None
        return found

    def _upload_gone(self) -> BackendError:
        message = f"{self._bucket.name}: the upload was thrown away while it was under way"
        return BackendError(message, code="upload-gone", retryable=True)

    def _abandon(self, key: str, upload: str) -> None:
        try:
            self.abort(key, upload)
        except Exception as error:  # noqa: BLE001 - what ended the upload is what the caller must hear
            _log.warning(
                "the unfinished upload of %s stays until `storage orphans --delete`: %s",
                key,
                getattr(error, "message", type(error).__name__),
            )


def _written(found: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one write of a key from another."""
    return found.get("VersionId"), found["LastModified"], found.get("ETag")


def read(fill: Fill, size: int) -> bytes:
    """So many bytes of a stream, fewer only at its end."""
    buffer = bytearray(size)
    with memoryview(buffer) as view:
        length = fill(view)
    if length < size:
        del buffer[length:]
    return bytes(buffer)
