"""What the processes of the soak do until they are killed: writers, and one that keeps house beside them."""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from typing import TYPE_CHECKING, Any

from store.harness import LARGE, SAID, Home, incompressible, write_tree

from artifactstore import RetentionPolicy, StateError, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Note = Callable[..., None]

KEPT, BRIEF, HELD = "kept", "brief", "held"
_POLICY = RetentionPolicy({"transient": 1})  # seconds: expired when the house-keeper comes by
_LARGE_ONE_IN = 200  # packages of which one has a file that is streamed
_COMMON = 20  # contents that many packages share


def files_of(seed: int) -> dict[str, bytes]:
    """The files of a package: bytes of its own, bytes that others have too, sometimes many."""
    choose = random.Random(seed)
    files = {"own": f"{seed}\n".encode() * choose.randint(1, 50)}
    for number in range(choose.randint(0, 3)):
        files[f"common-{number}"] = f"common {choose.randrange(_COMMON)}\n".encode() * 100
    if choose.randrange(_LARGE_ONE_IN) == 0:
        files["large"] = incompressible(LARGE + 4097, choose.randrange(3))
    return files


def open_store(root: Path) -> Store:
    """The store of the soak."""
    home = Home(root / "home")
    return Store.open(home.database, home.objects, create=False, policy=_POLICY)


def write_packages(root: Path, label: str) -> None:
    """Make packages, and note each one that is acknowledged in a file before the next."""
    choose = random.Random(label)
    with open_store(root) as store:
        note = _notes(root, label)
        while True:
            seed = choose.getrandbits(48)
            fate = choose.choice((KEPT, BRIEF, BRIEF, HELD))
            said = {**SAID, "retention_class": "permanent-record" if fate == KEPT else "transient"}
            make = choose.choice((_push, _ingest))
            package = make(store, root / f"tree-{label}", seed, said)
            if fate == HELD:
                try:
                    store.apply_hold(package, reason="case 7", actor="ada")
                except StateError:
                    fate = BRIEF  # the house-keeper was faster
            note(package=package, seed=seed, fate=fate)
            if fate != BRIEF:
                assert read_files(store, package) == files_of(seed)


def _push(store: Store, tree: Path, seed: int, said: dict[str, Any]) -> str:
    folder = tree / str(seed)
    write_tree(folder, files_of(seed))
    return store.push(folder, **said).package.package_id


def _ingest(store: Store, _tree: Path, seed: int, said: dict[str, Any]) -> str:
    package = store.create_package(**said)
    for path, data in files_of(seed).items():
        store.ingest_file(package, path, data, actor="ada")
    store.finalize_package(package, actor="ada")
    return package


def keep_house(root: Path, label: str) -> None:
    """Sweep, gc, verify and remove orphans of any age, over and over."""
    with open_store(root) as store:
        note = _notes(root, label)
        while True:
            marked = store.sweep(actor="cron").marked
            collected = store.gc(actor="cron").collected
            damaged = store.verify(actor="scrub", max_seconds=1).failures
            found = store.orphans(actor="cron", delete=True, older_than=0)
            assert not damaged, damaged
            assert not found.missing, found.missing
            note(marked=len(marked), collected=len(collected), orphans=len(found.orphans))


def read_files(store: Store, package: str) -> dict[str, bytes]:
    """All files of a package."""
    return {
        file.relative_path: store.read_file(package, file.relative_path)
        for file in store.list_files(package).items
    }


def _notes(root: Path, label: str) -> Note:
    """Writes a line that outlives this process."""
    descriptor = os.open(root / f"{label}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(**facts: object) -> None:
        os.write(descriptor, json.dumps(facts).encode() + b"\n")

    return note


def run(part: Callable[[Path, str], None], root: Path, label: str) -> None:
    """The life of a process; should it end by itself, it says why."""
    try:
        part(root, label)
    except Exception:  # noqa: BLE001 - whatever it is, the soak reports it
        (root / f"{label}.error").write_text(traceback.format_exc())
        sys.exit(1)
