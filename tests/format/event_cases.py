"""The log of a small store."""

from __future__ import annotations

import hashlib
import uuid
from itertools import count
from typing import TYPE_CHECKING

import apsw
from blake3 import blake3

from artifactstore import events, schema
from artifactstore.events import Idempotency
from artifactstore.lifecycle.retention import DEFAULT_CLASSES, expiry
from artifactstore.manifest import decode
from format.manifest_cases import MANIFESTS, MOMENT, manifest_bytes, numbered_id

if TYPE_CHECKING:
    from collections.abc import Iterator


def example_drafts() -> Iterator[tuple[str, int, events.Draft]]:
    """The log of a store that holds two of the known manifests: who acts, when, and what happened."""
    request = hashlib.sha256(b"the arguments of a call").digest()
    packages = [("metadata of every kind", None), ("order of paths, executable and empty files", "run-7")]
    store_id = uuid.UUID(MANIFESTS["one file"][0].store_id).bytes
    yield "artifactstore", MOMENT, events.store_created(store_id)
    for name, seconds in DEFAULT_CLASSES.items():
        yield "artifactstore", MOMENT, events.class_defined(name, seconds)
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


def example_log() -> apsw.Connection:
    """A database with the tables of a store and the example events; views are made, and empty."""
    connection = apsw.Connection(":memory:")
    for statement in (*schema.EVENT_STATEMENTS, *schema.VIEW_STATEMENTS):
        connection.execute(statement)
    numbers = count(0x100)
    for actor, moment, draft in example_drafts():
        events.append(
            connection,
            [draft],
            actor=actor,
            recorded_at=moment,
            new_id=lambda: numbered_id(next(numbers)),
        )
    return connection
