"""The values that the library gives out. All are frozen, none does any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.codec import Value
    from artifactstore.digest import Digest

ItemT = TypeVar("ItemT")

OPEN = "open"
FINALIZED = "finalized"
GARBAGE_COLLECTED = "garbage_collected"
DUE = "due"  # a message that waits for delivery
DELIVERED = "delivered"
PACKAGE_STATUSES = (OPEN, FINALIZED, GARBAGE_COLLECTED)


@dataclass(frozen=True, slots=True)
class Package:
    """One evidence directory with its metadata: the unit of retention.

    Args:
        package_id: UUIDv7 in text form.
        status: `open` or `finalized`.
        metadata: JSON-shaped, as given by the producer.
        created_at: microseconds since 1970, UTC; so are all times of the library.
        retention_seconds: how long it is kept after finalize; None is for ever.
        expires_at: microseconds, or None while open and for what is kept for ever.
        manifest_digest: blake3 of the manifest, None while open.
        content_digest: sha256 over the files alone, None while open.
        total_size: bytes of all files, shared ones counted each time.
    """

    package_id: str
    name: str
    producer: str
    subject: str
    status: str
    retention_class: str
    retention_seconds: int | None
    expires_at: int | None
    metadata: Mapping[str, Value]
    metadata_schema: str | None
    created_at: int
    created_by: str
    finalized_at: int | None
    finalized_by: str | None
    manifest_digest: Digest | None
    manifest_sha256: Digest | None
    manifest_size: int | None
    content_digest: Digest | None
    file_count: int
    total_size: int


@dataclass(frozen=True, slots=True)
class File:
    """A file of a package.

    Args:
        file_id: UUIDv7 of the event that ingested it.
        relative_path: its name in the package, POSIX separators.
        size: bytes.
        digest: blake3, the address of the object.
        sha256: the same bytes under the digest that other tools know.
    """

    file_id: str
    package_id: str
    relative_path: str
    media_type: str
    size: int
    digest: Digest
    sha256: Digest
    executable: bool


@dataclass(frozen=True, slots=True)
class FileHit:
    """A place where an object is used: the file and the package that holds it."""

    package: Package
    file: File


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """A part of a list in a stable order.

    Args:
        next_cursor: hand it back to get what follows; None at the end.
    """

    items: tuple[ItemT, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason why a package may not be deleted, whatever its class says.

    Args:
        authority: who ordered it; case_id: under which case.
        released_at: microseconds; None while it holds.
    """

    hold_id: str
    reason: str
    authority: str | None
    case_id: str | None
    applied_at: int
    applied_by: str
    released_at: int | None
    released_by: str | None
    release_reason: str | None


@dataclass(frozen=True, slots=True)
class RetentionState:
    """Where a package stands in its life.

    Args:
        sequence: key of the package's rows.
        retention_seconds: after finalize; None is for ever.
        expires_at: microseconds; None while open and for what is kept for ever.
        eligible_at: when a sweep found that it may go; None if none did.
        eligible_reason: `expired` or `abandoned`.
        collected_plan: raw sha256 of the plan under which its bytes went.
    """

    sequence: int
    package_id: str
    name: str
    status: str
    retention_class: str
    retention_seconds: int | None
    expires_at: int | None
    hold_count: int
    eligible_at: int | None
    eligible_reason: str | None
    eligible_by: str | None
    collected_at: int | None
    collected_by: str | None
    collected_plan: bytes | None


@dataclass(frozen=True, slots=True)
class MetadataSchema:
    """A version of a schema that packages name for their metadata.

    Args:
        slug: its name, the same for all versions.
        version: counted from 1.
        digest: sha256 of the schema's deterministic CBOR.
        body: the schema, JSON Schema 2020-12.
        registered_at: microseconds.
    """

    slug: str
    version: int
    digest: Digest
    body: Mapping[str, Value]
    registered_at: int
    registered_by: str


@dataclass(frozen=True, slots=True)
class Linkage:
    """A message of the outbox: what somebody is to be told of a package.

    Args:
        link_id: the same in each attempt to deliver it.
        message: the package's id and manifest digest, counts and a verdict.
        state: `due` or `delivered`.
        attempts: how often it was tried.
        retry_at: microseconds; when it may be tried again, None once it is delivered.
        failure: why the last attempt failed.
    """

    link_id: str
    package_id: str
    workstream_id: str | None
    task_id: str | None
    message: Mapping[str, Value]
    state: str
    requested_at: int
    attempts: int
    retry_at: int | None
    failure: str | None
    delivered_at: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a package is kept and what would happen to it now, in words.

    Args:
        extension: when, by whom and why it was last extended; None if it never was.
        holds: those that are not released.
    """

    state: RetentionState
    rule: str
    expiry: str
    extension: str | None
    holds: tuple[Hold, ...]
    sweep: str
    gc: str


@dataclass(frozen=True, slots=True)
class Verification:
    """How well the locations of a backend, or of a package, are checked.

    Args:
        failed_count: locations whose bytes were not right when they were last read.
        oldest_at: microseconds; when the one that was not read for longest was last read, or written if it
            never was. None without locations.
    """

    failed_count: int
    oldest_at: int | None
