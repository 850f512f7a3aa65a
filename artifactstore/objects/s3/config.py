"""Where a bucket is and what is asked of each write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    # The access key and the secret key; None leaves it to the chain of the AWS tools.
    Credentials = Callable[[], tuple[str, str] | None]


def _no_credentials() -> None:
    return None


@dataclass(frozen=True, slots=True)
class S3Config:
    """Where the bucket is and what is asked of each write.

    Args:
        bucket: must exist.
        endpoint_url: http or https; None for AWS itself.
        prefix: stands before all keys, without a slash at the end.
        credentials: called when a connection is made, so that secrets are in memory only as long as it is;
            and when the server refuses them, since they may have been replaced.
        object_lock: `GOVERNANCE` or `COMPLIANCE`, the mode in which objects are locked; None for no locks.
        storage_class, sse: sent with each write, and the writes are refused if the server ignores them.
        multipart_threshold, part_size: bytes.
        page_size: keys listed at once; servers allow up to 1,000.
        copy_size: bytes that the server copies in one request; servers allow up to 5 GiB.
        timeout: seconds without any progress after which a request is given up.
        pause: seconds before a call is repeated for the first time, doubled each time.
    """

    bucket: str
    endpoint_url: str | None = None
    region: str = "us-east-1"
    prefix: str = ""
    credentials: Credentials = field(default=_no_credentials, repr=False)
    storage_class: str | None = None
    sse: str | None = None
    object_lock: str | None = None
    multipart_threshold: int = 64 << 20
    part_size: int = 8 << 20
    page_size: int = 1000
    copy_size: int = 1 << 30
    timeout: float = 30.0
    pause: float = 0.2

    @property
    def name(self) -> str:
        """The place for people, without user and password."""
        endpoint = self.endpoint_url or f"AWS {self.region}"
        scheme, mark, rest = endpoint.rpartition("//")
        host = f"{scheme}{mark}{rest.rpartition('@')[2]}"
        return f"s3://{self.bucket}/{self.prefix} at {host}"
