"""A prefix of a bucket: calls about it, names of keys in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactstore.errors import BackendError
from artifactstore.objects.s3.calls import S3Calls
from artifactstore.objects.s3.failures import KeyMissing

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator

    from artifactstore.objects.s3.config import S3Config


class Bucket:
    """What all parts of the service share.

    Args:
        calls: the connection; one of its own if not given.
    """

    def __init__(self, config: S3Config, calls: S3Calls | None = None) -> None:
        self.config = config
        self.calls = calls or S3Calls(config)
        self._prefix = f"{config.prefix}/" if config.prefix else ""

    @property
    def name(self) -> str:
        """Bucket, prefix and endpoint."""
        return self.config.name

    def key(self, relative: str) -> str:
        """The key in the bucket."""
        return self._prefix + relative

    def relative(self, key: str) -> str:
        """The key below the prefix."""
        return key.removeprefix(self._prefix)

    def call(self, method: str, *, size: int = 0, timeout: float | None = None, **arguments: Any) -> Any:
        """Make a call about the bucket; see `S3Calls.call`."""
        return self.calls.call(method, size=size, timeout=timeout, Bucket=self.config.bucket, **arguments)

    def pages(self, method: str, markers: dict[str, str], **arguments: Any) -> Iterator[dict[str, Any]]:
        """All pages of a listing.

        Args:
            markers: what the next request must say, and what the answer calls it.
        Raises:
            KeyMissing: the upload whose parts are listed is gone.
            BackendError: the bucket is gone, or whatever else.
        """
        further: dict[str, Any] = {}
        while True:
            try:
                page = self.call(method, **arguments, **further)
            except KeyMissing:
                if "UploadId" in arguments:
                    raise
                raise self.missing() from None
            yield page
            if not page.get("IsTruncated"):
                return
            further = {name: page.get(given, "") for name, given in markers.items()}

    def require(self) -> None:
        """Raise if the bucket is gone."""
        try:
            self.call("head_bucket")
        except KeyMissing:
            raise self.missing() from None

    def keeps_versions(self) -> bool:
        """Whether it keeps the versions of its objects, or did so once."""
        try:
            return bool(self.call("get_bucket_versioning").get("Status"))
        except KeyMissing:
            raise self.missing() from None

    def missing(self) -> BackendError:
        """The error for a bucket that is not there."""
        hint = "create it, or correct the name"
        return BackendError(f"{self.name}: there is no such bucket", hint=hint, code="no-such-bucket")


def microseconds(moment: datetime.datetime) -> int:
    """A moment of the server as ours."""
    return round(moment.timestamp() * 1_000_000)
