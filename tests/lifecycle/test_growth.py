"""What a call costs does not grow with the store: counted in steps of SQLite's machine, not in seconds."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import pytest
from crash.disks import in_memory
from store.harness import SAID, write_tree

from artifactstore import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.harness import Life

ROOT = Path(__file__).resolve().parent.parent.parent
GIB = 1 << 30
MARGIN = 1.5  # a deeper tree has some steps more; a scan has a hundred times as many


class Steps:
    """Counts what the statements of a store's connections do."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, call: Callable[[], object]) -> Counter[str]:
        """Steps by statement."""
        counted: Counter[str] = Counter()

        def note(event: dict[str, Any]) -> None:
            status = event["stmt_status"]
            counted[re.sub(r"\s+", " ", event["sql"])] += status["SQLITE_STMTSTATUS_VM_STEP"]

        connections = []
        for opened in (self._store._database.read, self._store._database.write):
            with opened() as connection:
                connections.append(connection)
                connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, note, id=self)
        try:
            call()
        finally:
            for connection in connections:
                connection.trace_v2(0, None, id=self)
        assert counted
        return counted


def measured(root: Path, packages: int) -> dict[str, float]:
    """Steps of each call in a store of so many packages; what works on several, for each of them."""
    filling = importlib.import_module("benchmarks.filling")
    clock = filling.Calendar()
    with Store.open(root / "store.db", root / "store", clock=clock) as store:
        filling.fill(store, clock, 0, packages, objects=False)
        steps = Steps(store)
        middle = store.list_packages(metadata={"run": str(packages // 2)}).items[0]
        file = store.list_files(middle.package_id).items[0]
        newest = store.newest_sequence()
        calls: dict[str, Callable[[], object]] = {
            "list": lambda: store.list_packages(limit=50),
            "list, a page in the middle": lambda: store.list_packages(limit=50, cursor=str(newest // 2)),
            "list, of a producer": lambda: store.list_packages(limit=50, producer="producer-3"),
            "list, of a subject": lambda: store.list_packages(limit=5, subject="subject-11"),
            "list, of a name": lambda: store.list_packages(name=middle.name),
            "list, by metadata": lambda: store.list_packages(metadata={"run": "7"}),
            "list, by common metadata": lambda: store.list_packages(limit=50, metadata={"kind": "test"}),
            "list, of a class": lambda: store.list_packages(limit=5, retention_class="transient"),
            "list, of a common class": lambda: store.list_packages(limit=50, retention_class="raw-evidence"),
            "list, finalized, of a rare producer": lambda: store.list_packages(
                producer="ada", status="finalized"
            ),
            "list, of a rare producer and a common class": lambda: store.list_packages(
                producer="ada", retention_class="raw-evidence"
            ),
            "list, finalized": lambda: store.list_packages(limit=50, status="finalized"),
            "list, created before": lambda: store.list_packages(limit=50, created_before=clock() + 1),
            "show": lambda: store.get_package(middle.package_id),
            "files": lambda: store.list_files(middle.package_id),
            "find": lambda: store.find_object(file.digest),
            "find by sha256": lambda: store.find_object(file.sha256),
            "explain": lambda: store.explain_retention(middle.package_id),
            "verification": lambda: store.verification(middle.package_id),
            "events": lambda: store.events(after=newest // 2, limit=50),
            "health": store.health,
            "create": lambda: store.create_package(
                name="n", producer="p", subject="s", retention_class="raw-evidence", actor="ada"
            ),
        }
        found = {name: float(steps.of(call).total()) for name, call in calls.items()}
        clock.now += 2 * filling.DAY
        # Of as many at each size: what walks through the whole store costs each of 1% the same.
        found["sweep of five"] = steps.of(lambda: store.sweep(actor="cron", limit=5)).total()
        found["plan of five"] = steps.of(store.plan_gc).total()
        found["gc of five"] = steps.of(lambda: store.gc(actor="cron")).total()
        expired = packages // filling.FEW - 5
        found["sweep"] = steps.of(lambda: store.sweep(actor="cron")).total() / expired
        found["gc"] = steps.of(lambda: store.gc(actor="cron")).total() / expired
        assert store.list_packages(retention_class="transient").items == ()
        return found


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks can be imported."""
    monkeypatch.syspath_prepend(ROOT)


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("packages", [4_000, pytest.param(100_000, marks=pytest.mark.slow(seconds=60))])
def test_no_call_costs_more_in_a_large_store(packages: int) -> None:
    with in_memory(GIB) as small, in_memory(GIB) as large:
        before, after = measured(small, 1_000), measured(large, packages)
    grown = {name: (before[name], after[name]) for name in before if after[name] > MARGIN * before[name]}
    assert grown == {}


def test_a_sweep_does_not_read_the_files_of_packages_that_are_filled_marked_or_held(life: Life) -> None:
    marked, held = (life.store.create_package(**SAID) for _ in range(2))
    tree = write_tree(life.root / "many", {f"f{number}": b"%d" % number for number in range(1500)})

    def sweep() -> float:
        return float(Steps(life.store).of(lambda: life.store.sweep(actor="cron")).total())

    life.store.apply_hold(held, reason="lawsuit", actor="law")
    life.tick(days=31)
    assert len(life.store.sweep(actor="cron", mark_abandoned=True).abandoned) == 1
    few = sweep()
    for package in (marked, held):
        life.store.ingest_directory(package, tree, actor="ada")
    life.tick(days=31)
    assert len(life.store.sweep(actor="cron", mark_abandoned=True).abandoned) == 1
    filled = life.store.create_package(**SAID)
    life.store.ingest_directory(filled, tree, actor="ada")
    assert sweep() < MARGIN * few


def test_a_scan_would_be_seen(suite: None, tmp_path: Path) -> None:
    filling = importlib.import_module("benchmarks.filling")
    sizes = []
    for packages in (100, 400):
        root = tmp_path / str(packages)
        root.mkdir()
        clock = filling.Calendar()
        with Store.open(root / "store.db", root / "store", clock=clock) as store:
            filling.fill(store, clock, 0, packages, objects=False)

            def scan() -> None:
                with store._database.read() as connection:
                    connection.execute(
                        "SELECT count(*) FROM artifact_packages WHERE total_size = 3"
                    ).fetchall()

            sizes.append(Steps(store).of(scan).total())
    assert sizes[1] > MARGIN * sizes[0]
