"""Retention, deletion, mending and copies: what is there before a call, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.harness import SECOND
from store.harness import SAID

from artifactstore import BackendError, events
from artifactstore.database import Database
from artifactstore.rebuild import replay
from artifactstore.schema import SCHEMA_VERSION
from crash.changing_call import KEPT, TREE
from crash.packages import pushed, status
from crash.place import flipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artifactstore import Store
    from crash.place import Place


# Retention and deletion


def held(place: Place, store: Store) -> None:
    """A package with a hold."""
    pushed(place, store)
    place.note("hold", store.apply_hold(place.noted("package"), reason="case 7", actor="ada").hold_id)


def expiring(place: Place, store: Store) -> None:
    """A package that will not be kept for long."""
    said = {**SAID, "retention_class": "transient"}
    place.note("package", store.push(place.tree, **said).package.package_id)


def eligible(place: Place, store: Store) -> None:
    """A package that a sweep has marked."""
    expiring(place, store)
    with place.open(days=2) as later:
        later.sweep(actor="cron")


def has_history(word: str) -> Callable[[Place, Store], bool]:
    """Whether an event with this word in its type says something of the package's retention."""

    def happened(place: Place, store: Store) -> bool:
        return any(word in event.type for event in store.retention_history(place.noted("package")))

    return happened


def is_collected(place: Place, store: Store) -> bool:
    """The package is gone, and of its bytes those that no other one has."""
    own = set(TREE.values()) - set(KEPT.values())
    return (
        status(place, store) == "garbage_collected"
        and _logged(store, events.OBJECT_DELETED) == len(own) + 1  # with the manifest
        and all(place.stored(data) is None for data in own)
    )


def _logged(store: Store, kind: str) -> int:
    return sum(event.type == kind for event in store.events())


def orphaned(place: Place, _store: Store) -> None:
    """An object that no event names."""
    place.put(b"nobody's", b"nobody's")


# Damage


def _flip(place: Place) -> None:
    place.put(TREE["a/new.json"], flipped(TREE["a/new.json"]))


def damaged(place: Place, store: Store) -> None:
    """An object is damaged, and nobody knows it yet."""
    pushed(place, store)
    _flip(place)


def damaged_with_copies(place: Place, store: Store) -> None:
    """A verify has found an object damaged of which the second backend has a copy."""
    pushed(place, store)
    store.copy(source=place.first, target=SECOND, actor="ada")
    _flip(place)
    assert store.verify(actor="scrub").failures


def damaged_without_copies(place: Place, store: Store) -> None:
    """A verify has found an object damaged of which only the pushed directory has the bytes."""
    damaged(place, store)
    assert store.verify(actor="scrub").failures


def repair(_place: Place, store: Store, **further: Any) -> None:
    """A repair that leaves something damaged has not been done."""
    if store.repair(actor="ada", **further).unhealed:
        raise BackendError("repair says so of what it cannot heal; here that is a refusal")


def is_mended(place: Place, store: Store) -> bool:
    """The log calls the object whole; then it is."""
    return (
        store.verification(place.noted("package")).failed_count == 0
        and place.stored(TREE["a/new.json"]) == TREE["a/new.json"]
    )


# Copies of objects and of the database, and what the database is


def copy(place: Place, store: Store) -> None:
    """A copy that leaves out what it cannot read has not been done."""
    for failure in store.copy(source=place.first, target=SECOND, actor="ada").failures:
        raise BackendError(f"an object is {failure.reason}")


def is_copied(place: Place, store: Store) -> bool:
    """Each object is in the second backend, and the log says so."""
    locations = len(TREE) + len(KEPT) + 2  # with the manifests
    return _logged(store, events.LOCATION_ADDED) == locations and all(
        place.stored(data, second=True) == data for data in (*TREE.values(), *KEPT.values())
    )


def of_another(place: Place, _store: Store) -> None:
    """Another store has taken over the second backend, which holds nothing."""
    place.give_second_away()


def is_backed_up(place: Place, store: Store) -> bool:
    """What bears the name of a backup is a whole one."""
    return place.backup.exists() and _events_in(place.backup) == len(store.events())


def _events_in(path: Path) -> int:
    """How many events the copy of a database has; each is looked at."""
    database = Database(str(path))
    try:
        return replay(database, check=True).event_count
    finally:
        database.close()


def wrong_views(place: Place, store: Store) -> None:
    """Views that are not what the log says."""
    store.close()
    place.home.tamper(
        "UPDATE artifact_packages SET created_by = 'somebody'",
        "DELETE FROM artifact_files WHERE relative_path = 'shared.log'",
    )


def of_version_before(place: Place, store: Store) -> None:
    """A store of the version before."""
    store.close()
    place.home.tamper(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")


def is_migrated(place: Place, store: Store) -> bool:
    """The store is of this version, and each copy of what it was, one for each attempt, is whole."""
    copies = place.home.database.parent.glob("*.backup.db")
    return store.health().status == "ok" and {_events_in(copy) for copy in copies} == {len(store.events())}
