"""S3: Ceph RGW, AWS, and what speaks the same protocol."""

from __future__ import annotations

import base64
import hashlib
import logging
import math
import uuid
from typing import TYPE_CHECKING, Any

from artifactstore.errors import BackendError
from artifactstore.objects.s3_calls import S3Calls, S3Config
from artifactstore.objects.s3_failures import ConditionFailed, KeyMissing
from artifactstore.objects.service import PROBE, Found, Range

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator
    from concurrent.futures import Future

    from artifactstore.objects.backend import Fill

__all__ = ["S3Config", "S3Service"]

_log = logging.getLogger(__name__)

_PARTS_MAX = 10_000  # Source: Amazon S3 user guide, "Multipart upload limits"
_IN_FLIGHT = 3  # parts
_IN_FLIGHT_SIZE = 128 << 20  # bytes of them, for very large objects
_COMPLETE_TIMEOUT = 300.0  # seconds; the server puts the parts together


class S3Service:
    """Bytes under keys in a bucket; see `Service`.

    The server checks each body against the sha256 in the signature, in the checksum header, or both.
    """

    def __init__(self, config: S3Config) -> None:
        self._config = config
        self._calls = S3Calls(config)
        self._prefix = f"{config.prefix}/" if config.prefix else ""
        self._proved = config.sse is None and config.storage_class is None
        self._conditions = True
        self._asked: dict[str, Any] = {
            name: value
            for name, value in (("ServerSideEncryption", config.sse), ("StorageClass", config.storage_class))
            if value is not None
        }

    def __repr__(self) -> str:
        return f"<S3Service {self.name}>"

    @property
    def name(self) -> str:
        """Bucket, prefix and endpoint."""
        return self._config.name

    def _call(self, method: str, *, size: int = 0, timeout: float | None = None, **arguments: Any) -> Any:
        return self._calls.call(method, size=size, timeout=timeout, Bucket=self._config.bucket, **arguments)

    # Reading

    def head(self, key: str) -> Found | None:
        """What lies under a key; see `Service.head`. The answer does not tell a missing bucket."""
        try:
            answer = self._call("head_object", Key=self._prefix + key)
        except KeyMissing:
            return None
        return Found(key, int(answer["ContentLength"]), _microseconds(answer["LastModified"]))

    def require(self) -> None:
        """Raise if the bucket is gone; see `Service.require`."""
        try:
            self._call("head_bucket")
        except KeyMissing:
            raise self._no_bucket() from None

    def _no_bucket(self) -> BackendError:
        hint = "create it, or correct the name"
        return BackendError(f"{self.name}: there is no such bucket", hint=hint, code="no-such-bucket")

    def get(self, key: str, start: int, length: int) -> Range | None:
        """A part of what lies under a key; see `Service.get`."""
        wanted = f"bytes={start}-{start + length - 1}"
        try:
            answer = self._call("get_object", size=length, Key=self._prefix + key, Range=wanted)
        except KeyMissing:
            return None
        data = bytes(answer["Body"])
        _, _, whole = str(answer.get("ContentRange", "")).rpartition("/")
        if whole.isdigit():
            size = int(whole)
        elif start == 0:
            size = len(data)  # the server sent all
            data = data[:length]
        else:
            raise BackendError(f"{self.name}: the server does not serve ranges", code="no-ranges")
        if len(data) != min(length, size - start):
            raise BackendError(
                f"{self.name}: {len(data)} bytes came instead of {min(length, size - start)}",
                code="connection-lost",
                retryable=True,
            )
        return Range(data, size)

    def entries(self, prefix: str) -> Iterator[Found]:
        """All keys with a prefix, a page at a time; see `Service.entries`."""
        further: dict[str, Any] = {}
        while True:
            try:
                page = self._call(
                    "list_objects_v2",
                    Prefix=self._prefix + prefix,
                    MaxKeys=self._config.page_size,
                    **further,
                )
            except KeyMissing:
                raise self._no_bucket() from None
            for entry in page.get("Contents", ()):
                key = entry["Key"].removeprefix(self._prefix)
                yield Found(key, int(entry["Size"]), _microseconds(entry["LastModified"]))
            if not page.get("IsTruncated"):
                return
            further = {"ContinuationToken": page["NextContinuationToken"]}

    # Writing

    def put(self, key: str, data: bytes | memoryview, *, sha256: bytes, replace: bool) -> bool:
        """Store bytes; see `Service.put`."""
        self._prove()
        body = bytes(data)
        checksum = base64.b64encode(sha256).decode()
        try:
            answer = self._write(
                "put_object",
                replace=replace,
                size=len(body),
                Key=self._prefix + key,
                Body=body,
                ChecksumSHA256=checksum,
                **self._asked,
            )
        except ConditionFailed:
            return False
        except KeyMissing:
            raise self._no_bucket() from None
        self._compare(answer, "the write")
        return True

    def _write(self, method: str, *, replace: bool, **arguments: Any) -> Any:
        """A write that a taken key refuses, where the server knows how."""
        if not replace and self._conditions:
            try:
                return self._call(method, IfNoneMatch="*", **arguments)
            except BackendError as error:
                if error.code != "not-implemented":
                    raise
                self._conditions = False
        return self._call(method, **arguments)

    def upload(self, key: str, fill: Fill, size: int, *, sha256: bytes, replace: bool) -> bool:
        """Store a stream, in parts from the threshold on; see `Service.upload`."""
        if size < self._config.multipart_threshold:
            body = _read(fill, size + 1)
            return self.put(key, body, sha256=sha256, replace=replace)
        self._prove()
        try:
            begun = self._call(
                "create_multipart_upload", Key=self._prefix + key, ChecksumAlgorithm="SHA256", **self._asked
            )
        except KeyMissing:
            raise self._no_bucket() from None
        upload = str(begun["UploadId"])
        try:
            parts = self._upload_parts(key, upload, fill, size)
            stored = self._complete(key, upload, parts, size, replace=replace)
        except BaseException:
            self._abandon(key, upload)
            raise
        if not stored:
            self._abandon(key, upload)
        return stored

    def _upload_parts(self, key: str, upload: str, fill: Fill, size: int) -> list[dict[str, Any]]:
        """All parts of a stream, a few at a time in memory and on their way."""
        from concurrent.futures import ThreadPoolExecutor

        part_size = max(self._config.part_size, math.ceil(size / _PARTS_MAX))
        in_flight = max(1, min(_IN_FLIGHT, _IN_FLIGHT_SIZE // part_size))
        futures: list[Future[dict[str, Any]]] = []
        with ThreadPoolExecutor(in_flight, thread_name_prefix="artifactstore-part") as pool:
            try:
                while True:
                    if len(futures) >= in_flight:
                        futures[-in_flight].result()
                    data = _read(fill, part_size)
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
            answer = self._call(
                "upload_part",
                size=len(data),
                Key=self._prefix + key,
                UploadId=upload,
                PartNumber=number,
                Body=data,
                ChecksumSHA256=checksum,
            )
        except KeyMissing:
            raise self._upload_gone() from None
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _upload_gone(self) -> BackendError:
        message = f"{self.name}: the upload was thrown away while it was under way"
        return BackendError(message, code="upload-gone", retryable=True)

    def _complete(
        self, key: str, upload: str, parts: list[dict[str, Any]], size: int, *, replace: bool
    ) -> bool:
        try:
            self._write(
                "complete_multipart_upload",
                replace=replace,
                timeout=_COMPLETE_TIMEOUT,
                Key=self._prefix + key,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
            )
        except ConditionFailed:
            return False
        except KeyMissing:
            pass  # perhaps an answer was lost, and the repeated call finds the upload completed
        try:
            found = self._call("head_object", Key=self._prefix + key)
        except KeyMissing:
            raise self._upload_gone() from None
        if int(found["ContentLength"]) != size:
            raise self._upload_gone()
        self._compare(found, "the upload")
        return True

    def _abandon(self, key: str, upload: str) -> None:
        try:
            self.abort(key, upload)
        except Exception as error:  # noqa: BLE001 - what ended the upload is what the caller must hear
            _log.warning(
                "the unfinished upload of %s stays until `storage orphans --delete`: %s",
                key,
                getattr(error, "message", type(error).__name__),
            )

    def copy(self, key: str, target: str) -> None:
        """Copy on the server; see `Service.copy`."""
        self._call(
            "copy_object",
            timeout=_COMPLETE_TIMEOUT,
            Key=self._prefix + target,
            CopySource={"Bucket": self._config.bucket, "Key": self._prefix + key},
            **self._asked,
        )

    def delete(self, key: str) -> None:
        """Free a key; see `Service.delete`."""
        try:
            self._call("delete_object", Key=self._prefix + key)
        except KeyMissing:
            self.require()

    # Unfinished uploads

    def unfinished(self, prefix: str, before: int) -> Iterator[tuple[str, str]]:
        """Multipart uploads that nobody has completed; see `Service.unfinished`."""
        further: dict[str, Any] = {}
        while True:
            page = self._call(
                "list_multipart_uploads",
                Prefix=self._prefix + prefix,
                MaxUploads=self._config.page_size,
                **further,
            )
            for entry in page.get("Uploads", ()):
                # Some servers list whole buckets whatever the prefix.
                ours = entry["Key"].startswith(self._prefix + prefix)
                if ours and _microseconds(entry["Initiated"]) <= before:
                    yield entry["Key"].removeprefix(self._prefix), str(entry["UploadId"])
            if not page.get("IsTruncated"):
                return
            further = {
                "KeyMarker": page["NextKeyMarker"],
                "UploadIdMarker": page.get("NextUploadIdMarker", ""),
            }

    def abort(self, key: str, upload: str) -> None:
        """Throw an unfinished upload away; see `Service.abort`."""
        try:
            self._call("abort_multipart_upload", Key=self._prefix + key, UploadId=upload)
        except KeyMissing:
            return

    # What is asked of each write

    def prove_writable(self) -> None:
        """Write a probe, look at it, remove it; see `Service.prove_writable`."""
        key = f"{self._prefix}{PROBE}{uuid.uuid4().hex}"
        data = b"artifactstore checks that it may write here\n"
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        try:
            answer = self._call("put_object", Key=key, Body=data, ChecksumSHA256=checksum, **self._asked)
        except KeyMissing:
            raise self._no_bucket() from None
        try:
            self._compare(answer, "a write")
            seen = self._call("head_object", Key=key)
            self._compare(seen, "what was written")
            wanted = self._config.storage_class
            given = seen.get("StorageClass") or "STANDARD"
            if wanted is not None and given != wanted:
                raise BackendError(
                    f"{self.name}: the server ignores the storage class {wanted}, it gives {given}",
                    hint="unset ARTIFACTSTORE_S3_STORAGE_CLASS or configure the class on the server",
                    code="storage-class-ignored",
                )
        finally:
            self._call("delete_object", Key=key)

    def _prove(self) -> None:
        """Once before the first write: nothing is sent to a server that would not encrypt it."""
        if not self._proved:
            self.prove_writable()
            self._proved = True

    def _compare(self, answer: dict[str, Any], what: str) -> None:
        """Compare what the server says that it did with what was asked."""
        wanted = self._config.sse
        given = answer.get("ServerSideEncryption")
        if wanted is not None and given != wanted:
            raise BackendError(
                f"{self.name}: the server answers as if it had encrypted {what} with {wanted}, but has not",
                hint="unset ARTIFACTSTORE_S3_SSE and encrypt on the server's side, or use another server",
                code="encryption-ignored",
            )

    def close(self) -> None:
        """Close the connections; see `Service.close`."""
        self._calls.close()


def _read(fill: Fill, size: int) -> bytes:
    """So many bytes of a stream, fewer only at its end."""
    buffer = bytearray(size)
    with memoryview(buffer) as view:
        length = fill(view)
    if length < size:
        del buffer[length:]
    return bytes(buffer)


def _microseconds(moment: datetime.datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
