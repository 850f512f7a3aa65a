"""A process that may open no more files: it says so, and blames neither the evidence nor the disk for it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from typing import TYPE_CHECKING

import pytest
from store.harness import SAID, Home, refused

from artifactstore import BackendError, check_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from artifactstore import Store

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="/proc lists what is open")


def opened() -> dict[int, str]:
    """What this process has open, by descriptor."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


@contextlib.contextmanager
def no_more_files(spare: int = 0) -> Iterator[None]:
    """So many files can be opened in the block and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = (number for number in range(soft) if number not in opened())
    limit = next(free)
    for _ in range(spare):
        limit = next(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


CALLS: dict[str, Callable[[Store, str, Path], object]] = {
    "push": lambda store, _package, tree: store.push(tree, **SAID),
    "ingest": lambda store, _package, tree: store.ingest_directory(
        store.create_package(**SAID), tree, actor="ada"
    ),
    "read": lambda store, package, _tree: store.read_file(package, "README.md"),
    "verify": lambda store, _package, _tree: store.verify(actor="scrub"),
    "fsck": lambda store, _package, _tree: store.fsck(read=True),
    "export": lambda store, package, tree: store.export_package(package, tree.parent / "out"),
    "check": lambda _store, _package, tree: check_directory(tree.parent / "manifest", tree),
}


@pytest.mark.parametrize("spare", [0, 1, 2])
@pytest.mark.parametrize("name", CALLS)
def test_too_many_open_files(
    home: Home, store: Store, tree: Path, tmp_path: Path, name: str, spare: int
) -> None:
    package = store.push(tree, **SAID).package
    store.export_package(package.package_id, tmp_path / "first")
    shutil.copy(tmp_path / "first" / "ARTIFACTSTORE-AUDIT" / "manifest.cbor", tmp_path / "manifest")
    store.verify(actor="scrub")  # what is imported and connected only once is so now
    before = home.snapshot().tables["storage_locations"]
    with no_more_files(spare):
        refusal = refusal_of(CALLS[name], store, package.package_id, tree)
    assert refusal is not None or spare
    assert home.staged() == []
    assert store.verification(package.package_id).failed_count == 0
    if refusal is not None:
        assert (refusal.code, refusal.retryable) == ("too-many-open-files", True)
        assert name == "ingest" or home.snapshot().tables["storage_locations"] == before
        assert refusal_of(CALLS[name], store, package.package_id, tree) is None


def refusal_of(
    call: Callable[[Store, str, Path], object], store: Store, package: str, tree: Path
) -> BackendError | None:
    try:
        call(store, package, tree)
    except BackendError as error:
        return error
    return None


def test_a_refused_opening_keeps_nothing_open(home: Home) -> None:
    home.open().close()
    before = opened()
    with no_more_files(), refused(BackendError, "too-many-open-files", str(home.database)):
        home.open()
    errors = []
    for spare in range(1, 6):
        try:
            with no_more_files(spare):
                home.open().close()
        except BackendError as error:
            errors.append(error)  # kept, with all that its traceback holds
            assert opened() == before
    assert errors
