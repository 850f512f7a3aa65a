"""A random operator against a dictionary: time, holds, deletions, damage, repairs and crashes."""

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
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from store.harness import SAID

from artifactstore import ArtifactStoreError, InvalidInputError, StateError, events
from artifactstore.lifecycle import gc as collection
from artifactstore.model import FINALIZED, GARBAGE_COLLECTED, OPEN
from lifecycle.harness import DAY, MICROSECONDS, SECOND, Life, delete, flip, truncate

contents = st.sampled_from([b"", b"a", b"b", b"a longer text\n" * 9])
trees = st.dictionaries(st.sampled_from(["a", "b", "c/d", "e"]), contents, min_size=1, max_size=3)
classes = st.sampled_from(["transient", "transient", "raw-evidence", "permanent-record"])
DURATIONS = {"transient": DAY, "raw-evidence": 90 * DAY, "permanent-record": None}
DAMAGES = {"flip": flip, "truncate": truncate, "delete": delete}
BACKENDS = ("local", SECOND)


@dataclass
class Expected:
    """What the dictionary knows of a package."""

    retention_class: str
    status: str = OPEN
    files: dict[str, bytes] = field(default_factory=dict)
    expires_at: int | None = None
    holds: list[str] = field(default_factory=list)
    eligible: bool = False
    copied: bool = False


