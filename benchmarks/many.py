"""`w5`: what does a call cost among 1,000, 10,000 and 100,000 packages?"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import statistics
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from benchmarks import targets
from benchmarks.filling import DAY, PRODUCERS, SUBJECTS, Calendar, fill
from benchmarks.library import Finding, Log, beside, copy_views, decode, found, rebuild_views, seconds_of
from benchmarks.machine import sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from artifactstore import Store

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PAGE = 50  # packages a list call returns
TOGETHER = 10  # packages that expire together where the sizes are compared
LOOKUPS = 900  # calls of which the median counts
SERIES = 15  # parts of them, each beside one of a store of the first size
BATCHES = 5  # of an append, likewise
REPLAYS = 3  # of each size
FSCKS = 3  # of each size
WARM = 30  # calls before them that do not count
SAID = {"name": "n", "producer": "p", "subject": "s", "retention_class": "raw-evidence", "actor": "bench"}
T = TypeVar("T")


class Findings(list[Finding]):
    """Findings about a store of some size."""

    def add(self, what: str, size: int, samples: Sequence[float], unit: str) -> None:
        """A number that may grow: the median of some."""
        self.append(found("w5", f"{what}, {size:,} packages", samples, unit))

    def flat(
        self,
        what: str,
        size: int,
        pairs: Iterable[tuple[float, float]],
        unit: str,
        *,
        rate: bool = False,
        most: float = targets.FLAT,
        more: str = "",
    ) -> None:
        """A number that should stay: of two stores of the first size, their ratio shows what chance does.

        Args:
            pairs: of this store and of one of the first size, measured in turns.
            rate: more is better.
            more: the end of its name.
        """
        large, small = zip(*pairs, strict=True)
        ratios = beside(small, large) if rate else beside(large, small)
        bound = most if size > SIZES[0] else None
        self.append(found("w5", f"{what}, {size:,} packages{more}", large, unit, ratios=ratios, most=bound))


def w5(directory: Path, *, limit: int) -> list[Finding]:
    """One store that grows, at each size beside a fresh one of the first; at the end all of it expires."""
    from artifactstore import Store

    clock = Calendar()
    findings = Findings()
    filled = 0
    root = directory / "objects"
    sizes = [size for size in SIZES if size <= limit] or [limit]
    first = sizes[0]
    with Store.open(directory / "warm.db", directory / "warm", clock=clock) as store:
        fill(store, clock, 0, first)  # else the first size would pay for the start of this process
    with Store.open(directory / "many.db", root, clock=clock) as large:
        for size in sizes:
            turns = min(BATCHES, (size - filled) // first)
            fill(large, clock, filled, size - turns * first)
            filled = size
            with contextlib.ExitStack() as opened:
                names = [directory / f"fresh-{size}-{number}" for number in range(turns)]
                stores = (Store.open(name.with_suffix(".db"), name, clock=clock) for name in names)
                fresh = [opened.enter_context(store) for store in stores]
                small = fresh[-1]
                appends(large, fresh, clock, findings, size, first)
                sync(directory)  # what the appends have left to write would be in the way of the next
                creations(large, small, findings, size)
                compare_look_ups(large, small, findings, size, first)
                bytes_each = database_bytes(large) / size, database_bytes(small) / first
                findings.flat("database", size, [bytes_each], "B/package")
                findings += replays(large, directory, size)
                findings.flat("fsck", size, in_turns(fscks(large, size), fscks(small, first)), "us each")
                clock.now += 2 * DAY
                expire(large, small, findings, size)
        findings.append(orphans(large, root))
        clock.now += 100 * DAY
        ((count, *both),) = sweeps_and_gcs(large)
    for name, each in zip(("sweep", "gc"), both, strict=True):
        what = f"{name} of all others, {filled:,} packages, {count:,} expired"
        findings.append(found("w5", what, [each], "us each"))
    return findings


def in_turns(large: Iterator[T], small: Iterator[T]) -> Iterator[tuple[T, T]]:
    """What both measure when they are asked, until one has no more; each goes first in turn."""
    for number in itertools.count():
        if number % 2:
            other, own = next(small, None), next(large, None)
        else:
            own, other = next(large, None), next(small, None)
        if own is None or other is None:
            return
        yield own, other


def appends(
    large: Store, fresh: list[Store], clock: Calendar, findings: Findings, size: int, first: int
) -> None:
    """The last batches of a size, and for each of them one into a fresh store, which fills it."""
    numbers = range(size - len(fresh) * first, size, first)
    large_rates = (first / fill(large, clock, number, number + first) for number in numbers)
    # Everything in a fresh one expires, so that each sweep beside the large store finds something.
    fresh_rates = (first / fill(store, clock, 0, first, few=1) for store in fresh)
    pairs = in_turns(large_rates, fresh_rates)
    findings.flat("append in batches of 1,000", size, pairs, "packages/s", rate=True)


def creations(large: Store, small: Store, findings: Findings, size: int) -> None:
    """Durable commits of one event each."""
    both = (p50([partial(store.create_package, **SAID)] * LOOKUPS) for store in (large, small))
    pairs = [(1e6 / own, 1e6 / other) for own, other in in_turns(*both)]
    findings.flat("create_package, durable", size, pairs, "commits/s", rate=True)


def p50(calls: Sequence[Callable[[], object]]) -> Iterator[float]:
    """Median microseconds of each part of some calls, after a few that do not count.

    Each part runs without a pause, so that a store meets its own caches, not those of another one.
    """
    for call in calls[:WARM]:
        call()
    for number in range(SERIES):
        yield statistics.median(seconds_of(call) for call in calls[number::SERIES]) * 1e6


def fscks(store: Store, packages: int) -> Iterator[float]:
    """Microseconds for each package."""
    for _ in range(FSCKS):
        yield seconds_of(store.fsck) / packages * 1e6


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


def compare_look_ups(large: Store, small: Store, findings: Findings, size: int, first: int) -> None:
    """The calls that people wait for."""
    beside_them = look_ups(small, first)
    for what, calls in look_ups(large, size).items():
        findings.flat(what, size, in_turns(p50(calls), p50(beside_them[what])), "us p50")


def look_ups(store: Store, size: int) -> dict[str, list[Callable[[], object]]]:
    """The calls that people wait for, each about a package or a page chosen by chance."""
    generator = random.Random("artifactstore-w5")
    numbers = [generator.randrange(size) for _ in range(LOOKUPS)]
    hits = [store.list_packages(metadata={"run": str(number)}).items[0] for number in numbers[:30]]
    newest = store.newest_sequence()
    files = [store.list_files(hit.package_id).items[0] for hit in hits]
    return {
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


def expire(large: Store, small: Store, findings: Findings, size: int) -> None:
    """Sweep and gc of what has expired in the large store, and of as many packages in the small one.

    As many at a time at each size: a walk through all of a store would cost each of 1% the same at every
    size, and not be seen.
    """
    both = (sweeps_and_gcs(store, TOGETHER) for store in (large, small))
    turns = list(in_turns(*both))
    count = sum(own[0] for own, _ in turns)
    for place, name in ((1, "sweep"), (2, "gc")):
        findings.flat(
            f"{name} of 1%, {TOGETHER} at a time",
            size,
            [(own[place], other[place]) for own, other in turns],
            "us each",
            most=targets.PROPORTIONAL,
            more=f", {count:,} expired",
        )


def sweeps_and_gcs(store: Store, limit: int | None = None) -> Iterator[tuple[int, float, float]]:
    """The packages of each turn and the microseconds of both for each of them, until nothing has expired."""
    while True:
        marked: list[int] = []
        sweep = seconds_of(lambda: marked.append(len(store.sweep(actor="bench", limit=limit).marked)))  # noqa: B023
        (count,) = marked
        if not count:
            return
        gc = seconds_of(partial(store.gc, actor="bench"))
        yield count, sweep / count * 1e6, gc / count * 1e6


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
