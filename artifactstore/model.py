"""The values that the library gives out. All are frozen, none does any work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.codec import Value
    from artifactstore.digest import Digest

ItemT = TypeVar("ItemT")

OPEN = "open"
FINALIZED = "finalized"
GARBAGE_COLLECTED = "garbage_collected"
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
class SkippedFile:
    """A file of a pushed directory that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What ingesting a directory did.

    Args:
        file_count: files that are now in the package because of this call.
        total_size: their bytes.
        new_object_count: how many objects the store did not have yet.
        new_object_size: the bytes that were really written.
        skipped: files left out because the caller allowed it.
        warnings: things a person should know; nothing failed.
    """

    file_count: int
    total_size: int
    new_object_count: int
    new_object_size: int
    skipped: tuple[SkippedFile, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did.

    Args:
        package: the finalized package.
        unchanged: True if the content was there already and that package is returned.
    """

    package: Package
    ingest: IngestResult
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote: the folder of the auditor's kit, None if it was left out."""

    file_count: int
    total_size: int
    audit_directory: str | None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A directory compared with a manifest.

    Args:
        changed: listed files whose bytes differ.
        missing: listed files that are not there.
        unlisted: what lies in the directory and is not listed.
    """

    file_count: int
    total_size: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether the directory is exactly what the manifest says."""
        return not (self.changed or self.missing or self.unlisted)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay found.

    Args:
        event_count: events applied, which is also the highest sequence.
        fingerprint_before: of the views as they were.
        fingerprint_after: of the views as the events give them.
    """

    event_count: int
    fingerprint_before: str
    fingerprint_after: str

    @property
    def identical(self) -> bool:
        """Whether the views were what the events say."""
        return self.fingerprint_before == self.fingerprint_after


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
class Explanation:
    """Why a package is kept and what would happen to it now, in words."""

    state: RetentionState
    rule: str
    expiry: str
    holds: tuple[Hold, ...]
    sweep: str
    gc: str


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep did.

    Args:
        marked: packages that are eligible now because of it.
        withdrawn: packages that are no longer.
        abandoned: open packages that nobody works on; marked too if the caller asked.
    """

    marked: tuple[RetentionState, ...]
    withdrawn: tuple[RetentionState, ...]
    abandoned: tuple[RetentionState, ...]


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


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """Whether one part works; reasons only if it does not."""

    healthy: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """The liveness summary of a store.

    Args:
        oldest_verified_at: microseconds; since then, at the latest, every object has been written or read.
    """

    db: ComponentHealth
    backend: ComponentHealth
    warnings: tuple[str, ...] = field(default=())
    oldest_verified_at: int | None = None

    @property
    def status(self) -> str:
        """`ok` or `degraded`."""
        return "ok" if self.db.healthy and self.backend.healthy else "degraded"
