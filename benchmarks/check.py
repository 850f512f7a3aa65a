"""`python -m benchmarks.check`: has anything become slower, as a ratio beside the ratio that is committed?

Each ratio is the fastest of several runs of ours divided by the fastest of as many runs of a peer that every
machine has, in turn. What looks slower, or was disturbed by others, is run again before it is called slower:
noise goes, a regression stays.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import calls
from benchmarks.datasets import LargeFile, SmallFiles
from benchmarks.filling import Calendar, fill
from benchmarks.library import insert, rebuild_views, seconds_of
from benchmarks.machine import NOISY, VOLATILE, file_system, settle
from benchmarks.measure import compile_program, foreign_share, run, warm
from benchmarks.peers.catalogue import COPY, OURS, SHA256_ALONE
from benchmarks.peers.peer import Session
from benchmarks.suite import durable_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore import Store
    from benchmarks.datasets import Dataset
    from benchmarks.peers.peer import Peer

COMMITTED = Path(__file__).parent / "ratios.json"
NOT_CHECKED = 3  # exit status where nothing can be measured
ROUNDS = 3  # quiet runs before a ratio is looked at
AGAIN = 2  # more runs of what others disturbed
PATIENCE = 2.0  # seconds to wait for a quiet machine before a run


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Args:
        factor: a ratio is worse if it is more than so many times the committed one.
        steady: the same for what start-up or memory alone decides, which hardly varies.
        most_rounds: runs after which what looks slower is called slower, and a machine busy.
    """

    name: str
    files: int
    bytes: int
    packages: int
    factor: float
    steady: float
    most_rounds: int


FULL = Scale("full", 10_000, 256 * 1024**2, 10_000, factor=1.2, steady=1.2, most_rounds=6)
QUICK = Scale("quick", 500, 32 * 1024**2, 1_000, factor=3.0, steady=2.0, most_rounds=8)


@dataclass(slots=True)
class Pair:
    """Two works whose ratio is watched.

    Args:
        steady: whether start-up or memory alone decides it.
    """

    name: str
    ours: Callable[[], float]
    theirs: Callable[[], float]
    steady: bool = False
    runs: list[tuple[float, float, float]] = field(default_factory=list)  # ours, theirs, what others used

    def run(self, directory: Path) -> None:
        """One more run of each, on a disk that has settled."""
        settle(directory, patience=PATIENCE)
        seconds: list[float] = []
        foreign = foreign_share(lambda: seconds.extend((self.ours(), self.theirs())))
        self.runs.append((seconds[0], seconds[1], foreign))

    @property
    def quiet(self) -> list[tuple[float, float, float]]:
        """The runs that nobody disturbed."""
        return [run for run in self.runs if run[2] <= NOISY]

    @property
    def ratio(self) -> float:
        """Fastest by fastest: of the quiet runs, of all if there is none."""
        mine, others, _ = zip(*(self.quiet or self.runs), strict=True)
        return float(min(mine) / min(others))


