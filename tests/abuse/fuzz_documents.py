"""Doors for documents that are checked byte by byte: CBOR, manifests, plans, and relative paths."""

from __future__ import annotations

import io
import os
import re
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from format import reference_cbor
from format.auditor import load_verify
from format.manifest_cases import a_file, a_package, manifest_bytes
from format.mutants import agrees, change_node, changed_bytes, containers, mutant
from format.path_cases import ACCEPTED_PATHS, REFUSED_PATHS
from store.harness import read_tree

from abuse.fuzzing import Door, texts
from artifactstore import IntegrityError, codec
from artifactstore import manifest as manifests
from artifactstore.export import StoredObjects, export_directory
from artifactstore.lifecycle.gc_plan import PLAN_TYPE, GcPlan, PlannedPackage
from artifactstore.paths import broken_rule, check_relative_path, collision_key, parents, printable

if TYPE_CHECKING:
    import random

# CBOR


def made_value(chance: random.Random, depth: int = 0) -> Any:
    """Any value that an encoding can hold."""
    kind = chance.randrange(10 if depth < 5 else 7)
    if kind == 0:
        return chance.choice((None, True, False))
    if kind == 1:
        return chance.choice((0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1, -(2**63)))
    if kind == 2:
        return chance.randint(-(2 ** chance.randrange(63)), 2 ** chance.randrange(63))
    if kind == 3:
        return chance.choice((0.0, -0.0, 1.5, 65_504.0, 1e300, 5e-324, chance.random(), 2.0**-24))
    if kind == 4:
        return chance.randbytes(chance.choice((0, 1, 23, 24, 32)))
    if kind in {5, 6}:
        return chance.choice(("", "a", "b", "aa", "\u00e9", "\U0001f600", "x" * 23, "x" * 24))
    inner = [made_value(chance, depth + 1) for _ in range(chance.choice((0, 1, 2, 3, 24)))]
    if kind == 7:
        return inner
    return {f"{chance.choice(('', 'k', chr(0xE9)))}{number}": entry for number, entry in enumerate(inner)}


def cbor(chance: random.Random) -> bytes:
    """An encoding, mostly with a few places changed, or no encoding at all."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(40))
    data = reference_cbor.encode(made_value(chance))
    return data if chance.random() < 0.2 else changed_bytes(data, chance)


def ask_cbor(data: bytes) -> bool:
    """Ours and the auditor's reader agree, and what they take is its only encoding."""
    verify = load_verify()
    reader = verify.Reader(data)
    try:
        reader.value(0)
        theirs = reader.position == len(data)
    except verify.ManifestError:
        theirs = False
    try:
        value = codec.decode(data, max_depth=verify.MAX_DEPTH)
    except IntegrityError:
        assert not theirs, data.hex()
        raise
    assert theirs, data.hex()
    assert reference_cbor.encode(value) == data
    assert codec.encode(value) == data
    return True


def ask_manifest(data: bytes) -> bool:
    """Both readers take the same, with the same content, or both refuse it."""
    return agrees(load_verify(), data)


PLAN = GcPlan(
    store_id="6f1c4b0e-9d52-4c57-8a3e-2f0b7d9c1e48",
    packages=tuple(
        PlannedPackage(
            package_id=f"01a204e5-d1a0-7000-8000-00000000000{number}",
            name="nightly",
            retention_class="transient",
            reason="expired",
            expires_at=1_795_378_500_000_000 if number else None,
            eligible_at=1_795_378_600_000_000,
            eligible_by="cron",
            file_count=3,
            total_size=number,
            freed_size=300,
            shared_size=0,
        )
        for number in range(2)
    ),
    object_count=3,
    freed_size=300,
    shared_size=0,
)
_PLAN_BYTES = PLAN.to_bytes()


def plan(chance: random.Random) -> bytes:
    """A plan with a few places or values changed."""
    if chance.random() < 0.4:
        return changed_bytes(_PLAN_BYTES, chance)
    document: Any = codec.decode(_PLAN_BYTES)
    for _ in range(chance.choice((0, 1, 1, 2))):
        change_node(chance.choice(list(containers(document))), chance)
    try:
        return reference_cbor.encode(document)
    except (OverflowError, AttributeError):
        return b""


def ask_plan(data: bytes) -> bool:
    """What is taken is the plan that these bytes are, and can be shown and compared."""
    read = GcPlan.from_bytes(data)
    assert read.to_bytes() == data
    assert PLAN_TYPE.encode() in data
    assert len(read.digest) == 32
    return True


# Paths

_PATH_SEEDS = [
    path for path in (*ACCEPTED_PATHS, *REFUSED_PATHS) if isinstance(path, str) and len(path) < 500
]
_UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def is_safe(path: str) -> bool:
    """The rules of docs/format.md, "Relative paths", written a second time."""
    if _UNSAFE.search(path) or not path:
        return False
    names = path.split("/")
    return (
        all(name not in {"", ".", ".."} and len(name.encode()) <= 255 for name in names)
        and len(path.encode()) <= 4096
    )


def ask_path(path: str) -> bool:
    """A path that is taken lies below any root, whatever resolves it; all readers agree on it."""
    shown = printable(path)
    assert shown.isprintable()
    assert len(shown) < 2500
    taken = broken_rule(path) is None
    assert taken == is_safe(path), ascii(path)
    if not re.search("[\ud800-\udfff]", path):
        verify = load_verify()
        try:
            verify.check_paths([path])
            assert taken
        except verify.ManifestError:
            assert not taken
    assert check_relative_path(path) == path
    assert os.path.normpath(f"/export/{path}") == f"/export/{path}"
    assert all(is_safe(folder) for folder in parents(path))
    assert collision_key(path)
    return True


def path_set(chance: random.Random) -> list[str]:
    """Some paths that are taken and can stand beside each other."""
    make = texts(*_PATH_SEEDS)
    drawn = (path for path in iter(lambda: make(chance), None) if broken_rule(path) is None)
    chosen = set(islice(drawn, 12))
    folders = {folder for path in chosen for folder in parents(path)}
    return sorted(chosen - folders, key=str.encode)


def ask_export(paths: list[str]) -> bool:
    """What is exported lies where its path says, and nowhere else."""
    data = manifest_bytes(a_package(), [a_file(path, path.encode()) for path in paths])
    contents = {a_file(path, path.encode()).blake3: path.encode() for path in paths}
    with tempfile.TemporaryDirectory() as folder:
        export_directory(
            manifests.decode(data),
            data,
            StoredObjects(lambda blake3, _size: io.BytesIO(contents[blake3]), ""),  # type: ignore[arg-type, return-value]
            f"{folder}/out",
            bare=True,
        )
        assert os.listdir(folder) == ["out"]
        assert read_tree(Path(folder, "out")) == {path: path.encode() for path in paths}
    return True


CBOR_DOORS = (
    Door("manifest", mutant, ask_manifest),
    Door("CBOR", cbor, ask_cbor),
    Door("plan of a gc", plan, ask_plan),
)
PATH_DOORS = (Door("relative path", texts(*_PATH_SEEDS), ask_path),)
EXPORT_DOORS = (Door("export of paths", path_set, ask_export),)
