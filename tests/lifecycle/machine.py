"""A random operator against a dictionary: time, holds, deletions, damage, repairs and crashes.

The rules are the calls and the accidents; the invariants are what the product promises. What a call should
do is foretold from the dictionary; which bytes are damaged is read from the disk itself.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
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
from artifactstore.digest import digest_pair
from artifactstore.lifecycle import gc as collection
from artifactstore.model import FINALIZED, GARBAGE_COLLECTED, OPEN
from lifecycle.harness import DAY, MICROSECONDS, SECOND, Life, delete, flip, truncate

if TYPE_CHECKING:
    from artifactstore import Store
    from artifactstore.events import Event

    Key = tuple[str, bytes]  # a backend and an object

CONTENTS = [b"", b"a", b"b", b"a longer text\n" * 9]
SIZES = {digest_pair(data).blake3: len(data) for data in CONTENTS}
contents = st.sampled_from(CONTENTS)
trees = st.dictionaries(st.sampled_from(["a", "b", "c/d", "e"]), contents, min_size=1, max_size=3)
DURATIONS = {"transient": DAY, "raw-evidence": 90 * DAY, "permanent-record": None}
classes = st.sampled_from(["transient", *DURATIONS])
DAMAGES = {"flip": flip, "truncate": truncate, "delete": delete}
LOCAL = "local"
BACKENDS = (LOCAL, SECOND)
YEAR = 365 * DAY
LAST = 4000 * YEAR * MICROSECONDS  # where the clock may go, so that every expiry is an instant
JUMPS = (-4000, -800, -30, -0.5, 0.5, 1, 2, 40, 100, 364, 800, 4000)  # days


@dataclass
class Expected:
    """What the dictionary knows of a package."""

    retention_class: str
    status: str = OPEN
    files: dict[str, bytes] = field(default_factory=dict)
    expires_at: int | None = None
    holds: list[str] = field(default_factory=list)
    eligible: bool = False
    objects: set[bytes] = field(default_factory=set)
    copies: set[bytes] = field(default_factory=set)  # those of them that the second backend has too

    def finalize(self, package: Any) -> None:
        """Seal it."""
        seconds = DURATIONS[self.retention_class]
        self.expires_at = None if seconds is None else package.finalized_at + seconds * MICROSECONDS
        self.status, self.eligible = FINALIZED, False
        self.objects.add(package.manifest_digest.value)


class LifecycleMachine(RuleBasedStateMachine):
    """Everything that may happen to a store, one step after the other."""

    packages = Bundle("packages")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="lifecycle-machine-"))
        self.life = Life(self.root)
        self.model: dict[str, Expected] = {}
        # Objects that a verify has found damaged, and nothing has mended since.
        self.known: set[Key] = set()
        # Objects that no event names: a crash or an error has left them.
        self.orphans: set[Key] = set()
        self.dropped: list[Store] = []

    @property
    def store(self) -> Any:
        """The open store."""
        return self.life.store

    def teardown(self) -> None:
        for store in (self.store, *self.dropped):
            store.close()
        shutil.rmtree(self.root)

    # What the dictionary and the disk can tell

    def live(self) -> dict[str, Expected]:
        """The packages that still have their bytes."""
        return {key: entry for key, entry in self.model.items() if entry.status != GARBAGE_COLLECTED}

    def needed(self) -> set[Key]:
        """Objects that must be in a backend."""
        return {
            (backend, blake3)
            for entry in self.live().values()
            for backend, blake3s in ((LOCAL, entry.objects), (SECOND, entry.copies))
            for blake3 in blake3s
        }

    def stored(self) -> dict[Key, Path]:
        """Objects that are there, whole or not."""
        roots = {LOCAL: self.life.home.objects, SECOND: self.root / SECOND}
        return {
            (backend, bytes.fromhex(path.name)): path
            for backend, root in roots.items()
            for path in (root / "blake3").glob("*/*/*")
        }

    def damaged(self) -> set[Key]:
        """Objects whose bytes are not there or not right."""
        stored = self.stored()
        wrong = {key for key, path in stored.items() if digest_pair(path.read_bytes()).blake3 != key[1]}
        return wrong | (self.needed() - stored.keys())

    def trusted(self) -> set[Key]:
        """Damaged objects that a push takes for whole: their size is right and no verify has seen them."""
        stored = self.stored()
        return {
            key
            for key in self.damaged() - self.known
            if key in stored and stored[key].stat().st_size == SIZES.get(key[1])
        }

    def was_written(self, blake3s: set[bytes], trusted: set[Key]) -> None:
        """Objects came in anew: that mends what was known, or can be seen, to be damaged."""
        keys = {(LOCAL, blake3) for blake3 in blake3s}
        assert keys & self.damaged() == keys & trusted
        self.known -= keys
        self.settle()

    def newest_moment(self) -> int:
        """When the last event was recorded."""
        (event,) = self.store.events(after=self.life.newest() - 1)
        return int(event.recorded_at)

    def is_believed(self) -> bool:
        """Whether sweep and gc believe the clock."""
        return self.life.clock.now <= self.newest_moment() + YEAR * MICROSECONDS

    def settle(self) -> None:
        """What nobody needs any more is not known to be damaged, and what somebody needs is no orphan."""
        needed = self.needed()
        self.known &= needed
        self.orphans = (self.orphans & self.stored().keys()) - needed

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
        trusted = self.trusted()
        package_id = self.life.push(tree, retention_class)
        objects = {digest_pair(data).blake3 for data in tree.values()}
        entry = self.model[package_id] = Expected(retention_class, files=dict(tree), objects=objects)
        entry.finalize(self.store.get_package(package_id))
        self.was_written(entry.objects, trusted)
        return package_id

    @rule(target=packages, retention_class=classes)
    def create(self, retention_class: str) -> str:
        package_id: str = self.store.create_package(**{**SAID, "retention_class": retention_class})
        self.model[package_id] = Expected(retention_class)
        return package_id

    @rule(package_id=packages, data=contents, name=st.sampled_from(["x", "y", "z"]))
    def ingest(self, package_id: str, data: bytes, name: str) -> None:
        entry = self.model[package_id]
        if entry.status != OPEN or name in entry.files:
            with pytest.raises(ArtifactStoreError):
                self.store.ingest_file(package_id, name, data, actor="ada")
            return
        trusted = self.trusted()
        blake3 = self.store.ingest_file(package_id, name, data, actor="ada").digest.value
        entry.files[name] = data
        entry.objects.add(blake3)
        entry.eligible = False
        self.was_written({blake3}, trusted)

    @rule(package_id=packages)
    def finalize(self, package_id: str) -> None:
        entry = self.model[package_id]
        if entry.status != OPEN or not entry.files:
            with pytest.raises(StateError):
                self.store.finalize_package(package_id, actor="ada")
            return
        self.store.finalize_package(package_id, actor="ada")
        entry.finalize(self.store.get_package(package_id))
        self.settle()

    # Retention

    @rule(days=st.sampled_from(JUMPS))
    def jump(self, days: float) -> None:
        """The clock is set, or time goes by."""
        if 0 < self.life.clock.now + days * DAY * MICROSECONDS < LAST:
            self.life.tick(days=days)

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

    @rule(abandoned=st.booleans(), accept_clock=st.booleans())
    def sweep(self, abandoned: bool, accept_clock: bool) -> None:
        call = {"actor": "cron", "mark_abandoned": abandoned, "accept_clock": accept_clock}
        if not accept_clock and not self.is_believed():
            with pytest.raises(StateError, match="the clock says"):
                self.store.sweep(**call)
            return
        self.store.sweep(**call)
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
        self.sweep(abandoned=False, accept_clock=True)

    @precondition(lambda self: any(entry.eligible and not entry.holds for entry in self.live().values()))
    @rule(way=st.sampled_from(["hold", "extend"]))
    def save_at_the_last_moment(self, way: str) -> None:
        """After the sweep and right before gc."""
        package_id = next(key for key, entry in self.live().items() if entry.eligible and not entry.holds)
        if way == "hold":
            self.hold(package_id)
        else:
            self.extend(package_id, 200)
        self.gc(accept_clock=True)

    def may_go(self, entry: Expected) -> bool:
        """What gc may take now."""
        return entry.eligible and (self.due(entry) or (entry.status == OPEN and not entry.holds))

    def were_collected(self, collected: tuple[str, ...]) -> None:
        assert set(collected) == {key for key, entry in self.live().items() if self.may_go(entry)}
        for key in collected:
            self.model[key].status = GARBAGE_COLLECTED
        self.settle()

    @rule(accept_clock=st.booleans())
    def gc(self, accept_clock: bool) -> None:
        plan = self.store.plan_gc()
        call = {"actor": "cron", "plan": plan, "accept_clock": accept_clock}
        if not accept_clock and not self.is_believed():
            with pytest.raises(StateError, match="the clock says"):
                self.store.gc(**call)
            return
        self.were_collected(self.store.gc(**call).collected)
        assert self.stored().keys() <= self.needed() | self.orphans

    @rule()
    def gc_that_dies_after_the_release(self) -> None:
        plan = self.store.plan_gc()
        begin = lambda: self.store._transaction("cron")  # noqa: E731
        released = collection.release(begin, plan, self.life.clock)
        self.were_collected(tuple(package for package, taken in released if taken))
        self.crash()

    @rule()
    def delete_orphans(self) -> None:
        """However young they are."""
        self.store.orphans(actor="cron", delete=True, older_than=-(3 * 10**10))
        self.settle()
        assert self.orphans == set()
        assert self.stored().keys() <= self.needed()

    # Bytes

    @rule(data=st.data(), kind=st.sampled_from(sorted(DAMAGES)), backend=st.sampled_from(BACKENDS))
    def corrupt(self, data: st.DataObject, kind: str, backend: str) -> None:
        whole = self.needed() - self.damaged()
        candidates = sorted(key for key in whole if key[0] == backend and SIZES.get(key[1]) != 0)
        if candidates:
            DAMAGES[kind](self.stored()[data.draw(st.sampled_from(candidates))])

    def of(self, backend: str, keys: set[Key]) -> set[Key]:
        """Those in a backend."""
        return {key for key in keys if key[0] == backend}

    @rule(backend=st.sampled_from(BACKENDS))
    def verify(self, backend: str) -> None:
        result = self.store.verify(actor="scrub", backend=backend)
        wrong = self.of(backend, self.damaged() & self.needed())
        assert {(failure.backend_id, failure.blake3) for failure in result.failures} == wrong
        self.known = self.known - self.of(backend, self.known) | wrong
        assert result.complete

    @rule(backend=st.sampled_from(BACKENDS))
    def repair(self, backend: str) -> None:
        damaged, known, other = self.damaged(), self.of(backend, self.known), BACKENDS[backend == LOCAL]
        sound = self.needed() - damaged - self.known
        could = {key for key in known if key not in damaged or (other, key[1]) in sound}
        result = self.store.repair(actor="ada", backend=backend)
        assert {(entry.backend_id, entry.blake3) for entry in result.healed} == could
        left = {(entry.failure.backend_id, entry.failure.blake3) for entry in result.unhealed}
        assert left == known - could
        assert not could & self.damaged()
        self.known -= could

    @precondition(lambda self: not self.damaged() and not self.known)
    @rule(package_id=packages)
    def copy(self, package_id: str) -> None:
        self.store.copy(source=LOCAL, target=SECOND, actor="ada", package=package_id)
        entry = self.model[package_id]
        if entry.status != GARBAGE_COLLECTED:
            entry.copies = set(entry.objects)
        self.settle()

    # Accidents

    @rule()
    def reopen(self) -> None:
        self.life.reopen()

    @rule()
    def crash(self) -> None:
        """The store is dropped without a word; what was committed is there, what was not is not."""
        # Kept to the end: the collector would close it at a moment of its own choice.
        self.dropped.append(self.store)
        self.life.store = self.life.open()

    # Promises

    @invariant()
    def no_live_package_lost_a_byte(self) -> None:
        damaged = self.damaged()
        for package_id, entry in self.live().items():
            for path, data in entry.files.items():
                if (LOCAL, digest_pair(data).blake3) not in damaged:
                    assert self.store.read_file(package_id, path) == data

    @invariant()
    def packages_stand_where_the_dictionary_says(self) -> None:
        for package_id, entry in self.model.items():
            state = self.store.explain_retention(package_id).state
            assert (state.status, state.expires_at, state.hold_count) == (
                entry.status, entry.expires_at, len(entry.holds),
            )  # fmt: skip
            assert (state.status == GARBAGE_COLLECTED) <= (not entry.holds)

    def log(self, after: int = 0) -> list[Event]:
        """All events after a place."""
        found: list[Event] = []
        while page := self.store.events(after=after + len(found)):
            found += page
        return found

    @invariant()
    def every_deletion_is_in_the_log(self) -> None:
        """Whoever reads the log alone knows which packages and which bytes are there."""
        collected, held, live = set(), set(), {}
        for event in self.log():
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
        assert len(collected) == len(gone)

    @invariant()
    def time_never_runs_backwards_in_the_log(self) -> None:
        moments = [event.recorded_at for event in self.log()]
        assert moments == sorted(moments)

    @invariant()
    def fsck_finds_what_is_damaged_and_nothing_else(self) -> None:
        found = [f"{finding.part}: {finding.what}" for finding in self.store.fsck(read=True).findings]
        wrong = self.damaged() & self.needed() | self.known
        names = [f"objects: blake3:{blake3.hex()} in backend {backend}: " for backend, blake3 in wrong]
        for name in names:
            assert any(line.startswith(name) for line in found)
        manifests = {
            f"manifests: package {package.package_id}: "
            for package in self.store.list_packages(limit=1000, status=FINALIZED).items
            if any(blake3 == package.manifest_digest.value for _, blake3 in wrong)
        }
        left = {
            f"objects: blake3:{blake3.hex()} in backend {backend}: no location names it"
            for backend, blake3 in self.orphans
        }
        assert [line for line in found if not line.startswith((*names, *manifests, *left))] == []
