"""Stores of many packages, as pushes leave them, but many packages in one transaction."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.library import seconds_of

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

    from artifactstore import Store
    from artifactstore.digest import DigestPair
    from artifactstore.events import Draft

START = 1_800_000_000_000_000  # microseconds
DAY = 86_400 * 1_000_000  # microseconds
TOGETHER = 1000  # packages of one transaction
FEW = 100  # one package in so many expires after a day, the others after 90
PRODUCERS, SUBJECTS = 7, 13  # few enough that each fills a page of a list


class Calendar:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        """The time in microseconds since 1970."""
        return self.now


def fill(
    store: Store,
    clock: Calendar,
    first: int,
    end: int,
    *,
    files: int = 1,
    objects: bool = True,
    together: int = TOGETHER,
    few: int = FEW,
) -> float:
    """Finalized packages number `first` to `end`, with their manifests.

    Args:
        files: of each package.
        together: packages of one transaction.
        objects: whether their bytes are stored too; without, the database is as it would be with them.
        few: one package in so many expires after a day.
    Returns: seconds.
    """
    seconds = 0.0
    for begin in range(first, end, together):
        numbers = range(begin, min(begin + together, end))
        seconds += seconds_of(lambda: _fill(store, clock, numbers, files, objects, few))  # noqa: B023
        print(f"filling: {numbers.stop:,} packages", file=sys.stderr, flush=True)
    return seconds


def _fill(store: Store, clock: Calendar, numbers: range, files: int, objects: bool, few: int) -> None:
    from artifactstore.moment import Uuid7Source

    new_id = Uuid7Source(clock)
    drafts: list[Draft] = []
    if objects:
        with store._backends.default.batch() as batch:
            for number in numbers:
                for data in _package(store, new_id(), clock(), number, files, few, drafts):
                    batch.stage_bytes(data)
            batch.publish()
    else:
        for number in numbers:
            for _ in _package(store, new_id(), clock(), number, files, few, drafts):
                pass
    with store._transaction("bench") as transaction:
        transaction.record(drafts)


def _package(
    store: Store, key: uuid.UUID, now: int, number: int, files: int, few: int, drafts: list[Draft]
) -> Iterator[bytes]:
    """The objects of a package; its events are added to the drafts."""
    from artifactstore import events
    from artifactstore.digest import digest_pair
    from artifactstore.manifest import ManifestEncoder, ManifestFile, ManifestPackage

    early = number % few == 0
    labels = {
        "name": f"package-{number:07}",
        "producer": f"producer-{number % PRODUCERS}",
        "subject": f"subject-{number % SUBJECTS}",
        "retention_class": "transient" if early else "raw-evidence",
    }
    metadata = {"kind": "test", "run": number}
    seconds = (1 if early else 90) * DAY // 1_000_000
    drafts.append(
        events.package_created(
            key.bytes,
            **labels,
            retention_seconds=seconds,
            metadata=metadata,
            metadata_schema=None,
            created_at=now,
            idempotency=None,
        )
    )
    listed = []
    for index in range(files):
        data = b"file %d of package %d\n" % (index, number) * 20
        digests: DigestPair = digest_pair(data)
        path = f"results/part-{index:04}.txt"
        listed.append(
            ManifestFile(path, "text/plain", len(data), digests.blake3, digests.sha256, executable=False)
        )
        drafts.append(
            events.file_ingested(
                key.bytes,
                relative_path=path,
                media_type="text/plain",
                size=len(data),
                blake3=digests.blake3,
                sha256=digests.sha256,
                executable=False,
                backend_id="local",
                idempotency=None,
            )
        )
        yield data
    described = ManifestPackage(
        package_id=str(key),
        store_id=str(store.store_id),
        **labels,
        created_at=now,
        metadata=metadata,
        metadata_schema=None,
    )
    encoder = ManifestEncoder(described, files)
    manifest = b"".join(encoder.chunks(listed))
    digests = digest_pair(manifest)
    drafts.append(
        events.package_finalized(
            key.bytes,
            manifest_blake3=digests.blake3,
            manifest_sha256=digests.sha256,
            manifest_size=len(manifest),
            content_digest=encoder.content_digest,
            file_count=files,
            total_size=encoder.total_size,
            expires_at=now + seconds * 1_000_000,
            backend_id="local",
            idempotency=None,
        )
    )
    yield manifest
