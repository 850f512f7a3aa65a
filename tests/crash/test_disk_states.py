"""The model of a disk that loses its power leaves all that POSIX allows, and nothing else."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from crash.disk_states import EVERYTHING, ROOT, Disk, Fate, Name, Resize, Step, Write, fingerprint
from crash.outcomes import outcomes

if TYPE_CHECKING:
    from crash.disk_states import Tree

FOLDER, FILE = 1, 2  # numbers on a disk that holds an empty folder; the file is made
OLD, NEW = b"old bytes", b"NEW BYTES"
CREATE = Step("create", (Name(FOLDER, "file", FILE),))
FILL = Step("write", (Write(FILE, 0, NEW),))
MOVE = Step("rename", (Name(FOLDER, "moved", FILE), Name(FOLDER, "file", None)))


def sync(number: int, since: int = 99) -> Step:
    """A sync that covers what was over before a step."""
    return Step("fsync", syncs=number, since=since)


def left(disk: Disk) -> list[Tree]:
    """What a cut may leave of the folder, if each change is kept or lost."""
    found: dict[bytes, Tree] = {}
    for fates in itertools.product((Fate.KEPT, Fate.LOST), repeat=len(disk.pending)):
        chosen = iter(fates)
        tree = disk.after(lambda _, chosen=chosen: next(chosen))
        found[fingerprint(tree)] = tree["folder"]
    return sorted(found.values(), key=repr)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([CREATE, FILL], [{}, {"file": b""}, {"file": NEW}]),
        ([CREATE, FILL, sync(FILE)], [{}, {"file": NEW}]),
        ([CREATE, FILL, sync(FOLDER)], [{"file": b""}, {"file": NEW}]),
        ([CREATE, FILL, sync(ROOT)], [{}, {"file": b""}, {"file": NEW}]),
        ([CREATE, FILL, sync(FILE), sync(FOLDER)], [{"file": NEW}]),
        ([CREATE, FILL, sync(EVERYTHING)], [{"file": NEW}]),
        ([CREATE, FILL, sync(EVERYTHING, since=1)], [{"file": b""}, {"file": NEW}]),
        (
            [CREATE, FILL, sync(EVERYTHING), MOVE],
            [{}, {"file": NEW}, {"file": NEW, "moved": NEW}, {"moved": NEW}],
        ),
        ([CREATE, FILL, sync(EVERYTHING), MOVE, sync(FOLDER)], [{"moved": NEW}]),
        (
            [CREATE, FILL, sync(EVERYTHING), Step("truncate", (Resize(FILE, 3),))],
            [{"file": NEW[:3]}, {"file": NEW}],
        ),
    ],
    ids=[
        "nothing is synced",
        "the bytes are, the name is not",
        "the name is, the bytes are not",
        "a folder above",
        "both",
        "everything at once",
        "a sync that began before the write was over",
        "a rename in any part",
        "a rename and its folder",
        "a shorter file",
    ],
)
def test_what_a_cut_may_leave(steps: list[Step], expected: list[Tree]) -> None:
    disk = Disk.holding({"folder": {}}, ["folder"])
    for step in steps:
        disk.do(step)
    assert left(disk) == sorted(expected, key=repr)
    # The outcomes that a drill looks at are all of these, and damaged bytes beside them.
    found = [disk.after(outcome.decide)["folder"] for outcome in outcomes(disk, "seed")]
    assert [tree for tree in expected if tree not in found] == []
    assert {tuple(tree) for tree in found} == {tuple(tree) for tree in expected}


def test_a_new_name_takes_the_place_of_an_old_one_or_does_not() -> None:
    disk = Disk.holding({"folder": {"file": OLD}}, ["folder"])
    disk.do(Step("create", (Name(FOLDER, "new", 3),)))
    disk.do(Step("write", (Write(3, 0, NEW),)))
    disk.do(sync(3))
    disk.do(Step("rename", (Name(FOLDER, "file", 3), Name(FOLDER, "new", None))))
    assert {tree.get("file") for tree in left(disk)} == {OLD, NEW}


@pytest.mark.parametrize("fate", [Fate.ZEROED, Fate.TORN, Fate.CUT, Fate.GARBAGE])
def test_a_damaged_write_touches_nothing_beside_it(fate: Fate) -> None:
    disk = Disk.holding({"folder": {"file": b"a" * 10_000}}, ["folder"])
    disk.do(Step("write", (Write(FILE, 1000, b"b" * 8000),)))
    tree = disk.after(lambda _: fate)["folder"]
    assert isinstance(tree, dict)
    content = tree["file"]
    assert isinstance(content, bytes)
    assert content != b"a" * 1000 + b"b" * 8000 + b"a" * 1000
    assert (content[:1000], content[9000:], len(content)) == (b"a" * 1000, b"a" * 1000, 10_000)
