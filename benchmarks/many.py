"""`w5`: what does a call cost among 1,000, 10,000 and 100,000 packages?"""

from __future__ import annotations

import os
import random
import statistics
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import targets
from benchmarks.filling import DAY, PRODUCERS, SUBJECTS, Calendar, fill
from benchmarks.library import Finding, rebuild_views, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artifactstore import Store

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PAGE = 50  # packages a list call returns
ENOUGH = 50  # packages that expire together, from which on the cost of each is compared
LOOKUPS = 300  # calls of which the median counts
SAID = {"name": "n", "producer": "p", "subject": "s", "retention_class": "raw-evidence", "actor": "bench"}


class Findings(list[Finding]):
    """Findings of a growing store; what should not depend on its size is told beside the first size."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}

    def add(self, what: str, size: int, value: float, unit: str) -> None:
        """A number that may grow."""
        self.append(Finding("w5", f"{what}, {size:,} packages", value, unit))

    def flat(self, what: str, size: int, value: float, unit: str, *, rate: bool = False) -> None:
        """A number that should stay.

        Args:
            rate: more is better.
        """
        first = self._first.setdefault(what, value)
        ratio = first / value if rate else value / first
        most = None if value is first else targets.FLAT
        self.append(Finding("w5", f"{what}, {size:,} packages", value, unit, ratio, most=most))

    def expired(self, what: str, size: int, seconds: float, count: int) -> None:
        """What deletion cost for each package that had expired: it should not depend on the others."""
        each = seconds / count * 1e6
        ratio = most = None
        if count >= ENOUGH:  # of few, what a call costs at least is the most of it
            first = self._first.setdefault(what, each)
            ratio, most = each / first, None if each is first else targets.PROPORTIONAL
        name = f"{what}, {size:,} packages, {count:,} expired"
        self.append(Finding("w5", name, each, "us each", ratio, most=most))


def w5(directory: Path, *, limit: int) -> list[Finding]:
    """One store that grows, measured at each size; at the end everything in it expires."""
    from artifactstore import Store

    clock = Calendar()
    findings = Findings()
    filled = 0
    root = directory / "objects"
    with Store.open(directory / "many.db", root, clock=clock) as store:
        for size in [size for size in SIZES if size <= limit] or [limit]:
            rate = (size - filled) / fill(store, clock, filled, size)
            findings.add("append in batches of 1,000", size, rate, "packages/s")
            filled = size
            appends(store, findings, size)
            look_ups(store, findings, size)
            findings.flat("database", size, database_bytes(store) / size, "B/package")
            events = store.newest_sequence()
            findings.add("replay", size, events / seconds_of(partial(rebuild_views, store)), "events/s")
            findings.flat("fsck", size, seconds_of(store.fsck) / size * 1e6, "us each")
            clock.now += 2 * DAY
            expire(store, findings, "1%", size)
        findings.append(orphans(store, root))
        clock.now += 100 * DAY
        expire(store, findings, "all others", filled)
    return findings


def appends(store: Store, findings: Findings, size: int) -> None:
    """Durable commits of one event each."""
    seconds = [seconds_of(lambda: store.create_package(**SAID)) for _ in range(LOOKUPS)]
    findings.flat("create_package, durable", size, 1 / statistics.median(seconds), "commits/s", rate=True)


def look_ups(store: Store, findings: Findings, size: int) -> None:
    """The calls that people wait for, each about a package or a page chosen by chance."""
    generator = random.Random("artifactstore-w5")
    numbers = [generator.randrange(size) for _ in range(LOOKUPS)]
    hits = [store.list_packages(metadata={"run": str(number)}).items[0] for number in numbers[:30]]
    newest = store.newest_sequence()
    files = [store.list_files(hit.package_id).items[0] for hit in hits]
    calls: dict[str, list[Callable[[], object]]] = {
        "list, newest": [partial(store.list_packages, limit=PAGE)] * LOOKUPS,
        "list, a page by its cursor": [
            # A cursor is a sequence; one by chance is a page anywhere.
            partial(store.list_packages, limit=PAGE, cursor=str(generator.randrange(newest)))
            for _ in numbers
        ],
        "list, of a producer": [
            partial(store.list_packages, limit=PAGE, producer=f"producer-{number % PRODUCERS}")
            for number in numbers
        ],
        "list, of a subject": [
            partial(store.list_packages, limit=PAGE, subject=f"subject-{number % SUBJECTS}")
            for number in numbers
        ],
        "list, by metadata": [
            partial(store.list_packages, limit=PAGE, metadata={"run": str(number)}) for number in numbers
        ],
        "show": [partial(store.get_package, hits[number % len(hits)].package_id) for number in numbers],
        "find by blake3": [
            partial(store.find_object, files[number % len(files)].digest) for number in numbers
        ],
        "find by sha256": [
            partial(store.find_object, files[number % len(files)].sha256) for number in numbers
        ],
        "events after a sequence": [partial(store.events, after=number, limit=PAGE) for number in numbers],
    }
    for what, series in calls.items():
        findings.flat(what, size, statistics.median(seconds_of(call) for call in series) * 1e6, "us p50")


def expire(store: Store, findings: Findings, what: str, size: int) -> None:
    """Sweep and gc of what has expired."""
    swept: list[int] = []
    sweep = seconds_of(lambda: swept.append(len(store.sweep(actor="bench").marked)))
    gc = seconds_of(lambda: store.gc(actor="bench"))
    for name, seconds in (("sweep", sweep), ("gc", gc)):
        findings.expired(f"{name} of {what}", size, seconds, swept[0])


def orphans(store: Store, root: Path) -> Finding:
    """The comparison of all objects with the log, beside a listing of them."""
    listed = statistics.median(seconds_of(partial(listing, root)) for _ in range(3))
    seconds = statistics.median(seconds_of(partial(store.orphans, actor="bench")) for _ in range(3))
    what = f"orphans among {listing(root):,} objects, beside listing them"
    return Finding("w5", what, seconds, "s", seconds / listed, most=targets.ORPHANS)


def listing(root: Path) -> int:
    """All objects below a root with their state, and nothing else."""
    count = 0
    for folder, _, names in os.walk(root / "blake3"):
        for name in names:
            os.lstat(os.path.join(folder, name))
            count += 1
    return count


def database_bytes(store: Store) -> int:
    """What the database takes when its log of writes is emptied into it."""
    with store._database.read() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchall()[0]
        (size,) = connection.execute("PRAGMA page_size").fetchall()[0]
    return int(pages * size)
