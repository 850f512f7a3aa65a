"""What can be asked of a store, be it on this machine or behind an HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from io import BufferedReader
    from typing import IO, Any, Literal

    from artifactstore.codec import Value
    from artifactstore.digest import Digest
    from artifactstore.events import Event
    from artifactstore.ingest import OnProgress
    from artifactstore.lifecycle.gc import GcResult
    from artifactstore.lifecycle.gc_plan import GcPlan
    from artifactstore.manifest import Manifest
    from artifactstore.model import (
        Explanation,
        File,
        FileHit,
        Hold,
        Package,
        Page,
        RetentionState,
        Verification,
    )
    from artifactstore.results import ExportResult, Health, IngestResult, PushResult, SweepResult
    from artifactstore.scan import Selection
    from artifactstore.sources import Source


class AnyArrivals(Protocol):
    """What tells when events arrive."""

    def wait(self, after: int, timeout: float, /) -> bool:
        """As `Arrivals.wait`."""

    def close(self) -> None:
        """Nobody waits any more."""


class AnyStore(Protocol):
    """The calls that `Store` and `Client` both have; a context manager.

    Who uses only these does not know, and need not, where the store is.
    """

    def __enter__(self) -> AnyStore: ...

    def __exit__(self, *error: Any) -> None: ...

    def close(self) -> None:
        """As `Store.close`."""

    # What goes in

    def create_package(
        self,
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        metadata_schema: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """As `Store.create_package`."""

    def ingest_file(
        self,
        package: str,
        relative_path: str,
        source: Source,
        *,
        actor: str,
        media_type: str | None = None,
        executable: bool | None = None,
        idempotency_key: str | None = None,
    ) -> File:
        """As `Store.ingest_file`."""

    def ingest_directory(
        self,
        package: str,
        directory: str | os.PathLike[str],
        *,
        actor: str,
        selection: Selection | None = None,
        cache: bool = True,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> IngestResult:
        """As `Store.ingest_directory`."""

    def finalize_package(self, package: str, *, actor: str, idempotency_key: str | None = None) -> Digest:
        """As `Store.finalize_package`."""

    def push(
        self,
        directory: str | os.PathLike[str],
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        metadata_schema: str | None = None,
        selection: Selection | None = None,
        cache: bool = True,
        if_changed: bool = False,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> PushResult:
        """As `Store.push`."""

    # What comes out

    def get_package(self, package: str) -> Package:
        """As `Store.get_package`."""

    def list_packages(
        self,
        *,
        producer: str | None = None,
        subject: str | None = None,
        retention_class: str | None = None,
        status: str | None = None,
        name: str | None = None,
        created_after: int | None = None,
        created_before: int | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Package]:
        """As `Store.list_packages`."""

    def list_files(self, package: str, *, limit: int = 1000, cursor: str | None = None) -> Page[File]:
        """As `Store.list_files`."""

    def open_file(self, package: str, relative_path: str) -> BufferedReader:
        """As `Store.open_file`."""

    def get_file(self, package: str, relative_path: str) -> File:
        """As `Store.get_file`."""

    def get_manifest(self, package: str) -> Manifest:
        """As `Store.get_manifest`."""

    def get_manifest_bytes(
        self,
        package: str,
        *,
        format: Literal["cbor", "json"] = "cbor",  # noqa: A002 - the guide's name
    ) -> bytes:
        """As `Store.get_manifest_bytes`."""

    def export_package(
        self,
        package: str,
        directory: str | os.PathLike[str],
        *,
        bare: bool = False,
        on_progress: OnProgress | None = None,
    ) -> ExportResult:
        """As `Store.export_package`."""

    def export_tar(self, package: str, stream: IO[bytes], *, bare: bool = False) -> ExportResult:
        """As `Store.export_tar`."""

    def find_object(self, digest: str | Digest) -> list[FileHit]:
        """As `Store.find_object`."""

    def verification(self, package: str) -> Verification:
        """As `Store.verification`."""

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """As `Store.events`."""

    def arrivals(self) -> AnyArrivals:
        """As `Store.arrivals`."""

    def health(self) -> Health:
        """As `Store.health`."""

    # How long it is kept

    def extend_retention(
        self,
        package: str,
        *,
        actor: str,
        until: int | None = None,
        by: int | None = None,
        for_ever: bool = False,
        reason: str | None = None,
    ) -> RetentionState:
        """As `Store.extend_retention`."""

    def apply_hold(
        self,
        package: str,
        *,
        reason: str,
        actor: str,
        authority: str | None = None,
        case_id: str | None = None,
    ) -> Hold:
        """As `Store.apply_hold`."""

    def release_hold(self, package: str, hold: str, *, reason: str, actor: str) -> Hold:
        """As `Store.release_hold`."""

    def retention_history(self, package: str) -> list[Event]:
        """As `Store.retention_history`."""

    def explain_retention(self, package: str) -> Explanation:
        """As `Store.explain_retention`."""

    # Letting it go

    def sweep(
        self,
        *,
        actor: str,
        abandoned_after: int = ...,
        mark_abandoned: bool = False,
        accept_clock: bool = False,
    ) -> SweepResult:
        """As `Store.sweep`."""

    def plan_gc(self, *, plan: GcPlan | None = None) -> GcPlan:
        """As `Store.plan_gc`; behind an API a new plan has a largest number of packages."""

    def gc(self, *, actor: str, plan: GcPlan | None = None, accept_clock: bool = False) -> GcResult:
        """As `Store.gc`."""
