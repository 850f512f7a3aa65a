"""Calls that may meet, and what must be there before."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from lifecycle.harness import SECOND
from store.harness import SAID, START, read_tree

from artifactstore import Digest, LinkageRequest, schema
from artifactstore.database import Database
from artifactstore.digest import digest_pair
from artifactstore.known_files import KnownFile
from artifactstore.moment import system_clock
from artifactstore.rebuild import migrate, replay
from crash.meeting import ANY_AGE, PERMANENT, TREE, Act, Migration, OldProgram, Opening
from crash.place import flipped

if TYPE_CHECKING:
    from artifactstore import Store
    from crash.place import Place

TRANSIENT: dict[str, Any] = {**SAID, "retention_class": "transient"}
TOLD = LinkageRequest("WS-1", None, verdict="passed", counts={})
GONE = Digest("blake3", digest_pair(TREE["gone"]).blake3)


# What must be there before


def expired(place: Place, store: Store) -> None:
    """A package of the same bytes that a sweep has marked."""
    due(place, store)
    with place.open() as later:
        later.sweep(actor="cron")


def due(place: Place, store: Store) -> None:
    """A package of the same bytes that is expired, and no sweep has come yet."""
    place.note("gone", store.push(place.tree, **TRANSIENT).package.package_id)
    place.open(days=2).close()


def held(place: Place, store: Store) -> None:
    """A package of the same bytes that is expired, but held."""
    due(place, store)
    place.note("hold", store.apply_hold(place.noted("gone"), reason="case 7", actor="ada").hold_id)


def held_after_the_sweep(place: Place, store: Store) -> None:
    """Like `expired`, but held since."""
    expired(place, store)
    place.note("hold", store.apply_hold(place.noted("gone"), reason="case 7", actor="ada").hold_id)


def expired_in_both_backends(place: Place, store: Store) -> None:
    """Like `expired`; all objects are in the second backend too."""
    place.note("gone", store.push(place.tree, **TRANSIENT).package.package_id)
    store.copy(source=place.first, target=SECOND, actor="ada")
    with place.open(days=2) as later:
        later.sweep(actor="cron")


def copied_for_another(place: Place, store: Store) -> None:
    """Like `expired_in_both_backends`; a package that stays has the same bytes, but no copies of its own."""
    expired_in_both_backends(place, store)
    place.note("also", store.push(place.tree, **PERMANENT).package.package_id)


def expired_and_damaged(place: Place, store: Store) -> None:
    """Like `expired_in_both_backends`; a verify has found an object of it damaged."""
    expired_in_both_backends(place, store)
    place.put(TREE["gone"], flipped(TREE["gone"]))
    assert store.verify(actor="scrub").failures


def damaged(place: Place, store: Store) -> None:
    """A verify has found an object damaged of which a second backend has a copy."""
    store.copy(source=place.first, target=SECOND, actor="ada")
    place.put(TREE["shared"], flipped(TREE["shared"]))
    assert store.verify(actor="scrub").failures


def truncated(place: Place, store: Store) -> None:
    """An object is too short, and nobody knows it yet."""
    store.copy(source=place.first, target=SECOND, actor="ada")
    place.put(TREE["shared"], TREE["shared"][:-1])


def orphaned(place: Place, _store: Store) -> None:
    """An object lies there that no event names."""
    place.put(TREE["gone"], TREE["gone"])


def open_package(place: Place, store: Store) -> None:
    """An open package with a file."""
    place.note("package", store.create_package(**PERMANENT))
    store.ingest_file(place.noted("package"), "first", TREE["gone"], actor="ada")


def open_package_beside_expired(place: Place, store: Store) -> None:
    """An open package of bytes that otherwise only an expired one has."""
    expired(place, store)
    open_package(place, store)


def package_beside_expired(place: Place, store: Store) -> None:
    """An open package that has nothing yet; the bytes are in an expired one."""
    expired(place, store)
    place.note("package", store.create_package(**PERMANENT))


def pushed(place: Place, store: Store) -> None:
    """A package that somebody else is to be told of."""
    place.note("package", store.push(place.tree, **PERMANENT).package.package_id)


def linked(place: Place, store: Store) -> None:
    """Like `pushed`; the message waits to be delivered."""
    pushed(place, store)
    place.note("link", store.request_linkage(place.noted("package"), TOLD, actor="ada").link_id)


def of_another(place: Place, _store: Store) -> None:
    """Another store has taken over the second backend, which holds nothing."""
    place.give_second_away()


def old_store(place: Place, store: Store) -> None:
    """The store is of the version before."""
    store.close()
    place.home.tamper(f"PRAGMA user_version = {schema.SCHEMA_VERSION - 1}")


def old_store_with_expired(place: Place, store: Store) -> None:
    """The same, and a sweep has marked a package."""
    expired(place, store)
    old_store(place, store)


# What the acts do


def _push(place: Place, store: Store, **further: Any) -> object:
    return store.push(place.tree, **PERMANENT, **further).package.package_id


def _ingest_file(place: Place, store: Store) -> object:
    package = store.create_package(**PERMANENT)
    store.ingest_file(package, "gone", place.tree / "gone", actor="ada")
    store.ingest_file(package, "shared", TREE["shared"], actor="ada")
    store.finalize_package(package, actor="ada")
    return package


def _ingest_directory(place: Place, store: Store) -> object:
    package = store.create_package(**PERMANENT)
    store.ingest_directory(package, place.tree, actor="ada")
    store.finalize_package(package, actor="ada")
    return package


def _gc_then_push(place: Place, store: Store) -> object:
    store.gc(actor="cron")
    return _push(place, store)


def _verify(_place: Place, store: Store) -> object:
    # By the packages that a failure hurts: of what it tells, nothing is damaged that nobody needs.
    return [failure.packages for failure in store.verify(actor="scrub").failures]


def _read(place: Place, store: Store) -> object:
    return {path: store.read_file(place.noted("gone"), path) for path in TREE}


def _export(place: Place, store: Store) -> object:
    target = place.root / f"export-{os.getpid()}"
    store.export_package(place.noted("gone"), target, bare=True)
    return read_tree(target)


def _backup(place: Place, store: Store) -> object:
    place.backup.parent.mkdir(exist_ok=True)
    return store.backup(place.backup.with_name(f"backup-{os.getpid()}.db")).path


def _is_backed_up(_place: Place, _store: Store, path: object) -> bool:
    """The copy is a store by itself, of this version or one that can be brought to it."""
    with contextlib.closing(Database(str(path))) as database:
        migrate(database, system_clock)
        return replay(database, check=True).identical


def _link(place: Place, store: Store) -> object:
    return store.request_linkage(place.noted("package"), TOLD, actor="ada").link_id


def _links(store: Store, **which: Any) -> list[str]:
    return [link.link_id for link in store.list_linkages(**which)]


def _register(_place: Place, store: Store) -> object:
    return str(store.register_metadata_schema("run.v1", {"type": "object"}, actor="ada").digest)


def _is_readable(_place: Place, store: Store, package: object) -> bool:
    assert isinstance(package, str)
    return {
        file.relative_path: store.read_file(package, file.relative_path)
        for file in store.list_files(package).items
    } == TREE and store.get_package(package).status == "finalized"


def _is_collected(place: Place, store: Store, _value: object) -> bool:
    """The package went, unless something that keeps it came before."""
    found = store.explain_retention(place.noted("gone"))
    kept = bool(found.holds) or found.state.expires_at is None
    return kept or store.get_package(place.noted("gone")).status == "garbage_collected"


def _keeps(place: Place, store: Store, value: object) -> bool:
    """What keeps a package is there, and so is the package."""
    found = store.explain_retention(place.noted("gone"))
    by = [hold.hold_id for hold in found.holds]
    return (value in by or found.state.expires_at is None) and _is_readable(place, store, place.noted("gone"))


def _is_whole(_place: Place, store: Store, value: object) -> bool:
    """Verify and repair told of no damage but what somebody needs."""
    return all(packages for packages in value) if isinstance(value, list) else False


def _is_copied(place: Place, store: Store, _value: object) -> bool:
    """Nothing that was there before the copy is left to be copied."""
    there = [place.noted(name) for name in ("kept", "gone", "also") if place.has_noted(name)]
    return not any(
        store.copy(source=place.first, target=SECOND, actor="ada", package=package).location_count
        for package in there
    )


PUSH = Act("push", _push, _is_readable)
PUSH_ONE_KEY = Act("push with a key", lambda p, s: _push(p, s, idempotency_key="key"), _is_readable)
INGEST_FILE = Act("ingest of files", _ingest_file, _is_readable)
INGEST_DIRECTORY = Act("ingest of a directory", _ingest_directory, _is_readable)
ADD_FILE = Act(
    "ingest into the package",
    lambda p, s: (
        s.ingest_file(
            p.noted("package"), "gone", TREE["gone"], actor="ada", idempotency_key="file"
        ).relative_path
    ),
    lambda p, s, _: s.read_file(p.noted("package"), "gone") == TREE["gone"],
    frozenset({"package-finalized"}),
)
FINALIZE = Act(
    "finalize",
    lambda p, s: str(s.finalize_package(p.noted("package"), actor="ada", idempotency_key="seal")),
    lambda p, s, digest: str(s.get_package(p.noted("package")).manifest_digest) == digest,
)
GC = Act("gc", lambda _p, s: s.gc(actor="cron").removed_count, _is_collected)
GC_BESIDE_RELEASE = Act("gc", GC.call)  # whether it takes the package depends on who comes first
GC_THEN_PUSH = Act("gc and push", _gc_then_push, _is_readable)
ORPHANS = Act(
    "orphans",
    lambda _p, s: s.orphans(actor="cron", delete=True, older_than=ANY_AGE).missing,
    lambda _p, _s, missing: missing == (),
)
SWEEP = Act("sweep", lambda _p, s: len(s.sweep(actor="cron").marked))
HOLD = Act(
    "hold",
    lambda p, s: s.apply_hold(p.noted("gone"), reason="case 7", actor="ada").hold_id,
    _keeps,
    frozenset({"collected"}),
)
RELEASE = Act(
    "release",
    lambda p, s: s.release_hold(p.noted("gone"), p.noted("hold"), reason="closed", actor="ada").hold_id,
    lambda p, s, _: not s.explain_retention(p.noted("gone")).holds,
    frozenset({"hold-released"}),
)
EXTEND = Act(
    "extend",
    lambda p, s: s.extend_retention(p.noted("gone"), for_ever=True, actor="ada").expires_at,
    _keeps,
    frozenset({"not-extendable", "kept-for-ever"}),
)
VERIFY = Act("verify", _verify, _is_whole)
REPAIR = Act(
    "repair", lambda _p, s: [each.failure.packages for each in s.repair(actor="ada").unhealed], _is_whole
)
TAKE_KNOWN = Act(
    "ingest of what is known",
    lambda p, s: (
        s.ingest_known(p.noted("package"), [KnownFile("known", GONE)], actor="ada", idempotency_key="known")[
            0
        ].relative_path
    ),
    lambda p, s, _: s.read_file(p.noted("package"), "known") == TREE["gone"],
    frozenset({"object-unknown"}),
)
ADOPT = Act(
    "adopt",
    lambda _p, s: s.adopt_backend(SECOND),
    lambda _p, s, _value: s.health().status == "ok",
)
LINK = Act("linkage requested", _link, lambda _p, s, link: _links(s) == [link])
DELIVERED = Act(
    "linkage delivered",
    lambda p, s: s.record_linkage_delivered(p.noted("link"), status=201, actor="ada").link_id,
    lambda _p, s, link: _links(s) == [link] and not _links(s, undelivered=True),
)
NOT_DELIVERED = Act(
    "linkage failed",
    lambda p, s: (
        s.record_linkage_failed(
            p.noted("link"), reason="it answered 500", retry_at=START, actor="ada"
        ).link_id
    ),
    lambda _p, s, link: _links(s) == [link],
)
COPY = Act("copy", lambda p, s: s.copy(source=p.first, target=SECOND, actor="ada").size, _is_copied)
REPLAY = Act("replay", lambda _p, s: s.replay().identical, lambda _p, _s, identical: identical is True)
EXPORT = Act("export", _export, lambda _p, _s, value: value == TREE, frozenset({"collected"}))
READ = Act("read", _read, lambda _p, _s, value: value == TREE, frozenset({"collected"}))
BACKUP = Act("backup", _backup, _is_backed_up)
REGISTER = Act(
    "schema",
    _register,
    lambda _p, s, value: [str(each.digest) for each in s.list_metadata_schemas()] == [value],
)
PUSH_BY_SCHEMA = Act(
    "push by the schema",
    lambda p, s: _push(p, s, metadata_schema="run.v1"),
    _is_readable,
    frozenset({"schema-not-found"}),
)
INIT = Opening("init", lambda _p, s: str(s.store_id), lambda _p, s, value: str(s.store_id) == value)
FIRST_PUSH = Opening("first push", _push, _is_readable)
MIGRATE = Migration("migrate", lambda _p, _s: None)
OLD_PUSH = OldProgram("push by the program before", _push, _is_readable, frozenset({"store-too-new"}))
OLD_GC = OldProgram("gc by the program before", GC.call, refused=frozenset({"store-too-new"}))
OLD_BACKUP = OldProgram("backup by the program before", _backup, _is_backed_up, frozenset({"store-too-new"}))
OLD_REPLAY = OldProgram(
    "replay by the program before",
    lambda _p, s: s.replay().identical,
    refused=frozenset({"store-too-new"}),
)
