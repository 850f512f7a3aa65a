"""How low can it get: each work beside a bare loop of the system calls that promise and layout demand.

The loops hash nothing, log nothing and check nothing. They are no floor for a peer that keeps its objects in
packs.
"""

from __future__ import annotations

import hashlib
import os
import statistics
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.library import Finding, seconds_of
from benchmarks.machine import sync

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


def floors(dataset: Dataset, directory: Path, *, rounds: int) -> list[Finding]:
    """Push, push again, export and gc of small files, ours and the bare loop in turns."""
    samples: dict[str, tuple[list[float], list[float]]] = {}

    def compare(what: str, ours: Callable[[], object], bare: Callable[[], object]) -> None:
        mine, floor = samples.setdefault(what, ([], []))
        mine.append(seconds_of(ours))
        floor.append(seconds_of(bare))

    for number in range(rounds):
        _round(dataset, directory / f"floor-{number}", compare)
    return [
        Finding(
            "floor",
            f"{what}, beside a bare loop",
            statistics.median(mine) * 1000,
            "ms",
            ratio=statistics.median(ours / bare for ours, bare in zip(mine, floor, strict=True)),
        )
        for what, (mine, floor) in samples.items()
    ]


def _round(
    dataset: Dataset,
    place: Path,
    compare: Callable[[str, Callable[[], object], Callable[[], object]], None],
) -> None:
    import artifactstore
    from artifactstore.moment import system_clock

    jump = 0
    objects = _different(dataset)
    bare, shallow, deep = (place / name for name in ("bare", "shallow", "deep"))
    for folder in (bare, shallow, deep):
        folder.mkdir(parents=True)
    with artifactstore.open(place / "store", clock=lambda: system_clock() + jump) as store:
        push = partial(store.push, dataset.root, **SAID)
        compare("push: stage, sync, mkdir and rename, sync", push, partial(bare_push, objects, bare))
        compare(
            "not ours, the bare push with one level of folders",
            partial(bare_push, objects, shallow, levels=1),
            partial(bare_push, objects, deep),
        )
        push()  # notes what it reads, once the files are old enough to be believed
        compare("push again: stat of each file and each object", push, partial(bare_stat, objects, bare))
        package = store.list_packages().items[0].package_id
        compare(
            "export: write, sync",
            partial(store.export_package, package, place / "out"),
            partial(bare_copy, dataset, place / "copy"),
        )
        jump = LATER
        store.sweep(actor="bench", accept_clock=True)
        compare("gc: unlink, sync", partial(_collect, store), partial(bare_unlink, objects, bare))


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
