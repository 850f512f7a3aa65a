"""What can happen: the events, one builder for each type.

Source: docs/format.md, "Events".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.codec import Value

FORMAT = 1  # of the events of a store, written into its first one

STORE_CREATED = "v1.store.created"
CLASS_DEFINED = "v1.retention.class_defined"
PACKAGE_CREATED = "v1.package.created"
FILE_INGESTED = "v1.file.ingested"
PACKAGE_FINALIZED = "v1.package.finalized"
RETENTION_EXTENDED = "v1.retention.extended"
HOLD_APPLIED = "v1.retention.hold_applied"
HOLD_RELEASED = "v1.retention.hold_released"
DELETION_ELIGIBLE = "v1.retention.deletion_eligible"
ELIGIBILITY_WITHDRAWN = "v1.retention.eligibility_withdrawn"
LOCATION_VERIFIED = "v1.storage.location_verified"
LOCATION_ADDED = "v1.storage.location_added"
LOCATION_DELETED = "v1.storage.location_deleted"
LOCATION_REPAIRED = "v1.storage.location_repaired"
OBJECT_DELETED = "v1.storage.object_deleted"
GARBAGE_COLLECTED = "v1.package.garbage_collected"
LINKAGE_REQUESTED = "v1.linkage.requested"
LINKAGE_FAILED = "v1.linkage.failed"
LINKAGE_DELIVERED = "v1.linkage.delivered"
SCHEMA_REGISTERED = "v1.metadata_schema.registered"


# Events are named tuples, not dataclasses: they are made by the ten thousand, and a frozen dataclass takes
# four times as long to make.


class Draft(NamedTuple):
    """An event before it is appended: no place in the log yet.

    Args:
        payload: keys in canonical order, that is by length, then by bytes.
    """

    type: str
    package_id: bytes | None
    payload: Mapping[str, Value]


class Event(NamedTuple):
    """A fact of the log.

    Args:
        sequence: 1-based, without gaps.
        event_id: UUIDv7, 16 bytes.
        package_id: 16 bytes, or None for what concerns the store.
        recorded_at: microseconds since 1970, UTC; never before that of an earlier event.
        payload: what happened, decoded.
        leaf_hash: 32 bytes.
    """

    sequence: int
    event_id: bytes
    type: str
    package_id: bytes | None
    actor: str
    recorded_at: int
    payload: Mapping[str, Value]
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key for a request, with the digest of the request's arguments."""

    key: str
    request: bytes


# The catalogue: one builder for each type, so that a payload has one shape.


def store_created(store_id: bytes) -> Draft:
    """The first event of every store."""
    return Draft(STORE_CREATED, None, {"format": FORMAT, "store_id": store_id})


def class_defined(retention_class: str, default_duration_seconds: int | None) -> Draft:
    """A retention class is known to the store."""
    payload: dict[str, Value] = {
        "retention_class": retention_class,
        "default_duration_seconds": default_duration_seconds,
    }
    return Draft(CLASS_DEFINED, None, payload)


def package_created(
    package_id: bytes,
    *,
    name: str,
    producer: str,
    subject: str,
    retention_class: str,
    retention_seconds: int | None,
    metadata: Mapping[str, Value],
    metadata_schema: str | None,
    created_at: int,
    idempotency: Idempotency | None = None,
) -> Draft:
    """A package was opened; how long it will be kept is decided here, by the policy of the day."""
    payload: dict[str, Value] = {
        "name": name,
        "subject": subject,
        "metadata": metadata,
        "producer": producer,
        "created_at": created_at,
        "metadata_schema": metadata_schema,
        "retention_class": retention_class,
        "retention_seconds": retention_seconds,
    }
    return Draft(PACKAGE_CREATED, package_id, _with_idempotency(payload, idempotency))


def file_ingested(
    package_id: bytes,
    *,
    relative_path: str,
    media_type: str,
    size: int,
    blake3: bytes,
    sha256: bytes,
    executable: bool,
    backend_id: str,
    idempotency: Idempotency | None = None,
) -> Draft:
    """A file is in a package and its bytes are in a backend."""
    payload: dict[str, Value] = {
        "size": size,
        "blake3": blake3,
        "sha256": sha256,
        "backend_id": backend_id,
        "executable": executable,
        "media_type": media_type,
        "relative_path": relative_path,
    }
    return Draft(
        FILE_INGESTED, package_id, _with_idempotency(payload, idempotency) if idempotency else payload
    )


def package_finalized(
    package_id: bytes,
    *,
    manifest_blake3: bytes,
    manifest_sha256: bytes,
    manifest_size: int,
    content_digest: bytes,
    file_count: int,
    total_size: int,
    expires_at: int | None,
    backend_id: str,
    idempotency: Idempotency | None = None,
) -> Draft:
    """A package was sealed; its clock of retention starts."""
    payload: dict[str, Value] = {
        "backend_id": backend_id,
        "expires_at": expires_at,
        "file_count": file_count,
        "total_size": total_size,
        "manifest_size": manifest_size,
        "content_digest": content_digest,
        "manifest_blake3": manifest_blake3,
        "manifest_sha256": manifest_sha256,
    }
    return Draft(PACKAGE_FINALIZED, package_id, _with_idempotency(payload, idempotency))


def retention_extended(package_id: bytes, *, expires_at: int | None, reason: str | None) -> Draft:
    """A package is kept longer; None is for ever."""
    return Draft(RETENTION_EXTENDED, package_id, {"reason": reason, "expires_at": expires_at})


