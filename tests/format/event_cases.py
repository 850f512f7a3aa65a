"""The log of a small store."""

from __future__ import annotations

import hashlib
import uuid
from itertools import count
from typing import TYPE_CHECKING, Any

import apsw
from blake3 import blake3

from artifactstore import codec, event_log, events, schema
from artifactstore.events import Draft, Idempotency
from artifactstore.lifecycle.gc_plan import GcPlan, PlannedPackage
from artifactstore.lifecycle.retention import DEFAULT_CLASSES, expiry
from artifactstore.manifest import decode
from format.manifest_cases import MANIFESTS, MOMENT, manifest_bytes, numbered_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    Said = tuple[str, int, Draft]

DAY = 86_400 * 1_000_000  # microseconds
FIRST, SECOND = "metadata of every kind", "order of paths, executable and empty files"
SCHEMAS: list[dict[str, Any]] = [  # versions of one schema
    {"type": "object"},
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["ü"],
        "properties": {"ratio": {"maximum": 0.1}},
        "x-required-files": [{"path": "*.html", "media_type": "text/html"}],
    },
]
EXPIRY = MOMENT + 1_000_000 + 90 * DAY  # of the first package, which is raw-evidence
EXTENDED = EXPIRY + 30 * DAY
COLLECTED = EXTENDED + DAY


def example_drafts() -> Iterator[Said]:
    """The log of a store with two packages and their later life: who acts, when, and what happened."""
    said = list(package_drafts())
    yield from said
    yield from later_drafts(said)


def package_drafts() -> Iterator[Said]:
    """The creation of a store and of two packages with known manifests."""
    request = hashlib.sha256(b"the arguments of a call").digest()
    packages = [(FIRST, None), (SECOND, "run-7")]
    store_id = uuid.UUID(MANIFESTS["one file"][0].store_id).bytes
    yield "artifactstore", MOMENT, events.store_created(store_id)
    for name, seconds in DEFAULT_CLASSES.items():
        yield "artifactstore", MOMENT, events.class_defined(name, seconds)
    for version, body in enumerate(SCHEMAS, start=1):
        digest = hashlib.sha256(codec.encode(body)).digest()
        yield (
            "ada",
            MOMENT,
            events.schema_registered(slug="guide-board.run.v1", version=version, digest=digest, body=body),
        )
    for number, (name, key) in enumerate(packages, start=1):
        moment = MOMENT + number * 1_000_000
        package, files = MANIFESTS[name]
        package_id = uuid.UUID(package.package_id).bytes
        seconds = DEFAULT_CLASSES[package.retention_class]

        def keyed(call: str, key: str | None = key) -> Idempotency | None:
            return None if key is None else Idempotency(f"{key}/{call}", request)

        yield (
            "ci@example.org",
            moment,
            events.package_created(
                package_id,
                name=package.name,
                producer=package.producer,
                subject=package.subject,
                retention_class=package.retention_class,
                retention_seconds=seconds,
                metadata=package.metadata,
                metadata_schema=package.metadata_schema,
                created_at=package.created_at,
                idempotency=keyed("create"),
            ),
        )
        for file in files:
            yield (
                "ci@example.org",
                moment,
                events.file_ingested(
                    package_id,
                    relative_path=file.relative_path,
                    media_type=file.media_type,
                    size=file.size,
                    blake3=file.blake3,
                    sha256=file.sha256,
                    executable=file.executable,
                    backend_id="local",
                    idempotency=keyed("ingest") if file is files[-1] else None,
                ),
            )
        data = manifest_bytes(package, files)
        yield (
            "Prüferin",
            moment,
            events.package_finalized(
                package_id,
                manifest_blake3=blake3(data).digest(),
                manifest_sha256=hashlib.sha256(data).digest(),
                manifest_size=len(data),
                content_digest=decode(data).content_digest.value,
                file_count=len(files),
                total_size=sum(file.size for file in files),
                expires_at=expiry(moment, seconds),
                backend_id="local",
                idempotency=keyed("finalize"),
            ),
        )


