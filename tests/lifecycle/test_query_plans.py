"""What is asked often reads only what it is about: no scan of a table that grows with the store."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from artifactstore import object_queries
from artifactstore.lifecycle import gc, repair, retention, verify
from artifactstore.lifecycle.verify_budget import Budget
from lifecycle.harness import SECOND, Life

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import apsw

ALL_TIME = 2**62  # microseconds


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A store that has something of everything, with SQLite's statistics left as a user has them: none."""
    root: Path = tmp_path_factory.mktemp("plans")
    life = Life(root)
    for number in range(6):
        package = life.push({"data": b"%d" % number, "same": b"same"})
        life.store.apply_hold(package, reason="lawsuit", actor="law")
    life.store.copy(source="local", target=SECOND, actor="ada")
    life.store.verify(actor="scrub")
    life.expired(b"one", b"two")
    yield life
    life.finish()


def scans(life: Life, call: Callable[[apsw.Connection], object]) -> list[str]:
    """Run a call and return what its statements scan whole, by SQLite's own plan."""
    statements: list[tuple[str, object]] = []

    def trace(_cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        statements.append((sql, bindings))
        return True

    found: list[str] = []
    with life.store._database.read() as connection:
        connection.exec_trace = trace
        try:
            call(connection)
        finally:
            connection.exec_trace = None
        assert statements
        for sql, bindings in statements:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings).fetchall()
            found += [str(row[3]) for row in rows if re.match(r"SCAN ", str(row[3]))]
    return found


PARTIAL = {"retention_due", "retention_eligible", "locations_failed"}  # hold nothing but candidates


def growing_scans(life: Life, call: Callable[[apsw.Connection], object]) -> list[str]:
    """Scans of what grows with the store; an index that holds only candidates may be scanned."""
    harmless = {"c", "o", "json_each", "pending_deletions", "d", "objects", "chosen", "used", "CONSTANT"}
    return [
        line
        for line in scans(life, call)
        if line.split()[1] not in harmless and not any(f"INDEX {name}" in line for name in PARTIAL)
    ]


def verify_batch(budget: Budget, after: tuple[int, int]) -> Callable[[apsw.Connection], object]:
    return lambda connection: verify.objects(connection, "local", budget, ALL_TIME, 500, after)


CALLS: dict[str, Callable[[Life, apsw.Connection], object]] = {
    "due": lambda _, c: retention.due(c, now=ALL_TIME, limit=1000),
    "eligible": lambda _, c: retention.eligible(c, after=3, limit=1000),
    "abandoned": lambda _, c: retention.abandoned(c, before=ALL_TIME),
    "plan": lambda life, c: gc.plan(c, life.store.store_id, ALL_TIME),
    "objects of a plan": lambda _, c: c.execute(
        gc._OBJECTS, (json.dumps([1, 2]), json.dumps([1, 2]))
    ).fetchall(),
    "verify, first batch": lambda _, c: verify_batch(Budget(), (-1, 0))(c),
    "verify, later batch": lambda _, c: verify_batch(Budget(), (5, 5))(c),
    "verify, old ones": lambda _, c: verify_batch(Budget(verified_before=3), (-1, 0))(c),
    "verify, a package": lambda _, c: verify_batch(Budget(package=7), (-1, 0))(c),
    "verify, failed ones": lambda _, c: verify_batch(Budget(failed_only=True), (-1, 0))(c),
    "live locations": lambda _, c: verify.live_locations(c, bytes(32), "local"),
    "packages of an object": lambda _, c: verify.packages_of(c, bytes(32)),
    "failed ones": lambda _, c: repair._failed(c, "local"),
    "failed objects": lambda _, c: object_queries.failed_objects(c, "local"),
    "holds of an object": lambda _, c: repair._holds(c, bytes(32)),
    "history": lambda _, c: retention.history_of(c, 7),
    "last extension": lambda _, c: retention._last_extension(c, 7),
    "holds": lambda _, c: retention.holds_of(c, 7),
    "state": lambda _, c: retention.state_of(c, 7),
    "health": lambda _, c: object_queries.backend_verification(c, "local"),
    "verification of a package": lambda _, c: object_queries.package_verification(c, 7),
    "used backends": lambda _, c: object_queries.used_backends(c),
    "is a backend used": lambda _, c: object_queries.backend_is_used(c, SECOND),
    "is a backend unused": lambda _, c: object_queries.backend_is_used(c, "tape"),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_scan(filled: Life, name: str) -> None:
    assert growing_scans(filled, lambda connection: CALLS[name](filled, connection)) == []


def test_the_removal_and_the_projection_scan_nothing(filled: Life) -> None:
    """The statements of a whole gc, as they are run."""
    filled.tick(days=2)
    statements: set[str] = set()

    def trace(_cursor: apsw.Cursor, sql: str, _bindings: object) -> bool:
        statements.add(sql)
        return True

    with filled.store._database.write() as connection:
        connection.exec_trace = trace
    filled.store.sweep(actor="cron")
    filled.store.gc(actor="cron")
    filled.store.verify(actor="scrub")
    with filled.store._database.write() as connection:
        connection.exec_trace = None
        assert any("pending_deletions" in sql for sql in statements)
        lines = []
        for sql in sorted(statements):
            if sql.split()[0] in {"SELECT", "UPDATE", "DELETE", "INSERT", "WITH"}:
                count = len(set(re.findall(r"\?\d+", sql))) or sql.count("?")
                rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * count).fetchall()
                lines += [
                    f"{row[3]} in {sql}" for row in rows if re.match(r"SCAN (?!d\b|CONSTANT)", str(row[3]))
                ]
        lines = [line for line in lines if not any(f"INDEX {name}" in line for name in PARTIAL)]
        small = ("SCAN pending_deletions", "SCAN retention_classes")
        lines = [line for line in lines if not line.startswith(small)]
        # The newest event: a scan from the end that stops at its first row.
        lines = [line for line in lines if not line.endswith("ORDER BY sequence DESC LIMIT 1")]
    assert lines == []


def test_a_scan_would_be_seen(filled: Life) -> None:
    sql = "SELECT count(*) FROM storage_locations WHERE verified_at = 3"
    assert growing_scans(filled, lambda connection: connection.execute(sql).fetchall()) != []
