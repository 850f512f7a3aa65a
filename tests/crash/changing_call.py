"""A call that changes something, as a row of the drills, and what must be true after any fault under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.harness import SAID, write_tree

from artifactstore import ArtifactStoreError, rebuild
from artifactstore.database import Database
from crash.place import flipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore import Store
    from crash.place import Place

KEPT = {"kept/report.txt": b"acknowledged before the fault\n", "shared.log": b"the same bytes\n" * 50}
TREE = {
    "a/new.json": b'{"verdict": "passed"}\n',
    "a/same.json": b'{"verdict": "passed"}\n',
    "b/shared.log": KEPT["shared.log"],
    "empty": b"",
}


@dataclass(frozen=True)
class ChangingCall:
    """A row: one call that changes something.

    Args:
        name: of the row.
        prepare: makes what must be there before; runs without a fault, on a store that has `KEPT`.
        call: the call. It runs in a process of its own, under the fault, and again after it.
        happened: whether all of its effect is there; false means that none of it is visible.
        creates: the call makes the store itself: there is none before.
        days: how far the clock is moved before the call.
        idempotent: who does not know whether it happened does not look first, but simply calls again.
        damaged: `prepare` plants damage.
        heals: a call that has returned says that it has mended that damage.
    """

    name: str
    call: Callable[[Place, Store], object]
    happened: Callable[[Place, Store], bool]
    prepare: Callable[[Place, Store], object] = lambda _place, _store: None
    creates: bool = False
    days: float = 0
    idempotent: bool = False
    damaged: bool = False
    heals: bool = False

    def set_up(self, place: Place) -> None:
        """Make everything that must be there before the call."""
        write_tree(place.tree, TREE)
        write_tree(place.root / "kept", KEPT)
        place.second.parent.mkdir()
        if self.creates:
            return
        with place.open(create=True) as store:
            said = {**SAID, "retention_class": "permanent-record"}
            place.note("kept", store.push(place.root / "kept", **said).package.package_id)
            self.prepare(place, store)

    def run(
        self,
        place: Place,
        acknowledge: Callable[[], object] = lambda: None,
        refused: Callable[[Store], object] = lambda _store: None,
    ) -> None:
        """Do the call, in a process that may not live to its end.

        Args:
            acknowledge: called when the call has returned, before the store is closed.
            refused: called with the open store when the call has raised.
        """
        with place.open(create=self.creates, days=self.days) as store:
            try:
                self.call(place, store)
            except ArtifactStoreError:
                refused(store)
                raise
            acknowledge()

    def reopen(self, place: Place) -> None:
        """What the next process does first, where a store may not be there yet or is of an old version."""
        if self.creates:
            place.open(create=True).close()

    def again(self, place: Place, acknowledge: Callable[[], object] = lambda: None) -> None:
        """What a caller does who does not know whether the call happened; it must succeed."""
        with place.open(create=self.creates) as store:
            self.finish(place, store, acknowledge)

    def finish(self, place: Place, store: Store, acknowledge: Callable[[], object] = lambda: None) -> None:
        """The same with a store that is open."""
        if self.idempotent or not self.happened(place, store):
            self.call(place, store)
        acknowledge()
        assert self.happened(place, store), f"{self.name} was done again and has not happened"


@dataclass(frozen=True)
class MendingCall(ChangingCall):
    """A call that mends what everybody trips over: where it may not have happened it is made first."""

    def reopen(self, place: Place) -> None:
        with place.open() as store:
            self.call(place, store)


def migrate(
    place: Place, _store: Store | None = None, acknowledge: Callable[[], object] = lambda: None
) -> None:
    """Bring the store of a place to this version."""
    database = Database(str(place.home.database), busy_timeout=place.busy_timeout)
    try:
        rebuild.migrate(database, place.clock())
        acknowledge()
    finally:
        database.close()


@dataclass(frozen=True)
class MigrationCall(ChangingCall):
    """A migration: no store can be opened before it."""

    def run(
        self,
        place: Place,
        acknowledge: Callable[[], object] = lambda: None,
        refused: Callable[[Store], object] = lambda _store: None,
    ) -> None:
        migrate(place, acknowledge=acknowledge)

    def reopen(self, place: Place) -> None:
        migrate(place)

    def again(self, place: Place, acknowledge: Callable[[], object] = lambda: None) -> None:
        migrate(place, acknowledge=acknowledge)
        super().again(place)


def check(place: Place, row: ChangingCall, *, acknowledged: bool) -> None:
    """What must be true after any fault, before anything is mended.

    Args:
        acknowledged: the call had returned.
    """
    if not acknowledged:
        row.reopen(place)
    with place.open() as store:
        findings = [f"{found.part}: {found.what}" for found in store.fsck(read=True).findings]
        surplus = [line for line in findings if not is_left_over(line, row, acknowledged=acknowledged)]
        assert surplus == [], findings
        assert store.replay(check=True).identical
        if not row.creates:
            for path, data in KEPT.items():
                assert store.read_file(place.noted("kept"), path) == data, path
        if row.damaged:
            assert _damage_is_kept(place)
        if acknowledged:
            assert row.happened(place, store), f"{row.name} was acknowledged and is lost"


def is_left_over(finding: str, row: ChangingCall, *, acknowledged: bool) -> bool:
    """Objects that no event names may be left by a crash; damage that the row planted, until it is mended."""
    still_damaged = row.damaged and not (row.heals and acknowledged)
    return finding.endswith("no location names it") or (
        still_damaged and ("a verify found it damaged" in finding or "digest differs" in finding)
    )


def _damage_is_kept(place: Place) -> bool:
    """Damaged bytes are evidence too: they lie where they were, or aside."""
    return flipped(TREE["a/new.json"]) in (place.stored(TREE["a/new.json"]), *place.set_aside())
