"""What verify costs, beside reading and hashing the same files alone."""

from __future__ import annotations

import statistics
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.library import Finding, seconds_of

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.datasets import Dataset


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
        Finding("verify", f"reading and hashing {what}", statistics.median(hashed), "s"),
        Finding("verify", f"verify of {what}", statistics.median(verified), "s", ratio=ratio, most=most),
    ]


def hash_alone(paths: list[Path]) -> None:
    """Both digests of each file, one file after the other."""
    from artifactstore.digest import digest_pair

    for path in paths:
        digest_pair(path.read_bytes())
