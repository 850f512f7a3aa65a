"""What the later life costs: sweep and gc by what expired, verify and orphans by what is stored."""

from __future__ import annotations

import os
import statistics
import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.library import Finding, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore import Store
    from artifactstore.events import Draft
    from benchmarks.datasets import Dataset

START = 1_800_000_000_000_000  # microseconds
DAY = 86_400 * 1_000_000  # microseconds
TOGETHER = 1000  # packages written in one transaction while the store is filled
FEW = 100  # one package in so many expires first
SHARE_TARGET = 0.02  # cost of the first 1%, at most, as a share of the cost of the other 99%
VERIFY_TARGET = 1.2  # seconds of verify, at most, as a multiple of reading and hashing the same files
ORPHANS_TARGET = 10.0  # seconds of orphans, at most, as a multiple of listing the same tree


class Calendar:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        """The time in microseconds since 1970."""
        return self.now


def expiry(directory: Path, *, count: int) -> list[Finding]:
    """Sweep and gc when 1% of the packages has expired and when all the others have, and orphans between."""
    from artifactstore import Store

    clock = Calendar()
    findings: list[Finding] = []
    with Store.open(directory / "life.db", directory / "life", clock=clock) as store:
        for first in range(0, count, TOGETHER):
            fill(store, first, min(TOGETHER, count - first))
            print(f"lifecycle: {first + TOGETHER:,} packages", file=sys.stderr, flush=True)
        objects = sum(len(names) for _, _, names in os.walk(directory / "life" / "blake3"))
        listed = statistics.median(seconds_of(partial(listing, directory / "life")) for _ in range(3))
        orphans = statistics.median(seconds_of(partial(store.orphans, actor="bench")) for _ in range(3))
        findings.append(
            Finding(
                "lifecycle", f"orphans among {objects:,} objects, beside listing them", orphans, "s",
                ratio=orphans / listed, most=ORPHANS_TARGET,
            )
        )  # fmt: skip
        costs: dict[str, list[float]] = {"sweep": [], "gc": []}
        for days, share in ((2, "1%"), (100, "all others")):
            clock.now += days * DAY
            for name, call in (("sweep", store.sweep), ("gc", store.gc)):
                costs[name].append(seconds_of(partial(call, actor="bench")))
                findings.append(
                    Finding("lifecycle", f"{name} of {count:,} packages, {share}", costs[name][-1], "s")
                )
        left = len(store.list_packages(limit=1).items)
        if left:
            raise RuntimeError("gc has left packages that were all expired")
    findings += [
        Finding("lifecycle", f"{name}: 1% against all others", few, "s", ratio=few / many, most=SHARE_TARGET)
        for name, (few, many) in costs.items()
    ]
    return findings


def fill(store: Store, first: int, count: int) -> None:
    """Finalized packages of one file, with their objects, as pushes leave them, but in one transaction.

    Their manifests are stand-ins: neither sweep nor gc nor orphans reads one.
    """
    from artifactstore.digest import digest_pair

    with store._backend.batch() as batch:
        for number in range(first, first + count):
            for data in contents(number):
                batch.stage_bytes(data)
        batch.publish()
    with store._transaction("bench") as transaction:
        recorded_at = transaction.recorded_at

        def drafts() -> Iterator[Draft]:
            from artifactstore import events

            for number in range(first, first + count):
                key = transaction.new_id().bytes
                seconds = (1 if number % FEW == 0 else 90) * 86_400
                file, manifest = contents(number)
                yield events.package_created(
                    key,
                    name=f"package-{number:07}",
                    producer="bench",
                    subject="bench",
                    retention_class="transient" if number % FEW == 0 else "raw-evidence",
                    retention_seconds=seconds,
                    metadata={},
                    metadata_schema=None,
                    created_at=recorded_at,
                    idempotency=None,
                )
                digests = digest_pair(file)
                yield events.file_ingested(
                    key,
                    relative_path="data",
                    media_type="text/plain",
                    size=len(file),
                    blake3=digests.blake3,
                    sha256=digests.sha256,
                    executable=False,
                    backend_id="local",
                    idempotency=None,
                )
                digests = digest_pair(manifest)
                yield events.package_finalized(
                    key,
                    manifest_blake3=digests.blake3,
                    manifest_sha256=digests.sha256,
                    manifest_size=len(manifest),
                    content_digest=digests.sha256,
                    file_count=1,
                    total_size=len(file),
                    expires_at=recorded_at + seconds * 1_000_000,
                    backend_id="local",
                    idempotency=None,
                )

        transaction.record(drafts())


def contents(number: int) -> tuple[bytes, bytes]:
    """The bytes of a package's file and of what stands for its manifest."""
    return b"file %d\n" % number * 40, b"manifest %d\n" % number * 20


def listing(root: Path) -> int:
    """All files below a root with their state, and nothing else."""
    count = 0
    for folder, _, names in os.walk(root):
        for name in names:
            os.lstat(os.path.join(folder, name))
            count += 1
    return count


def verify(dataset: Dataset, directory: Path, *, rounds: int, most: float | None = None) -> list[Finding]:
    """Verify, against reading the same object files and computing both digests alone.

    Args:
        most: the ratio that is wanted; None for small files, where the event of each one costs most.
    """
    import artifactstore

    root = directory / f"verify-{dataset.root.name}"
    with artifactstore.open(root) as store:
        store.push(
            dataset.root,
            name="w1",
            producer="bench",
            subject="w1",
            retention_class="raw-evidence",
            actor="bench",
        )
        paths = [path for path in root.rglob("blake3/*/*/*") if path.is_file()]
        size = sum(path.stat().st_size for path in paths)
        hashed, verified = [], []
        for _ in range(rounds):
            hashed.append(seconds_of(partial(hash_alone, paths)))
            verified.append(seconds_of(partial(store.verify, actor="bench")))
    ratio = statistics.median(mine / theirs for mine, theirs in zip(verified, hashed, strict=True))
    what = f"{len(paths):,} objects, {size / 2**20:.0f} MiB"
    return [
        Finding("lifecycle", f"reading and hashing {what}", statistics.median(hashed), "s"),
        Finding("lifecycle", f"verify of {what}", statistics.median(verified), "s", ratio=ratio, most=most),
    ]


def hash_alone(paths: list[Path]) -> None:
    """Both digests of each file, one file after the other."""
    from artifactstore.digest import digest_pair

    for path in paths:
        digest_pair(path.read_bytes())
