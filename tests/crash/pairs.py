"""Pairs of calls that meet on one store, one row each: the drill of interleavings runs every row.

To add a pair: name two acts and what must be there before, and add one line to `PAIRS`. A call that is not
an act yet becomes one with the call itself, how to see that it happened, and the refusals that may be the
right answer because of the other one. With their objects on S3 the same rows are drilled in `s3.test_drills`;
calls over HTTP are these calls, and the server's own way to die is drilled in `httpapi.test_drills`.
"""

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
from crash import upload_acts as uploads
from crash.meeting import ANY_AGE, PERMANENT, TREE, Act, Migration, OldProgram, Opening, Pair, one_value
from crash.place import flipped

if TYPE_CHECKING:
    from artifactstore import Store
    from crash.place import Place

TRANSIENT: dict[str, Any] = {**SAID, "retention_class": "transient"}
TOLD = LinkageRequest("WS-1", None, verdict="passed", counts={})
GONE = Digest("blake3", digest_pair(TREE["gone"]).blake3)


# What must be there before


def _expired(place: Place, store: Store) -> None:
    """A package of the same bytes that a sweep has marked."""
    _due(place, store)
    with place.open() as later:
        later.sweep(actor="cron")


def _due(place: Place, store: Store) -> None:
    """A package of the same bytes that is expired, and no sweep has come yet."""
    place.note("gone", store.push(place.tree, **TRANSIENT).package.package_id)
    place.open(days=2).close()


def _held(place: Place, store: Store) -> None:
    """A package of the same bytes that is expired, but held."""
    _due(place, store)
    place.note("hold", store.apply_hold(place.noted("gone"), reason="case 7", actor="ada").hold_id)


def _held_after_the_sweep(place: Place, store: Store) -> None:
    """Like `_expired`, but held since."""
    _expired(place, store)
    place.note("hold", store.apply_hold(place.noted("gone"), reason="case 7", actor="ada").hold_id)


def _expired_in_both_backends(place: Place, store: Store) -> None:
    """Like `_expired`; all objects are in the second backend too."""
    place.note("gone", store.push(place.tree, **TRANSIENT).package.package_id)
    store.copy(source=place.first, target=SECOND, actor="ada")
    with place.open(days=2) as later:
        later.sweep(actor="cron")


def _copied_for_another(place: Place, store: Store) -> None:
    """Like `_expired_in_both_backends`; a package that stays has the same bytes, but no copies of its own."""
    _expired_in_both_backends(place, store)
    place.note("also", store.push(place.tree, **PERMANENT).package.package_id)


def _expired_and_damaged(place: Place, store: Store) -> None:
    """Like `_expired_in_both_backends`; a verify has found an object of it damaged."""
    _expired_in_both_backends(place, store)
    place.put(TREE["gone"], flipped(TREE["gone"]))
    assert store.verify(actor="scrub").failures


def _damaged(place: Place, store: Store) -> None:
    """A verify has found an object damaged of which a second backend has a copy."""
    store.copy(source=place.first, target=SECOND, actor="ada")
    place.put(TREE["shared"], flipped(TREE["shared"]))
    assert store.verify(actor="scrub").failures


def _truncated(place: Place, store: Store) -> None:
    """An object is too short, and nobody knows it yet."""
    store.copy(source=place.first, target=SECOND, actor="ada")
    place.put(TREE["shared"], TREE["shared"][:-1])


def _orphaned(place: Place, _store: Store) -> None:
    """An object lies there that no event names."""
    place.put(TREE["gone"], TREE["gone"])


def _open_package(place: Place, store: Store) -> None:
    """An open package with a file."""
    place.note("package", store.create_package(**PERMANENT))
    store.ingest_file(place.noted("package"), "first", TREE["gone"], actor="ada")


def _open_package_beside_expired(place: Place, store: Store) -> None:
    """An open package of bytes that otherwise only an expired one has."""
    _expired(place, store)
    _open_package(place, store)


def _package_beside_expired(place: Place, store: Store) -> None:
    """An open package that has nothing yet; the bytes are in an expired one."""
    _expired(place, store)
    place.note("package", store.create_package(**PERMANENT))


def _pushed(place: Place, store: Store) -> None:
    """A package that somebody else is to be told of."""
    place.note("package", store.push(place.tree, **PERMANENT).package.package_id)


def _linked(place: Place, store: Store) -> None:
    """Like `_pushed`; the message waits to be delivered."""
    _pushed(place, store)
    place.note("link", store.request_linkage(place.noted("package"), TOLD, actor="ada").link_id)


def _of_another(place: Place, _store: Store) -> None:
    """Another store has taken over the second backend, which holds nothing."""
    place.give_second_away()


def _old_store(place: Place, store: Store) -> None:
    """The store is of the version before."""
    store.close()
    place.home.tamper(f"PRAGMA user_version = {schema.SCHEMA_VERSION - 1}")


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
OLD_BACKUP = OldProgram("backup by the program before", _backup, _is_backed_up, frozenset({"store-too-new"}))
OLD_REPLAY = OldProgram(
    "replay by the program before",
    lambda _p, s: s.replay().identical,
    refused=frozenset({"store-too-new"}),
)


# What must be true of some pairs beyond what is true of all


