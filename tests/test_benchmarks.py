"""The benchmark suite: its data are the same everywhere, and every peer's commands run."""

from __future__ import annotations

import email.parser
import hashlib
import importlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
MEMORY = Path("/dev/shm")  # noqa: S108  nothing is written there
SMALL_BYTES = 1526393
SMALL_DIGEST = "66758d6e9307b50a3ee8e64be97c9d8a262d8db2559e16618ed6b4cb4288a7ec"
LARGE_DIGEST = "05950d8a477ea8003f06e0ac1f7fb39fdd3c33bf9be75583860e10b39fcf0de2"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc and call syncfs")


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.datasets")


@pytest.fixture
def quick_check(datasets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The check of the ratios, which waits for nobody and finds the machine quiet."""
    check: Any = importlib.import_module("benchmarks.check")

    def undisturbed(call: Callable[[], object]) -> float:
        call()
        return 0.0

    monkeypatch.setattr(check, "settle", lambda *_, **__: True)
    monkeypatch.setattr(check, "foreign_share", undisturbed)
    return check


def tree_digest(root: Path) -> str:
    """One digest over names and bytes."""
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def test_small_files_are_the_same_on_every_machine(datasets: ModuleType, tmp_path: Path) -> None:
    files = datasets.SmallFiles(tmp_path / "small", count=200, directories=4)
    files.build()
    assert datasets.tree_size(files.root) == (200, SMALL_BYTES)
    assert tree_digest(files.root) == SMALL_DIGEST
    contents = [path.read_bytes() for path in files.root.rglob("*.*")]
    assert len(set(contents)) == 180  # 10% duplicates


def test_changing_one_percent_can_be_taken_back(datasets: ModuleType, tmp_path: Path) -> None:
    files = datasets.SmallFiles(tmp_path / "small", count=200, directories=4)
    files.build()
    before = {path: path.read_bytes() for path in files.root.rglob("*.*")}
    files.change()
    assert sum(path.read_bytes() != content for path, content in before.items()) == 2
    files.reset()
    assert {path: path.read_bytes() for path in files.root.rglob("*.*")} == before


def test_the_large_file_has_its_size_and_the_same_bytes_everywhere(
    datasets: ModuleType, tmp_path: Path
) -> None:
    file = datasets.LargeFile(tmp_path / "large", size=datasets.CHUNK_SIZE + 1000)
    file.build()
    assert datasets.tree_size(file.root) == (1, datasets.CHUNK_SIZE + 1000)
    assert tree_digest(file.root) == LARGE_DIGEST


def test_help_lists_the_sets() -> None:
    answer = benchmarks("--help")
    assert answer.returncode == 0
    assert all(name in answer.stdout for name in ("w1", "w2", "w3", "w4", "w6", "w5", "replay", "calls"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("w1", "--peers", "tape"), "no peer is called 'tape'"),
        (("w9",), "no set is called w9"),
        (("w1", "--works", "push,polish"), "no work is called polish; there are push, verify"),
        (("w4", "--works", "push"), "no work is called push; there are unchanged, changed"),
        (("w5", "--peers", "borg"), "--peers changes nothing there; it is for w1, w2, w3, w4"),
        (("calls", "--works", "push"), "--works changes nothing there"),
        (("w1", "--size", "9"), "--size changes nothing there; it is for w2"),
        (("w1", "--packages", "9"), "--packages changes nothing there; it is for w5"),
        (("w5", "--rounds", "9"), "--rounds changes nothing there"),
        (("w1", "--rounds", "0"), "must be 1 or more, not 0"),
        (("w1", "--repeats", "-1"), "must be 0 or more, not -1"),
        (("w1", "--patience", "-1"), "must be 0 or more, not -1"),
        (("--page", "--size", "9"), "--page is for the full sizes"),
        (("--page", "--json", "x.json"), "not allowed with argument"),
        (("--quick", "--json", "benchmarks/results.json"), "name another file"),
    ],
)
def test_what_would_change_nothing_is_refused(words: tuple[str, ...], said: str) -> None:
    answer = benchmarks(*words)
    assert answer.returncode == 2
    assert said in answer.stderr


@pytest.mark.usefixtures("datasets")
def test_without_sets_all_are_run_and_a_quick_run_leaves_the_page_alone() -> None:
    main, page = modules("__main__", "page")
    assert main.parsed([]).sets == list(main.SETS)
    assert main.parsed(["w5", "w1", "w5"]).sets == ["w1", "w5"]
    assert main.parsed(["--page", "--peers", "all"]).json == page.RESULTS
    assert main.parsed(["--page", "--quick"]).json is None


@pytest.mark.usefixtures("datasets")
def test_a_set_that_fails_is_a_line_and_what_was_measured_before_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, library = modules("__main__", "library")
    kept = tmp_path / "results.json"
    words = ["--quick", "--repeats", "0", "--patience", "0", "--json", str(kept)]
    run = main.Run(main.parsed(words), tmp_path)

    def measure(*_: object, **__: object) -> Any:
        return [library.found("calls", "show", [1.0, 3.0, 2.0], "ms", ratios=[0.5, 1.5, 1.0])]

    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("the server did not answer")

    monkeypatch.setattr(main.calls, "calls", measure)
    monkeypatch.setattr(main.http, "w7", fail)
    run.measure("calls")
    run.measure("w7")
    (first, second) = json.loads(kept.read_text(encoding="utf-8"))["library"]
    assert (first["value"], first["ratio"]) == (2.0, 1.0)
    assert (first["samples"], first["ratios"]) == ([1.0, 3.0, 2.0], [0.5, 1.5, 1.0])
    assert (second["benchmark"], second["failure"]) == ("w7", "failed: the server did not answer")
    assert all(item["measured"]["date"] and item["measured"]["machine"] for item in (first, second))


@pytest.mark.usefixtures("datasets")
def test_who_is_absent_or_fails_at_a_server_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3, measure = modules("s3", "measure")
    server = tmp_path / "script"
    server.write_text("export NOTHING='1'\n", encoding="ascii")

    class Program:
        def __init__(self, server: object, place: Path) -> None:
            self.place = place

        @staticmethod
        def installed() -> bool:
            return True

        def up(self, source: Path) -> Any:
            return measure.Command(
                ("cp", "-r", f"{source}/.", "there"), self.place, {"PATH": "/bin:/usr/bin"}
            )

        def down(self, target: Path) -> Any:
            return measure.Command(
                ("cp", "-r", "there/.", str(target)), self.place, {"PATH": "/bin:/usr/bin"}
            )

    def there(self: Any, place: Path) -> None:
        self.place = place
        (place / "there").mkdir(exist_ok=True)

    class Ours(Program):
        name = "artifactstore"

        def __init__(self, server: object, place: Path) -> None:
            there(self, place)

    class Rclone(Ours):
        name = "rclone"

        def down(self, target: Path) -> Any:
            return measure.Command(("ls", "nowhere"), self.place, {"PATH": "/bin:/usr/bin"})

    class Absent(Ours):
        name = "boto3"

        @staticmethod
        def installed() -> bool:
            return False

    monkeypatch.setattr(s3, "SCRIPT", server)
    monkeypatch.setattr(s3, "PROJECT", tmp_path)
    monkeypatch.setattr(s3, "Ours", Ours)
    monkeypatch.setattr(s3, "PEERS", (Rclone, Absent))
    monkeypatch.setenv("SEAWEEDFS_WEED", "/bin/true")
    found = {finding.what: finding for finding in s3.w6(tmp_path / "place", rounds=1, quick=True)}
    assert found["small objects up, artifactstore"].value > 0
    assert found["small objects, boto3"].failure == "absent"
    assert found["small objects, rclone"].failure.startswith("failed: ls nowhere")
    monkeypatch.delenv("SEAWEEDFS_WEED")
    monkeypatch.setattr(s3, "WEED", tmp_path / "no such program")
    monkeypatch.setenv("PATH", "")
    (line,) = s3.w6(tmp_path / "none", rounds=1, quick=True)
    assert line.failure.startswith("absent: SeaweedFS")


@pytest.mark.parametrize("name", ["w1", "w4"])
def test_a_set_runs_with_each_peer_that_every_machine_has(
    name: str, datasets: ModuleType, tmp_path: Path
) -> None:
    catalogue, report, suite = modules("peers.catalogue", "report", "suite")
    files = datasets.SmallFiles(tmp_path / "small", count=20, directories=2)
    files.build()
    size = datasets.tree_size(files.root)
    lines = suite.Suite(name, files, tmp_path, repeats=0, patience=0.0).run(
        [catalogue.COPY, catalogue.SHA256SUM, catalogue.SHA256_ALONE], rounds=1
    )
    document: dict[str, Any] = json.loads(json.dumps(report.document({}, lines, [])))
    lacking = [line for line in document["results"] if line["failure"]]
    assert [(line["work"], line["peer"], line["failure"]) for line in lacking] == (
        [("verify", "cp+sync", "has none")] if name == "w1" else []
    )
    assert {line["work"] for line in document["results"]} == set(suite.WORKS[name])
    for line in document["results"]:
        assert (line["files"], line["bytes"]) == size
        if line in lacking:
            continue
        assert line["samples"]
        assert line["peer"] == "artifactstore" or line["summary"]["ratio"] > 0
    assert "cp+sync" in report.table(lines)
    copied = next(line for line in document["results"] if line["peer"] == "cp+sync")
    assert [pair["ours"]["seconds"] / pair["its"]["seconds"] for pair in copied["pairs"]] == pytest.approx(
        [copied["summary"]["ratio"]], rel=1e-3
    )
    assert copied["floor"] > 0


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
def test_the_promise_of_each_work_is_counted_in_system_calls(datasets: ModuleType, tmp_path: Path) -> None:
    catalogue, suite = modules("peers.catalogue", "suite")
    files = datasets.SmallFiles(tmp_path / "small", count=20, directories=2)
    files.build()
    lines = suite.Suite("w1", files, tmp_path, repeats=0, patience=0.0, works=["push", "export"]).run(
        [catalogue.COPY], rounds=1
    )
    ours, copied, exported, copied_back = lines
    if ours.syncs is None:
        pytest.skip("nobody may trace here")
    # Which of the two is chosen by file system and by size of the batch.
    assert ours.syncs.get("syncfs", 0) + ours.syncs.get("fsync", 0) >= 2
    assert ours.syncs["fdatasync"] >= 1
    assert exported.syncs.get("syncfs", 0) + exported.syncs.get("fsync", 0) >= 2
    assert (exported.promise.durable, copied_back.promise.durable) == (True, False)
    assert copied.syncs == copied_back.syncs == {}
    assert min(ours.disk, copied.disk) >= sum(path.stat().st_size for path in files.root.rglob("*.*"))


@pytest.mark.parametrize("name", ["sha256sum", "b3sum", "sha256sum+b3sum"])
def test_the_sums_read_the_objects_of_a_store(name: str, datasets: ModuleType, tmp_path: Path) -> None:
    catalogue, peers, measure = modules("peers.catalogue", "peers.peer", "measure")
    peer = {each.name: each for each in catalogue.PEERS}[name]
    if peer.installed() is None:
        pytest.skip(f"{name} is not installed")
    files = datasets.SmallFiles(tmp_path / "small", count=20, directories=2)
    files.build()
    session = peers.Session(peer, tmp_path, files.root, "w1")
    for commands in (session.prepare(), session.before("verify"), session.work("verify")):
        measure.run(list(commands), tmp_path)
    damaged = next(path for path in session.reads("verify").rglob("*") if path.is_file())
    damaged.chmod(0o600)
    damaged.write_bytes(b"other")
    with pytest.raises(measure.CommandFailedError):
        measure.run(list(session.work("verify")), tmp_path)


@pytest.mark.usefixtures("datasets")
def test_two_programs_of_a_peer_both_say_their_version() -> None:
    (peers,) = modules("peers.peer")
    both = peers.Peer(name="both", version="echo 'one 1.2'\necho \"two '3.4'\"")
    assert both.installed() == "one 1.2, two 3.4"
    assert replace(both, version="echo 1\nno-such-program-anywhere").installed() is None


@pytest.mark.parametrize(
    "name",
    [
        *("artifactstore", "restic", "borg", "ostree", "git", "disk-objectstore loose", "rsync"),
        *("disk-objectstore packed", "bup", "casync", "rclone", "bagit", "cp+sync"),
    ],
)
def test_each_peer_gives_back_what_it_took(name: str, datasets: ModuleType, tmp_path: Path) -> None:
    catalogue, peers, measure = modules("peers.catalogue", "peers.peer", "measure")
    peer = {each.name: each for each in (catalogue.OURS, *catalogue.PEERS)}[name]
    if peer.installed() is None:
        pytest.skip(f"{name} is not installed")
    files = datasets.SmallFiles(tmp_path / "small", count=20, directories=2)
    files.build()
    session = peers.Session(peer, tmp_path, files.root, "w1")
    measure.run(list(session.prepare()), tmp_path)
    measure.run(list(session.work("push")), tmp_path)
    files.change()
    for work in ("push", "verify", "export", "delete"):
        if work == "export":
            session.target.mkdir()
        measure.run(list(session.before(work)), tmp_path)
        measure.run(list(session.work(work)), tmp_path)
        if work == "export":
            exported = [path for path in session.target.rglob("evidence-*") if path.is_file()]
            assert sorted(path.read_bytes() for path in exported) == sorted(
                path.read_bytes() for path in files.root.rglob("evidence-*")
            )


@pytest.mark.usefixtures("datasets")
def test_the_list_of_those_who_give_back_is_whole() -> None:
    (catalogue,) = modules("peers.catalogue")
    marks = [*test_each_peer_gives_back_what_it_took.pytestmark]  # type: ignore[attr-defined]
    (names,) = [mark.args[1] for mark in marks if mark.name == "parametrize"]
    assert {peer.name for peer in (catalogue.OURS, *catalogue.PEERS) if peer.export} == set(names)


def test_deletes_of_many_files_come_after_the_rounds_of_all_other_works(
    datasets: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue, suite = modules("peers.catalogue", "suite")
    said = []
    for count in (20, suite.MASS_DELETE):
        files = datasets.SmallFiles(tmp_path / f"small-{count}", count=count, directories=2)
        files.build()
        place = tmp_path / f"place-{count}"
        place.mkdir()
        measured = suite.Suite("w1", files, place, repeats=0, patience=0.0, works=["push", "delete"])
        lines = measured.run([catalogue.COPY], rounds=1)
        assert {line.work: len(line.pairs) for line in lines if line.peer == "cp+sync"} == {
            "push": 1,
            "delete": 1,
        }
        said.append([line.split(": ")[1] for line in capsys.readouterr().err.splitlines() if "round" in line])
    few, many = said
    assert few == ["push, delete of cp+sync"]
    assert many == ["push of cp+sync", "delete of cp+sync"]


def test_an_absent_peer_and_a_failing_one_are_lines(datasets: ModuleType, tmp_path: Path) -> None:
    catalogue, report, suite = modules("peers.catalogue", "report", "suite")
    absent = replace(catalogue.COPY, name="absent", version="no-such-program-anywhere --version")
    failing = replace(catalogue.COPY, name="failing", push=("ls {place}/nothing",))
    files = datasets.SmallFiles(tmp_path / "small", count=20, directories=2)
    files.build()
    lines = suite.Suite("w1", files, tmp_path, repeats=0, patience=0.0).run([absent, failing], rounds=2)
    failures = {(line.work, line.peer): line.failure for line in lines}
    assert failures["push", "absent"] == "absent: `no-such-program-anywhere` does not run"
    assert "nothing" in failures["push", "failing"]
    assert "nothing" in failures["export", "failing"]
    assert "does not run" in report.table(lines)


@pytest.mark.usefixtures("datasets")
def test_each_target_is_about_a_work_of_a_peer() -> None:
    catalogue, suite, targets = modules("peers.catalogue", "suite", "targets")
    peers = {peer.name: peer for peer in catalogue.PEERS}
    for name, work, peer in targets.PEERS:
        assert work in suite.WORKS[name]
        assert peers[peer].calls(suite.operation(work)), (name, work, peer)


@pytest.mark.usefixtures("datasets")
def test_noise_is_no_regression_but_what_stays_slow_is_one(quick_check: Any, tmp_path: Path) -> None:
    check = quick_check

    def pair(name: str, *seconds: float, steady: bool = False) -> Any:
        samples = iter(seconds)
        return check.Pair(name, lambda: next(samples, seconds[-1]), lambda: 1.0, steady=steady)

    noisy, slow, same = pair("noisy", 9, 9, 9, 9, 2), pair("slow", 5), pair("same", 2)
    start = pair("start", 2.6, steady=True)
    worse = check.measured(
        [noisy, slow, same, start],
        check.QUICK,
        dict.fromkeys(("noisy", "slow", "same", "start"), 1.0),
        tmp_path,
    )
    assert [each.name for each in worse] == ["slow", "start"]
    assert [len(each.runs) for each in (noisy, slow, same, start)] == [5, 8, 3, 8]


@pytest.mark.usefixtures("datasets")
def test_runs_that_others_disturbed_are_made_again(quick_check: Any, tmp_path: Path) -> None:
    busy = iter((2.0, 2.0, 0.0, 0.0))

    def share(call: Callable[[], object]) -> float:
        call()
        return next(busy, 0.0)

    quick_check.foreign_share = share
    seconds = iter((1.0, 1.0, 2.0, 3.0, 4.0))
    pair = quick_check.Pair("same", lambda: next(seconds), lambda: 1.0)
    assert quick_check.measured([pair], quick_check.QUICK, {"same": 1.0}, tmp_path) == []
    assert (len(pair.runs), len(pair.quiet), pair.ratio) == (5, 3, 2.0)


@pytest.mark.skipif(not MEMORY.is_dir(), reason="there is no file system in memory")
@pytest.mark.parametrize(("module", "status"), [("benchmarks.check", 3), ("benchmarks.scale", 1)])
def test_nothing_is_measured_in_memory(module: str, status: int) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", module, "--dir", str(MEMORY)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == status
    assert "is in memory (tmpfs)" in answer.stdout + answer.stderr


def test_each_committed_ratio_is_measured_and_the_other_way_round(quick_check: Any, tmp_path: Path) -> None:
    committed = json.loads(quick_check.COMMITTED.read_text(encoding="utf-8"))
    scale = replace(quick_check.QUICK, files=20, bytes=1 << 20, packages=100, most_rounds=1)
    pairs, _ = quick_check.watched(tmp_path, scale, {})
    for name in ("quick", "full"):
        assert committed[name].keys() == {each.name for each in pairs}
        assert all(ratio > 0 for ratio in committed[name].values())


@pytest.mark.usefixtures("datasets")
def test_the_bare_loops_end_as_ours_do(datasets: ModuleType, tmp_path: Path) -> None:
    floors = importlib.import_module("benchmarks.floors")
    data = datasets.SmallFiles(tmp_path / "data", count=40, directories=4)
    data.build()
    objects = floors._different(data)
    (tmp_path / "bare").mkdir()
    floors.bare_push(objects, tmp_path / "bare")
    stored = {path.name: path.read_bytes() for path in (tmp_path / "bare").glob("*/*/*")}
    assert (
        {hashlib.sha256(content).hexdigest() for content in stored.values()}
        == stored.keys()
        == objects.keys()
    )
    floors.bare_copy(data, tmp_path / "copy")
    assert tree_digest(tmp_path / "copy") == tree_digest(tmp_path / "data")
    floors.bare_unlink(objects, tmp_path / "bare")
    assert not list((tmp_path / "bare").glob("*/*/*"))
    findings = floors.floors(data, data, tmp_path, rounds=2, patience=0.0)
    told = {
        (finding.what.partition(":")[0], finding.what.rpartition(", ")[2]): finding for finding in findings
    }
    assert told.keys() == {
        *(
            (work, who)
            for work in ("push", "push of a real tree of 40 files", "push again", "export", "gc")
            for who in (floors.OURS, floors.BARE)
        ),
        ("push", "bare loop with one level of folders"),
    }
    assert {len(finding.samples) for finding in findings} == {2}
    assert {who for (_, who), finding in told.items() if finding.ratio is None} == {floors.BARE}


@pytest.mark.usefixtures("datasets")
def test_each_size_of_a_growing_store_is_measured_beside_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (many,) = modules("many")
    monkeypatch.setattr(many, "SIZES", (100, 300, 500))
    monkeypatch.setattr(many, "TOGETHER", 1)
    monkeypatch.setattr(many, "SERIES", 2)
    monkeypatch.setattr(many, "BATCHES", 2)
    monkeypatch.setattr(many, "FSCKS", 2)
    monkeypatch.setattr(many, "LOOKUPS", 30)
    told = {finding.what: finding for finding in many.w5(tmp_path, limit=500)}
    flat = [
        wanted.what
        for wanted in many.targets.INSIDE
        if wanted.most == many.targets.FLAT and wanted.benchmark == "w5"
    ]
    for what in flat:
        same, *larger = (told[what.replace("*", str(size))] for size in (100, 300, 500))
        pairs = 1 if what.startswith("database") else 2
        assert [len(each.ratios) for each in larger] == [pairs, pairs], what
        assert [each.most for each in (same, *larger)] == [None, many.targets.FLAT, many.targets.FLAT]
        assert same.ratio is not None
    assert told["database, 100 packages"].ratio == pytest.approx(1.0, abs=0.05)
    for work in ("sweep", "gc"):
        few, first, second = (
            told[f"{work} of 1%, 1 at a time, {size} packages, {count} expired"]
            for size, count in ((100, 1), (300, 2), (500, 2))
        )
        assert [len(each.samples) for each in (few, first, second)] == [1, 2, 2]
        assert [len(each.ratios) for each in (few, first, second)] == [1, 2, 2]
        assert (few.most, first.most, second.most) == (None, *[many.targets.PROPORTIONAL] * 2)
        assert len(told[f"{work} of all others, 500 packages, 495 expired"].samples) == 1


def test_the_least_that_a_database_takes_has_every_row_and_no_index(
    datasets: ModuleType, tmp_path: Path
) -> None:
    (library,) = modules("library")
    data = datasets.SmallFiles(tmp_path / "data", count=200, directories=4)
    data.build()
    (tmp_path / "place").mkdir()
    told = {finding.what: finding.value for finding in library.replay(data, tmp_path / "place", rounds=1)}
    events, indexed = told["of a file's bytes: events"], told["database for each of 200 files"]
    assert events < told["of a file's bytes: log and rows of the views alone, packed"] < indexed
    parts = dict(library.bytes_of_tables(tmp_path / "place" / "least.db"))
    assert {"events", "artifact_files", "storage_locations"} < parts.keys()
    assert "files_by_sha256" not in parts


def test_each_side_of_a_floor_goes_first_in_turn(datasets: ModuleType, tmp_path: Path) -> None:
    floors = importlib.import_module("benchmarks.floors")
    turns, order = floors.Turns(tmp_path, 0.0), []
    for turns.round in range(3):
        turns.take("work", {name: lambda name=name: order.append(name) for name in "ab"})
    assert "".join(order) == "abbaab"


def test_the_store_of_many_events_is_built_and_asked(tmp_path: Path) -> None:
    (scale,) = modules("scale")
    findings = scale.scale(tmp_path, 1_300, 0.0)
    told = {finding.what for finding in findings}
    assert {"append, 108 packages", "replay, 108 packages", "show, 108 packages"} <= told
    assert all(finding.value > 0 for finding in findings)


@pytest.mark.usefixtures("datasets")
def test_what_a_larger_store_costs_is_computed_from_what_was_measured() -> None:
    (extrapolation,) = modules("extrapolation")

    def finding(benchmark: str, what: str, value: float, unit: str) -> dict[str, Any]:
        return {"benchmark": benchmark, "what": what, "value": value, "unit": unit, "foreign": 0.0}

    built = [
        finding("scale", "append, 1,000 packages", 10_200.0, "events/s"),
        finding("scale", "database, 1,000 packages", 6.0, "MiB"),
    ]
    scale = {"machine": {"file_system": "ext4"}, "library": built}
    one = finding("w5", "database, 100 packages", 6 * 2**20 / 1000 - 9 * 500, "B/package")

    def sums() -> dict[str, tuple[str, ...]]:
        tables = extrapolation.tables(scale, {"results": [], "library": [one]})
        return {row[0]: row[1:] for row in tables["sums"][1]}

    assert sums()["taking the events in"] == ("102,000,000 ÷ 10,200 a second", "2.8 hours")
    assert sums()["database"] == ("100,000,000 x 500 B + 1,000,000 x 1.3 KiB", "48 GiB")
    assert sums()["replay"] == ("102,000,000 ÷ not known", "not known")
    built[0]["foreign"] = 0.5
    assert sums()["taking the events in"][-1] == "not known"
    built[0]["foreign"] = 0.0
    scale["machine"] = {"file_system": "tmpfs"}
    assert sums()["taking the events in"][-1] == "not known"
    assert sums()["database"][-1] == "48 GiB"


def test_the_real_tree_can_be_had_without_an_index(datasets: ModuleType, tmp_path: Path) -> None:
    tree = datasets.RealTree(tmp_path / "real", quick=True)
    tree.build()
    assert (tree.root / "parser.py").read_bytes() == Path(email.parser.__file__).read_bytes()
    pinned = datasets.PINNED.read_text(encoding="utf-8").splitlines()[1:]
    assert all("==" in line and " --hash=sha256:" in line for line in pinned)


@pytest.mark.usefixtures("datasets")
@pytest.mark.parametrize(
    ("files", "said"),
    [
        (19_999, "19,999 files, 2 MB, fewer than the 20,000 wanted."),
        (20_000, "20,000 files, 2 MB."),
        (None, "Files and bytes: not known."),
    ],
)
def test_a_tree_of_too_few_files_is_called_so(files: int | None, said: str) -> None:
    (page,) = modules("page")
    assert page.data_line("w3", [{"files": files, "bytes": 2_000_000}]) == said


@pytest.mark.usefixtures("datasets")
def test_a_new_run_takes_the_place_of_its_lines_only() -> None:
    (report,) = modules("report")
    first, second = ({"set": "w1", "work": "push", "peer": peer} for peer in ("borg", "restic"))
    told = {"measured": {"commit": "a1", "date": "2026-01-02", "machine": "one"}}
    untold = {"measured": {"commit": None, "date": None, "machine": "not known"}}
    failure = {"benchmark": "w1", "what": "all of it"}
    old = {"results": [first, second], "library": [{"benchmark": "calls"}, failure]}
    new = {"results": [second | told], "library": []}
    assert report.merged(old, new) == {
        "results": [first | untold, second | told],
        "library": [{"benchmark": "calls"} | untold],
    }


def modules(*names: str) -> list[Any]:
    """Modules of the suite."""
    return [importlib.import_module(f"benchmarks.{name}") for name in names]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The suite as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
