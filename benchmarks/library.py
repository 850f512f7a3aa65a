"""Benchmarks inside the process; here: replay against a bare insert, and what a file costs the database."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import targets
from benchmarks.datasets import tree_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    import apsw

    import artifactstore
    from benchmarks.datasets import Dataset


@dataclass(frozen=True, slots=True)
class Finding:
    """One number; the ratio is wanted to be `least` or more, `most` or less.

    Args:
        value: the median of the samples; None if what was to be measured is not installed.
        foreign: share of one core that other processes used while the benchmark ran.
        samples: in the unit of the value; empty if there was one alone.
        ratios: those of which the ratio is the median.
    """

    benchmark: str
    what: str
    value: float | None
    unit: str
    ratio: float | None = None
    least: float | None = None
    most: float | None = None
    foreign: float = 0.0
    samples: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()


def found(
    benchmark: str,
    what: str,
    samples: Sequence[float],
    unit: str,
    *,
    ratios: Sequence[float] = (),
    least: float | None = None,
    most: float | None = None,
) -> Finding:
    """The median of samples, and that of the ratios of each to what ran beside it."""
    ratio = statistics.median(ratios) if ratios else None
    value = statistics.median(samples)
    return Finding(benchmark, what, value, unit, ratio, least, most, 0.0, tuple(samples), tuple(ratios))


def beside(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Each of ours divided by what ran beside it."""
    return [own / other for own, other in zip(mine, theirs, strict=True)]


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
    files = tree_size(dataset.root)[0]
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
        replayed, checked, inserted, decoded, rows_alone = [], [], [], [], []
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
            decoded.append(len(rows) / seconds_of(partial(decode, store)))
            rows_alone.append(len(rows) / seconds_of(partial(copy_views, root / "artifactstore.db")))
    ratio = statistics.median(mine / theirs for mine, theirs in zip(replayed, inserted, strict=True))
    parts = bytes_of_tables(root / "artifactstore.db")
    size = (root / "artifactstore.db").stat().st_size / files  # closed: the log of writes is in it
    return [
        Finding(
            "replay", f"database for each of {files:,} files", size, "B",
            ratio=size / targets.DATABASE_BYTES, most=1.0,
        ),
        Finding("replay", f"bare executemany of {len(rows):,} events", statistics.median(inserted), "rows/s"),
        Finding(
            "replay", f"replay of {len(rows):,} events", statistics.median(replayed), "events/s",
            ratio=ratio, least=targets.REPLAY,
        ),
        Finding(
            "replay", "the same with both fingerprints", statistics.median(checked), "events/s",
            ratio=statistics.median(mine / theirs for mine, theirs in zip(checked, inserted, strict=True)),
        ),
        Finding("replay", "of it: reading and decoding the events", statistics.median(decoded), "events/s"),
        Finding(
            "replay", "of it: SQLite copying the rows of the views, indexes last",
            statistics.median(rows_alone), "events/s",
        ),
        *(Finding("replay", f"of a file's bytes: {name}", part / files, "B") for name, part in parts),
    ]  # fmt: skip


def rebuild_views(store: artifactstore.Store) -> None:
    """The replay itself, durable, without the two fingerprints that the call shows."""
    from artifactstore import views

    with store._database.write() as connection:
        views.replay(connection)


def decode(store: artifactstore.Store) -> None:
    """Read every event, and do nothing with it."""
    from artifactstore import event_log

    with store._database.read() as connection:
        for _ in event_log.read(connection, after=0):
            pass


def copy_views(database: Path) -> None:
    """What SQLite alone takes for the views: their rows from one database into another, in memory."""
    import apsw

    from artifactstore import schema

    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    target = apsw.Connection(":memory:", flags=flags)
    target.execute("ATTACH ? AS source", (f"file:{database}?mode=ro",))
    with target:
        for statement in schema.VIEW_STATEMENTS:
            target.execute(statement)
        for name in schema.VIEW_KEYS:
            target.execute(f"INSERT INTO main.{name} SELECT * FROM source.{name}")  # noqa: S608  our own names
        for statement in schema.INDEX_STATEMENTS:
            target.execute(statement)
    target.close()


def bytes_of_tables(database: Path) -> list[tuple[str, int]]:
    """The largest tables and indexes of a database, in bytes of their pages."""
    import apsw

    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    sql = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 9"
    found = list(connection.execute(sql))
    connection.close()
    return found


def insert(connection: apsw.Connection, rows: list[tuple[Any, ...]]) -> None:
    """All rows in one durable transaction."""
    marks = ", ".join("?" * len(rows[0]))
    with connection:
        connection.executemany(f"INSERT INTO events VALUES ({marks})", rows)  # noqa: S608  question marks only
