"""Retention: classes, and what a class means for a package."""

from __future__ import annotations

# Seconds that a package is kept after finalize; None is for ever. Written into the log of every new store.
# Source: the retention classes of the operator guide; a year has 365 days.
DEFAULT_CLASSES: dict[str, int | None] = {
    "transient": 86_400,
    "raw-evidence": 7_776_000,
    "summary-evidence": 31_536_000,
    "release-evidence": 220_752_000,
    "permanent-record": None,
}


def expiry(finalized_at: int, retention_seconds: int | None) -> int | None:
    """When a package expires, in microseconds; None if it never does.

    Args:
        finalized_at: microseconds; the clock of retention starts here.
    """
    return None if retention_seconds is None else finalized_at + retention_seconds * 1_000_000