def later_drafts(said: list[Said]) -> Iterator[Said]:
    """The later life: the first package is copied, damaged, repaired, kept longer and collected; the second
    one is held twice and released once. What the collected one had in the second backend is not removed yet.
    """
    gone, kept = (uuid.UUID(MANIFESTS[name][0].package_id).bytes for name in (FIRST, SECOND))
    needed: dict[int, tuple[bytes, int]] = {}  # what the first package needs, by the event that needs it
    for sequence, (_, _, draft) in enumerate(said, start=1):
        payload: Any = draft.payload
        if draft.package_id == gone and draft.type == events.FILE_INGESTED:
            needed[sequence] = payload["blake3"], payload["size"]
        elif draft.package_id == gone and draft.type == events.PACKAGE_FINALIZED:
            needed[sequence] = payload["manifest_blake3"], payload["manifest_size"]
    reference, (address, size) = next(iter(needed.items()))
    place: Any = {"reference": reference, "blake3": address}

    checked = MOMENT + DAY
    yield "ops", checked, events.location_added(gone, **place, size=size, backend_id="second")
    yield "ops", checked, events.location_verified(gone, **place, backend_id="second", failure=None)
    yield (
        "ops",
        checked,
        events.location_verified(gone, **place, backend_id="local", failure="digest differs"),
    )
    yield (
        "ops",
        checked,
        events.location_repaired(gone, **place, backend_id="local", origin="backend second"),
    )

    link = numbered_id(0x300).bytes
    message = {
        "counts": {"total": 2, "passed": 2},
        "verdict": "passed",
        "package_id": MANIFESTS[SECOND][0].package_id,
    }
    yield (
        "ada",
        checked,
        events.linkage_requested(kept, link_id=link, workstream_id="WS-1", task_id=None, message=message),
    )
    again = checked + 30_000_000
    yield (
        "ada",
        checked,
        events.linkage_failed(kept, link_id=link, reason="it answered 500", retry_at=again),
    )
    yield "ada", again, events.linkage_delivered(kept, link_id=link, status=201)

    holds = [numbered_id(number).bytes for number in (0x200, 0x201)]
    yield (
        "Prüferin",
        checked,
        events.hold_applied(
            kept, hold_id=holds[0], reason="inquiry", authority="Amtsgericht Köln", case_id="12 C 34/26"
        ),
    )
    yield (
        "ada",
        checked,
        events.hold_applied(
            kept,
            hold_id=holds[1],
            reason="audit",
            authority=None,
            case_id=None,
            idempotency=Idempotency("audit/hold", bytes(range(32))),
        ),
    )
    yield "Prüferin", checked, events.hold_released(kept, hold_id=holds[0], reason="closed")

    swept = EXPIRY + DAY
    yield "cron", swept, events.deletion_eligible(gone, reason="expired", expires_at=EXPIRY)
    yield "ada", swept, events.retention_extended(gone, expires_at=EXTENDED, reason="a customer asked")
    yield "cron", swept, events.eligibility_withdrawn(gone, reason="not due any more")
    yield "cron", COLLECTED, events.deletion_eligible(gone, reason="expired", expires_at=EXTENDED)
    uses = [(reference, address, "local") for reference, (address, _) in needed.items()]
    for sequence, blake3_digest, backend_id in sorted(
        [*uses, (reference, address, "second")], key=lambda use: (use[0], use[2])
    ):
        yield (
            "cron",
            COLLECTED,
            events.location_deleted(gone, reference=sequence, blake3=blake3_digest, backend_id=backend_id),
        )
    collected = events.garbage_collected(gone, reason="expired", plan_digest=example_plan().digest)
    yield "cron", COLLECTED, collected
    for blake3_digest, size in needed.values():
        removed = events.object_deleted(blake3=blake3_digest, size=size, backend_id="local")
        yield "cron", COLLECTED, removed
    registered = events.schema_registered(
        slug="run.v1",
        version=1,
        digest=hashlib.sha256(codec.encode(SCHEMAS[0])).digest(),
        body=SCHEMAS[0],
        idempotency=Idempotency("ci/run.v1", bytes(range(32))),
    )
    yield "ada", COLLECTED, registered


def example_plan() -> GcPlan:
    """The plan under which the first package goes: a file in two backends, and the manifest."""
    package, files = MANIFESTS[FIRST]
    size = sum(file.size for file in files)
    freed = 2 * size + len(manifest_bytes(package, files))
    return GcPlan(
        store_id=MANIFESTS["one file"][0].store_id,
        packages=(
            PlannedPackage(
                package_id=package.package_id,
                name=package.name,
                retention_class=package.retention_class,
                reason="expired",
                expires_at=EXTENDED,
                eligible_at=COLLECTED,
                eligible_by="cron",
                file_count=len(files),
                total_size=size,
                freed_size=freed,
                shared_size=0,
            ),
        ),
        object_count=3,
        freed_size=freed,
        shared_size=0,
    )


def example_log() -> apsw.Connection:
    """A database with the tables of a store and the example events; views are made, and empty."""
    connection = apsw.Connection(":memory:")
    for statement in (*schema.EVENT_STATEMENTS, *schema.VIEW_STATEMENTS):
        connection.execute(statement)
    numbers = count(0x100)
    for actor, moment, draft in example_drafts():
        event_log.append(
            connection,
            [draft],
            actor=actor,
            recorded_at=moment,
            new_id=lambda: numbered_id(next(numbers)),
        )
    return connection
