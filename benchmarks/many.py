"""`w5`: what does a call cost among 1,000, 10,000 and 100,000 packages?"""

from __future__ import annotations

import os
import random
import statistics
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import targets
from benchmarks.filling import DAY, PRODUCERS, SUBJECTS, Calendar, fill
from benchmarks.library import Finding, Log, beside, copy_views, decode, found, rebuild_views, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from artifactstore import Store

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PAGE = 50  # packages a list call returns
TOGETHER = 10  # packages that expire together where the sizes are compared
LOOKUPS = 300  # calls of which the median counts
SERIES = 5  # parts of them, whose medians show how far it can be trusted; so many samples at least
REPLAYS = 3  # of each size
WARM = 30  # calls before them that do not count
SAID = {"name": "n", "producer": "p", "subject": "s", "retention_class": "raw-evidence", "actor": "bench"}


class Findings(list[Finding]):
    """Findings of a growing store; what should not depend on its size is told beside the first size."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}

    def add(self, what: str, size: int, value: float, unit: str) -> None:
        """A number that may grow."""
        self.append(Finding("w5", f"{what}, {size:,} packages", value, unit))

    def flat(
        self, what: str, size: int, value: float | list[float], unit: str, *, rate: bool = False
    ) -> None:
        """A number that should stay.

        Args:
            value: if it is several samples, their median counts.
            rate: more is better.
        """
        samples = value if isinstance(value, list) else [value]
        known = what in self._first
        first = self._first.setdefault(what, statistics.median(samples))
        ratios = [first / sample if rate else sample / first for sample in samples]
        most = targets.FLAT if known else None
        self.append(found("w5", f"{what}, {size:,} packages", samples, unit, ratios=ratios, most=most))

    def expired(self, what: str, size: int, samples: list[float], count: int) -> None:
        """What deletion cost for each package that had expired: it should not depend on the others.

        Args:
            samples: seconds for each package; of a few, nothing is compared.
        """
        ratios: list[float] = []
        most = None
        if len(samples) >= SERIES:
            most = targets.PROPORTIONAL if what in self._first else None
            first = self._first.setdefault(what, statistics.median(samples))
            ratios = [sample / first for sample in samples]
        name = f"{what}, {size:,} packages, {count:,} expired"
        each = [sample * 1e6 for sample in samples]
        self.append(found("w5", name, each, "us each", ratios=ratios, most=most))


def w5(directory: Path, *, limit: int) -> list[Finding]:
    """One store that grows, measured at each size; at the end everything in it expires."""
    from artifactstore import Store

    clock = Calendar()
    findings = Findings()
    filled = 0
    root = directory / "objects"
    sizes = [size for size in SIZES if size <= limit] or [limit]
    with Store.open(directory / "warm.db", directory / "warm", clock=clock) as store:
        fill(store, clock, 0, sizes[0])  # else the first size would pay for the start of this process
    with Store.open(directory / "many.db", root, clock=clock) as store:
        for size in sizes:
            rate = (size - filled) / fill(store, clock, filled, size)
            findings.flat("append in batches of 1,000", size, rate, "packages/s", rate=True)
            filled = size
            appends(store, findings, size)
            look_ups(store, findings, size)
            findings.flat("database", size, database_bytes(store) / size, "B/package")
            findings += replays(store, directory, size)
            findings.flat("fsck", size, seconds_of(store.fsck) / size * 1e6, "us each")
            clock.now += 2 * DAY
            expire(store, findings, f"1%, {TOGETHER} at a time", size, together=TOGETHER)
        findings.append(orphans(store, root))
        clock.now += 100 * DAY
        expire(store, findings, "all others", filled)
    return findings


def appends(store: Store, findings: Findings, size: int) -> None:
    """Durable commits of one event each."""
    seconds = p50([partial(store.create_package, **SAID)] * LOOKUPS)
    findings.flat("create_package, durable", size, [1 / each for each in seconds], "commits/s", rate=True)


def p50(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Median seconds of each part of some calls, after a few that do not count."""
    for call in calls[:WARM]:
        call()
    seconds = [seconds_of(call) for call in calls]
    return [statistics.median(seconds[number::SERIES]) for number in range(SERIES)]


def replays(store: Store, directory: Path, size: int) -> list[Finding]:
    """Replay, a bare insert of the same events, and what a replay cannot be without, in turns."""
    log = Log(directory / "many.db")
    replayed, inserted, decoded, copied = [], [], [], []
    for number in range(REPLAYS):
        replayed.append(log.events / seconds_of(partial(rebuild_views, store)))
        bare = directory / f"bare-{size}-{number}.db"
        inserted.append(log.events / log.insert(bare))
        bare.unlink()
        decoded.append(log.events / seconds_of(partial(decode, store)))
        copied.append(log.events / seconds_of(partial(copy_views, directory / "many.db")))
    log.close()
    ratios = beside(replayed, inserted)
    return [
        found("w5", f"replay, {size:,} packages", replayed, "events/s", ratios=ratios, least=targets.REPLAY),
        found("w5", f"bare executemany of as many events, {size:,} packages", inserted, "rows/s"),
        found("w5", f"of a replay: reading and decoding, {size:,} packages", decoded, "events/s"),
        found("w5", f"of a replay: SQLite copying the rows, {size:,} packages", copied, "events/s"),
    ]


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
        findings.flat(what, size, [seconds * 1e6 for seconds in p50(series)], "us p50")


def expire(store: Store, findings: Findings, what: str, size: int, *, together: int | None = None) -> None:
    """Sweep and gc of all that has expired.

    Args:
        together: packages at a time. As many at each size of the store: a walk through all of it would cost
            each of 1% the same at every size, and not be seen.
    """
    counts, sweeps, gcs = zip(*iter(partial(sweep_and_gc, store, together), None), strict=True)
    for name, seconds in (("sweep", sweeps), ("gc", gcs)):
        each = [sample / count for sample, count in zip(seconds, counts, strict=True)]
        findings.expired(f"{name} of {what}", size, each, sum(counts))


def sweep_and_gc(store: Store, limit: int | None) -> tuple[int, float, float] | None:
    """The packages of one turn and the seconds of both; None if nothing has expired."""
    marked: list[int] = []
    sweep = seconds_of(lambda: marked.append(len(store.sweep(actor="bench", limit=limit).marked)))
    if not marked[0]:
        return None
    return marked[0], sweep, seconds_of(lambda: store.gc(actor="bench"))


def orphans(store: Store, root: Path) -> Finding:
    """The comparison of all objects with the log, beside a listing of them."""
    listed = [seconds_of(partial(listing, root)) for _ in range(3)]
    seconds = [seconds_of(partial(store.orphans, actor="bench")) for _ in range(3)]
    what = f"orphans among {listing(root):,} objects, beside listing them"
    return found("w5", what, seconds, "s", ratios=beside(seconds, listed), most=targets.ORPHANS)


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
