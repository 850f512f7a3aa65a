"""The places of a store itself: no output of it goes there, and nothing of it becomes evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store.harness import SAID, refused, write_tree

from artifactstore import InvalidInputError, Selection
from artifactstore.digest import object_key

if TYPE_CHECKING:
    from pathlib import Path

    from store.harness import Home

    from artifactstore import Package, Store

# Below the folder of a store. The first three were taken for what a crash left, or for objects.
OWN = [
    "storage/tmp/out",
    "storage/blake3/zz",
    "storage/out",
    "storage/new/folder/out",
    "artifactstore.db.uploads",
    "artifactstore.db.uploads/out",
    "artifactstore.db-journal",
    "artifactstore.db.seen/out",
]


@pytest.fixture
def package(store: Store, tree: Path) -> Package:
    return store.push(tree, **SAID).package


@pytest.mark.parametrize("place", OWN)
def test_nothing_is_written_into_the_store_for_its_user(
    home: Home, store: Store, package: Package, place: str, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(home.root)
    for target in (home.root / place, tmp_path / "link" / place, tmp_path / "no" / ".." / "link" / place):
        with home.unchanged():
            with refused(InvalidInputError, "store-inside", "belongs to the store itself"):
                store.export_package(package.package_id, target)
            with refused(InvalidInputError, "store-inside", "belongs to the store itself"):
                store.backup(target)


def test_names_beside_the_database_are_free(home: Home, store: Store, package: Package) -> None:
    store.export_package(package.package_id, home.root / "artifactstore.db.out")
    store.backup(home.root / "storage-2.db")


def test_no_folder_of_objects_is_evidence(home: Home, store: Store, package: Package, tmp_path: Path) -> None:
    below = next((home.objects / "blake3").iterdir())
    (tmp_path / "link").symlink_to(below)
    for folder in (home.objects, home.objects / "blake3", below, tmp_path / "link"):
        with home.unchanged(), refused(InvalidInputError, "store-inside", "belongs to the store itself"):
            store.push(folder, **SAID)
    uploads = write_tree(home.root / "artifactstore.db.uploads", {"one.part": b"half"})
    with home.unchanged(), refused(InvalidInputError, "store-inside"):
        store.push(uploads, **SAID)
    opened = store.create_package(**SAID)
    digest = store.get_file(package.package_id, "README.md").digest
    with home.unchanged(), refused(InvalidInputError, "store-inside"):
        store.ingest_file(opened, "a", home.objects / object_key(digest.value), actor="ada")


def test_a_followed_link_to_a_folder_of_objects_is_refused(
    home: Home, store: Store, package: Package
) -> None:
    write_tree(home.root / "evidence", {"a": b"a"})
    (home.root / "evidence" / "objects").symlink_to(home.objects / "blake3")
    selection = Selection(symlinks="follow", exclude=("artifactstore.db*", "storage"))
    with home.unchanged(), refused(InvalidInputError, "store-inside", "'evidence/objects'"):
        store.push(home.root, **SAID, selection=selection)
