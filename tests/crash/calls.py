"""The calls that change something, one row each: every drill runs every row under its fault.

To add a call: write what must be there before, the call itself, and how to see that all of it happened, and
add one line to `CALLS`, to `HOOKS` in `hooks` if git runs too, or to `ROUTES` in `routes` if a server does.
What is more than a line stands in `packages` or `upkeep`. With their objects on S3 the same rows are drilled
in `s3.test_drills`.
"""

from __future__ import annotations

from lifecycle.harness import SECOND
from store.harness import LARGE, SAID, START, incompressible

from crash import packages, upkeep
from crash.changing_call import KEPT, TREE, ChangingCall, MendingCall, MigrationCall, migrate
from crash.hooks import HOOKS
from crash.routes import ROUTES

LARGE_SIZE = LARGE + 2 * 4096 - 1  # bytes: streamed through the ring, with a last sector that is not whole
CALLS: tuple[ChangingCall, ...] = (
    ChangingCall("init", lambda _p, _s: None, lambda _p, store: store.health().status == "ok", creates=True),
    MigrationCall("migrate", migrate, upkeep.is_migrated, upkeep.of_version_before),
    ChangingCall(
        "create",
        lambda _p, store: store.create_package(**SAID, idempotency_key="create-1"),
        lambda _p, store: packages.of_subject(store, "open") == 1,
    ),
    ChangingCall(
        "ingest new file",
        packages.ingest("new", lambda: b"new bytes"),
        lambda place, store: packages.files(place, store) == ["new"],
        packages.open_package,
    ),
    ChangingCall(
        "ingest duplicate file",
        packages.ingest("same", lambda: KEPT["shared.log"]),
        lambda place, store: packages.files(place, store) == ["same"],
        packages.open_package,
    ),
    ChangingCall(
        "ingest large file",
        packages.ingest("large", lambda: incompressible(LARGE_SIZE)),
        lambda place, store: packages.files(place, store) == ["large"],
        packages.open_package,
    ),
    ChangingCall(
        "ingest directory",
        lambda place, store: store.ingest_directory(place.noted("package"), place.tree, actor="ada"),
        lambda place, store: packages.files(place, store) == sorted(TREE),
        packages.open_package,
    ),
    ChangingCall(
        "finalize",
        lambda place, store: store.finalize_package(place.noted("package"), actor="ada", idempotency_key="f"),
        lambda place, store: packages.status(place, store) == "finalized",
        packages.filled,
    ),
    ChangingCall("push", packages.push, lambda _p, store: packages.of_subject(store) == 2),
    ChangingCall(
        "push of what is there",
        lambda place, store: packages.push(place, store, if_changed=False),
        lambda _p, store: packages.of_subject(store) == 3,
        packages.pushed,
    ),
    ChangingCall(
        "push from CI",
        packages.push_from_ci,
        lambda _p, store: len(store.list_packages(subject="shop@c0ffee", status="finalized").items) == 1,
    ),
    ChangingCall("schema", packages.register_schema, lambda _p, store: bool(store.list_metadata_schemas())),
    ChangingCall("guide-board ingest", packages.ingest_run, packages.is_run_ingested, packages.with_run),
    ChangingCall(
        "linkage requested",
        lambda place, store: store.request_linkage(place.noted("package"), packages.TOLD, actor="ada"),
        lambda _p, store: bool(store.list_linkages(undelivered=True)),
        packages.pushed,
    ),
    ChangingCall(
        "linkage delivered",
        lambda place, store: store.record_linkage_delivered(place.noted("link"), status=201, actor="ada"),
        lambda _p, store: not store.list_linkages(undelivered=True) and bool(store.list_linkages()),
        packages.linked,
    ),
    ChangingCall(
        "linkage failed",
        lambda place, store: store.record_linkage_failed(
            place.noted("link"), reason="it answered 500", retry_at=START, actor="ada"
        ),
        lambda _p, store: [link.attempts for link in store.list_linkages()] == [1],
        packages.linked,
    ),
    ChangingCall(
        "extend",
        lambda place, store: store.extend_retention(place.noted("package"), for_ever=True, actor="ada"),
        upkeep.has_history("extended"),
        packages.pushed,
    ),
    ChangingCall(
        "hold",
        lambda place, store: store.apply_hold(place.noted("package"), reason="case 7", actor="ada"),
        lambda place, store: bool(store.explain_retention(place.noted("package")).holds),
        packages.pushed,
    ),
    ChangingCall(
        "release",
        lambda place, store: store.release_hold(
            place.noted("package"), place.noted("hold"), reason="closed", actor="ada"
        ),
        upkeep.has_history("released"),
        upkeep.held,
    ),
    ChangingCall(
        "sweep",
        lambda _p, store: store.sweep(actor="cron"),
        upkeep.has_history("eligible"),
        upkeep.expiring,
        days=2,
    ),
    ChangingCall(
        "sweep of what is abandoned",
        lambda _p, store: store.sweep(actor="cron", mark_abandoned=True, abandoned_after=86_400),
        upkeep.has_history("eligible"),
        packages.open_package,
        days=2,
    ),
    ChangingCall(
        "gc",
        lambda _p, store: store.gc(actor="cron"),
        upkeep.is_collected,
        upkeep.eligible,
    ),
    ChangingCall(
        "delete orphans",
        lambda _p, store: store.orphans(actor="cron", delete=True, older_than=-(10**9)),
        lambda place, _s: place.stored(b"nobody's") is None,
        upkeep.orphaned,
    ),
    ChangingCall(
        "verify",
        lambda _p, store: store.verify(actor="scrub"),
        lambda place, store: store.verification(place.noted("package")).failed_count > 0,
        upkeep.damaged,
        damaged=True,
    ),
    ChangingCall(
        "repair",
        upkeep.repair,
        upkeep.is_mended,
        upkeep.damaged_with_copies,
        damaged=True,
        heals=True,
    ),
    ChangingCall(
        "push of what is damaged",
        lambda place, store: packages.push(place, store, if_changed=True),
        upkeep.is_mended,
        upkeep.damaged_with_copies,
        damaged=True,
        heals=True,
    ),
    ChangingCall(
        "repair from a directory",
        lambda place, store: upkeep.repair(place, store, directory=place.tree),
        upkeep.is_mended,
        upkeep.damaged_without_copies,
        damaged=True,
        heals=True,
    ),
    MendingCall(
        "adopt",
        lambda _p, store: store.adopt_backend(SECOND),
        lambda _p, store: store.health().status == "ok",
        upkeep.of_another,
        idempotent=True,
    ),
    ChangingCall(
        "copy",
        upkeep.copy,
        upkeep.is_copied,
        packages.pushed,
    ),
    ChangingCall(
        "ingest known",
        lambda place, store: store.ingest_known(
            place.noted("package"), [packages.known_file()], actor="ada", idempotency_key="known-1"
        ),
        lambda place, store: "known.log" in packages.files(place, store),
        packages.open_package,
    ),
    ChangingCall(
        "upload begun",
        packages.begin_upload,
        packages.has_begun_upload,
        packages.open_package,
        idempotent=True,
    ),
    ChangingCall(
        "upload part",
        packages.send,
        lambda place, store: packages.sent(place, store) == len(packages.UPLOADED),
        packages.upload,
        idempotent=True,
    ),
    ChangingCall(
        "upload begun anew",
        lambda place, store: store.uploads().restart(place.noted("upload"), owner="ci"),
        lambda place, store: packages.sent(place, store) == 0,
        packages.whole_upload,
        idempotent=True,
    ),
    ChangingCall(
        "uploads expired",
        lambda _p, store: store.uploads().remove_expired(),
        lambda place, _s: not any(place.uploads.glob("*.json")),
        packages.whole_upload,
        days=2,
    ),
    ChangingCall(
        "upload complete",
        lambda place, store: store.uploads().complete(place.noted("upload"), owner="ci", actor="ci"),
        packages.is_uploaded,
        packages.whole_upload,
    ),
    ChangingCall(
        "upload cancelled",
        lambda place, store: store.uploads().cancel(place.noted("upload"), owner="ci"),
        lambda place, store: packages.sent(place, store) < 0,
        packages.whole_upload,
    ),
    ChangingCall("export", packages.export, packages.is_exported),
    ChangingCall("backup", lambda place, store: store.backup(place.backup), upkeep.is_backed_up),
    ChangingCall(
        "replay", lambda _p, store: store.replay(), lambda _p, store: store.replay(check=True).identical
    ),
    MendingCall(
        "replay of wrong views",
        lambda _p, store: store.replay(),
        lambda _p, store: store.replay(check=True).identical,
        upkeep.wrong_views,
    ),
)
ROWS = {row.name: row for row in (*CALLS, *HOOKS, *ROUTES)}
