"""The event log: payloads, envelopes and leaf hashes, recomputed from the columns by other code."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import uuid
from typing import TYPE_CHECKING, Any

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore import event_log, events, schema
from artifactstore.events import Draft, Idempotency
from format import reference_cbor
from format.event_cases import example_drafts
from format.values import metadata, texts
from format.whole_life import live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store.harness import FakeClock, Home

    from artifactstore import Store

BUILDERS = {
    name: builder
    for name, builder in inspect.getmembers(events, inspect.isfunction)
    if inspect.signature(builder).return_annotation == "Draft"
}
TYPES = {value for value in vars(events).values() if isinstance(value, str) and value.startswith("v1.")}
COLUMNS = "sequence, event_id, type, package_id, actor, recorded_at, payload, leaf_hash"
integers = st.integers(0, 2**63 - 1)
BY_ANNOTATION = {
    "bool": st.booleans(),
    "bytes": st.binary(min_size=32, max_size=32),
    "int": integers,
    "int | None": st.none() | integers,
    "str": texts,
    "str | None": st.none() | texts,
    "Mapping[str, Value]": metadata,
    "Idempotency | None": st.none() | st.builds(Idempotency, texts, st.binary(min_size=32, max_size=32)),
}
BY_NAME = {name: st.binary(min_size=16, max_size=16) for name in ("package_id", "store_id", "hold_id")}


def drafts_of(builder: Callable[..., Draft]) -> st.SearchStrategy[Draft]:
    """All that a builder of the catalogue can say."""
    parameters = inspect.signature(builder).parameters.values()
    drawn = {p.name: BY_NAME.get(p.name, BY_ANNOTATION[str(p.annotation)]) for p in parameters}
    positional = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    return st.fixed_dictionaries(drawn).map(
        lambda given: builder(
            *(given[name] for name in positional),
            **{name: value for name, value in given.items() if name not in positional},
        )
    )


drafts = st.one_of([drafts_of(builder) for builder in BUILDERS.values()])


def leaf_hash(row: tuple[Any, ...]) -> bytes:
    """The leaf hash of an event, from its columns and RFC 9162 alone."""
    sequence, event_id, kind, package_id, actor, recorded_at, payload, _ = row
    inner = hashlib.sha256(payload).digest()
    envelope = reference_cbor.encode([sequence, event_id, kind, package_id, actor, recorded_at, inner])
    return hashlib.sha256(b"\x00" + envelope).digest()


@contextlib.contextmanager
def a_log() -> Iterator[apsw.Connection]:
    """An empty event log."""
    connection = apsw.Connection(":memory:")
    try:
        for statement in schema.EVENT_STATEMENTS:
            connection.execute(statement)
        yield connection
    finally:
        connection.close()


def test_every_type_of_event_has_one_builder_and_a_golden_vector() -> None:
    assert len(BUILDERS) == len(TYPES)
    assert {draft.type for _, _, draft in example_drafts()} == TYPES


@settings(max_examples=200, deadline=None)
@given(st.lists(drafts, min_size=1, max_size=20), texts, st.integers(0, 2**62))
def test_each_event_is_stored_in_its_deterministic_encoding(
    batch: list[Draft], actor: str, recorded_at: int
) -> None:
    with a_log() as connection:
        appended = event_log.append(
            connection, batch, actor=actor, recorded_at=recorded_at, new_id=uuid.uuid4
        )
        rows = connection.execute(f"SELECT {COLUMNS} FROM events ORDER BY sequence").fetchall()  # noqa: S608
        assert [event.payload for event in event_log.read(connection, after=0)] == [d.payload for d in batch]
    for number, (row, draft, event) in enumerate(zip(rows, batch, appended, strict=True), start=1):
        assert row[0] == event.sequence == number
        assert row[2:6] == (draft.type, draft.package_id, actor, recorded_at)
        assert row[6] == reference_cbor.encode(draft.payload)
        assert row[7] == event.leaf_hash == leaf_hash(row)


@settings(max_examples=200, deadline=None)
@given(drafts)
def test_the_keys_of_a_payload_stand_in_canonical_order(draft: Draft) -> None:
    assert list(draft.payload) == sorted(draft.payload, key=reference_cbor.encode)


def test_the_leaves_of_a_real_store(home: Home, clock: FakeClock, tree: Path) -> None:
    with live(home, clock, tree) as store:
        log = store.events(limit=1000)
    with contextlib.closing(home.connect()) as connection:
        rows = connection.execute(f"SELECT {COLUMNS} FROM events ORDER BY sequence").fetchall()  # noqa: S608
        assert connection.pragma("application_id").to_bytes(4, "big") == b"ARTS"
        assert connection.pragma("user_version") == schema.SCHEMA_VERSION
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert {row[2] for row in rows} == TYPES
    moments: list[Any] = [row[5] for row in rows]
    assert moments == sorted(moments)
    row: tuple[Any, ...]
    for row, event in zip(rows, log, strict=True):
        assert row[7] == leaf_hash(row) == event.leaf_hash
        assert reference_cbor.encode(event.payload) == row[6]
        assert uuid.UUID(bytes=row[1]).version == 7


def test_a_file_has_the_id_of_the_event_that_ingested_it(store: Store, tree: Path) -> None:
    result = store.push(tree, name="n", producer="p", subject="s", retention_class="transient", actor="ada")
    ingested = {
        str(event.payload["relative_path"]): str(uuid.UUID(bytes=event.event_id))
        for event in store.events()
        if event.type == events.FILE_INGESTED
    }
    listed = store.list_files(result.package.package_id).items
    assert {file.relative_path: file.file_id for file in listed} == ingested
    assert list(ingested) == [file.relative_path for file in listed]


def manifest_from(log: list[events.Event], store_id: str, package_id: str) -> bytes:
    """The manifest of a package, made again from the events about it."""
    about = [event for event in log if event.package_id == uuid.UUID(package_id).bytes]
    created, *ingested, _ = about
    files: list[dict[str, Any]] = [
        {key: value for key, value in event.payload.items() if key not in {"backend_id", "idempotency"}}
        for event in ingested
    ]
    files.sort(key=lambda file: str(file["relative_path"]).encode())
    said = ("name", "subject", "producer", "retention_class", "created_at", "metadata", "metadata_schema")
    manifest = {
        "version": 1,
        "media_type": "application/vnd.artifactstore.manifest.v1+cbor",
        "package": {
            "package_id": package_id,
            "store_id": store_id,
            **{key: created.payload[key] for key in said},
        },
        "totals": {"files": len(files), "size": sum(file["size"] for file in files)},
        "content_digest": hashlib.sha256(reference_cbor.encode(files)).digest(),
        "files": files,
    }
    return reference_cbor.encode(manifest)


def test_the_manifest_can_be_made_again_from_the_log(store: Store, tree: Path) -> None:
    details: Any = {
        "name": "n",
        "producer": "p",
        "subject": "s",
        "retention_class": "transient",
        "actor": "ada",
    }
    pushed = store.push(tree, **details, metadata={"a": 0.5}, idempotency_key="run").package.package_id
    stepwise = store.create_package(**details)
    store.ingest_file(stepwise, "z", b"1", actor="bob", executable=True, idempotency_key="z")
    store.ingest_directory(stepwise, tree, actor="ada", idempotency_key="tree")
    store.ingest_file(stepwise, "a", b"2", actor="ada", media_type="text/x-log; charset=utf-8")
    store.finalize_package(stepwise, actor="eve")
    for package in (pushed, stepwise):
        again = manifest_from(store.events(), str(store.store_id), package)
        assert again == store.get_manifest_bytes(package)
