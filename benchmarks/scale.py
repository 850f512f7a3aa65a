"""`python -m benchmarks.scale`: a store of ten million events, built and asked. For docs/scale.md.

The events are real, made by the library's own functions and projected as pushes would; only the bytes of the
objects are not stored, since a database does not know the difference.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
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
from benchmarks.machine import busy_seconds, describe
from benchmarks.many import Findings, database_bytes, look_ups

if TYPE_CHECKING:
    from artifactstore import Store

FILES = 10  # of each package
EVENTS = FILES + 2  # of each package: created, its files, finalized
STEPS = (100_000, 1_000_000, 3_000_000, 10_000_000)  # events at which the store is asked
COPIED = 1_000_000  # events up to which a backup is made: it takes its size again
TOGETHER = 5_000  # packages of one transaction
CACHE = (
    400 * 1024
)  # KiB of SQLite's memory while the store is built; a quarter less time than with the default


def build(store: Store, clock: Calendar, findings: Findings, events: int, place: Path) -> int:
    """Fill a store and ask it at each step; returns its packages."""
    with store._database.write() as connection:
        connection.pragma("cache_size", -CACHE)
    packages = 0
    for step in [step for step in STEPS if step < events] + [events]:
        more = max(step // EVENTS, 1)
        seconds = fill(store, clock, packages, more, files=FILES, objects=False, together=TOGETHER)
        findings.add("append", more, (more - packages) * EVENTS / seconds, "events/s")
        packages = more
        size = database_bytes(store)
        findings.add("database", packages, size / 2**20, "MiB")
        findings.flat("database, of an event", packages, size / store.newest_sequence(), "B")
        findings.flat("database, of a file", packages, size / packages / FILES, "B")
        look_ups(store, findings, packages)
        if step <= COPIED:
            copy = place / "copy.db"
            findings.add("backup", packages, seconds_of(partial(store.backup, copy)), "s")
            copy.unlink()
        print(f"scale: {step:,} events", file=sys.stderr, flush=True)
    return packages


def later(store: Store, clock: Calendar, findings: Findings, packages: int) -> None:
    """What is done to a whole store."""
    findings.add("health", packages, seconds_of(store.health) * 1000, "ms")
    clock.now += 2 * DAY
    swept = seconds_of(partial(store.sweep, actor="bench"))
    expired = max(1, packages // FEW)
    findings.add(f"sweep, {expired:,} expired", packages, swept / expired * 1e6, "us each")
    seconds = seconds_of(partial(rebuild_views, store))
    findings.add("replay", packages, store.newest_sequence() / seconds, "events/s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    findings.add("memory of the whole run", packages, peak / 2**20, "MiB")


def scale(directory: Path, events: int) -> tuple[list[Finding], float]:
    """The findings, and the share of one core that others used meanwhile."""
    from artifactstore import Store

    clock, findings = Calendar(), Findings()
    database, root = directory / "scale.db", directory / "objects"
    before, own = busy_seconds(), sum(os.times()[:2])

    def run() -> None:
        with Store.open(database, root, clock=clock) as store:
            packages = build(store, clock, findings, events, directory)
            later(store, clock, findings, packages)
        opened = seconds_of(lambda: Store.open(database, root, clock=clock).close())
        findings.add("open and close", packages, opened * 1000, "ms")

    seconds = seconds_of(run)
    foreign = busy_seconds() - before - (sum(os.times()[:2]) - own)
    findings.append(Finding("w5", "the whole run", seconds, "s"))
    return [dataclasses.replace(each, benchmark="scale") for each in findings], max(0.0, foreign / seconds)


def main() -> None:
    """Build, ask, tell, delete."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--events", type=int, default=STEPS[-1], help="of the largest store (%(default)s)")
    parser.add_argument("--dir", type=Path, default=Path("var/bench"), help="where to work (./%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings")
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="scale-", dir=arguments.dir.resolve()))
    machine = describe(work)
    print(report.machine_line(machine))
    try:
        findings, foreign = scale(work, arguments.events)
    finally:
        shutil.rmtree(work)
    print(report.findings_table(findings))
    print(f"others used {foreign:.0%} of a core")
    if arguments.json:
        document = report.document(machine, [], findings) | {"foreign": foreign}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
