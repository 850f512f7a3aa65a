"""Sources that cannot be read, are no files, or change while they are read: nothing of them is kept."""

from __future__ import annotations

import errno
import io
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import LARGE, SAID, incompressible, just_before, refused, unprivileged

from artifactstore import AccessError, InvalidInputError, SourceChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store.doors import Door
    from store.harness import Home

    from artifactstore import Store


@pytest.fixture
def package(store: Store) -> str:
    return store.create_package(**SAID)


def test_a_missing_file(door: Door, home: Home, tmp_path: Path) -> None:
    package = door.create_package(**SAID)
    with home.unchanged(), refused(InvalidInputError, "invalid-input", "no such file", "nowhere.txt"):
        door.ingest_file(package, "a", tmp_path / "nowhere.txt", actor="ada")


@pytest.mark.parametrize(
    "kind", ["folder", "fifo", "socket", "device", "link to nothing", "link to itself", "nul", "long"]
)
def test_what_is_no_file(
    store: Store, home: Home, package: str, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: str | Path = tmp_path / "source"
    if kind == "folder":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        # The address of a socket is short: it is bound relative to the folder.
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("source")
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "link to nothing":
        os.symlink("nothing", path)
    elif kind == "link to itself":
        os.symlink("source", path)
    elif kind == "nul":
        path = "a\x00b"
    else:
        path = tmp_path / ("x" * 300)
    with home.unchanged(), pytest.raises(InvalidInputError) as caught:
        store.ingest_file(package, "a", path, actor="ada")
    assert str(path)[-8:].replace("\x00", "\\u0000") in caught.value.message
    assert caught.value.code in {"invalid-input", "not-a-regular-file", "source-changed"}


def test_a_file_whose_bytes_cannot_be_read(store: Store, home: Home, package: str) -> None:
    path = "/proc/self/mem"
    if not os.path.exists(path):
        pytest.skip("no file here is known to fail")
    with home.unchanged(), refused(InvalidInputError, "invalid-input", path, os.strerror(errno.EIO)):
        store.ingest_file(package, "a", path, actor="ada")


def test_a_link_to_a_file_is_the_callers_own_choice(store: Store, package: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")
    store.ingest_file(package, "a", tmp_path / "link", actor="ada")
    assert store.read_file(package, "a") == b"bytes"


def test_an_unreadable_file(store: Store, home: Home, package: str, tmp_path: Path) -> None:
    path = tmp_path / "secret.txt"
    path.write_bytes(b"secret")
    path.chmod(0)
    with (
        home.unchanged(),
        unprivileged(),
        refused(AccessError, "access-denied", "secret.txt", "permission denied"),
    ):
        store.ingest_file(package, "a", path, actor="ada")


def test_an_unreadable_file_in_a_tree(store: Store, home: Home, tree: Path) -> None:
    (tree / "logs/b.log").chmod(0)
    with (
        home.unchanged(),
        unprivileged(),
        refused(AccessError, "access-denied", "b.log", "permission denied"),
    ):
        store.push(tree, **SAID)


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_an_unreadable_folder_in_a_tree(store: Store, home: Home, tree: Path, mode: int) -> None:
    (tree / "logs").chmod(mode)
    try:
        with home.unchanged(), unprivileged(), refused(AccessError, "access-denied", "permission denied"):
            store.push(tree, **SAID)
    finally:
        (tree / "logs").chmod(0o755)


def test_an_unreadable_directory(store: Store, home: Home, tree: Path) -> None:
    tree.chmod(0)
    try:
        with home.unchanged(), unprivileged(), refused(AccessError, "access-denied", str(tree)):
            store.push(tree, **SAID)
    finally:
        tree.chmod(0o755)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"!")


def touch(path: Path) -> None:
    os.utime(path)


@pytest.mark.parametrize("change", [append, cut, empty, overwrite, touch])
@pytest.mark.parametrize("size", [100, LARGE + 100])
def test_a_file_that_changes_while_it_is_read(
    store: Store, home: Home, package: str, tmp_path: Path, change: Callable[[Path], None], size: int
) -> None:
    path = tmp_path / "growing.log"
    path.write_bytes(incompressible(size))
    os.utime(path, (0, 0))
    read = os.read if size < LARGE else os.readv
    with (
        home.unchanged(),
        refused(SourceChangedError, "source-changed", "growing.log", "changed while it was read"),
        just_before(read, lambda: change(path)),
    ):
        store.ingest_file(package, "a", path, actor="ada")


@pytest.mark.parametrize("size", [100, LARGE + 100])
def test_a_file_that_grows_without_end_is_not_followed(
    store: Store, home: Home, package: str, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "growing.log"
    path.write_bytes(incompressible(size))
    more = incompressible(LARGE)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(more)

    read = os.read if size < LARGE else os.readv
    with (
        home.unchanged(),
        refused(SourceChangedError, "source-changed", "growing.log"),
        just_before(read, grow, times=20) as left,
    ):
        store.ingest_file(package, "a", path, actor="ada")
    assert len(left) > 15


@pytest.mark.parametrize("size", [100, LARGE + 100])
def test_a_file_of_a_tree_that_changes_while_it_is_read(
    store: Store, home: Home, tree: Path, size: int
) -> None:
    path = tree / "logs/growing.log"
    path.write_bytes(incompressible(size))
    os.utime(path, (0, 0))
    # The first file of the tree is about to be read; the other one is read later, and so differs by then,
    # unless it is large: then it is the first that `readv` reads.
    first = path if size >= LARGE else tree / "README.md"
    with (
        home.unchanged(),
        refused(SourceChangedError, "source-changed", first.name, "changed while it was read"),
        just_before(os.read if size < LARGE else os.readv, lambda: append(first)),
    ):
        store.push(tree, **SAID)


def many_folders(root: Path, count: int = 40) -> Path:
    """More folders than are worked on ahead: the last ones are still to be read at the first report."""
    for number in range(count):
        (root / f"{number:03}").mkdir(parents=True)
        (root / f"{number:03}" / "file").write_bytes(str(number).encode())
    return root


def once(act: Callable[[], object]) -> Callable[[object], None]:
    """A progress callback that acts the first time."""
    left = [act]

    def report(_progress: object) -> None:
        if left:
            left.pop()()

    return report


@pytest.mark.parametrize("new", ["link to outside", "link to inside", "file", "nothing"])
def test_a_folder_that_is_swapped_during_the_walk(store: Store, home: Home, tmp_path: Path, new: str) -> None:
    tree = many_folders(tmp_path / "tree")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"not evidence")
    last = tree / "039"

    def swap() -> None:
        last.rename(tmp_path / "gone")
        if new == "link to outside":
            last.symlink_to(outside)
        elif new == "link to inside":
            last.symlink_to("038")
        elif new == "file":
            last.write_bytes(b"x")

    with home.unchanged(), refused(SourceChangedError, "source-changed", "039"):
        store.push(tree, **SAID, on_progress=once(swap))


@pytest.mark.parametrize("new", ["nothing", "link", "fifo", "folder"])
def test_a_file_that_is_swapped_after_it_was_listed(
    store: Store, home: Home, tmp_path: Path, new: str
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(2500):
        (tree / f"{number:04}").write_bytes(b"")
    last = tree / "2499"

    def swap() -> None:
        last.unlink()
        if new == "link":
            last.symlink_to("0000")
        elif new == "fifo":
            os.mkfifo(last)
        elif new == "folder":
            last.mkdir()

    with home.unchanged(), pytest.raises(InvalidInputError) as caught:
        store.push(tree, **SAID, on_progress=once(swap))
    assert "2499" in caught.value.message
    assert caught.value.code in {"source-changed", "not-a-regular-file"}


@pytest.mark.parametrize(
    ("source", "mention"),
    [
        (None, "NoneType"),
        (7, "int"),
        (["text"], "str"),
        ([b"bytes", 7], "int"),
        (io.StringIO("text"), "str"),
        ({"a": b"b"}, "str"),
    ],
)
def test_what_holds_no_bytes(store: Store, home: Home, package: str, source: Any, mention: str) -> None:
    with home.unchanged(), refused(InvalidInputError, "invalid-input", mention):
        store.ingest_file(package, "a", source, actor="ada")


def test_text_in_the_midst_of_a_long_stream(store: Store, home: Home, package: str) -> None:
    chunks: Any = iter([incompressible(LARGE), b"x", "text"])
    with home.unchanged(), refused(InvalidInputError, "invalid-input", "str"):
        store.ingest_file(package, "a", chunks, actor="ada")


@pytest.mark.parametrize("before", [b"", incompressible(LARGE + 1)])
def test_a_source_that_fails_is_told_from_a_store_that_fails(
    store: Store, home: Home, package: str, before: bytes
) -> None:
    def failing() -> Iterator[bytes]:
        yield before
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with home.unchanged(), refused(InvalidInputError, "invalid-input", "source", os.strerror(errno.EIO)):
        store.ingest_file(package, "a", failing(), actor="ada")


@pytest.mark.parametrize("before", [b"", incompressible(LARGE + 1)])
def test_an_error_of_the_callers_own_comes_back_as_it_is(
    store: Store, home: Home, package: str, before: bytes
) -> None:
    class OwnError(Exception):
        pass

    def failing() -> Iterator[bytes]:
        yield before
        raise OwnError

    with home.unchanged(), pytest.raises(OwnError):
        store.ingest_file(package, "a", failing(), actor="ada")


def test_a_closed_file_object(store: Store, home: Home, package: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    with path.open("rb") as file:
        pass
    with home.unchanged(), pytest.raises(ValueError, match="closed file"):
        store.ingest_file(package, "a", file, actor="ada")


def test_the_stores_own_files_are_no_evidence(store: Store, home: Home, package: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home.database)
    with home.unchanged():
        for path in (
            home.database,
            f"{home.database}-wal",
            f"{home.database}-shm",
            f"{home.database}.lock",
            link,
        ):
            with refused(InvalidInputError, "store-inside", str(path)):
                store.ingest_file(package, "a", path, actor="ada")
