"""A random user against a dictionary: whatever happens, the store and the dictionary agree."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from artifactstore import ConflictError, DuplicateRelativePathError, StateError, check_directory
from store.harness import SAID, CountedIds, FakeClock, Home, read_tree, write_tree

names = st.sampled_from(["a", "b", "A", "\u00fc", "c.txt", "b-", "b0", "\U0001f600"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
contents = st.sampled_from([b"", b"a", b"b", b"a longer text\n" * 400])
labels = st.sampled_from(["ci", "lab"])
keys = st.sampled_from([None, None, None, "key-1", "key-2"])


def collide(one: str, two: str) -> bool:
    return one == two or one.startswith(f"{two}/") or two.startswith(f"{one}/")


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    tree: dict[str, bytes] = {}
    for path, data in draw(st.lists(st.tuples(paths, contents), min_size=1, max_size=5)):
        if not any(collide(path, other) for other in tree):
            tree[path] = data
    return tree


@dataclass
class Expected:
    """What the dictionary knows of a package."""

    producer: str
    files: dict[str, bytes] = field(default_factory=dict)
    finalized: bool = False


class StoreMachine(RuleBasedStateMachine):
    """The rules are the calls; the invariants compare everything that can be read."""

    packages = Bundle("packages")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="store-machine-"))
        self.home = Home(self.root / "home")
        self.clock, self.ids = FakeClock(), CountedIds()
        self.model: dict[str, Expected] = {}
        self.requests: dict[str, tuple[object, str]] = {}
        self.trees = 0

    @initialize()
    def open(self) -> None:
        self.store = self.home.open(clock=self.clock, new_id=self.ids)

    def teardown(self) -> None:
        for package_id, expected in self.model.items():
            for path, data in expected.files.items():
                assert self.store.read_file(package_id, path) == data
        assert self.home.staged() == []
        self.store.close()
        shutil.rmtree(self.root)

    def write(self, tree: dict[str, bytes]) -> Path:
        self.trees += 1
        return write_tree(self.root / f"tree-{self.trees}", tree)

    def said(self, producer: str) -> dict[str, Any]:
        return {**SAID, "producer": producer, "metadata": {"producer": {"name": producer}}}

    @rule(target=packages, producer=labels, key=keys)
    def create(self, producer: str, key: str | None) -> Any:
        request = ("create", producer)
        if key in self.requests and self.requests[key][0] != request:
            with pytest.raises(ConflictError):
                self.store.create_package(**self.said(producer), idempotency_key=key)
            return multiple()
        package_id = self.store.create_package(**self.said(producer), idempotency_key=key)
        if key in self.requests:
            assert package_id == self.requests[key][1]
            return multiple()
        if key is not None:
            self.requests[key] = (request, package_id)
        self.model[package_id] = Expected(producer)
        return package_id

    @rule(package_id=packages, path=paths, data=contents)
    def ingest_file(self, package_id: str, path: str, data: bytes) -> None:
        expected = self.model[package_id]
        if expected.finalized:
            with pytest.raises(StateError):
                self.store.ingest_file(package_id, path, data, actor="ada")
        elif any(collide(path, other) for other in expected.files):
            with pytest.raises(DuplicateRelativePathError):
                self.store.ingest_file(package_id, path, data, actor="ada")
        else:
            assert self.store.ingest_file(package_id, path, data, actor="ada").size == len(data)
            expected.files[path] = data

    @rule(package_id=packages, tree=trees())
    def ingest_directory(self, package_id: str, tree: dict[str, bytes]) -> None:
        expected = self.model[package_id]
        directory = self.write(tree)
        if expected.finalized:
            with pytest.raises(StateError):
                self.store.ingest_directory(package_id, directory, actor="ada")
        elif any(collide(path, other) for path in tree for other in expected.files):
            with pytest.raises(DuplicateRelativePathError):
                self.store.ingest_directory(package_id, directory, actor="ada")
        else:
            assert self.store.ingest_directory(package_id, directory, actor="ada").file_count == len(tree)
            expected.files.update(tree)

    @rule(package_id=packages)
    def finalize(self, package_id: str) -> None:
        expected = self.model[package_id]
        if expected.finalized or not expected.files:
            with pytest.raises(StateError):
                self.store.finalize_package(package_id, actor="ada")
        else:
            self.store.finalize_package(package_id, actor="ada")
            expected.finalized = True

    @rule(target=packages, producer=labels, tree=trees(), if_changed=st.booleans(), key=keys)
    def push(self, producer: str, tree: dict[str, bytes], key: str | None, *, if_changed: bool) -> Any:
        request = ("push", producer, tuple(sorted(tree.items())))
        call = {**self.said(producer), "if_changed": if_changed, "idempotency_key": key}
        directory = self.write(tree)
        if key in self.requests and self.requests[key][0] != request:
            with pytest.raises(ConflictError):
                self.store.push(directory, **call)
            return multiple()
        result = self.store.push(directory, **call)
        same = [
            package_id
            for package_id, expected in self.model.items()
            if (expected.producer, expected.files, expected.finalized) == (producer, tree, True)
        ]
        if key in self.requests:
            assert result.unchanged
            assert result.package.package_id == self.requests[key][1]
        elif if_changed and same:
            assert result.unchanged
            assert result.package.package_id == same[-1]
        else:
            assert not result.unchanged
            package_id = result.package.package_id
            self.model[package_id] = Expected(producer, dict(tree), finalized=True)
            if key is not None:
                self.requests[key] = (request, package_id)
            return package_id
        return multiple()

    @rule(package_id=consumes(packages))
    def export(self, package_id: str) -> None:
        expected = self.model[package_id]
        target = self.root / f"export-{package_id}"
        if not expected.finalized:
            with pytest.raises(StateError):
                self.store.export_package(package_id, target)
            return
        self.store.export_package(package_id, target, bare=True)
        assert read_tree(target) == expected.files
        assert check_directory(self.store.get_manifest_bytes(package_id), target).intact

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.home.open(clock=self.clock, new_id=self.ids, create=False)

    @rule(data=contents)
    def find(self, data: bytes) -> None:
        holders = {
            (package_id, path)
            for package_id, expected in self.model.items()
            for path, content in expected.files.items()
            if content == data
        }
        if holders:
            package_id, path = next(iter(holders))
            digest = self.store.get_file(package_id, path).sha256
            hits = self.store.find_object(str(digest))
            assert {(hit.package.package_id, hit.file.relative_path) for hit in hits} == holders
            assert len(hits) == len(holders)

    @rule()
    def replay(self) -> None:
        assert self.store.replay().identical

    @rule(seconds=st.integers(-100_000, 100_000))
    def set_the_clock(self, seconds: int) -> None:
        self.clock.now += seconds * 1_000_000

    @invariant()
    def views_are_those_of_the_log(self) -> None:
        if hasattr(self, "store"):
            assert self.store.replay(check=True).identical

    @invariant()
    def reads_equal_the_dictionary(self) -> None:
        if not hasattr(self, "store"):
            return
        found = self.store.list_packages(limit=1000).items
        assert [package.package_id for package in found] == list(reversed(self.model))
        for package in found:
            expected = self.model[package.package_id]
            assert package.status == ("finalized" if expected.finalized else "open")
            assert package.producer == expected.producer
            assert (package.file_count, package.total_size) == (
                len(expected.files),
                sum(map(len, expected.files.values())),
            )
            listed = [
                (file.relative_path, file.size) for file in self.store.list_files(package.package_id).items
            ]
            assert listed == [
                (path, len(expected.files[path])) for path in sorted(expected.files, key=str.encode)
            ]
        for producer in ("ci", "lab"):
            wanted = [package for package in found if package.producer == producer]
            assert list(self.store.list_packages(producer=producer, limit=1000).items) == wanted
            assert (
                list(self.store.list_packages(metadata={"producer.name": producer}, limit=1000).items)
                == wanted
            )


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_store_and_a_dictionary_agree() -> None:
    run(25, 25)


@pytest.mark.slow(seconds=20)
def test_the_store_and_a_dictionary_agree_for_minutes(request: pytest.FixtureRequest) -> None:
    run(300 if request.config.getoption("--full") else 20, 50)
