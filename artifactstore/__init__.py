"""Keeps evidence: content-addressed packages with manifests, retention and an append-only event log.

>>> import artifactstore
>>> with artifactstore.open("evidence") as store:  # doctest: +SKIP
...     store.push("results", name="nightly", producer="ci", subject="app", ...)

The names below are the public ones; each is imported on first use, so that importing the package is cheap.

PYTEST_DONT_REWRITE: a program may import this and run pytest afterwards, which would warn, or fail.
"""

from __future__ import annotations

from artifactstore.version import __version__

TYPE_CHECKING = False  # all that is needed of `typing`, which is slow to import
if TYPE_CHECKING:
    from artifactstore.app import open  # noqa: A004 - `artifactstore.open`, as `gzip.open`
    from artifactstore.check import check_directory
    from artifactstore.client import Client
    from artifactstore.digest import Digest
    from artifactstore.errors import (
        AccessError,
        ArtifactStoreError,
        BackendError,
        BusyError,
        ConflictError,
        DuplicateRelativePathError,
        IntegrityError,
        InvalidInputError,
        NotFoundError,
        ObjectNotFoundError,
        SettingsError,
        SourceChangedError,
        StateError,
        StoreNotFoundError,
    )
    from artifactstore.events import Event
    from artifactstore.ingest import Progress
    from artifactstore.lifecycle.backup import BackupResult
    from artifactstore.lifecycle.copying import CopyResult
    from artifactstore.lifecycle.fsck import FsckResult
    from artifactstore.lifecycle.gc import GcResult
    from artifactstore.lifecycle.gc_plan import GcPlan
    from artifactstore.lifecycle.orphans import OrphanResult
    from artifactstore.lifecycle.policy import RetentionPolicy
    from artifactstore.lifecycle.repair import RepairResult
    from artifactstore.lifecycle.verify import VerifyResult
    from artifactstore.linkage.message import LinkageRequest
    from artifactstore.manifest import Manifest, ManifestFile, ManifestPackage
    from artifactstore.model import (
        Explanation,
        File,
        FileHit,
        Hold,
        Linkage,
        MetadataSchema,
        Package,
        Page,
        RetentionState,
        Verification,
    )
    from artifactstore.results import (
        CheckResult,
        ComponentHealth,
        ExportResult,
        Health,
        IngestResult,
        PushResult,
        ReplayResult,
        SkippedFile,
        SweepResult,
        Violation,
    )
    from artifactstore.scan import Selection
    from artifactstore.store import Store

_HOMES = {
    "app": ("open",),
    "check": ("check_directory",),
    "client": ("Client",),
    "digest": ("Digest",),
    "errors": (
        "AccessError",
        "ArtifactStoreError",
        "BackendError",
        "BusyError",
        "ConflictError",
        "DuplicateRelativePathError",
        "IntegrityError",
        "InvalidInputError",
        "NotFoundError",
        "ObjectNotFoundError",
        "SettingsError",
        "SourceChangedError",
        "StateError",
        "StoreNotFoundError",
    ),
    "events": ("Event",),
    "ingest": ("Progress",),
    "lifecycle.backup": ("BackupResult",),
    "lifecycle.copying": ("CopyResult",),
    "lifecycle.fsck": ("FsckResult",),
    "lifecycle.gc": ("GcResult",),
    "lifecycle.gc_plan": ("GcPlan",),
    "lifecycle.orphans": ("OrphanResult",),
    "lifecycle.policy": ("RetentionPolicy",),
    "lifecycle.repair": ("RepairResult",),
    "lifecycle.verify": ("VerifyResult",),
    "linkage.message": ("LinkageRequest",),
    "manifest": ("Manifest", "ManifestFile", "ManifestPackage"),
    "model": (
        "Verification",
        "RetentionState",
        "Hold",
        "Explanation",
        "File",
        "FileHit",
        "Linkage",
        "MetadataSchema",
        "Package",
        "Page",
    ),
    "results": (
        "CheckResult",
        "ComponentHealth",
        "ExportResult",
        "Health",
        "IngestResult",
        "PushResult",
        "ReplayResult",
        "SkippedFile",
        "SweepResult",
        "Violation",
    ),
    "scan": ("Selection",),
    "store": ("Store",),
}

__all__ = [
    "AccessError",
    "ArtifactStoreError",
    "BackendError",
    "BackupResult",
    "BusyError",
    "CheckResult",
    "Client",
    "ComponentHealth",
    "ConflictError",
    "CopyResult",
    "Digest",
    "DuplicateRelativePathError",
    "Event",
    "Explanation",
    "ExportResult",
    "File",
    "FileHit",
    "FsckResult",
    "GcPlan",
    "GcResult",
    "Health",
    "Hold",
    "IngestResult",
    "IntegrityError",
    "InvalidInputError",
    "Linkage",
    "LinkageRequest",
    "Manifest",
    "ManifestFile",
    "ManifestPackage",
    "MetadataSchema",
    "NotFoundError",
    "ObjectNotFoundError",
    "OrphanResult",
    "Package",
    "Page",
    "Progress",
    "PushResult",
    "RepairResult",
    "ReplayResult",
    "RetentionPolicy",
    "RetentionState",
    "Selection",
    "SettingsError",
    "SkippedFile",
    "SourceChangedError",
    "StateError",
    "Store",
    "StoreNotFoundError",
    "SweepResult",
    "Verification",
    "VerifyResult",
    "Violation",
    "__version__",
    "check_directory",
    "open",
]


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            # Not for each `from artifactstore import <module>`, which asks here first.
            from importlib import import_module

            return getattr(import_module(f"artifactstore.{home}"), name)
    raise AttributeError(f"module 'artifactstore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
