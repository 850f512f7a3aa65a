"""The calls that change something, one row each: every drill runs every row under its fault.

To add a call: write what must be there before, the call itself, and how to see that all of it happened, and
add one line to `CALLS`, to `HOOKS` if git runs too, or to `ROUTES` if a server does. With their
objects on S3 the same rows are drilled in `s3.test_drills`.
"""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from interop.runs import write_run
from lifecycle.harness import SECOND
from store.harness import LARGE, SAID, START, incompressible, read_tree, write_tree

from artifactstore import (
    ArtifactStoreError,
    BackendError,
    Digest,
    LinkageRequest,
    NotFoundError,
    Store,
    events,
)
from artifactstore.database import Database
from artifactstore.digest import digest_pair
from artifactstore.httpapi import make_server
from artifactstore.interop.ci import CiRun, push_from_ci
from artifactstore.interop.git import PACKAGE_LINE, record_commit
from artifactstore.interop.git_hooks import KEPT as SUFFIX
from artifactstore.interop.git_hooks import POST_COMMIT, install_hook, uninstall_hook
from artifactstore.interop.git_repository import Repository
from artifactstore.interop.guide_board import ingest_run
from artifactstore.known_files import KnownFile
from artifactstore.rebuild import migrate, replay
from artifactstore.schema import SCHEMA_VERSION
from crash.place import Place, flipped

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
LARGE_SIZE = LARGE + 2 * 4096 - 1  # bytes: streamed through the ring, with a last sector that is not whole


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
    """

    name: str
    call: Callable[[Place, Store], object]
    happened: Callable[[Place, Store], bool]
    prepare: Callable[[Place, Store], object] = lambda _place, _store: None
    creates: bool = False
    days: float = 0
    idempotent: bool = False

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
        if row.name in DAMAGED:
            assert damage_is_kept(place)
        if acknowledged:
            assert row.happened(place, store), f"{row.name} was acknowledged and is lost"


def is_left_over(finding: str, row: ChangingCall, *, acknowledged: bool) -> bool:
    """Objects that no event names may be left by a crash; damage that the row planted, until it is mended."""
    still_damaged = row.name in DAMAGED - MENDED or (row.name in MENDED and not acknowledged)
    return finding.endswith("no location names it") or (
        still_damaged and ("a verify found it damaged" in finding or "digest differs" in finding)
    )


def damage_is_kept(place: Place) -> bool:
    """Damaged bytes are evidence too: they lie where they were, or aside."""
    return flipped(TREE["a/new.json"]) in (place.stored(TREE["a/new.json"]), *place.set_aside())


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


def _of_another(place: Place, _store: Store) -> None:
    """Another store has taken over the second backend, which holds nothing."""
    place.give_second_away()


def _wrong_views(place: Place, store: Store) -> None:
    """Views that are not what the log says."""
    store.close()
    place.home.tamper(
        "UPDATE artifact_packages SET created_by = 'somebody'",
        "DELETE FROM artifact_files WHERE relative_path = 'shared.log'",
    )


def _orphaned(place: Place, store: Store) -> None:
    place.put(b"nobody's", b"nobody's")


def _flip(place: Place) -> None:
    place.put(TREE["a/new.json"], flipped(TREE["a/new.json"]))


def _damaged(place: Place, store: Store) -> None:
    _pushed(place, store)
    _flip(place)


def _repairable(place: Place, store: Store) -> None:
    _pushed(place, store)
    store.copy(source=place.first, target=SECOND, actor="ada")
    _flip(place)
    assert store.verify(actor="scrub").failures


def _repair(_place: Place, store: Store) -> None:
    if store.repair(actor="ada").unhealed:
        raise BackendError("repair says so of what it cannot heal; here that is a refusal")


def _is_mended(place: Place, store: Store) -> bool:
    """The log calls the object whole; then it is."""
    return (
        store.verification(place.noted("package")).failed_count == 0
        and place.stored(TREE["a/new.json"]) == TREE["a/new.json"]
    )


def _to_repair_from_a_directory(place: Place, store: Store) -> None:
    _damaged(place, store)
    assert store.verify(actor="scrub").failures


def _repair_from_a_directory(place: Place, store: Store) -> None:
    if store.repair(actor="ada", directory=place.tree).unhealed:
        raise BackendError("as above")


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


def _is_migrated(place: Place, store: Store) -> bool:
    """The store is of this version, and each copy of what it was, one for each attempt, is whole."""
    copies = place.home.database.parent.glob("*.backup.db")
    return store.health().status == "ok" and {_events_in(copy) for copy in copies} == {len(store.events())}


def _events_in(path: Path) -> int:
    """How many events the copy of a database has; each is looked at."""
    database = Database(str(path))
    try:
        return replay(database, check=True).event_count
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


def _push_from_ci(place: Place, store: Store) -> object:
    run = CiRun("generic", repository="team/shop", commit="c0ffee", run_id="17")
    return push_from_ci(
        store,
        str(place.tree),
        run,
        name="nightly",
        producer="ci",
        retention_class="raw-evidence",
        actor="ci",
    )


def _register(_place: Place, store: Store) -> object:
    schema: dict[str, Any] = {"type": "object", "x-required-files": [{"path": "*.html"}]}
    return store.register_metadata_schema("run.v1", schema, actor="ada")


TOLD = LinkageRequest("WS-1", None, verdict="passed", counts={"total": 2})


def _linked(place: Place, store: Store) -> None:
    _pushed(place, store)
    place.note("link", store.request_linkage(place.noted("package"), TOLD, actor="ada").link_id)


def _has_run(place: Place, _store: Store) -> None:
    write_run(place.root / "run")


def _ingest_run(place: Place, store: Store) -> object:
    return ingest_run(store, place.root / "run", actor="ada", workstream_id="WS-1")


def _is_ingested(_place: Place, store: Store) -> bool:
    """The run is a finalized package, and its message waits: both or neither."""
    packages = len(store.list_packages(producer="guide-board", status="finalized").items)
    messages = len(store.list_linkages(undelivered=True))
    assert packages == messages <= 1, f"{packages} packages of the run, {messages} messages about it"
    return packages == 1


def _of_subject(store: Store, status: str = "finalized") -> int:
    return len(store.list_packages(subject=SAID["subject"], status=status).items)


def _copy(place: Place, store: Store) -> None:
    """A copy that leaves out what it cannot read has not been done."""
    for failure in store.copy(source=place.first, target=SECOND, actor="ada").failures:
        raise BackendError(f"an object is {failure.reason}")


def _is_copied(place: Place, store: Store) -> bool:
    locations = len(TREE) + len(KEPT) + 2  # with the manifests
    return _logged(store, events.LOCATION_ADDED) == locations and all(
        place.stored(data, second=True) == data for data in (*TREE.values(), *KEPT.values())
    )


def _is_backed_up(place: Place, store: Store) -> bool:
    """What bears the name of a backup is a whole one."""
    return place.backup.exists() and _events_in(place.backup) == len(store.events())


def _exported(place: Place) -> Path:
    return place.second.parent / "exports" / "2026" / "nightly"


def _export(place: Place, store: Store) -> object:
    return store.export_package(place.noted("kept"), _exported(place))


def _is_exported(place: Place, store: Store) -> bool:
    """What bears the name of an export is a whole one."""
    if not _exported(place).exists():
        return False
    found = read_tree(_exported(place))
    assert found["ARTIFACTSTORE-AUDIT/manifest.cbor"] == store.get_manifest_bytes(place.noted("kept"))
    assert found.items() >= KEPT.items()
    return True


def _is_collected(place: Place, store: Store) -> bool:
    own = set(TREE.values()) - set(KEPT.values())
    return (
        _status(place, store) == "garbage_collected"
        and _logged(store, events.OBJECT_DELETED) == len(own) + 1  # with the manifest
        and all(place.stored(data) is None for data in own)
    )


def _logged(store: Store, kind: str) -> int:
    return sum(event.type == kind for event in store.events())


def _has_history(word: str) -> Callable[[Place, Store], bool]:
    def happened(place: Place, store: Store) -> bool:
        return any(word in event.type for event in store.retention_history(place.noted("package")))

    return happened


UPLOADED = b"sent in parts\n" * 1000


def _session(place: Place, store: Store, *, sent: bytes = b"") -> None:
    """An upload session of an open package, with what has been sent."""
    _package(place, store)
    place.note("upload", store.uploads().create(place.noted("package"), "sent", owner="ci").upload_id)
    if sent:
        _append(place, store, sent)


def _append(place: Place, store: Store, data: bytes = UPLOADED) -> object:
    """What a client does that does not know how far it is: it asks, and goes on from there."""
    uploads, upload_id = store.uploads(), place.noted("upload")
    offset = uploads.get(upload_id, owner="ci").offset
    halves = (data[offset : len(data) // 2], data[max(offset, len(data) // 2) :])
    return uploads.append(upload_id, halves, offset=offset, owner="ci")


def _sent(place: Place, store: Store) -> int:
    """How many bytes of the session are acknowledged; the bytes themselves are those that were sent."""
    try:
        offset = store.uploads().get(place.noted("upload"), owner="ci").offset
    except NotFoundError:
        return -1
    part = place.uploads / f"{place.noted('upload')}.part"
    assert not offset or part.read_bytes()[:offset] == UPLOADED[:offset]
    return offset


def _known_file() -> KnownFile:
    """One whose bytes are there, in another package."""
    return KnownFile("known.log", Digest("blake3", digest_pair(KEPT["shared.log"]).blake3))


def _begin(place: Place, store: Store) -> object:
    return store.uploads().create(place.noted("package"), "sent", owner="ci", idempotency_key="u")


def _has_begun(place: Place, _store: Store) -> bool:
    """One session, whole; what a crash leaves of one has another name."""
    return len(list(place.uploads.glob("*.json"))) == 1


def _is_uploaded(place: Place, store: Store) -> bool:
    return _files(place, store) == ["sent"] and store.read_file(place.noted("package"), "sent") == UPLOADED


def _asked(place: Place, store: Store, method: str, path: str, body: bytes = b"") -> None:
    """A request to a server of the store in this process; one that is refused raises."""
    server = make_server(store, tokens=["ci:read+write+admin:secret"])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        fields = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
        connection.request(method, path, body, {**fields, "Idempotency-Key": place.root.name})
        response = connection.getresponse()
        said = response.read()
        connection.close()
    finally:
        server.stop()
        thread.join()
    if response.status >= 400:
        raise BackendError(f"the server answered {response.status}: {said!r}")


_EARLIER_HOOK = "#!/bin/sh\nexit 0\n"
_ADA = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")


def _repository(place: Place, _store: Store) -> None:
    """A repository with a commit, its evidence, and a hook of somebody else."""
    top = write_tree(place.root / "repository", {f"reports/{name}": data for name, data in TREE.items()})
    for command in (["init", "--quiet"], [*_ADA, "commit", "--quiet", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *command], cwd=top, check=True)
    hook = top / ".git/hooks" / POST_COMMIT
    hook.write_text(_EARLIER_HOOK)
    hook.chmod(0o755)


def _hooked(place: Place, store: Store) -> None:
    _repository(place, store)
    install_hook(_checkout(place), POST_COMMIT, "reports", python="python3")


def _checkout(place: Place) -> Repository:
    return Repository(place.root / "repository")


def _hooks(place: Place) -> dict[str, bool]:
    """The hooks of the repository, and whether each is the earlier one, which must always be there."""
    folder = place.root / "repository/.git/hooks"
    found = {path.name: path.read_text() == _EARLIER_HOOK for path in folder.glob(f"{POST_COMMIT}*")}
    found.pop(f"{POST_COMMIT}.sample", None)
    assert any(found.values())
    return found


def _is_recorded(place: Place, store: Store) -> bool:
    commit = _checkout(place).commit().commit_id
    packages = store.list_packages(producer="git").items
    assert len(packages) <= 1
    return (
        [line for line in _checkout(place).note(commit).splitlines() if line.startswith(PACKAGE_LINE)]
        == [f"{PACKAGE_LINE}{package.package_id}" for package in packages]
        != []
    )


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


@dataclass(frozen=True)
class MendingCall(ChangingCall):
    """A call that mends what everybody trips over: where it may not have happened it is made first."""

    def reopen(self, place: Place) -> None:
        with place.open() as store:
            self.call(place, store)


CALLS: tuple[ChangingCall, ...] = (
    ChangingCall("init", lambda _p, _s: None, lambda _p, store: store.health().status == "ok", creates=True),
    MigrationCall("migrate", _migrate, _is_migrated, _is_old),
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
        "push from CI",
        _push_from_ci,
        lambda _p, store: len(store.list_packages(subject="shop@c0ffee", status="finalized").items) == 1,
    ),
    ChangingCall("schema", _register, lambda _p, store: bool(store.list_metadata_schemas())),
    ChangingCall(
        "guide-board ingest", _ingest_run, _is_ingested, lambda place, _s: write_run(place.root / "run")
    ),
    ChangingCall(
        "linkage requested",
        lambda place, store: store.request_linkage(place.noted("package"), TOLD, actor="ada"),
        lambda _p, store: bool(store.list_linkages(undelivered=True)),
        _pushed,
    ),
    ChangingCall(
        "linkage delivered",
        lambda place, store: store.record_linkage_delivered(place.noted("link"), status=201, actor="ada"),
        lambda _p, store: not store.list_linkages(undelivered=True) and bool(store.list_linkages()),
        _linked,
    ),
    ChangingCall(
        "linkage failed",
        lambda place, store: store.record_linkage_failed(
            place.noted("link"), reason="it answered 500", retry_at=START, actor="ada"
        ),
        lambda _p, store: [link.attempts for link in store.list_linkages()] == [1],
        _linked,
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
        "sweep of what is abandoned",
        lambda _p, store: store.sweep(actor="cron", mark_abandoned=True, abandoned_after=86_400),
        _has_history("eligible"),
        _package,
        days=2,
    ),
    ChangingCall(
        "gc",
        lambda _p, store: store.gc(actor="cron"),
        _is_collected,
        _eligible,
    ),
    ChangingCall(
        "delete orphans",
        lambda _p, store: store.orphans(actor="cron", delete=True, older_than=-(10**9)),
        lambda place, _s: place.stored(b"nobody's") is None,
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
        _repair,
        _is_mended,
        _repairable,
    ),
    ChangingCall(
        "push of what is damaged",
        lambda place, store: _push(place, store, if_changed=True),
        _is_mended,
        _repairable,
    ),
    ChangingCall(
        "repair from a directory",
        _repair_from_a_directory,
        _is_mended,
        _to_repair_from_a_directory,
    ),
    MendingCall(
        "adopt",
        lambda _p, store: store.adopt_backend(SECOND),
        lambda _p, store: store.health().status == "ok",
        _of_another,
        idempotent=True,
    ),
    ChangingCall(
        "copy",
        _copy,
        _is_copied,
        _pushed,
    ),
    ChangingCall(
        "ingest known",
        lambda place, store: store.ingest_known(
            place.noted("package"), [_known_file()], actor="ada", idempotency_key="known-1"
        ),
        lambda place, store: "known.log" in _files(place, store),
        _package,
    ),
    ChangingCall("upload begun", _begin, _has_begun, _package, idempotent=True),
    ChangingCall(
        "upload part",
        _append,
        lambda place, store: _sent(place, store) == len(UPLOADED),
        _session,
        idempotent=True,
    ),
    ChangingCall(
        "upload begun anew",
        lambda place, store: store.uploads().restart(place.noted("upload"), owner="ci"),
        lambda place, store: _sent(place, store) == 0,
        lambda place, store: _session(place, store, sent=UPLOADED),
        idempotent=True,
    ),
    ChangingCall(
        "uploads expired",
        lambda _p, store: store.uploads().remove_expired(),
        lambda place, _s: not any(place.uploads.glob("*.json")),
        lambda place, store: _session(place, store, sent=UPLOADED),
        days=2,
    ),
    ChangingCall(
        "upload complete",
        lambda place, store: store.uploads().complete(place.noted("upload"), owner="ci", actor="ci"),
        _is_uploaded,
        lambda place, store: _session(place, store, sent=UPLOADED),
    ),
    ChangingCall(
        "upload cancelled",
        lambda place, store: store.uploads().cancel(place.noted("upload"), owner="ci"),
        lambda place, store: _sent(place, store) < 0,
        lambda place, store: _session(place, store, sent=UPLOADED),
    ),
    ChangingCall("export", _export, _is_exported),
    ChangingCall("backup", lambda place, store: store.backup(place.backup), _is_backed_up),
    ChangingCall(
        "replay", lambda _p, store: store.replay(), lambda _p, store: store.replay(check=True).identical
    ),
    MendingCall(
        "replay of wrong views",
        lambda _p, store: store.replay(),
        lambda _p, store: store.replay(check=True).identical,
        _wrong_views,
    ),
)
# Rows whose calls run git, too. They are killed only: what git does on a disk that fails is its own matter,
# and what they do to the store is a push.
HOOKS: tuple[ChangingCall, ...] = (
    ChangingCall(
        "git record",
        lambda place, store: record_commit(store, _checkout(place), "reports", actor="ada"),
        _is_recorded,
        _repository,
    ),
    ChangingCall(
        "install hook",
        lambda place, _s: install_hook(_checkout(place), POST_COMMIT, "reports", python="python3"),
        lambda place, _s: _hooks(place) == {POST_COMMIT: False, f"{POST_COMMIT}{SUFFIX}": True},
        _repository,
    ),
    ChangingCall(
        "uninstall hook",
        lambda place, _s: uninstall_hook(_checkout(place), POST_COMMIT),
        lambda place, _s: _hooks(place) == {POST_COMMIT: True},
        _hooked,
    ),
)
# Rows that go through a server, too. Its threads take turns as the system likes, so they are killed only;
# what the calls behind the routes do on a disk that fails, their own rows show.
ROUTES: tuple[ChangingCall, ...] = (
    ChangingCall(
        "HTTP create",
        lambda place, store: _asked(
            place, store, "POST", "/packages", b'{"name": "nightly", "producer": "ci", "subject": "app"}'
        ),
        lambda _p, store: _of_subject(store, "open") == 1,
    ),
    ChangingCall(
        "HTTP file",
        lambda place, store: _asked(
            place, store, "PUT", f"/packages/{place.noted('package')}/files/new", b"new bytes"
        ),
        lambda place, store: _files(place, store) == ["new"],
        _package,
    ),
    ChangingCall(
        "HTTP finalize",
        lambda place, store: _asked(place, store, "POST", f"/packages/{place.noted('package')}/finalize"),
        lambda place, store: _status(place, store) == "finalized",
        _filled,
    ),
    ChangingCall(
        "HTTP hold",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            f"/packages/{place.noted('package')}/retention/holds",
            b'{"reason": "case 7"}',
        ),
        lambda place, store: len(store.explain_retention(place.noted("package")).holds) == 1,
        _pushed,
    ),
    ChangingCall(
        "HTTP known files",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            f"/packages/{place.noted('package')}/files",
            b'{"files": [{"relative_path": "known", "digest": "blake3:%b"}]}'
            % digest_pair(KEPT["shared.log"]).blake3.hex().encode(),
        ),
        lambda place, store: _files(place, store) == ["known"],
        _package,
    ),
    ChangingCall(
        "HTTP extend",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            f"/packages/{place.noted('package')}/retention/extend",
            b'{"forever": true}',
        ),
        _has_history("extended"),
        _pushed,
    ),
    ChangingCall(
        "HTTP release",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            f"/packages/{place.noted('package')}/retention/holds/{place.noted('hold')}/release",
            b'{"reason": "closed"}',
        ),
        _has_history("released"),
        _held,
    ),
    ChangingCall(
        "HTTP sweep",
        lambda place, store: _asked(place, store, "POST", "/retention/sweep"),
        _has_history("eligible"),
        _expiring,
        days=2,
    ),
    ChangingCall(
        "HTTP gc",
        lambda place, store: _asked(place, store, "POST", "/retention/gc"),
        _is_collected,
        _eligible,
    ),
    ChangingCall(
        "HTTP schema",
        lambda place, store: _asked(
            place, store, "POST", "/metadata-schemas", b'{"slug": "run.v1", "schema": {"type": "object"}}'
        ),
        lambda _p, store: bool(store.list_metadata_schemas()),
    ),
    ChangingCall(
        "HTTP upload begun",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            "/uploads",
            b'{"package": "%b", "relative_path": "sent"}' % place.noted("package").encode(),
        ),
        _has_begun,
        _package,
    ),
    ChangingCall(
        "HTTP upload cancelled",
        lambda place, store: _asked(place, store, "DELETE", f"/uploads/{place.noted('upload')}"),
        lambda place, store: _sent(place, store) < 0,
        lambda place, store: _session(place, store, sent=UPLOADED),
    ),
    ChangingCall(
        "HTTP upload part",
        lambda place, store: _asked(place, store, "PUT", f"/uploads/{place.noted('upload')}", UPLOADED),
        lambda place, store: _sent(place, store) == len(UPLOADED),
        _session,
    ),
    ChangingCall(
        "HTTP upload complete",
        lambda place, store: _asked(place, store, "POST", f"/uploads/{place.noted('upload')}/complete"),
        _is_uploaded,
        lambda place, store: _session(place, store, sent=UPLOADED),
    ),
)
ROWS = {row.name: row for row in (*CALLS, *HOOKS, *ROUTES)}
# Rows whose damage is planted before the call, and those of them that say that they have mended it.
DAMAGED = {"verify", "repair", "repair from a directory", "push of what is damaged"}
MENDED = DAMAGED - {"verify"}
