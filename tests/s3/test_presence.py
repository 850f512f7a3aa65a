"""What an ingest into a remote place looks for, and what it notices under the write lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, TREE, FakeClock, Home, incompressible, refused, write_tree

from artifactstore import BackendError, Store
from artifactstore.digest import digest_pair, object_key
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.objects.file_system import FileSystemService
from artifactstore.objects.remote import RemoteBackend
from s3.conftest import open_store
from s3.places import PART, REMOTE, Place
from s3.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable

ACTOR = {"actor": "ada"}
DAY = 86_400_000_000  # microseconds
LIFE = {**SAID, "retention_class": "transient"}


def key_of(data: bytes) -> str:
    return object_key(digest_pair(data).blake3)


def watched_store(
    home: Home, place: Place, watch: Callable[[str, tuple[Any, ...]], object], clock: FakeClock | None = None
) -> Store:
    backend = RemoteBackend(Watched(place.service(), watch), backend_id=REMOTE)
    return Store.open(
        home.database,
        home.objects,
        further={REMOTE: backend},
        default_backend=REMOTE,
        **({} if clock is None else {"clock": clock}),
    )


@pytest.fixture
def memory() -> Place:
    """A place whose behaviour is that of any other: what is tested here lies above it."""
    import uuid

    return Place(None, f"memory://{uuid.uuid4().hex}")


def test_an_object_is_looked_for_once_and_never_under_the_write_lock(
    memory: Place, home: Home, tree: Path
) -> None:
    looked: list[str] = []

    def watch(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "head":
            looked.append(arguments[0])

    large = incompressible((64 << 10) + 1)
    (tree / "large").write_bytes(large)
    with watched_store(home, memory, watch) as store:
        store.push(tree, **SAID)
        objects = {key for key in memory.all_keys() if key.startswith("blake3/")}
        # What is small and has never been named is sent without a look, the rest after one.
        assert looked == [key_of(large)]
        looked.clear()
        # Of objects that another package needs anyway nobody can be in doubt.
        store.push(tree, **{**SAID, "name": "again"})
        assert len(looked) == len(objects) - 1  # the manifest is another one


@pytest.mark.parametrize("call", ["push", "ingest_file", "ingest_directory"])
def test_what_is_removed_while_an_ingest_is_under_way_is_sent_again(
    memory: Place, home: Home, tmp_path: Path, call: str
) -> None:
    clock = FakeClock()
    write_tree(tmp_path / "old", {"same": b"same bytes"})
    write_tree(tmp_path / "new", {"same": b"same bytes", "zz": b"the last one"})
    armed: list[Store] = []

    def watch(name: str, arguments: tuple[Any, ...]) -> Any:
        # After the look that finds the object, a gc collects its last owner and removes it.
        if name == "head" and arguments[0] == key_of(b"same bytes") and armed:
            other = armed.pop()

            def after(found: Any) -> Any:
                assert found is not None
                other.sweep(**ACTOR)
                assert other.gc(**ACTOR).removed_count == 2
                return found

            return after
        return None

    with open_store(home, memory, clock) as other, watched_store(home, memory, watch, clock) as store:
        other.push(tmp_path / "old", **LIFE)
        clock.now += 2 * DAY
        armed.append(other)
        if call == "push":
            package = store.push(tmp_path / "new", **LIFE).package.package_id
        else:
            package = store.create_package(**LIFE)
            if call == "ingest_file":
                store.ingest_file(package, "same", b"same bytes", **ACTOR)
            else:
                store.ingest_directory(package, tmp_path / "new", **ACTOR)
        assert armed == []
        assert store.read_file(package, "same") == b"same bytes"
        assert store.fsck(read=True).clean


def test_a_removal_that_was_announced_and_never_recorded_is_noticed(
    memory: Place, home: Home, tmp_path: Path
) -> None:
    clock = FakeClock()
    write_tree(tmp_path / "tree", {"same": b"same bytes"})

    class Killed(BaseException):
        pass

    def die(name: str, arguments: tuple[Any, ...]) -> Any:
        # The gc dies after the objects are removed, before its transaction says so.
        if name == "delete_all" and key_of(b"same bytes") in arguments[0]:

            def after(_answer: Any) -> None:
                raise Killed

            return after
        return None

    found: list[str] = []

    def watch(name: str, arguments: tuple[Any, ...]) -> Any:
        if name != "head" or arguments[0] != key_of(b"same bytes") or found:
            return None

        def after(answer: Any) -> Any:
            found.append(arguments[0])
            with pytest.raises(Killed):
                other.gc(**ACTOR)
            return answer

        return after

    with watched_store(home, memory, die, clock) as other, watched_store(home, memory, watch, clock) as store:
        other.push(tmp_path / "tree", **LIFE)
        clock.now += 2 * DAY
        other.sweep(**ACTOR)
        package = store.push(tmp_path / "tree", **LIFE).package.package_id
        assert found
        assert store.read_file(package, "same") == b"same bytes"
        assert store.fsck(read=True).clean


def test_an_orphan_that_is_met_and_removed_is_sent_again(memory: Place, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"same": b"same bytes"})
    removed: list[str] = []

    def watch(name: str, arguments: tuple[Any, ...]) -> Any:
        if name != "head" or arguments[0] != key_of(b"same bytes") or removed:
            return None

        def after(found: Any) -> Any:
            # Somebody removes the orphan and dies before saying so.
            assert found is not None
            removed.append(arguments[0])
            memory.own.delete_all([arguments[0]])
            return found

        return after

    memory.overwrite(key_of(b"same bytes"), b"same bytes")
    with watched_store(home, memory, watch) as store:
        store.adopt_backend(REMOTE)
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        assert removed
        assert store.read_file(package, "same") == b"same bytes"


# Reading from several places


@pytest.mark.parametrize("size", [1000, 2 * PART + 17])
def test_a_read_that_breaks_off_goes_on_elsewhere(
    memory: Place, home: Home, tmp_path: Path, size: int
) -> None:
    data = incompressible(size)
    write_tree(tmp_path / "tree", {"data": data})
    broken: list[int] = []

    def watch(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "get" and arguments[0] == key_of(data) and arguments[1] + arguments[2] == size and broken:
            broken.append(arguments[1])
            raise BackendError("the connection broke", code="connection-lost", retryable=True)

    with watched_store(home, memory, watch) as store:
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        store.copy(source=REMOTE, target="local", **ACTOR)
        broken.append(0)
        assert store.read_file(package, "data") == data
        assert len(broken) == 2
        store.export_package(package, tmp_path / "out", bare=True)
        assert (tmp_path / "out" / "data").read_bytes() == data
        with store.open_file(package, "data") as stream:
            stream.seek(size - 10)
            assert stream.read() == data[-10:]
        (home.objects / key_of(data)).unlink()
        with refused(BackendError, "connection-lost"):
            store.read_file(package, "data")
        with refused(BackendError, "connection-lost"):
            store.export_package(package, tmp_path / "again", bare=True)
        assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("size", [1000, 2 * PART + 17])
def test_wrong_bytes_of_the_right_length_are_not_what_a_whole_read_gives(
    memory: Place, home: Home, tmp_path: Path, size: int
) -> None:
    data = incompressible(size)
    write_tree(tmp_path / "tree", {"data": data})
    with open_store(home, memory) as store:
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        store.copy(source=REMOTE, target="local", **ACTOR)
        memory.overwrite(key_of(data), data[:-1] + bytes([data[-1] ^ 1]))
        assert store.read_file(package, "data") == data
        store.export_package(package, tmp_path / "out", bare=True)
        assert (tmp_path / "out" / "data").read_bytes() == data
        # Nothing was marked by that: to say what is damaged is for a verify.
        assert store.verification(package).failed_count == 0


# Deadlines where the library has none


def test_a_file_system_that_hangs_is_given_up(memory: Place, home: Home, tmp_path: Path) -> None:
    import threading

    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    going = threading.Event()
    going.set()

    class Hanging(MemoryFileSystem):
        protocol = "hanging"

        def info(self, path: str, **further: Any) -> Any:
            going.wait()
            return super().info(path, **further)

        def pipe_file(self, path: str, value: bytes, **further: Any) -> Any:
            going.wait()
            return super().pipe_file(path, value, **further)

    fsspec.register_implementation("hanging", Hanging, clobber=True)
    url = memory.url.replace("memory", "hanging")
    write_tree(tmp_path / "tree", TREE)
    service = FileSystemService(url, name=url, timeout=1.0)
    backend = RemoteBackend(service, backend_id=REMOTE)
    with Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE) as store:
        store.push(tmp_path / "tree", **SAID)
        going.clear()
        try:
            with refused(BackendError, "timeout", url):
                store.push(tmp_path / "tree", **{**SAID, "name": "again"})
            assert store.health().status == "degraded"
        finally:
            going.set()
        assert store.push(tmp_path / "tree", **{**SAID, "name": "again"}).ingest.new_object_count == 0
        assert store.health(deep=True).status == "ok"


def test_a_full_folder_for_temporary_files_is_named(
    memory: Place, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    def full(**_how: Any) -> Any:
        # Every write says that there is no space.
        return Path("/dev/full").open("r+b", buffering=0)

    with open_store(home, memory) as store:
        package = store.create_package(**SAID)
        with monkeypatch.context() as patched:
            patched.setattr(tempfile, "TemporaryFile", full)
            with refused(BackendError, "disk-full", "temporary"):
                store.ingest_file(package, "file", iter([bytes(SMALL_FILE)] * 2), **ACTOR)
        assert not store.list_files(package).items
        store.ingest_file(package, "file", iter([bytes(SMALL_FILE)] * 2), **ACTOR)
