"""Many writers, readers beside them, forks, interrupts and sudden ends."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from artifactstore import ConflictError, DuplicateRelativePathError, StateError, ingest
from artifactstore.objects import durability
from store.harness import SAID, TREE, FakeClock, Home, just_before, write_tree
from store.worker import ROUNDS, THREADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore import Package, Store

EVENTS_OF_A_NEW_STORE = 6  # its creation and five retention classes


class Worker:
    """A program of `store.worker`, ready to start."""

    def __init__(self, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "store.worker", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            text=True,
        )

    def prepared(self) -> Worker:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        output, _ = self._process.communicate()
        assert self._process.returncode == 0
        return json.loads(output)

    def end(self) -> int:
        self._process.communicate()
        return self._process.returncode


def together(*workers: Worker) -> list[Any]:
    """Start all at once and wait for their answers."""
    for worker in workers:
        worker.prepared()
    for worker in workers:
        worker.start()
    return [worker.answer() for worker in workers]


def in_threads(call: Callable[[int], object]) -> list[object]:
    """Call from eight threads at once; a refusal is a result."""

    def guarded(number: int) -> object:
        try:
            return call(number)
        except (ConflictError, StateError) as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(guarded, range(THREADS)))


def content_of(store: Store, package: Package) -> dict[str, str]:
    return {
        file.relative_path: store.read_file(package.package_id, file.relative_path).decode()
        for file in store.list_files(package.package_id).items
    }


def assert_sound(home: Home, store: Store) -> None:
    """The log has no gap, the views are its views, and nothing lies about."""
    sequences = [row[0] for row in sorted(home.snapshot().tables["events"], key=lambda row: int(str(row[0])))]
    assert sequences == list(range(1, len(sequences) + 1))
    assert store.replay(check=True).identical
    assert home.staged() == []


def test_two_processes_with_eight_threads_each_write_at_once(home: Home) -> None:
    answers = together(Worker("write", home.root, "one"), Worker("write", home.root, "two"))
    acknowledged = {package: files for answer in answers for package, files in answer}
    assert len(acknowledged) == 2 * THREADS * ROUNDS * 2
    with home.open(create=False) as store:
        packages = store.list_packages(limit=1000).items
        assert {package.package_id: content_of(store, package) for package in packages} == acknowledged
        assert {package.status for package in packages} == {"finalized"}
        assert_sound(home, store)
        assert home.snapshot().event_count == EVENTS_OF_A_NEW_STORE + len(acknowledged) * 4


def test_two_processes_create_the_same_store_at_once(tmp_path: Path) -> None:
    for number in range(4):
        home = Home(tmp_path / str(number) / "below" / "home")
        one, two = together(Worker("create", home.root), Worker("create", home.root))
        assert one == two
        with home.open(create=False) as store:
            assert str(store.store_id) == one
            assert len(store.events()) == EVENTS_OF_A_NEW_STORE
            assert_sound(home, store)


@pytest.mark.parametrize("if_changed", [True, False])
def test_two_processes_push_the_same_content_at_once(home: Home, tmp_path: Path, *, if_changed: bool) -> None:
    tree = write_tree(tmp_path / "tree", {f"{n % 7}/{n}": f"{n}".encode() * 1000 for n in range(300)})
    home.open().close()
    flag = "yes" if if_changed else ""
    answers = together(*(Worker("push", home.root, tree, flag) for _ in range(2)))
    with home.open(create=False) as store:
        packages = store.list_packages().items
        assert {package.package_id for package in packages} == {package for package, _ in answers}
        assert len(packages) == (1 if if_changed else 2)
        assert sum(unchanged for _, unchanged in answers) == (1 if if_changed else 0)
        for package in packages:
            assert len(content_of(store, package)) == 300
        assert_sound(home, store)


def test_readers_see_whole_states_while_views_are_rebuilt(home: Home, store: Store, tree: Path) -> None:
    package = store.push(tree, **SAID).package
    reader = Worker("read", home.root, package.package_id).prepared()
    reader.start()
    for _ in range(30):
        assert store.replay().identical
    size = len(TREE["README.md"])
    assert reader.answer() == [["ok", 1, len(TREE), len(TREE), size]]


def test_a_reader_sees_nothing_of_a_push_before_its_end(home: Home, store: Store, tree: Path) -> None:
    seen = []
    with home.open(create=False) as other:

        def look(_progress: object) -> None:
            seen.append((len(other.list_packages().items), len(store.list_packages().items)))

        store.push(tree, **SAID, on_progress=look)
        assert seen
        assert set(seen) == {(0, 0)}
        assert len(other.list_packages().items) == 1


def test_one_key_from_many_threads_is_one_request(home: Home, store: Store, tree: Path) -> None:
    created = in_threads(lambda _: store.create_package(**SAID, idempotency_key="create"))
    assert len(set(created)) == 1
    pushed = in_threads(lambda _: store.push(tree, **SAID, idempotency_key="push").package.package_id)
    assert len(set(pushed)) == 1
    assert len(store.list_packages().items) == 2
    assert_sound(home, store)


def test_one_path_from_many_threads_is_one_file(home: Home, store: Store) -> None:
    package = store.create_package(**SAID)
    results = in_threads(
        lambda number: store.ingest_file(package, "a/b", f"{number}".encode(), actor="ada").sha256
    )
    refusals = [result for result in results if isinstance(result, DuplicateRelativePathError)]
    assert len(refusals) == THREADS - 1
    assert store.get_package(package).file_count == 1
    assert store.get_file(package, "a/b").sha256 in results
    assert_sound(home, store)


def test_a_package_is_finalized_once_and_with_all_that_came_before(home: Home, store: Store) -> None:
    package = store.create_package(**SAID)
    store.ingest_file(package, "first", b"first", actor="ada")

    def act(number: int) -> object:
        if number % 2:
            return store.finalize_package(package, actor="ada")
        return store.ingest_file(package, str(number), f"{number}".encode(), actor="ada")

    results = in_threads(act)
    found = store.get_package(package)
    assert [result for result in results[1::2] if result == found.manifest_digest] == [found.manifest_digest]
    listed = {file.relative_path for file in store.get_manifest(package).files}
    taken = {result.relative_path for result in results[::2] if not isinstance(result, Exception)}  # type: ignore[attr-defined]
    assert listed == {"first", *taken}
    assert found.file_count == len(listed)
    assert_sound(home, store)


@pytest.mark.parametrize("order", ["together", "parent-closes"])
def test_parent_and_child_both_write_after_a_fork(home: Home, order: str) -> None:
    acknowledged = Worker("fork", home.root, order).answer()
    assert len(acknowledged) == len(set(acknowledged)) == 31
    with home.open(create=False) as store:
        assert {package.package_id for package in store.list_packages().items} == set(acknowledged)
        assert_sound(home, store)


def test_forks_while_other_threads_write(home: Home) -> None:
    acknowledged = Worker("fork_busily", home.root).answer()
    assert len(set(acknowledged)) == len(acknowledged) >= 4 + 5 * 3
    with home.open(create=False) as store:
        assert all(store.get_package(package).package_id == package for package in acknowledged)
        assert_sound(home, store)


def test_ids_of_parent_and_child_differ_though_the_clock_stands_still() -> None:
    script = (
        "import os\n"
        "from artifactstore.moment import Uuid7Source\n"
        "source = Uuid7Source(lambda: 1_795_000_000_000_000)\n"
        "source()\n"
        "child = os.fork()\n"
        "os.write(1, ''.join(f'{source()}\\n' for _ in range(10)).encode())\n"
        "if child == 0: os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ids = done.stdout.split()
    assert len(ids) == len(set(ids)) == 20


def test_objects_are_published_while_others_are_staged(
    home: Home, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A publication each few files, so that many fall together with the staging of those that follow.
    monkeypatch.setattr(ingest, "_BATCH_FILES", 100)
    files = {f"{number % 40:02}/{number}": f"{number}".encode() for number in range(2500)}
    package = store.push(write_tree(tmp_path / "tree", files), **SAID).package
    for path, data in files.items():
        assert store.read_file(package.package_id, path) == data
    assert home.staged() == []


class InterruptedHere(KeyboardInterrupt):
    """Ctrl-C at a moment that the test chose."""


def interrupt(*_arguments: object) -> None:
    raise InterruptedHere


def test_an_interrupt_leaves_nothing(home: Home, store: Store, tmp_path: Path) -> None:
    tree = write_tree(
        tmp_path / "tree", {f"{n:04}/{m}": b"%d" % (n + m) for n in range(200) for m in range(5)}
    )
    package = store.create_package(**SAID)
    with home.unchanged():
        with pytest.raises(InterruptedHere):
            store.push(tree, **SAID, on_progress=interrupt)
        with pytest.raises(InterruptedHere):
            store.ingest_directory(package, tree, actor="ada", on_progress=interrupt)
    assert store.push(tree, **SAID).package.file_count == 1000


@pytest.mark.parametrize("function", [os.scandir, os.read, os.write, os.fstat, os.stat, os.dup])
def test_an_interrupt_while_files_are_read_leaves_nothing(
    home: Home, store: Store, tmp_path: Path, function: Callable[..., object]
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"a", "b": b"b"})
    with home.unchanged(), pytest.raises(InterruptedHere), just_before(function, interrupt):
        store.push(tree, **SAID)
    assert store.push(tree, **SAID).package.file_count == 2


@pytest.mark.parametrize("function", [os.rename, os.rmdir])
def test_an_interrupt_while_objects_are_placed_leaves_no_event(
    home: Home, store: Store, tmp_path: Path, function: Callable[..., object]
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"a", "b": b"b"})
    before = home.snapshot()
    with pytest.raises(InterruptedHere), just_before(function, interrupt):
        store.push(tree, **SAID)
    assert home.snapshot().tables == before.tables
    assert store.push(tree, **SAID).package.file_count == 2
    assert_replay(store)


def assert_replay(store: Store) -> None:
    assert store.replay(check=True).identical


MOMENTS = ["mkdir", "open", "read", "write", "rename", "fstat", "scandir", "rmdir"]


@pytest.mark.parametrize("function", MOMENTS)
def test_a_process_that_is_killed_leaves_a_store_that_works(home: Home, tree: Path, function: str) -> None:
    home.open().close()
    assert Worker("die", home.root, tree, "posix", function).end() == -9
    with home.open(create=False) as store:
        assert store.replay(check=True).identical
        assert store.list_packages().items == ()
        package = store.push(tree, **SAID).package
        assert content_of(store, package) == {path: data.decode() for path, data in TREE.items()}
        assert store.health().status == "ok"


def test_every_way_to_make_a_batch_durable_gives_the_same_objects(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number}": f"{number % 50}".encode() for number in range(100)}
    tree = write_tree(tmp_path / "tree", files)
    with home.open(clock=FakeClock()) as store:
        one_barrier = store.push(tree, **SAID).package
    # Where the kernel has no barrier for a whole file system, each file and folder is synced by itself.
    monkeypatch.setattr(durability, "_load_syncfs", lambda _descriptor: None)
    other = Home(tmp_path / "other")
    with other.open() as store:
        each = store.push(tree, **SAID).package
        assert each.content_digest == one_barrier.content_digest
        assert content_of(store, each) == {path: data.decode() for path, data in files.items()}
        store.export_package(each.package_id, tmp_path / "out")
        assert_sound(other, store)
    with contextlib.suppress(FileNotFoundError):
        assert sorted(path.name for path in home.object_paths() if path.stat().st_size < 5) == sorted(
            path.name for path in other.object_paths() if path.stat().st_size < 5
        )
