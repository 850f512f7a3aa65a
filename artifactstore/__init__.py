"""Keeps evidence: content-addressed packages with manifests, retention and an append-only event log.

>>> import artifactstore
>>> with artifactstore.open("evidence") as store:  # doctest: +SKIP
...     store.push("results", name="nightly", producer="ci", subject="app", ...)

The names below are the public ones; each is imported on first use, so that importing the package is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore.version import __version__

if TYPE_CHECKING:
    from artifactstore.app import open  # noqa: A004 - `artifactstore.open`, as `gzip.open`
    from artifactstore.check import check_directory
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
    from artifactstore.lifecycle.copying import CopyResult
    from artifactstore.lifecycle.fsck import FsckResult
    from artifactstore.lifecycle.gc import GcPlan, GcResult
    from artifactstore.lifecycle.orphans import OrphanResult
    from artifactstore.lifecycle.policy import RetentionPolicy
    from artifactstore.lifecycle.repair import RepairResult
    from artifactstore.lifecycle.verify import VerifyResult
    from artifactstore.manifest import Manifest, ManifestFile, ManifestPackage
    from artifactstore.model import (
        CheckResult,
        ComponentHealth,
        Explanation,
        ExportResult,
        File,
        FileHit,
        Health,
        Hold,
        IngestResult,
        Package,
        Page,
        PushResult,
        ReplayResult,
        RetentionState,
        SkippedFile,
        SweepResult,
        Verification,
    )
    from artifactstore.scan import Selection
    from artifactstore.store import Store

_HOMES = {
    "app": ("open",),
    "check": ("check_directory",),
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
    "lifecycle.copying": ("CopyResult",),
    "lifecycle.fsck": ("FsckResult",),
    "lifecycle.gc": (
        "GcPlan",
        "GcResult",
    ),
    "lifecycle.orphans": ("OrphanResult",),
    "lifecycle.policy": ("RetentionPolicy",),
    "lifecycle.repair": ("RepairResult",),
    "lifecycle.verify": ("VerifyResult",),
    "manifest": ("Manifest", "ManifestFile", "ManifestPackage"),
    "model": (
        "CheckResult",
        "Verification",
        "SweepResult",
        "RetentionState",
        "Hold",
        "Explanation",
        "ComponentHealth",
        "ExportResult",
        "File",
        "FileHit",
        "Health",
        "IngestResult",
        "Package",
        "Page",
        "PushResult",
        "ReplayResult",
        "SkippedFile",
    ),
    "scan": ("Selection",),
    "store": ("Store",),
}

__all__ = [
    "AccessError",
    "ArtifactStoreError",
    "BackendError",
    "BusyError",
    "CheckResult",
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
    "Manifest",
    "ManifestFile",
    "ManifestPackage",
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
    "__version__",
    "check_directory",
    "open",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"artifactstore.{home}"), name)
    raise AttributeError(f"module 'artifactstore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
