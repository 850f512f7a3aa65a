"""How low can it get: each work beside a bare loop of the system calls that promise and layout demand.

The loops hash nothing, log nothing and check nothing. They are no floor for a peer that keeps its objects in
packs.
"""

from __future__ import annotations

import hashlib
import os
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.datasets import tree_size
from benchmarks.library import Finding, beside, found, seconds_of
from benchmarks.machine import settle, sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import artifactstore
    from benchmarks.datasets import Dataset

SAID = {
    "name": "w1",
    "producer": "bench",
    "subject": "w1",
    "retention_class": "raw-evidence",
    "actor": "bench",
}
LATER = 400 * 86_400 * 1_000_000  # microseconds after which the package may go


PUSH = "stage, sync, mkdir and rename, sync"
OURS = "artifactstore"
BARE = "bare loop"


class Turns:
    """Who did what in how many seconds: each alone on a settled disk, and each first in turn.

    Args:
        directory: on the disk that settles.
        patience: seconds to wait for that before each call.
    """

    def __init__(self, directory: Path, patience: float) -> None:
        self._directory = directory
        self._patience = patience
        self.round = 0
        self.samples: dict[str, dict[str, list[float]]] = {}

    def take(self, what: str, calls: dict[str, Callable[[], object]]) -> None:
        """Time some calls that do the same, by the name of who does it."""
        names = list(calls)
        first = self.round % len(names)
        for name in names[first:] + names[:first]:
            settle(self._directory, patience=self._patience)
            self.samples.setdefault(what, {}).setdefault(name, []).append(seconds_of(calls[name]) * 1000)


def floors(
    dataset: Dataset, tree: Dataset, directory: Path, *, rounds: int, patience: float
) -> list[Finding]:
    """Push, push again, export and gc of small files and push of a tree, ours and the bare loop in turns.

    Args:
        dataset: the small files.
        tree: the real one.
    """
    turns = Turns(directory, patience)
    for turns.round in range(rounds):
        _round(dataset, directory / f"floor-{turns.round}", turns)
        _push(tree, directory / f"tree-{turns.round}", turns)
    return [
        found(
            "floor",
            f"{what}, {name}",
            samples,
            "ms",
            ratios=beside(samples, each[BARE]) if name != BARE else (),
        )
        for what, each in turns.samples.items()
        for name, samples in each.items()
    ]


def _round(dataset: Dataset, place: Path, turns: Turns) -> None:
    import artifactstore
    from artifactstore.moment import system_clock

    jump = 0
    objects = _different(dataset)
    bare, shallow = (place / name for name in ("bare", "shallow"))
    for folder in (bare, shallow):
        folder.mkdir(parents=True)
    with artifactstore.open(place / "store", clock=lambda: system_clock() + jump) as store:
        push = partial(store.push, dataset.root, **SAID)
        turns.take(
            f"push: {PUSH}",
            {
                OURS: push,
                BARE: partial(bare_push, objects, bare),
                "bare loop with one level of folders": partial(bare_push, objects, shallow, levels=1),
            },
        )
        push()  # notes what it reads, once the files are old enough to be believed
        turns.take(
            "push again: stat of each file and each object",
            {OURS: push, BARE: partial(bare_stat, objects, bare)},
        )
        package = store.list_packages().items[0].package_id
        turns.take(
            "export: write, sync",
            {
                OURS: partial(store.export_package, package, place / "out"),
                BARE: partial(bare_copy, dataset, place / "copy"),
            },
        )
        jump = LATER
        store.sweep(actor="bench", accept_clock=True)
        turns.take(
            "gc: unlink, sync", {OURS: partial(_collect, store), BARE: partial(bare_unlink, objects, bare)}
        )


def _push(tree: Dataset, place: Path, turns: Turns) -> None:
    import artifactstore

    objects = _different(tree)
    bare = place / "bare"
    bare.mkdir(parents=True)
    with artifactstore.open(place / "store") as store:
        turns.take(
            f"push of a real tree of {tree_size(tree.root)[0]:,} files: {PUSH}",
            {OURS: partial(store.push, tree.root, **SAID), BARE: partial(bare_push, objects, bare)},
        )


def _collect(store: artifactstore.Store) -> None:
    if not store.gc(plan=store.plan_gc(), actor="bench").removed_count:
        raise AssertionError("nothing was collected")


def _different(dataset: Dataset) -> dict[str, str]:
    """One file for each different content, by the sha256 that names it."""
    found = {}
    for folder, _, names in os.walk(dataset.root):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[hashlib.sha256(file.read()).hexdigest()] = path
    return found


def bare_push(objects: dict[str, str], root: Path, *, levels: int = 2) -> None:
    """Write each file aside, give it a name in the folder of its digest; durable on return.

    Args:
        levels: of folders; we have two.
    """
    descriptor = os.open(root, os.O_RDONLY)
    try:
        os.mkdir("staging", dir_fd=descriptor)
        for name, path in objects.items():
            with open(path, "rb", buffering=0) as file:
                data = file.read()
            new = os.open(f"staging/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400, dir_fd=descriptor)
            os.write(new, data)
            os.close(new)
        sync(root)
        for name in sorted(objects):
            folder = f"{name[:2]}/{name[2:4]}" if levels > 1 else name[:2]
            os.makedirs(os.path.join(root, folder), exist_ok=True)
            os.rename(f"staging/{name}", f"{folder}/{name}", src_dir_fd=descriptor, dst_dir_fd=descriptor)
        sync(root)
    finally:
        os.close(descriptor)


def bare_stat(objects: dict[str, str], root: Path) -> None:
    """See whether each file and each object is there."""
    for name, path in objects.items():
        os.stat(path)
        os.stat(root / name[:2] / name[2:4] / name)


def bare_copy(dataset: Dataset, target: Path) -> None:
    """Write the files of a tree into a new one; durable on return."""
    source = os.fspath(dataset.root)
    for folder, _, names in os.walk(source):
        below = os.path.join(target, os.path.relpath(folder, source))
        os.makedirs(below)
        for name in names:
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                data = file.read()
            with open(os.path.join(below, name), "xb", buffering=0) as file:
                file.write(data)
    sync(target)


def bare_unlink(objects: dict[str, str], root: Path) -> None:
    """Remove each object; durable on return."""
    for name in sorted(objects):
        os.unlink(root / name[:2] / name[2:4] / name)
    sync(root)
