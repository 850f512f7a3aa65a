"""What looks as it did is not read again; what may have changed always is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from artifactstore import Store, seen_files
from store.harness import SAID, FakeClock, Home, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TREE = {"a.log": b"first\n", "b/c.log": b"second\n", "b/d.log": b"third\n"}

# Pushes a directory as often as asked, and says which files each push has opened in it.
WATCHED = """
import json, os, sys
from pathlib import Path
from artifactstore import Store
database, objects, directory, *caches = sys.argv[1:]
opened = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].endswith(".py"):
        opened.append(arguments[0])
answers = []
with Store.open(database, objects) as store:
    said = dict(name="n", producer="p", subject="s", retention_class="transient", actor="a")
    store.push(directory, **said)
    sys.addaudithook(watch)
    for cache in caches:
        opened.clear()
        result = store.push(directory, **said, cache=cache == "True")
        answers.append([len(opened), result.ingest.file_count, str(result.package.content_digest)])
print(json.dumps(answers))
"""


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written just now are known as if they were old."""
    monkeypatch.setattr(seen_files, "SETTLED", -(10**18))


def pushed(home: Home, tree: Path, **further: object) -> dict[str, bytes]:
    """Push a directory and read what the package holds."""
    with Store.open(home.database, home.objects, clock=FakeClock()) as store:
        package = store.push(tree, **SAID, **further).package.package_id
        return {
            file.relative_path: store.read_file(package, file.relative_path)
            for file in store.list_files(package).items
        }


def in_place(path: Path) -> None:
    """Other bytes of the same number, and the old time."""
    times = path.stat()
    path.write_bytes(b"X" * times.st_size)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def by_another_file(path: Path) -> None:
    """Another file of the same size and time in its place."""
    times = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"X" * times.st_size)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.rename(other, path)


def longer(path: Path) -> None:
    """More bytes."""
    path.write_bytes(b"XXXXXXXXXXXXXXXX")


def test_an_unchanged_file_is_not_read_again(home: Home) -> None:
    # Files that have been there for long: those of the running Python.
    directory = os.path.dirname(json.__file__)
    arguments = [home.database, home.objects, directory, "True", "False", "True"]
    command = [sys.executable, "-c", WATCHED, *map(str, arguments)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    (without, count, digest), (with_reading, *read), (again, *same) = answer
    assert (without, again) == (0, 0)
    assert with_reading == sum(name.endswith(".py") for name in os.listdir(directory)) > 0
    assert read == same == [count, digest]


@pytest.mark.parametrize("change", [in_place, by_another_file, longer])
@pytest.mark.usefixtures("settled")
def test_what_has_changed_is_read(home: Home, tmp_path: Path, change: Callable[[Path], None]) -> None:
    tree = write_tree(tmp_path / "tree", TREE)
    assert pushed(home, tree) == TREE
    change(tree / "b/c.log")
    expected = {**TREE, "b/c.log": (tree / "b/c.log").read_bytes()}
    assert expected != TREE
    assert pushed(home, tree) == expected


def test_what_was_new_when_it_was_read_is_read_again(home: Home, tmp_path: Path) -> None:
    """Its times could be those of a further change."""
    tree = write_tree(tmp_path / "tree", TREE)
    pushed(home, tree)
    (noted,) = (home.root / f"{home.database.name}.seen").iterdir()
    assert b"a.log" not in noted.read_bytes()


@pytest.mark.usefixtures("settled")
def test_files_come_and_go(home: Home, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", TREE)
    pushed(home, tree)
    (tree / "b/c.log").unlink()
    write_tree(tree, {"0.log": b"before\n", "b/cc.log": b"between\n", "z.log": b"behind\n"})
    expected = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*.log")}
    assert pushed(home, tree) == expected
    assert pushed(home, tree) == expected


@pytest.mark.usefixtures("settled")
def test_a_damaged_cache_costs_a_reading_and_nothing_else(home: Home, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", TREE)
    pushed(home, tree)
    (noted,) = (home.root / f"{home.database.name}.seen").iterdir()
    whole = noted.read_bytes()
    assert len(whole) > len(seen_files._HEAD)
    for place in range(0, len(whole), 7):
        noted.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert pushed(home, tree) == TREE
        noted.write_bytes(whole[:place])
        assert pushed(home, tree) == TREE


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_written_stops_no_push(home: Home, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", TREE)
    pushed(home, tree)
    place = home.root / f"{home.database.name}.seen"
    shutil.rmtree(place)
    place.write_bytes(b"no folder")
    assert pushed(home, tree) == TREE
    assert pushed(home, tree) == TREE


@pytest.mark.usefixtures("settled")
def test_what_a_gc_has_removed_is_read_again(home: Home, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", TREE)
    pushed(home, tree)
    for path in home.objects.glob("blake3/*/*/*"):
        if path.read_bytes() in TREE.values():
            path.unlink()
    assert pushed(home, tree) == TREE


@pytest.mark.usefixtures("settled")
def test_an_object_that_a_verify_found_damaged_is_mended(home: Home, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", TREE)
    pushed(home, tree)
    (damaged,) = (path for path in home.objects.glob("blake3/*/*/*") if path.read_bytes() == TREE["a.log"])
    damaged.chmod(0o600)
    damaged.write_bytes(b"fIrst\n")
    with Store.open(home.database, home.objects) as store:
        assert store.verify(actor="cron").failures
    assert pushed(home, tree) == TREE
    assert damaged.read_bytes() == TREE["a.log"]


@pytest.mark.usefixtures("settled")
def test_a_failed_push_leaves_the_cache_as_it_was(home: Home, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", TREE)
    pushed(home, tree)
    place = home.root / f"{home.database.name}.seen"
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    (tree / "z").symlink_to("a.log")
    with Store.open(home.database, home.objects) as store, pytest.raises(Exception, match="symbolic link"):
        store.push(tree, **SAID)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
