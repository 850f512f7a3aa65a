"""Benchmarks inside the process: replay against a bare insert, and look-ups while the store grows."""

from __future__ import annotations

import random
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    import apsw

    import artifactstore
    from benchmarks.datasets import Dataset

PAGE = 50  # packages a list call returns
LOOKUPS = 300  # calls of which the median counts
REPLAY_TARGET = 0.2  # events/s of replay, at least, as a share of the rows/s of the bare insert
FLAT = 1.2  # p50 at any size, at most, as a multiple of the p50 at the smallest


@dataclass(frozen=True, slots=True)
class Finding:
    """One number; the ratio is wanted to be `least` or more, `most` or less."""

    benchmark: str
    what: str
    value: float
    unit: str
    ratio: float | None = None
    least: float | None = None
    most: float | None = None


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def replay(dataset: Dataset, directory: Path, *, rounds: int) -> list[Finding]:
    """How many events a second `replay` folds, against apsw inserting the same rows into a bare table.

    Both alternate in this process, so the ratio meets the same machine twice.
    """
    import apsw

    import artifactstore

    root = directory / "replay"
    with artifactstore.open(root) as store:
        store.push(
            dataset.root,
            name="w1",
            producer="bench",
            subject="w1",
            retention_class="raw-evidence",
            actor="bench",
            metadata={},
        )
        reader = apsw.Connection(str(root / "artifactstore.db"), flags=apsw.SQLITE_OPEN_READONLY)
        rows = list(reader.execute("SELECT * FROM events ORDER BY sequence"))
        # Triggers are left behind: the bare insert is the floor.
        schema = [
            sql
            for (sql,) in reader.execute(
                "SELECT sql FROM sqlite_schema WHERE tbl_name = 'events' AND type IN ('table', 'index')"
                " AND sql IS NOT NULL ORDER BY type DESC"
            )
        ]
        reader.close()
        replayed, checked, inserted = [], [], []
        for number in range(rounds):
            replayed.append(len(rows) / seconds_of(partial(rebuild_views, store)))
            checked.append(len(rows) / seconds_of(store.replay))
            bare = apsw.Connection(str(directory / f"bare-{number}.db"))
            bare.execute("PRAGMA journal_mode = WAL").fetchall()
            bare.execute("PRAGMA synchronous = FULL")
            for statement in schema:
                bare.execute(statement)
            inserted.append(len(rows) / seconds_of(partial(insert, bare, rows)))
            bare.close()
    ratio = statistics.median(mine / theirs for mine, theirs in zip(replayed, inserted, strict=True))
    return [
        Finding("replay", f"bare executemany of {len(rows):,} events", statistics.median(inserted), "rows/s"),
        Finding(
            "replay", f"replay of {len(rows):,} events", statistics.median(replayed), "events/s",
            ratio=ratio, least=REPLAY_TARGET,
        ),
        Finding(
            "replay", "the same with both fingerprints", statistics.median(checked), "events/s",
            ratio=statistics.median(mine / theirs for mine, theirs in zip(checked, inserted, strict=True)),
        ),
    ]  # fmt: skip


def rebuild_views(store: artifactstore.Store) -> None:
    """The replay itself, durable, without the two fingerprints that the call shows."""
    from artifactstore import views

    with store._database.write() as connection:
        views.replay(connection)


def insert(connection: apsw.Connection, rows: list[tuple[Any, ...]]) -> None:
    """All rows in one durable transaction."""
    marks = ", ".join("?" * len(rows[0]))
    with connection:
        connection.executemany(f"INSERT INTO events VALUES ({marks})", rows)  # noqa: S608  question marks only


def packages(directory: Path, *, limit: int) -> list[Finding]:
    """p50 of one page of `list_packages` and of `get_package`, at 1,000, 10,000, … packages: flat or not."""
    import artifactstore

    findings: list[Finding] = []
    first: dict[str, float] = {}
    generator = random.Random("artifactstore-packages")
    created: list[str] = []
    with artifactstore.open(directory / "packages") as store:
        for size in [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= limit] or [limit]:
            begin = time.perf_counter()
            missing = size - len(created)
            created.extend(create(store, number) for number in range(len(created), size))
            rate = missing / (time.perf_counter() - begin)
            findings.append(Finding("packages", f"create_package up to {size:,}", rate, "commits/s"))
            print(f"packages: {size:,}", file=sys.stderr, flush=True)
            chosen = [generator.choice(created) for _ in range(LOOKUPS)]
            calls: dict[str, list[Callable[[], object]]] = {
                f"list_packages(limit={PAGE})": [partial(store.list_packages, limit=PAGE)] * LOOKUPS,
                "get_package": [partial(store.get_package, identity) for identity in chosen],
            }
            for what, series in calls.items():
                median = statistics.median(seconds_of(call) for call in series) * 1e6  # [s] -> [us]
                ratio = median / first.setdefault(what, median)
                findings.append(
                    Finding("packages", f"{what} of {size:,}", median, "us p50", ratio, most=FLAT)
                )
    return findings


def create(store: artifactstore.Store, number: int) -> str:
    """One package without files: one durable commit."""
    return store.create_package(
        name=f"package-{number:07}",
        producer=f"producer-{number % 7}",
        subject=f"subject-{number % 97}",
        retention_class="raw-evidence",
        actor="bench",
        metadata={"run": number},
    )
