"""A real store in which everything happens that can happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.harness import SAID

from artifactstore import LinkageRequest, Store
from artifactstore.digest import object_key

if TYPE_CHECKING:
    from pathlib import Path

    from store.harness import FakeClock, Home

DAY = 86_400 * 1_000_000  # microseconds


def live(home: Home, clock: FakeClock, tree: Path) -> Store:
    """An open store whose log has every type of event; the caller closes it."""
    second = home.root / "second"
    store = Store.open(home.database, home.objects, further={"second": second}, clock=clock)
    store.register_metadata_schema(
        "run.v1", {"type": "object", "required": ["ratio"]}, actor="ada", idempotency_key="schema"
    )
    said = {**SAID, "name": "Prüfung", "metadata": {"ratio": 0.1, "bb": 1, "a": [None, True, {"ü": -1.5}]}}
    store.push(tree, **said, metadata_schema="run.v1")
    (tree / "another").write_text("only in this one")
    package = store.push(tree, **{**said, "retention_class": "transient"}, idempotency_key="run").package
    told = LinkageRequest("WS-1", None, verdict="passed", counts={"total": 3})
    link = store.request_linkage(package.package_id, told, actor="ada")
    store.record_linkage_failed(link.link_id, reason="it answered 500", retry_at=clock.now, actor="ada")
    store.record_linkage_delivered(link.link_id, status=201, actor="ada")
    store.copy(source="local", target="second", actor="ops")
    victim = home.objects / object_key(store.list_files(package.package_id).items[0].digest.value)
    victim.chmod(0o600)
    victim.write_bytes(b"X" * victim.stat().st_size)
    assert store.verify(actor="ops").failures
    assert store.repair(actor="ops").healed

    clock.now += 2 * DAY
    assert store.sweep(actor="cron").marked
    hold = store.apply_hold(package.package_id, reason="inquiry", actor="Prüferin", case_id="12 C 34/26")
    assert store.sweep(actor="cron").withdrawn
    store.release_hold(package.package_id, hold.hold_id, reason="closed", actor="Prüferin")
    store.extend_retention(package.package_id, by=10 * 86_400, actor="ada")
    clock.now += 10 * DAY
    assert store.sweep(actor="cron").marked
    assert store.gc(actor="cron").removed_count
    return store
