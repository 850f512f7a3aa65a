"""What calls answer that put, check or mend something: values that most commands never make.

Apart from the model, which every command imports: to make the class of a value takes a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifactstore.model import Package, RetentionState


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
    """What an export wrote.

    Args:
        audit_directory: the folder of the auditor's kit, None if it was left out.
        look_alikes: names at the top of the evidence that could be taken for that folder. They are the
            producer's: nobody should run what lies there.
    """

    file_count: int
    total_size: int
    audit_directory: str | None
    look_alikes: tuple[str, ...] = ()


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
class SweepResult:
    """What a sweep did; the packages as they are after it.

    Args:
        marked: packages that are eligible now because of it.
        withdrawn: packages that are no longer.
        abandoned: open packages that nobody works on; marked too if the caller asked.
    """

    marked: tuple[RetentionState, ...]
    withdrawn: tuple[RetentionState, ...]
    abandoned: tuple[RetentionState, ...]


@dataclass(frozen=True, slots=True)
class Violation:
    """A place where metadata breaks a rule of its schema.

    Args:
        pointer: the place in the metadata, a JSON Pointer; empty for the whole.
        value: what stands there, as JSON, shortened.
        rule: the place of the rule in the schema, a JSON Pointer.
        expected: what the rule says, as JSON, shortened.
        message: both in words.
    """

    pointer: str
    value: str
    rule: str
    expected: str
    message: str

    def __str__(self) -> str:
        return (
            f"{self.pointer or '/'}: {self.message} (rule {self.rule}: {self.expected}; found {self.value})"
        )


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
