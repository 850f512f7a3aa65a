"""Two calls that meet on one store, and what must be true afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from store.harness import SAID, write_tree

from artifactstore import schema, views
from artifactstore.database import Database
from artifactstore.moment import system_clock
from artifactstore.rebuild import migrate
from crash.interleaving import ACKNOWLEDGED, FAILED, Answer, answer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artifactstore import Store
    from artifactstore.connection import Connection
    from artifactstore.events import Event
    from crash.place import Place

    Happened = Callable[[Place, Store, object], bool]

PERMANENT: dict[str, Any] = {**SAID, "retention_class": "permanent-record"}
# What is pushed: `gone` is also in the package that may be collected, `shared` in the one that is kept too.
TREE = {"gone": b"the same bytes\n" * 100, "shared": b"other bytes\n" * 50}
KEPT = {"kept": b"acknowledged before\n", "shared": TREE["shared"]}
ANY_AGE = -(10**9)  # seconds: older than a moment far in the future


@dataclass(frozen=True)
class Act:
    """One of two calls that meet.

    Args:
        call: what it does; what it returns is what it acknowledges.
        happened: whether all of its effect is there, by what it acknowledged.
        refused: codes of errors that may be the right answer.
    """

    name: str
    call: Callable[[Place, Store], object]
    happened: Happened = lambda _place, _store, _value: True
    refused: frozenset[str] = frozenset()

    def run(self, place: Place, begin: Callable[[], None]) -> object:
        """The call, in a process of its own.

        Args:
            begin: called where the steps of the call begin.
        """
        with place.open() as store:
            begin()
            return self.call(place, store)

    def again(self, place: Place) -> object:
        """What the caller does afterwards, not knowing whether it happened."""
        return self.run(place, lambda: None)


class Opening(Act):
    """An act of which the opening of the store is part."""

    def run(self, place: Place, begin: Callable[[], None]) -> object:
        begin()
        with place.open(create=True) as store:
            return self.call(place, store)


class Migration(Act):
    """A migration, before which no store can be opened."""

    def run(self, place: Place, begin: Callable[[], None]) -> object:
        begin()
        return migrated(place)


class OldProgram(Act):
    """An act of a program of the version before, which fills a view in another way than this one."""

    def run(self, place: Place, begin: Callable[[], None]) -> object:
        schema.SCHEMA_VERSION -= 1
        apply = views.apply

        def apply_as_before(connection: Connection, batch: Iterable[Event]) -> None:
            apply(connection, batch)
            connection.execute("UPDATE artifact_packages SET created_by = 'somebody'")

        views.apply = apply_as_before
        return super().run(place, begin)

    def again(self, place: Place) -> object:
        """By then everybody has the new program."""
        return super().run(place, lambda: None)


@dataclass(frozen=True)
class Pair:
    """A row: two acts, and what is there before them.

    Args:
        prepare: makes it, on a store that has `KEPT` as a package.
        damaged: bytes whose object it damages; acts that mend may or may not have come to it.
        creates: there is no store before.
        then: what must be true afterwards beyond what is true of every pair.
    """

    one: Act
    other: Act
    prepare: Callable[[Place, Store], object] = lambda _place, _store: None
    damaged: bytes | None = None
    creates: bool = False
    then: Callable[[Place, Store, list[object]], None] = lambda _place, _store, _values: None

    @property
    def name(self) -> str:
        """Of the row."""
        prepared = self.prepare.__name__.strip("_").replace("_", " ")
        return f"{self.one.name} x {self.other.name}" + (f", {prepared}" if prepared != "<lambda>" else "")

    @property
    def acts(self) -> tuple[Act, Act]:
        """Both."""
        return self.one, self.other

    def set_up(self, place: Place) -> None:
        """Make everything that must be there before."""
        write_tree(place.tree, TREE)
        write_tree(place.root / "kept", KEPT)
        if not self.creates:
            with place.open(create=True) as store:
                place.note("kept", store.push(place.root / "kept", **PERMANENT).package.package_id)
                self.prepare(place, store)

    def check(self, place: Place, answers: tuple[Answer | None, Answer | None]) -> None:
        """What must be true after two calls met, of which a killed one has not answered."""
        for act, answer in zip(self.acts, answers, strict=True):
            _check_answer(act, answer)
        migrated(place)
        acknowledged = [
            (act, answer.value)
            for act, answer in zip(self.acts, answers, strict=True)
            if answer is not None and answer.kind == ACKNOWLEDGED
        ]
        with place.open(create=self.creates) as store:
            findings = [f"{found.part}: {found.what}" for found in store.fsck(read=True).findings]
            mended = (
                len(acknowledged) == 2
                and self.damaged is not None
                and place.stored(self.damaged) == self.damaged
            )
            unexplained = [line for line in findings if not self._is_left_over(line, mended=mended)]
            assert not unexplained, unexplained
            self._check_kept(place, store)
            for act, value in acknowledged:
                assert act.happened(place, store, value), f"{act.name} was acknowledged and is lost"
            self.then(place, store, [value for _, value in acknowledged])
        self._check_again(place, acknowledged)

    def _is_left_over(self, finding: str, *, mended: bool) -> bool:
        """Objects that no event names are cleaned up later; damage that was planted may really be there.

        Args:
            mended: the bytes are whole, and nobody died before the log could say so.
        """
        planted = ("a verify found it damaged", "digest differs", "wrong size")
        return finding.endswith("no location names it") or (
            self.damaged is not None and not mended and finding.partition("; needed by ")[0].endswith(planted)
        )

    def _check_kept(self, place: Place, store: Store) -> None:
        if not self.creates:
            for path, data in KEPT.items():
                assert store.read_file(place.noted("kept"), path) == data, f"{path} of the kept package"

    def _check_again(self, place: Place, acknowledged: list[tuple[Act, object]]) -> None:
        """Both calls can be made again; then everything is cleaned up, and nothing is left to find."""
        for act in self.acts:
            _check_answer(act, answer_of(partial(act.again, place)))
        with place.open() as store:
            if self.damaged is not None:
                store.verify(actor="scrub")
                store.repair(actor="ada")
            store.sweep(actor="cron")
            store.gc(actor="cron")
            store.orphans(actor="cron", delete=True, older_than=ANY_AGE)
            findings = store.fsck(read=True).findings
            assert not findings, findings
            self._check_kept(place, store)
            for act, value in acknowledged:
                assert act.happened(place, store, value), f"{act.name} was acknowledged and is lost later"
            assert place.surplus() == []


def _check_answer(act: Act, answer: Answer | None) -> None:
    if answer is not None and answer.kind != ACKNOWLEDGED:
        assert answer.kind != FAILED, f"{act.name} failed:\n{answer.value}"
        assert answer.value in act.refused, f"{act.name} was refused: {answer.value}"


def one_value(_place: Place, _store: Store, values: list[object]) -> None:
    """Both were told the same."""
    assert len(set(values)) <= 1


def migrated(place: Place) -> None:
    """Bring the store to this version, if there is one."""
    database = Database(str(place.home.database))
    try:
        if database.exists():
            migrate(database, system_clock)
    finally:
        database.close()
