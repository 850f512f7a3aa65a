"""Many writers at once, and writers that are killed at any moment while the house is kept."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import Home

from artifactstore import Store
from crash import load, soak
from crash.load import LOADS, Acknowledged, Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

    from crash.report import Drill

WRITERS = 4
LONGEST_LIFE = 1.0, 3.0  # seconds between two kills


def met(acknowledged: Sequence[Acknowledged]) -> int:
    """Calls that began while another one was under way."""
    count, latest = 0, 0.0
    for each in sorted(acknowledged, key=lambda each: each.began):
        count += each.began < latest
        latest = max(latest, each.ended)
    return count


@pytest.mark.slow
@pytest.mark.parametrize("row", LOADS, ids=lambda row: row.name)
def test_load(tmp_path: Path, drill: Drill, row: Load) -> None:
    home = Home(tmp_path)
    home.open().close()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(row.processes)
    with ProcessPoolExecutor(row.processes, context, load.wait_for, (barrier,)) as pool:
        parts = [pool.submit(load.run, row, process, tmp_path) for process in range(row.processes)]
        acknowledged = [each for part in parts for each in part.result()]
    wanted = row.processes * row.threads * row.ingests
    assert len(acknowledged) == wanted
    with home.open(create=False) as store:
        # The log has no gap, among other things.
        assert store.fsck(read=True).findings == ()
        missing = [
            each
            for each in acknowledged
            if store.read_file(each.package, each.path) != load.content(each.path)
        ]
        counts = Counter(each.package for each in acknowledged)
        for package, count in counts.items():
            assert store.get_package(package).file_count == count
    drill.count(f"load, {row.name}", tried=wanted, fired=met(acknowledged), violations=len(missing))
    assert not missing
    *_, p99 = statistics.quantiles((each.ended - each.began for each in acknowledged), n=100)
    longest = max(each.ended - each.began for each in acknowledged)
    drill.remark(f"{row.name}: p99 {p99 * 1000:,.0f} ms, longest {longest * 1000:,.0f} ms")


class Crew:
    """The processes of a soak, each of which is started anew when it was killed."""

    def __init__(self, root: Path, parts: Sequence[Callable[[Path, str], None]]) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._root = root
        self._parts = parts
        self._started = 0
        self._members = [self._start(part) for part in parts]

    def _start(self, part: Callable[[Path, str], None]) -> SpawnProcess:
        self._started += 1
        label = f"{part.__name__}-{self._started}"
        process = self._context.Process(target=soak.run, args=(part, self._root, label), daemon=True)
        process.start()
        return process

    def wait(self, seconds: float) -> None:
        """Let them work; none may end by itself."""
        ended = connection.wait([member.sentinel for member in self._members], timeout=seconds)
        errors = [path.read_text() for path in sorted(self._root.glob("*.error"))]
        assert not ended, errors

    def kill(self, number: int) -> None:
        """Kill one and start another in its place."""
        self._end(self._members[number])
        self._members[number] = self._start(self._parts[number])

    def kill_all(self) -> None:
        """Kill all of them."""
        for member in self._members:
            self._end(member)

    def _end(self, member: SpawnProcess) -> None:
        member.kill()
        member.join()


def noted(root: Path, part: Callable[[Path, str], None]) -> Iterator[dict[str, Any]]:
    """What all processes of a kind have noted; a line that a kill has cut is no acknowledgement."""
    for path in sorted(root.glob(f"{part.__name__}-*.jsonl")):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def is_missing(store: Store, fact: dict[str, Any]) -> bool:
    """Whether an acknowledged package is not there with all its bytes, if it may not have gone."""
    package = store.get_package(fact["package"])
    if fact["fate"] == soak.BRIEF and package.status == "garbage_collected":
        return False
    return soak.read_files(store, package.package_id) != soak.files_of(fact["seed"])


@pytest.mark.slow(seconds=80)
def test_soak(tmp_path: Path, drill: Drill) -> None:
    home = Home(tmp_path / "home")
    home.open().close()
    parts = [soak.write_packages] * WRITERS + [soak.keep_house]
    crew = Crew(tmp_path, parts)
    kills = 0
    try:
        end = time.monotonic() + drill.soak_seconds
        while time.monotonic() < end:
            crew.wait(drill.random.uniform(*LONGEST_LIFE))
            crew.kill(drill.random.randrange(len(parts)))
            kills += 1
    finally:
        crew.kill_all()
    facts = list(noted(tmp_path, soak.write_packages))
    fates = Counter(fact["fate"] for fact in facts)
    kept_house = Counter[str]()
    for fact in noted(tmp_path, soak.keep_house):
        kept_house.update(fact)
    with Store.open(home.database, home.objects, create=False) as store:
        findings = [
            found for found in store.fsck(read=True).findings if "no location names" not in found.what
        ]
        missing = [fact for fact in facts if is_missing(store, fact)]
        drill.count(
            "soak, acknowledgements", tried=len(facts), fired=kills, violations=len(findings) + len(missing)
        )
        drill.remark(
            f"soak of {drill.soak_seconds:,.0f} s: {kills} kills, {dict(fates)} packages acknowledged,"
            f" {dict(kept_house)} by the house-keeper"
        )
        assert not findings
        assert not missing
        # It is no soak if nothing went and nothing was left behind meanwhile.
        assert all(fates[fate] for fate in (soak.KEPT, soak.BRIEF, soak.HELD))
        assert kept_house["collected"]
        assert kept_house["orphans"]
        store.gc(actor="cron")
        store.orphans(actor="cron", delete=True, older_than=0)
        assert store.fsck().findings == ()
    assert home.staged() == []