class LifecycleMachine(RuleBasedStateMachine):
    """The rules are the calls and the accidents; the invariants are what the product promises."""

    packages = Bundle("packages")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="lifecycle-machine-"))
        self.life = Life(self.root)
        self.model: dict[str, Expected] = {}
        # Objects that were damaged by us, by backend, and those of them that a verify has seen.
        self.damaged: dict[tuple[str, bytes], str] = {}
        self.known: set[tuple[str, bytes]] = set()
        self.digests: dict[str, set[bytes]] = {}

    @property
    def store(self) -> Any:
        return self.life.store

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.root)

    # What the dictionary can tell

    def live(self) -> dict[str, Expected]:
        return {key: entry for key, entry in self.model.items() if entry.status != GARBAGE_COLLECTED}

    def needed(self, backend: str) -> set[bytes]:
        """Objects that must be in a backend."""
        return {
            blake3
            for key, entry in self.live().items()
            if backend == "local" or entry.copied
            for blake3 in self.digests[key]
        }

    def forget(self) -> None:
        """Damage to what nobody needs any more is no damage."""
        self.damaged = {key: kind for key, kind in self.damaged.items() if key[1] in self.needed(key[0])}
        self.known &= set(self.damaged)

    def mend(self, backend: str, blake3s: set[bytes]) -> None:
        for blake3 in blake3s:
            self.damaged.pop((backend, blake3), None)
            self.known.discard((backend, blake3))

    def note_digests(self, package_id: str) -> None:
        package = self.store.get_package(package_id)
        found = {file.digest.value for file in self.store.list_files(package_id).items}
        if package.manifest_digest is not None:
            found.add(package.manifest_digest.value)
        self.digests[package_id] = found

    # Packages

    @initialize(target=packages)
    def begin(self) -> Any:
        """Every walk starts with something that is due, and with bytes that somebody else needs too."""
        found = [
            self.push({"a": b"a"}, "transient"),
            self.push({"a": b"a", "b": b"b"}, "transient"),
            self.push({"b": b"b"}, "permanent-record"),
        ]
        self.expire()
        return multiple(*found)

    @rule(target=packages, tree=trees, retention_class=classes)
    def push(self, tree: dict[str, bytes], retention_class: str) -> str:
        package_id = self.life.push(tree, retention_class)
        entry = Expected(retention_class, FINALIZED, dict(tree))
        package = self.store.get_package(package_id)
        seconds = DURATIONS[retention_class]
        entry.expires_at = None if seconds is None else package.finalized_at + seconds * MICROSECONDS
        self.model[package_id] = entry
        self.note_digests(package_id)
        # What was known to be damaged, or shows by its size, was written anew.
        for backend, blake3 in list(self.damaged):
            if backend == "local" and blake3 in self.digests[package_id]:
                seen = (backend, blake3) in self.known
                if seen or self.damaged[backend, blake3] != "flip":
                    self.mend(backend, {blake3})
        return package_id

    @rule(target=packages, retention_class=classes)
    def create(self, retention_class: str) -> str:
        package_id: str = self.store.create_package(**{**SAID, "retention_class": retention_class})
        self.model[package_id] = Expected(retention_class)
        self.digests[package_id] = set()
        return package_id

    @rule(package_id=packages, data=contents, name=st.sampled_from(["x", "y", "z"]))
    def ingest(self, package_id: str, data: bytes, name: str) -> None:
        entry = self.model[package_id]
        if entry.status != OPEN or name in entry.files:
            with pytest.raises(ArtifactStoreError):
                self.store.ingest_file(package_id, name, data, actor="ada")
            return
        file = self.store.ingest_file(package_id, name, data, actor="ada")
        entry.files[name] = data
        entry.eligible = entry.copied = False
        self.digests[package_id].add(file.digest.value)
        key = ("local", file.digest.value)
        if key in self.damaged and (key in self.known or self.damaged[key] != "flip"):
            self.mend(*key[:1], {key[1]})

    @rule(package_id=packages)
    def finalize(self, package_id: str) -> None:
        entry = self.model[package_id]
        if entry.status != OPEN or not entry.files:
            with pytest.raises(StateError):
                self.store.finalize_package(package_id, actor="ada")
            return
        self.store.finalize_package(package_id, actor="ada")
        package = self.store.get_package(package_id)
        seconds = DURATIONS[entry.retention_class]
        entry.expires_at = None if seconds is None else package.finalized_at + seconds * MICROSECONDS
        entry.status, entry.eligible, entry.copied = FINALIZED, False, False
        self.note_digests(package_id)

    # Retention

    @rule(days=st.sampled_from([0.5, 1, 2, 40, 100]))
    def tick(self, days: float) -> None:
        self.life.tick(days=days)

    @rule()
    def set_the_clock_back(self) -> None:
        self.life.tick(days=-0.5)

    @rule(package_id=packages)
    def hold(self, package_id: str) -> None:
        entry = self.model[package_id]
        if entry.status == GARBAGE_COLLECTED:
            with pytest.raises(StateError):
                self.store.apply_hold(package_id, reason="lawsuit", actor="law")
        else:
            entry.holds.append(self.store.apply_hold(package_id, reason="lawsuit", actor="law").hold_id)

    @rule(package_id=packages)
    def release(self, package_id: str) -> None:
        entry = self.model[package_id]
        if entry.holds:
            hold = entry.holds.pop()
            self.store.release_hold(package_id, hold, reason="settled", actor="law")
            with pytest.raises(StateError):
                self.store.release_hold(package_id, hold, reason="again", actor="law")

    @rule(package_id=packages, days=st.sampled_from([1, 30, 200, None]))
    def extend(self, package_id: str, days: int | None) -> None:
        entry = self.model[package_id]
        call = {"for_ever": True} if days is None else {"by": days * DAY}
        if entry.status != FINALIZED or entry.expires_at is None:
            with pytest.raises(StateError):
                self.store.extend_retention(package_id, actor="law", **call)
            return
        target = None if days is None else entry.expires_at + days * DAY * MICROSECONDS
        if target is not None and target <= self.life.clock.now:
            with pytest.raises(InvalidInputError):
                self.store.extend_retention(package_id, actor="law", **call)
            return
        assert self.store.extend_retention(package_id, actor="law", **call).expires_at == target
        entry.expires_at = target

    def due(self, entry: Expected) -> bool:
        """Finalized, expired and not held."""
        expired = entry.expires_at is not None and entry.expires_at <= self.life.clock.now
        return entry.status == FINALIZED and expired and not entry.holds

    @rule(abandoned=st.booleans())
    def sweep(self, abandoned: bool) -> None:
        self.store.sweep(actor="cron", mark_abandoned=abandoned, accept_clock=True)
        for package_id, entry in self.live().items():
            state = self.store.explain_retention(package_id).state
            entry.eligible = state.eligible_at is not None
            if entry.status == FINALIZED:
                assert entry.eligible == self.due(entry)
            else:
                assert not (entry.eligible and entry.holds)

    @rule()
    def expire(self) -> None:
        self.life.tick(days=2)
        self.sweep(False)

    @precondition(lambda self: any(entry.eligible and not entry.holds for entry in self.live().values()))
    @rule(way=st.sampled_from(["hold", "extend"]))
    def save_at_the_last_moment(self, way: str) -> None:
        """After the sweep and right before gc."""
        package_id = next(key for key, entry in self.live().items() if entry.eligible and not entry.holds)
        if way == "hold":
            self.hold(package_id)
        else:
            self.extend(package_id, 200)
        self.gc()

    def expect_collected(self, collected: tuple[str, ...]) -> None:
        going = {
            key
            for key, entry in self.live().items()
            if entry.eligible and (self.due(entry) or (entry.status == OPEN and not entry.holds))
        }
        assert set(collected) == going
        for key in going:
            self.model[key].status = GARBAGE_COLLECTED

    @rule()
    def gc(self) -> None:
        plan = self.store.plan_gc()
        self.expect_collected(self.store.gc(actor="cron", plan=plan, accept_clock=True).collected)
        self.forget()
        kept = self.needed("local") | {key[1] for key in self.damaged if key[0] == "local"}
        assert {path.name for path in self.life.home.object_paths()} <= {blake3.hex() for blake3 in kept}

    @rule()
    def gc_that_dies_after_the_release(self) -> None:
        plan = self.store.plan_gc()
        begin = lambda: self.store._transaction("cron")  # noqa: E731
        released = collection.release(begin, plan, self.life.clock)
        self.expect_collected(tuple(package for package, taken in released if taken))
        self.forget()
        self.crash()

    # Bytes

    @rule(data=st.data(), kind=st.sampled_from(sorted(DAMAGES)), backend=st.sampled_from(BACKENDS))
    def corrupt(self, data: st.DataObject, kind: str, backend: str) -> None:
        # Named by package and path, since the digests of manifests differ from run to run.
        candidates = [
            (package_id, path)
            for package_id, entry in self.live().items()
            if backend == "local" or entry.copied
            for path in (*entry.files, *([None] * (entry.status == FINALIZED)))
            if path is None or entry.files[path]
        ]
        if not candidates:
            return
        package_id, path = data.draw(st.sampled_from(candidates))
        if path is None:
            blake3 = self.store.get_package(package_id).manifest_digest.value
        else:
            blake3 = self.store.get_file(package_id, path).digest.value
        if (backend, blake3) not in self.damaged:
            DAMAGES[kind](self.life.object(blake3, backend=backend))
            self.damaged[backend, blake3] = kind

    @rule(backend=st.sampled_from(BACKENDS))
    def verify(self, backend: str) -> None:
        result = self.store.verify(actor="scrub", backend=backend)
        wrong = {key for key in self.damaged if key[0] == backend}
        assert {(failure.backend_id, failure.blake3) for failure in result.failures} == wrong
        self.known |= wrong
        assert result.complete

    @rule(backend=st.sampled_from(BACKENDS))
    def repair(self, backend: str) -> None:
        result = self.store.repair(actor="ada", backend=backend)
        other = SECOND if backend == "local" else "local"
        could = {
            key
            for key in self.known
            if key[0] == backend and key[1] in self.needed(other) and (other, key[1]) not in self.damaged
        }
        assert {(entry.backend_id, entry.blake3) for entry in result.healed} == could
        for key in could:
            self.mend(key[0], {key[1]})
        left = {(entry.failure.backend_id, entry.failure.blake3) for entry in result.unhealed}
        assert left == {key for key in self.known if key[0] == backend}

    @precondition(lambda self: not self.damaged)
    @rule(package_id=packages)
    def copy(self, package_id: str) -> None:
        self.store.copy(source="local", target=SECOND, actor="ada", package=package_id)
        if self.model[package_id].status != GARBAGE_COLLECTED:
            self.model[package_id].copied = True

    # Accidents

    @rule()
    def reopen(self) -> None:
        self.life.reopen()

    @rule()
    def crash(self) -> None:
        """The store is dropped without a word; what was committed is there, what was not is not."""
        self.life.store = self.life.open()

    # Promises

    @invariant()
    def no_live_package_lost_a_byte(self) -> None:
        for package_id, entry in self.live().items():
            for path, data in entry.files.items():
                blake3 = self.store.get_file(package_id, path).digest.value
                if ("local", blake3) not in self.damaged:
                    assert self.store.read_file(package_id, path) == data

    @invariant()
    def packages_stand_where_the_dictionary_says(self) -> None:
        for package_id, entry in self.model.items():
            state = self.store.explain_retention(package_id).state
            assert (state.status, state.expires_at, state.hold_count) == (
                entry.status, entry.expires_at, len(entry.holds),
            )  # fmt: skip
            assert (state.status == GARBAGE_COLLECTED) <= (not entry.holds)

    @invariant()
    def every_deletion_is_in_the_log(self) -> None:
        """Whoever reads the log alone knows which packages and which bytes are there."""
        log = []
        while page := self.store.events(after=len(log)):
            log += page
        collected, held, live = set(), set(), {}
        for event in log:
            package, payload = event.package_id, event.payload
            if event.type == events.FILE_INGESTED:
                live[payload["blake3"], payload["backend_id"], event.sequence] = package
            elif event.type == events.PACKAGE_FINALIZED:
                live[payload["manifest_blake3"], payload["backend_id"], event.sequence] = package
            elif event.type == events.LOCATION_ADDED:
                live[payload["blake3"], payload["backend_id"], payload["reference"]] = package
            elif event.type == events.HOLD_APPLIED:
                held.add((package, payload["hold_id"]))
            elif event.type == events.HOLD_RELEASED:
                held.discard((package, payload["hold_id"]))
            elif event.type == events.LOCATION_DELETED:
                del live[payload["blake3"], payload["backend_id"], payload["reference"]]
                assert package not in {holder for holder, _ in held}
            elif event.type == events.GARBAGE_COLLECTED:
                collected.add(package)
                assert package not in live.values()
            elif event.type == events.OBJECT_DELETED:
                key = (payload["blake3"], payload["backend_id"])
                assert key not in {place[:2] for place in live}
        gone = {key for key, entry in self.model.items() if entry.status == GARBAGE_COLLECTED}
        assert {event.package_id for event in log if event.package_id in collected} == collected
        assert len(collected) == len(gone)

    @invariant()
    def replay_is_identical_and_fsck_finds_what_we_planted(self) -> None:
        assert self.store.replay(check=True).identical
        found = [finding.what for finding in self.store.fsck(read=True).findings]
        for backend, blake3 in self.damaged:
            assert any(f"blake3:{blake3.hex()} in backend {backend}: " in line for line in found)
        manifests = {
            package.package_id
            for package in self.store.list_packages(limit=1000, status=FINALIZED).items
            if any(blake3 == package.manifest_digest.value for _, blake3 in self.damaged)
        }
        names = [f"blake3:{blake3.hex()} in backend {backend}: " for backend, blake3 in self.damaged]
        names += [f"package {package}: " for package in manifests]
        assert [line for line in found if not any(name in line for name in names)] == []


TestLifecycleMachine = LifecycleMachine.TestCase
TestLifecycleMachine.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
class TestLifecycleMachineAtLength(LifecycleMachine.TestCase):  # type: ignore[name-defined, misc] # made at run time
    """The same for some minutes."""

    settings = settings(
        max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