def hold_applied(
    package_id: bytes,
    *,
    hold_id: bytes,
    reason: str,
    authority: str | None,
    case_id: str | None,
    idempotency: Idempotency | None = None,
) -> Draft:
    """A package may not be deleted until this hold is released."""
    payload: dict[str, Value] = {
        "reason": reason,
        "case_id": case_id,
        "hold_id": hold_id,
        "authority": authority,
    }
    return Draft(HOLD_APPLIED, package_id, _with_idempotency(payload, idempotency))


def hold_released(package_id: bytes, *, hold_id: bytes, reason: str) -> Draft:
    """One hold is over; others of the package go on."""
    return Draft(HOLD_RELEASED, package_id, {"reason": reason, "hold_id": hold_id})


def deletion_eligible(package_id: bytes, *, reason: str, expires_at: int | None) -> Draft:
    """A sweep found that a package may be deleted.

    Args:
        reason: `expired` or `abandoned`.
    """
    return Draft(DELETION_ELIGIBLE, package_id, {"reason": reason, "expires_at": expires_at})


def eligibility_withdrawn(package_id: bytes, *, reason: str) -> Draft:
    """A hold, an extension or new work took the eligibility back."""
    return Draft(ELIGIBILITY_WITHDRAWN, package_id, {"reason": reason})


def location_verified(
    package_id: bytes, *, reference: int, blake3: bytes, backend_id: str, failure: str | None
) -> Draft:
    """A location's bytes were read again.

    Args:
        reference: sequence of the event that needs the bytes.
        failure: None if they are right, else what is wrong.
    """
    payload: dict[str, Value] = {
        "blake3": blake3,
        "failure": failure,
        "reference": reference,
        "backend_id": backend_id,
    }
    return Draft(LOCATION_VERIFIED, package_id, payload)


def location_added(package_id: bytes, *, reference: int, blake3: bytes, size: int, backend_id: str) -> Draft:
    """Another backend holds the object too."""
    payload: dict[str, Value] = {
        "size": size,
        "blake3": blake3,
        "reference": reference,
        "backend_id": backend_id,
    }
    return Draft(LOCATION_ADDED, package_id, payload)


def location_repaired(
    package_id: bytes, *, reference: int, blake3: bytes, backend_id: str, origin: str
) -> Draft:
    """A failed location has its bytes again.

    Args:
        origin: where they came from: a backend, a directory, or a new push.
    """
    payload: dict[str, Value] = {
        "blake3": blake3,
        "origin": origin,
        "reference": reference,
        "backend_id": backend_id,
    }
    return Draft(LOCATION_REPAIRED, package_id, payload)


def location_deleted(package_id: bytes, *, reference: int, blake3: bytes, backend_id: str) -> Draft:
    """A package no longer needs an object; the bytes go when nobody does."""
    payload: dict[str, Value] = {"blake3": blake3, "reference": reference, "backend_id": backend_id}
    return Draft(LOCATION_DELETED, package_id, payload)


def object_deleted(*, blake3: bytes, size: int, backend_id: str) -> Draft:
    """Bytes that nobody needed are gone."""
    return Draft(OBJECT_DELETED, None, {"size": size, "blake3": blake3, "backend_id": backend_id})


def garbage_collected(package_id: bytes, *, reason: str, plan_digest: bytes) -> Draft:
    """A package's last location is released; what it was stays in the log.

    Args:
        reason: why it was eligible.
        plan_digest: raw sha256 of the plan that was executed.
    """
    return Draft(GARBAGE_COLLECTED, package_id, {"reason": reason, "plan_digest": plan_digest})


def schema_registered(
    *,
    slug: str,
    version: int,
    digest: bytes,
    body: Mapping[str, Value],
    idempotency: Idempotency | None = None,
) -> Draft:
    """A version of a schema of metadata is known to the store.

    Args:
        version: one more than the last one of this slug; the first is 1.
        digest: raw sha256 of the encoded body.
    """
    payload: dict[str, Value] = {"body": body, "slug": slug, "digest": digest, "version": version}
    return Draft(SCHEMA_REGISTERED, None, _with_idempotency(payload, idempotency))


def linkage_requested(
    package_id: bytes,
    *,
    link_id: bytes,
    workstream_id: str | None,
    task_id: str | None,
    message: Mapping[str, Value],
) -> Draft:
    """Somebody is to be told of a package; `link_id` is the same in each attempt."""
    payload: dict[str, Value] = {
        "link_id": link_id,
        "message": message,
        "task_id": task_id,
        "workstream_id": workstream_id,
    }
    return Draft(LINKAGE_REQUESTED, package_id, payload)


def linkage_delivered(package_id: bytes, *, link_id: bytes, status: int) -> Draft:
    """The message has arrived.

    Args:
        status: the HTTP status that said so.
    """
    return Draft(LINKAGE_DELIVERED, package_id, {"status": status, "link_id": link_id})


def linkage_failed(package_id: bytes, *, link_id: bytes, reason: str, retry_at: int) -> Draft:
    """The message did not arrive, and is due again at `retry_at`."""
    return Draft(LINKAGE_FAILED, package_id, {"reason": reason, "link_id": link_id, "retry_at": retry_at})


def _with_idempotency(payload: dict[str, Value], idempotency: Idempotency | None) -> dict[str, Value]:
    if idempotency is None:
        return payload
    added: dict[str, Value] = {
        **payload,
        "idempotency": {"key": idempotency.key, "request": idempotency.request},
    }
    return dict(sorted(added.items(), key=lambda item: (len(item[0]), item[0])))