class Bench:
    """Makes the pairs below one directory.

    Args:
        directory: on a disk; the caller deletes it.
    """

    def __init__(self, directory: Path, scale: Scale) -> None:
        self.directory = directory
        self.small = SmallFiles(directory / "small", scale.files, max(1, scale.files // 50))
        self.large = LargeFile(directory / "large", size=scale.bytes)
        self.small.build()
        self.large.build()
        self.sessions = 0
        self.kept: dict[tuple[str, Path], Session] = {}

    def fresh(self, peer: Peer, data: Dataset) -> Session:
        """A peer on an empty repository."""
        self.sessions += 1
        place = self.directory / f"session-{self.sessions:04}"
        place.mkdir()
        session = Session(peer, place, data.root, "check")
        run(list(session.prepare()), place)
        return session

    def filled(self, peer: Peer, data: Dataset) -> Session:
        """A peer on the repository that has the data, the same one each time."""
        key = (peer.name, data.root)
        if key not in self.kept:
            self.kept[key] = self.fresh(peer, data)
            run(list(self.kept[key].work("push")), self.kept[key].place)
        return self.kept[key]

    def process(self, peer: Peer, data: Dataset, work: str, *, first: bool) -> float:
        """Seconds of one work of a peer until durable."""
        session = (self.fresh if first else self.filled)(peer, data)
        run(list(session.before(work)), session.place)
        if work == "export":
            session.target.mkdir()
        warm(session.reads(work))
        seconds = durable_seconds(run(list(session.work(work)), session.place), peer.promised(work))
        if work == "export":
            shutil.rmtree(session.target)
        return seconds

    def pair(
        self, name: str, work: str, peer: Peer, theirs: str, data: Dataset, *, first: bool = False
    ) -> Pair:
        """A work of ours beside a work of a peer."""
        return Pair(
            name,
            partial(self.process, OURS, data, work, first=first),
            partial(self.process, peer, data, theirs, first=first),
        )

    def processes(self) -> list[Pair]:
        """Whole commands."""
        return [
            self.pair("push of small files / cp+sync", "push", COPY, "push", self.small, first=True),
            self.pair("push of unchanged files / sha256 alone", "push", SHA256_ALONE, "push", self.small),
            self.pair("verify of small files / sha256 alone", "verify", SHA256_ALONE, "verify", self.small),
            self.pair("export of small files / cp+sync", "export", COPY, "export", self.small),
            self.pair("push of a large file / cp+sync", "push", COPY, "push", self.large, first=True),
            self.pair("verify of a large file / sha256 alone", "verify", SHA256_ALONE, "verify", self.large),
            Pair(
                "version / python -c pass",
                partial(command, "-m", "artifactstore", "version"),
                partial(command, "-c", "pass"),
                steady=True,
            ),
        ]

    def inside(self, store: Store, clock: Calendar, packages: int) -> list[Pair]:
        """Calls of a program that holds a store open."""
        fill(store, clock, 0, packages, objects=False)
        with store._database.read() as connection:
            rows = connection.execute("SELECT * FROM events ORDER BY sequence").fetchall()
            (schema,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'events'").fetchall()[
                0
            ]
        bare = calls.bare_database(self.directory / "bare.db")
        folder = self.directory / "bare"
        folder.mkdir()
        return [
            Pair(
                "replay / executemany",
                partial(seconds_of, partial(rebuild_views, store)),
                partial(self.insert, schema, rows),
            ),
            Pair(
                "create, ingest, finalize / three commits and a file",
                partial(calls.median_of, partial(calls.small_package, store)),
                partial(calls.median_of, partial(calls.bare_package, bare, folder)),
            ),
            Pair(
                "list of a producer / list of all",
                partial(calls.median_of, partial(store.list_packages, limit=50, producer="producer-3")),
                partial(calls.median_of, partial(store.list_packages, limit=50)),
                steady=True,
            ),
        ]

    def insert(self, schema: str, rows: list[tuple[object, ...]]) -> float:
        """Seconds to put events into a bare table of a new database."""
        self.sessions += 1
        bare = calls.bare_database(self.directory / f"bare-{self.sessions}.db", schema)
        seconds = seconds_of(partial(insert, bare, rows))
        bare.close()
        return seconds


def command(*arguments: str) -> float:
    """Seconds of a Python process."""
    return seconds_of(lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True))


def bound(pair: Pair, scale: Scale) -> float:
    """How many times the committed ratio is too much."""
    return scale.steady if pair.steady else scale.factor


def measured(pairs: list[Pair], scale: Scale, known: dict[str, float], directory: Path) -> list[Pair]:
    """Run all pairs, and again those that were disturbed or look worse; returns those that stay worse."""

    def is_worse(pair: Pair) -> bool:
        return pair.ratio > known.get(pair.name, math.inf) * bound(pair, scale)

    for number in range(scale.most_rounds):
        for pair in pairs:
            wanted = ROUNDS if len(pair.quiet) >= ROUNDS else ROUNDS + AGAIN
            if number < wanted or is_worse(pair):
                pair.run(directory)
    return [pair for pair in pairs if is_worse(pair)]


def main() -> None:
    """Exit with 1 if a ratio is worse than its limit, with 3 if nothing can be measured here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sets and a wide limit, for CI")
    parser.add_argument("--write", action="store_true", help="commit to what is measured now")
    parser.add_argument("--dir", type=Path, default=Path("var/bench"), help="where to work (./%(default)s)")
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else FULL
    arguments.dir.mkdir(parents=True, exist_ok=True)
    if (kind := file_system(arguments.dir)) in VOLATILE:
        print(f"not checked: {arguments.dir} is in memory ({kind}); name a directory on a disk with --dir")
        sys.exit(NOT_CHECKED)
    committed: dict[str, dict[str, float]] = json.loads(COMMITTED.read_text(encoding="utf-8"))
    known = {} if arguments.write else committed.get(scale.name, {})
    compile_program()
    begin = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="check-", dir=arguments.dir.resolve()))
    try:
        pairs, worse = watched(work, scale, known)
    finally:
        shutil.rmtree(work)
    for pair in pairs:
        ratio = known.get(pair.name)
        limit = 0.0 if ratio is None else ratio * bound(pair, scale)
        beside = "" if ratio is None else f"at most {limit:6.2f}  {'WORSE' if pair in worse else 'ok':5}"
        quiet = f"{len(pair.quiet)} of {len(pair.runs)} runs quiet"
        print(f"{pair.name:52} {pair.ratio:7.2f}  {beside}  ({quiet})")
    print(f"{scale.name}: {time.monotonic() - begin:.0f} s")
    if arguments.write:
        committed[scale.name] = {pair.name: round(pair.ratio, 3) for pair in pairs}
        COMMITTED.write_text(json.dumps(committed, indent=2) + "\n", encoding="utf-8")
    elif missing := {pair.name for pair in pairs} ^ known.keys():
        sys.exit(f"error: no committed ratio, or no work: {', '.join(sorted(missing))}\nhint: --write")
    elif worse:
        sys.exit(f"error: slower than before: {', '.join(pair.name for pair in worse)}")


def watched(work: Path, scale: Scale, known: dict[str, float]) -> tuple[list[Pair], list[Pair]]:
    """All pairs, measured, and those that are worse."""
    from artifactstore import Store

    bench = Bench(work, scale)
    pairs = bench.processes()
    worse = measured(pairs, scale, known, work)
    clock = Calendar()
    with Store.open(work / "store.db", work / "store", clock=clock) as store:
        inside = bench.inside(store, clock, scale.packages)
        worse += measured(inside, scale, known, work)
    return pairs + inside, worse


if __name__ == "__main__":
    main()
