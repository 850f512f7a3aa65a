"""The calls that change something, one row each: every drill runs every row under its fault.

To add a call: write what must be there before, the call itself, and how to see that all of it happened, and
add one line to `CALLS`. Calls with S3, over HTTP or of the producers get their rows here too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lifecycle.harness import DAY, MICROSECONDS, SECOND, flip
from store.harness import LARGE, SAID, START, FakeClock, Home, incompressible, write_tree

from artifactstore import ArtifactStoreError, Store
from artifactstore.database import BUSY_TIMEOUT, Database
from artifactstore.digest import digest_pair, object_key
from artifactstore.rebuild import migrate
from artifactstore.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEPT = {"kept/report.txt": b"acknowledged before the fault\n", "shared.log": b"the same bytes\n" * 50}
TREE = {
    "a/new.json": b'{"verdict": "passed"}\n',
    "a/same.json": b'{"verdict": "passed"}\n',
    "b/shared.log": KEPT["shared.log"],
    "empty": b"",
}
LARGE_SIZE = LARGE + 4097  # bytes: streamed through the ring, with a last sector that is not whole
_LATER = 60 * MICROSECONDS  # a process that opens the store again does so later than the one before it


@dataclass(frozen=True)
class Place:
    """Where a drill happens: a store with two backends, trees to push, and a clock that goes on in a file.

    Everything lies below one folder, which a drill may copy, mount or throw away.

    Args:
        busy_timeout: seconds that its writers wait for each other.
        now: what the clock says in a place that is `still`.
        notes: the ids that it remembers.
    """

    root: Path
    busy_timeout: float = BUSY_TIMEOUT
    now: int | None = None
    notes: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def home(self) -> Home:
        """The store's own place."""
        return Home(self.root / "home")

    @property
    def tree(self) -> Path:
        """The directory that is pushed."""
        return self.root / "tree"

    @property
    def second(self) -> Path:
        """The root of the other backend."""
        return self.root / "second"

    def open(self, *, create: bool = False, days: float = 0) -> Store:
        """The store, at a moment after all earlier ones.

        Args:
            days: how far to move the clock first, for this opening and all later ones.
        """
        return Store.open(
            self.home.database,
            self.home.objects,
            further={SECOND: self.second},
            create=create,
            clock=self.clock(days=days),
            busy_timeout=self.busy_timeout,
        )

    def clock(self, *, days: float = 0) -> FakeClock:
        """A clock that stands after all earlier ones; see `open`."""
        if self.now is not None:
            return FakeClock(self.now)
        said = self.root / "now"
        now = int(said.read_text()) if said.exists() else START
        now += _LATER + round(days * DAY * MICROSECONDS)
        said.write_text(str(now))
        return FakeClock(now)

    def still(self, *, days: float = 0) -> Place:
        """The same place, its clock moved and its notes read: a call then touches nothing but the store."""
        notes = {path.name.removeprefix("id-"): path.read_text() for path in self.root.glob("id-*")}
        return replace(self, now=self.clock(days=days).now, notes=notes)

    def note(self, name: str, value: str) -> None:
        """Remember an id for those who come later."""
        (self.root / f"id-{name}").write_text(value)

    def noted(self, name: str) -> str:
        """What was remembered."""
        return self.notes.get(name) or (self.root / f"id-{name}").read_text()

    def object(self, data: bytes, *, second: bool = False) -> Path:
        """Where these bytes lie as an object."""
        return (self.second if second else self.home.objects) / object_key(digest_pair(data).blake3)


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
    """

    name: str
    call: Callable[[Place, Store], object]
    happened: Callable[[Place, Store], bool]
    prepare: Callable[[Place, Store], object] = lambda _place, _store: None
    creates: bool = False
    days: float = 0

    def set_up(self, place: Place) -> None:
        """Make everything that must be there before the call."""
        write_tree(place.tree, TREE)
        write_tree(place.root / "kept", KEPT)
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
        if not self.happened(place, store):
            self.call(place, store)
        acknowledge()
        assert self.happened(place, store), f"{self.name} was done again and has not happened"


def check(place: Place, row: ChangingCall, *, acknowledged: bool) -> None:
    """What must be true after any fault, before anything is mended.

    Args:
        acknowledged: the call had returned.
    """
    if not acknowledged:
        row.reopen(place)
    with place.open() as store:
        findings = [f"{found.part}: {found.what}" for found in store.fsck(read=True).findings]
        assert [line for line in findings if not is_left_over(line, row)] == [], findings
        assert store.replay(check=True).identical
        if not row.creates:
            for path, data in KEPT.items():
                assert store.read_file(place.noted("kept"), path) == data, path
        if row.name in DAMAGED:
            assert damage_is_kept(place)
        if acknowledged:
            assert row.happened(place, store), f"{row.name} was acknowledged and is lost"


def is_left_over(finding: str, row: ChangingCall) -> bool:
    """Objects that no event names may be left by a crash; damage that the row planted is still there."""
    return finding.endswith("no location names it") or (
        row.name in DAMAGED and ("a verify found it damaged" in finding or "digest differs" in finding)
    )


def damage_is_kept(place: Place) -> bool:
    """Damaged bytes are evidence too: they lie where they were, or aside."""
    paths = (place.object(TREE["a/new.json"]), *(place.home.objects / "damaged").glob("*"))
    return place.noted("damaged") in [path.read_text() for path in paths if path.is_file()]


# What the rows do


def _package(place: Place, store: Store) -> None:
    place.note("package", store.create_package(**SAID))


def _filled(place: Place, store: Store) -> None:
    _package(place, store)
    store.ingest_directory(place.noted("package"), place.tree, actor="ada")


def _pushed(place: Place, store: Store) -> None:
    place.note("package", store.push(place.tree, **SAID).package.package_id)


def _held(place: Place, store: Store) -> None:
    _pushed(place, store)
    place.note("hold", store.apply_hold(place.noted("package"), reason="case 7", actor="ada").hold_id)


def _expiring(place: Place, store: Store) -> None:
    said = {**SAID, "retention_class": "transient"}
    place.note("package", store.push(place.tree, **said).package.package_id)


def _eligible(place: Place, store: Store) -> None:
    _expiring(place, store)
    with place.open(days=2) as later:
        later.sweep(actor="cron")


def _orphaned(place: Place, store: Store) -> None:
    orphan = place.object(b"nobody's")
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"nobody's")


def _flip(place: Place) -> None:
    damaged = place.object(TREE["a/new.json"])
    flip(damaged)
    place.note("damaged", damaged.read_text())


def _damaged(place: Place, store: Store) -> None:
    _pushed(place, store)
    _flip(place)


def _repairable(place: Place, store: Store) -> None:
    _pushed(place, store)
    store.copy(source="local", target=SECOND, actor="ada")
    _flip(place)
    assert store.verify(actor="scrub").failures


def _is_old(place: Place, store: Store) -> None:
    store.close()
    place.home.tamper(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")


def _migrate(
    place: Place, _store: Store | None = None, acknowledge: Callable[[], object] = lambda: None
) -> None:
    database = Database(str(place.home.database), busy_timeout=place.busy_timeout)
    try:
        migrate(database, place.clock())
        acknowledge()
    finally:
        database.close()


def _files(place: Place, store: Store) -> list[str]:
    return [file.relative_path for file in store.list_files(place.noted("package")).items]


def _status(place: Place, store: Store) -> str:
    return store.get_package(place.noted("package")).status


def _ingest(name: str, data: Callable[[], bytes]) -> Callable[[Place, Store], object]:
    def call(place: Place, store: Store) -> object:
        return store.ingest_file(place.noted("package"), name, data(), actor="ada")

    return call


def _push(place: Place, store: Store, **further: Any) -> object:
    return store.push(place.tree, **SAID, idempotency_key="push-1", **further)


def _of_subject(store: Store, status: str = "finalized") -> int:
    return len(store.list_packages(subject=SAID["subject"], status=status).items)


def _copies(place: Place, store: Store) -> int:
    return sum(place.object(data, second=True).exists() for data in {*TREE.values(), *KEPT.values()})


def _has_history(word: str) -> Callable[[Place, Store], bool]:
    def happened(place: Place, store: Store) -> bool:
        return any(word in event.type for event in store.retention_history(place.noted("package")))

    return happened


@dataclass(frozen=True)
class MigrationCall(ChangingCall):
    """A migration: no store can be opened before it."""

    def run(
        self,
        place: Place,
        acknowledge: Callable[[], object] = lambda: None,
        refused: Callable[[Store], object] = lambda _store: None,
    ) -> None:
        _migrate(place, acknowledge=acknowledge)

    def reopen(self, place: Place) -> None:
        _migrate(place)

    def again(self, place: Place, acknowledge: Callable[[], object] = lambda: None) -> None:
        _migrate(place, acknowledge=acknowledge)
        super().again(place)


CALLS: tuple[ChangingCall, ...] = (
    ChangingCall("init", lambda _p, _s: None, lambda _p, store: store.health().status == "ok", creates=True),
    MigrationCall("migrate", _migrate, lambda _p, store: store.health().status == "ok", _is_old),
    ChangingCall(
        "create",
        lambda _p, store: store.create_package(**SAID, idempotency_key="create-1"),
        lambda _p, store: _of_subject(store, "open") == 1,
    ),
    ChangingCall(
        "ingest new file",
        _ingest("new", lambda: b"new bytes"),
        lambda place, store: _files(place, store) == ["new"],
        _package,
    ),
    ChangingCall(
        "ingest duplicate file",
        _ingest("same", lambda: KEPT["shared.log"]),
        lambda place, store: _files(place, store) == ["same"],
        _package,
    ),
    ChangingCall(
        "ingest large file",
        _ingest("large", lambda: incompressible(LARGE_SIZE)),
        lambda place, store: _files(place, store) == ["large"],
        _package,
    ),
    ChangingCall(
        "ingest directory",
        lambda place, store: store.ingest_directory(place.noted("package"), place.tree, actor="ada"),
        lambda place, store: _files(place, store) == sorted(TREE),
        _package,
    ),
    ChangingCall(
        "finalize",
        lambda place, store: store.finalize_package(place.noted("package"), actor="ada", idempotency_key="f"),
        lambda place, store: _status(place, store) == "finalized",
        _filled,
    ),
    ChangingCall("push", _push, lambda _p, store: _of_subject(store) == 2),
    ChangingCall(
        "push of what is there",
        lambda place, store: _push(place, store, if_changed=False),
        lambda _p, store: _of_subject(store) == 3,
        _pushed,
    ),
    ChangingCall(
        "extend",
        lambda place, store: store.extend_retention(place.noted("package"), for_ever=True, actor="ada"),
        _has_history("extended"),
        _pushed,
    ),
    ChangingCall(
        "hold",
        lambda place, store: store.apply_hold(place.noted("package"), reason="case 7", actor="ada"),
        lambda place, store: bool(store.explain_retention(place.noted("package")).holds),
        _pushed,
    ),
    ChangingCall(
        "release",
        lambda place, store: store.release_hold(
            place.noted("package"), place.noted("hold"), reason="closed", actor="ada"
        ),
        _has_history("released"),
        _held,
    ),
    ChangingCall(
        "sweep",
        lambda _p, store: store.sweep(actor="cron"),
        _has_history("eligible"),
        _expiring,
        days=2,
    ),
    ChangingCall(
        "gc",
        lambda _p, store: store.gc(actor="cron"),
        lambda place, store: (
            _status(place, store) == "garbage_collected" and not place.object(TREE["a/new.json"]).exists()
        ),
        _eligible,
    ),
    ChangingCall(
        "delete orphans",
        lambda _p, store: store.orphans(actor="cron", delete=True, older_than=-(10**9)),
        lambda place, _s: not place.object(b"nobody's").exists(),
        _orphaned,
    ),
    ChangingCall(
        "verify",
        lambda _p, store: store.verify(actor="scrub"),
        lambda place, store: store.verification(place.noted("package")).failed_count > 0,
        _damaged,
    ),
    ChangingCall(
        "repair",
        lambda _p, store: store.repair(actor="ada"),
        lambda place, store: store.verification(place.noted("package")).failed_count == 0,
        _repairable,
    ),
    ChangingCall(
        "copy",
        lambda _p, store: store.copy(source="local", target=SECOND, actor="ada"),
        lambda place, store: _copies(place, store) == len({*TREE.values(), *KEPT.values()}),
        _pushed,
    ),
    ChangingCall(
        "replay", lambda _p, store: store.replay(), lambda _p, store: store.replay(check=True).identical
    ),
)
ROWS = {row.name: row for row in CALLS}
DAMAGED = {"verify", "repair"}  # rows whose damage is planted before the call
