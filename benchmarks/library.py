"""Benchmarks inside the process; here: replay against a bare insert, and what a file costs the database."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from artifactstore.errors import ArtifactStoreError
from benchmarks import targets
from benchmarks.datasets import tree_size
from benchmarks.measure import CommandFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    import apsw

    import artifactstore
    from benchmarks.datasets import Dataset


# What keeps a benchmark from a number, and is told in its place: a program, a server or a call that failed.
FAILURES = (CommandFailedError, ArtifactStoreError, OSError, RuntimeError, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True)
class Finding:
    """One number; the ratio is wanted to be `least` or more, `most` or less.

    Args:
        value: the median of the samples; None if nothing was measured.
        foreign: share of one core that other processes used while the benchmark ran.
        samples: in the unit of the value; empty if there was one alone.
        ratios: those of which the ratio is the median.
        failure: why nothing was measured: `absent: ...` or `failed: ...`.
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
    failure: str | None = None


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


def missing(benchmark: str, what: str, failure: str) -> Finding:
    """What was not measured, and why."""
    return Finding(benchmark, what, None, "", failure=failure)


def failed(error: Exception) -> str:
    """The reason in one line."""
    said = getattr(error, "stderr", None)
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    lines = (text or "").strip().splitlines() or str(error).strip().splitlines() or [type(error).__name__]
    return f"failed: {lines[-1]}"


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
        log = Log(root / "artifactstore.db")
        replayed, checked, inserted, decoded, rows_alone = [], [], [], [], []
        for number in range(rounds):
            replayed.append(log.events / seconds_of(partial(rebuild_views, store)))
            checked.append(log.events / seconds_of(store.replay))
            inserted.append(log.events / log.insert(directory / f"bare-{number}.db"))
            decoded.append(log.events / seconds_of(partial(decode, store)))
            rows_alone.append(log.events / seconds_of(partial(copy_views, root / "artifactstore.db")))
        log.close()
    parts = bytes_of_tables(root / "artifactstore.db")
    least = least_bytes(root / "artifactstore.db", directory / "least.db") / files
    size = (root / "artifactstore.db").stat().st_size / files  # closed: the log of writes is in it
    return [
        Finding(
            "replay", f"database for each of {files:,} files", size, "B",
            ratio=size / targets.DATABASE_BYTES, most=1.0,
        ),
        Finding("replay", "of a file's bytes: log and rows of the views alone, packed", least, "B"),
        found("replay", f"bare executemany of {log.events:,} events", inserted, "rows/s"),
        found(
            "replay", f"replay of {log.events:,} events", replayed, "events/s",
            ratios=beside(replayed, inserted), least=targets.REPLAY,
        ),
        found(
            "replay", "the same with both fingerprints", checked, "events/s",
            ratios=beside(checked, inserted),
        ),
        found("replay", "of it: reading and decoding the events", decoded, "events/s"),
        found("replay", "of it: SQLite copying the rows of the views, indexes last", rows_alone, "events/s"),
        *(Finding("replay", f"of a file's bytes: {name}", part / files, "B") for name, part in parts),
    ]  # fmt: skip


class Log:
    """The events of a database, read beside the store, to be put into bare tables."""

    BATCH = 10_000  # rows in memory at once

    def __init__(self, database: Path) -> None:
        import apsw

        self._reader = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
        ((self.events,),) = self._reader.execute("SELECT count(*) FROM events")
        # Triggers are left behind: the bare insert is the floor.
        self._schema = [
            sql
            for (sql,) in self._reader.execute(
                "SELECT sql FROM sqlite_schema WHERE tbl_name = 'events' AND type IN ('table', 'index')"
                " AND sql IS NOT NULL ORDER BY type DESC"
            )
        ]

    def insert(self, target: Path) -> float:
        """Seconds of a bare `executemany` of all events in one durable transaction, reading not counted."""
        import apsw

        bare = apsw.Connection(str(target))
        bare.execute("PRAGMA journal_mode = WAL").fetchall()
        bare.execute("PRAGMA synchronous = FULL")
        for statement in self._schema:
            bare.execute(statement)
        rows = self._reader.execute("SELECT * FROM events ORDER BY sequence")
        bare.execute("BEGIN IMMEDIATE")
        seconds = 0.0
        while batch := list(itertools.islice(rows, self.BATCH)):
            seconds += seconds_of(partial(insert, bare, batch))
        seconds += seconds_of(partial(bare.execute, "COMMIT"))
        bare.close()
        return seconds

    def close(self) -> None:
        """Let the database go."""
        self._reader.close()


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


def least_bytes(database: Path, target: Path) -> int:
    """The bytes of a copy with all rows, each table packed, and no index but those that keep a key unique."""
    import apsw

    with contextlib.closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as source:
        source.execute("VACUUM INTO ?", (str(target),))
    with contextlib.closing(apsw.Connection(str(target))) as copy:
        indexes = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
        for (name,) in copy.execute(indexes).fetchall():
            copy.execute(f"DROP INDEX {name}")
        copy.execute("VACUUM")
    return target.stat().st_size


def insert(connection: apsw.Connection, rows: list[tuple[Any, ...]]) -> None:
    """All rows in one durable transaction."""
    marks = ", ".join("?" * len(rows[0]))
    with connection:
        connection.executemany(f"INSERT INTO events VALUES ({marks})", rows)  # noqa: S608  question marks only