def _one_package(_place: Place, store: Store, values: list[object]) -> None:
    assert len(store.list_packages(subject=SAID["subject"]).items) <= 2, "one key made two packages"
    assert len(set(values)) == 1


def _is_mended(place: Place, _store: Store, values: list[object]) -> None:
    if values:
        assert place.stored(TREE["shared"]) == TREE["shared"], "acknowledged, but the bytes are still damaged"


PAIRS: tuple[Pair, ...] = (
    Pair(PUSH, GC, _expired),
    Pair(INGEST_FILE, GC, _expired),
    Pair(INGEST_DIRECTORY, GC, _expired),
    Pair(PUSH, GC, _expired_in_both_backends),
    Pair(PUSH, ORPHANS, _orphaned),
    Pair(INGEST_FILE, ORPHANS, _orphaned),
    Pair(READ, GC, _expired),
    Pair(EXPORT, GC, _expired),
    Pair(GC, GC, _expired),
    Pair(GC, ORPHANS, _expired),
    Pair(PUSH, PUSH),
    Pair(PUSH_ONE_KEY, PUSH_ONE_KEY, then=_one_package),
    Pair(INGEST_FILE, INGEST_FILE),
    Pair(INGEST_DIRECTORY, PUSH),
    Pair(FINALIZE, ADD_FILE, _open_package),
    Pair(FINALIZE, ORPHANS, _open_package),
    Pair(FINALIZE, GC, _open_package_beside_expired),
    Pair(TAKE_KNOWN, GC, _package_beside_expired),
    Pair(PUSH, PUSH, _truncated, damaged=TREE["shared"], then=_is_mended),
    Pair(INGEST_FILE, PUSH, _damaged, damaged=TREE["shared"], then=_is_mended),
    Pair(VERIFY, GC, _expired),
    Pair(VERIFY, GC_THEN_PUSH, _expired),
    Pair(VERIFY, PUSH, _damaged, damaged=TREE["shared"]),
    Pair(VERIFY, PUSH, _truncated, damaged=TREE["shared"]),
    Pair(VERIFY, REPAIR, _damaged, damaged=TREE["shared"]),
    Pair(REPAIR, GC, _expired_and_damaged, damaged=TREE["gone"]),
    Pair(REPAIR, GC_THEN_PUSH, _expired_and_damaged, damaged=TREE["gone"]),
    Pair(REPAIR, PUSH, _damaged, damaged=TREE["shared"]),
    Pair(REPAIR, REPAIR, _damaged, damaged=TREE["shared"]),
    Pair(SWEEP, HOLD, _due),
    Pair(SWEEP, EXTEND, _due),
    Pair(SWEEP, SWEEP, _due),
    Pair(SWEEP, RELEASE, _held),
    Pair(HOLD, GC, _expired),
    Pair(RELEASE, GC_BESIDE_RELEASE, _held_after_the_sweep),
    Pair(EXTEND, GC, _expired),
    Pair(REPLAY, PUSH),
    Pair(REPLAY, GC, _expired),
    Pair(REPLAY, REPLAY),
    Pair(BACKUP, PUSH),
    Pair(BACKUP, GC, _expired),
    Pair(REGISTER, PUSH_BY_SCHEMA),
    Pair(MIGRATE, OLD_PUSH, _old_store),
    Pair(MIGRATE, OLD_REPLAY, _old_store),
    Pair(MIGRATE, OLD_BACKUP, _old_store),
    Pair(MIGRATE, MIGRATE, _old_store),
    Pair(COPY, GC, _expired),
    Pair(COPY, GC, _copied_for_another),
    Pair(COPY, GC_THEN_PUSH, _expired_in_both_backends),
    Pair(COPY, ORPHANS),
    Pair(COPY, PUSH),
    Pair(COPY, COPY),
    Pair(ADOPT, PUSH, _of_another),
    Pair(ADOPT, ADOPT, _of_another),
    Pair(LINK, LINK, _pushed, then=one_value),
    Pair(DELIVERED, NOT_DELIVERED, _linked),
    Pair(DELIVERED, DELIVERED, _linked),
    Pair(uploads.BEGIN, uploads.BEGIN_AND_SEND, uploads.package_for_an_upload),
    Pair(uploads.SEND, uploads.SEND, uploads.upload),
    Pair(
        uploads.SEND_BESIDE_FORGETTING,
        uploads.CANCEL_AND_BEGIN,
        uploads.empty_upload,
        then=uploads.sessions_are_whole,
    ),
    Pair(uploads.SEND_BESIDE_FORGETTING, uploads.RESTART, uploads.upload, then=uploads.sessions_are_whole),
    Pair(uploads.SEND, uploads.EXPIRE, uploads.upload_about_to_expire),
    Pair(uploads.SEND, uploads.COMPLETE, uploads.upload),
    Pair(uploads.COMPLETE, uploads.COMPLETE, uploads.whole_upload, then=one_value),
    Pair(uploads.COMPLETE, uploads.CANCEL, uploads.whole_upload),
    Pair(INIT, INIT, creates=True),
    Pair(FIRST_PUSH, FIRST_PUSH, creates=True),
)
ROWS = {pair.name: pair for pair in PAIRS}
