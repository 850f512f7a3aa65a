"""`python -m benchmarks.scale`: a store of ten million events, built and asked. For docs/scale.md.

The events are real, made by the library's own functions and projected as pushes would; only the bytes of the
objects are not stored, since a database does not know the difference.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import resource
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import report
from benchmarks.filling import DAY, FEW, Calendar, fill
from benchmarks.library import Finding, rebuild_views, seconds_of
from benchmarks.machine import VOLATILE, commit, describe, file_system, settle
from benchmarks.many import Findings, database_bytes, look_ups, p50
from benchmarks.measure import foreign_share

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore import Store

FILES = 10  # of each package
EVENTS = FILES + 2  # of each package: created, its files, finalized
STEPS = (100_000, 1_000_000, 3_000_000, 10_000_000)  # events at which the store is asked
COPIED = 1_000_000  # events up to which a backup is made: it takes its size again
TOGETHER = 5_000  # packages of one transaction
OPENED = 200  # times
CACHE = (
    400 * 1024
)  # KiB of SQLite's memory while the store is built; a quarter less time than with the default


class Told(Findings):
    """Findings beside what others used of a core while each part was measured.

    Args:
        directory: on the disk that settles before each part.
        patience: seconds to wait for that.
    """

    def __init__(self, directory: Path, patience: float) -> None:
        super().__init__()
        self.directory = directory
        self.patience = patience

    def part(self, measure: Callable[[], object]) -> None:
        """Run what adds some findings."""
        first = len(self)
        settle(self.directory, patience=self.patience)
        foreign = round(foreign_share(measure), 3)
        self[first:] = [dataclasses.replace(each, foreign=foreign) for each in self[first:]]

    def seconds(self, what: str, packages: int, call: Callable[[], object]) -> None:
        """A part that is one call."""
        self.part(lambda: self.add(what, packages, [seconds_of(call)], "s"))


def build(store: Store, clock: Calendar, findings: Told, events: int) -> int:
    """Fill a store and ask it at each step; returns its packages."""
    with store._database.write() as connection:
        connection.pragma("cache_size", -CACHE)
    packages = 0
    for step in [step for step in STEPS if step < events] + [events]:
        more = max(step // EVENTS, 1)
        findings.part(partial(append, store, clock, findings, packages, more))
        packages = more
        size = database_bytes(store)
        findings.add("database", packages, [size / 2**20], "MiB")
        findings.add("database, of an event", packages, [size / store.newest_sequence()], "B")
        findings.add("database, of a file", packages, [size / packages / FILES], "B")
        findings.part(partial(look_up, store, findings, packages))
        if step <= COPIED:
            copy = findings.directory / "copy.db"
            findings.seconds("backup", packages, partial(store.backup, copy))
            copy.unlink()
        print(f"scale: {step:,} events", file=sys.stderr, flush=True)
    return packages


def append(store: Store, clock: Calendar, findings: Told, packages: int, more: int) -> None:
    """Fill it further."""
    seconds = fill(store, clock, packages, more, files=FILES, objects=False, together=TOGETHER)
    findings.add("append", more, [(more - packages) * EVENTS / seconds], "events/s")


def look_up(store: Store, findings: Told, packages: int) -> None:
    """Ask it what people ask."""
    for what, calls in look_ups(store, packages).items():
        findings.add(what, packages, list(p50(calls)), "us p50")


def later(store: Store, clock: Calendar, findings: Told, packages: int) -> None:
    """What is done to a whole store."""
    findings.seconds("health", packages, store.health)
    clock.now += 2 * DAY
    expired = max(1, packages // FEW)
    findings.seconds(f"sweep, {expired:,} expired", packages, partial(store.sweep, actor="bench"))
    events = store.newest_sequence()
    findings.part(
        lambda: findings.add(
            "replay", packages, [events / seconds_of(partial(rebuild_views, store))], "events/s"
        )
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    findings.add("memory of the whole run", packages, [peak / 2**20], "MiB")


def scale(directory: Path, events: int, patience: float) -> list[Finding]:
    """Build, ask, and close."""
    from artifactstore import Store

    clock, findings = Calendar(), Told(directory, patience)
    database, root = directory / "scale.db", directory / "objects"
    with Store.open(database, root, clock=clock) as store:
        packages = build(store, clock, findings, events)
        later(store, clock, findings, packages)
    reopen = partial(Store.open, database, root, clock=clock)
    # Many, since what others use of a core cannot be told of one that takes milliseconds.
    findings.part(
        lambda: findings.add(
            "open and close", packages, [seconds_of(lambda: reopen().close()) for _ in range(OPENED)], "s"
        )
    )
    return [dataclasses.replace(each, benchmark="scale") for each in findings]


def main() -> None:
    """Build, ask, tell, delete."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--events", type=int, default=STEPS[-1], help="of the largest store (%(default)s)")
    parser.add_argument("--dir", type=Path, default=Path("var/bench"), help="where to work (./%(default)s)")
    parser.add_argument("--in-memory", action="store_true", help="allow a --dir in memory: only sizes count")
    parser.add_argument(
        "--patience", type=float, default=20.0, help="seconds to wait for a quiet machine (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings")
    arguments = parser.parse_args()
    if arguments.events < EVENTS:
        parser.error(f"--events must be {EVENTS} or more, which is a package, not {arguments.events}")
    arguments.dir.mkdir(parents=True, exist_ok=True)
    if (kind := file_system(arguments.dir)) in VOLATILE and not arguments.in_memory:
        hint = "hint: name a directory on a disk with --dir; --in-memory if only sizes matter"
        sys.exit(f"error: {arguments.dir} is in memory ({kind})\n{hint}")
    work = Path(tempfile.mkdtemp(prefix="scale-", dir=arguments.dir.resolve()))
    machine, today = describe(work), datetime.datetime.now(datetime.UTC).date().isoformat()
    print(report.machine_line(machine))
    try:
        findings = scale(work, arguments.events, arguments.patience)
    finally:
        shutil.rmtree(work)
    print(report.findings_table(findings))
    if arguments.json:
        document = report.document(machine, [], findings, commit=commit(), date=today)
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
