"""What verify costs, beside reading and hashing the same files alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.library import Finding, beside, found, seconds_of
from benchmarks.machine import settle

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.datasets import Dataset


def verify(
    dataset: Dataset, directory: Path, *, rounds: int, patience: float, most: float | None = None
) -> list[Finding]:
    """Verify, against reading the same object files and computing both digests alone.

    Args:
        patience: seconds to wait for a quiet machine before each call.
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
        calls = (partial(hash_alone, paths), partial(store.verify, actor="bench"))
        samples: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds):
            for who in (0, 1) if number % 2 else (1, 0):  # each goes first in turn
                settle(directory, patience=patience)
                samples[who].append(seconds_of(calls[who]))
    hashed, verified = samples
    what = f"{len(paths):,} objects, {size / 2**20:.0f} MiB"
    return [
        found("verify", f"reading and hashing {what}", hashed, "s"),
        found("verify", f"verify of {what}", verified, "s", ratios=beside(verified, hashed), most=most),
    ]


def hash_alone(paths: list[Path]) -> None:
    """Both digests of each file, one file after the other."""
    from artifactstore.digest import digest_pair

    for path in paths:
        digest_pair(path.read_bytes())
