"""The fingerprint of the views, recomputed from their rows by other code."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from artifactstore import ArtifactStoreError, codec, event_log, views
from artifactstore.connection import scratch
from artifactstore.events import PACKAGE_CREATED
from format import reference_cbor
from format.event_cases import example_log
from format.whole_life import live

if TYPE_CHECKING:
    from pathlib import Path

    import apsw
    from store.harness import FakeClock, Home

    from artifactstore import Store

# The views and the columns that order their rows, as docs/format.md has them.
ORDER = {
    "artifact_files": ["sequence"],
    "artifact_packages": ["sequence"],
    "idempotency_keys": ["idempotency_key"],
    "linkages": ["link_id"],
    "metadata_schemas": ["slug", "version"],
    "package_metadata": ["key", "value", "package_sequence"],
    "pending_deletions": ["blake3", "backend_id"],
    "retention_classes": ["retention_class"],
    "retention_history": ["package_sequence", "sequence"],
    "retention_holds": ["hold_id"],
    "retention_state": ["package_sequence"],
    "storage_locations": ["blake3", "backend_id", "sequence"],
}


def fingerprint(connection: apsw.Connection) -> str:
    """The fingerprint of the views of a database."""
    digest = hashlib.sha256()
    for view in sorted(ORDER):
        digest.update(reference_cbor.encode(view))
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({view})")]
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM {view}").fetchall()  # noqa: S608

        def key(row: tuple[Any, ...], columns: list[str] = columns, view: str = view) -> list[Any]:
            found = [row[columns.index(name)] for name in ORDER[view]]
            return [value.encode() if isinstance(value, str) else value for value in found]

        for row in sorted(rows, key=key):
            digest.update(reference_cbor.encode(list(row)))
    return f"sha256:{digest.hexdigest()}"


def test_the_fingerprint_of_the_example_events() -> None:
    with contextlib.closing(example_log()) as connection:
        empty = views.fingerprint(connection)
        assert empty == fingerprint(connection)
        assert views.rebuild(connection, connection) == event_log.newest_sequence(connection)
        assert views.fingerprint(connection) == fingerprint(connection) != empty


def test_the_fingerprint_of_a_real_store(store: Store, home: Home, tmp_path: Path) -> None:
    evidence = tmp_path / "evidence of many files"
    evidence.mkdir()
    for number in range(1100):
        (evidence / f"ü{number}.txt").write_text(str(number % 7))
    for key in (None, "k2", "k1", "ä"):
        store.push(
            evidence,
            name="Prüfung",
            producer="ci",
            subject="app",
            retention_class="transient" if key else "permanent-record",
            actor="ada",
            metadata={"ratio": 0.1, "a": [None, True, {"b.c": [-1, 1e300, "z", "z", []]}], "": {"": "x"}},
            idempotency_key=key,
        )
    with contextlib.closing(home.connect()) as connection:
        recomputed = fingerprint(connection)
    result = store.replay(check=True)
    assert recomputed == result.fingerprint_before == result.fingerprint_after
    store.replay()
    with contextlib.closing(home.connect()) as connection:
        assert fingerprint(connection) == recomputed


def test_the_fingerprint_after_a_whole_life(home: Home, clock: FakeClock, tree: Path) -> None:
    with live(home, clock, tree) as store, contextlib.closing(home.connect()) as connection:
        assert fingerprint(connection) == store.replay().fingerprint_before
        assert fingerprint(connection) == views.fingerprint(connection)


def test_metadata_is_flattened_as_the_format_says() -> None:
    document: dict[str, Any] = {
        "run": {"id": 7, "tags": ["a", "b", ["c", {"d": "e"}]]},
        "ok": True,
        "none": None,
        "numbers": [0, -1, 0.0, -0.0, 1.5, 1e300, 1e16, 1e-7, 0.1],
        "empty": [[], {}],
        "": {"": "blank"},
        "a.b": "dotted",
        "k" * 255: "the longest",
        "k" * 256: {"": "too long"},
        "k" * 250: {"f" * 4: "just", "g" * 5: "too long"},
    }
    expected = {
        "run.id": ["7"],
        "run.tags": ["a", "b", "c"],
        "run.tags.d": ["e"],
        "ok": ["true"],
        "none": ["null"],
        "numbers": ["0", "-1", "0.0", "-0.0", "1.5", "1e+300", "1e+16", "1e-07", "0.1"],
        ".": ["blank"],
        "a.b": ["dotted"],
        "k" * 255: ["the longest"],
        f"{'k' * 250}.ffff": ["just"],
    }
    assert sorted(views.flatten_metadata(document)) == sorted(
        (key, value) for key, found in expected.items() for value in found
    )


def test_the_rows_are_the_same_however_many_events_are_folded_together() -> None:
    with contextlib.closing(example_log()) as log, scratch() as single, scratch() as all_at_once:
        found = list(event_log.read(log, after=0))
        for event in found:
            views.apply(single, [event])
        views.apply(all_at_once, found)
        assert views.fingerprint(single) == views.fingerprint(all_at_once)


@pytest.mark.parametrize("value", ["d81c81d81d00", "81" * 300 + "00", "f7", "f97e00", "d9ffff00", "a10102"])
def test_metadata_that_no_call_takes_is_refused_by_a_replay_too(value: str) -> None:
    metadata = codec.decode_trusted(bytes.fromhex(f"a16161{value}"))
    with contextlib.closing(example_log()) as log, scratch() as target:
        created = next(event for event in event_log.read(log, after=0) if event.type == PACKAGE_CREATED)
        with pytest.raises(ArtifactStoreError):
            views.apply(target, [created._replace(payload={**created.payload, "metadata": metadata})])
