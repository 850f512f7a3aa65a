"""What a producer says of a package, and the events of a package's life."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from artifactstore import codec, events, fields, file_queries, package_queries
from artifactstore.digest import Digest
from artifactstore.errors import DuplicateRelativePathError, InvalidInputError, SourceChangedError, StateError
from artifactstore.lifecycle.retention import expiry
from artifactstore.model import OPEN
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from artifactstore.codec import Value
    from artifactstore.commit import Transaction
    from artifactstore.connection import Connection
    from artifactstore.events import Draft, Idempotency
    from artifactstore.ingest import Entry
    from artifactstore.manifest import ManifestPackage
    from artifactstore.model import Package
    from artifactstore.objects.backend import Staged
    from artifactstore.scan import Scan

SKIPPED_KEY = "artifactstore.skipped"  # in the metadata: files that a push left out


@dataclass(frozen=True, slots=True)
class Details:
    """What a producer says of a package, checked by `check_details`."""

    name: str
    producer: str
    subject: str
    retention_class: str
    metadata: dict[str, Value]
    metadata_schema: str | None = None

    def arguments(self) -> tuple[Value, ...]:
        """For the digest of an idempotent request."""
        said = (self.name, self.producer, self.subject, self.retention_class, self.metadata)
        return said if self.metadata_schema is None else (*said, self.metadata_schema)


def check_details(
    name: str,
    producer: str,
    subject: str,
    retention_class: str,
    metadata: Mapping[str, Value] | None,
    metadata_schema: str | None = None,
) -> Details:
    """What callers say, if it keeps the rules.

    Raises:
        InvalidInputError: names the field and the rule.
    """
    return Details(
        fields.check_label(name, field="name"),
        fields.check_label(producer, field="producer"),
        fields.check_label(subject, field="subject"),
        fields.check_label(retention_class, field="retention class"),
        fields.check_metadata({} if metadata is None else metadata),
        None if metadata_schema is None else fields.check_slug(metadata_schema),
    )


def with_skipped(details: Details, scan: Scan) -> Details:
    """What was left out of a push is part of what its package says about itself."""
    if not scan.skipped:
        return details
    skipped: list[Value] = [{"path": file.path, "reason": file.reason} for file in scan.skipped]
    return replace(details, metadata=fields.check_metadata({**details.metadata, SKIPPED_KEY: skipped}))


def described(details: Details, *, package_id: str, store_id: uuid.UUID, created_at: int) -> ManifestPackage:
    """The package as its manifest describes it."""
    from artifactstore.manifest import ManifestPackage

    return ManifestPackage(
        package_id=package_id,
        store_id=str(store_id),
        name=details.name,
        producer=details.producer,
        subject=details.subject,
        retention_class=details.retention_class,
        created_at=created_at,
        metadata=details.metadata,
        metadata_schema=details.metadata_schema,
    )


def details_of(package: Package) -> Details:
    """What was said when the package was created."""
    return Details(
        package.name,
        package.producer,
        package.subject,
        package.retention_class,
        dict(package.metadata),
        package.metadata_schema,
    )


def created(
    details: Details,
    *,
    package_id: uuid.UUID,
    created_at: int,
    retention_seconds: int | None,
    idempotency: Idempotency | None,
) -> Draft:
    """The event that opens a package.

    Args:
        retention_seconds: what the policy of the day says of its class.
    """
    return events.package_created(
        package_id.bytes,
        name=details.name,
        producer=details.producer,
        subject=details.subject,
        retention_class=details.retention_class,
        retention_seconds=retention_seconds,
        metadata=details.metadata,
        metadata_schema=details.metadata_schema,
        created_at=created_at,
        idempotency=idempotency,
    )


def ingested(
    package_id: str, entries: Iterable[Entry], count: int, backend_id: str, idempotency: Idempotency | None
) -> Iterator[Draft]:
    """One event a file; the last one carries the key of the call.

    Args:
        count: how many entries there are.
    """
    key = uuid.UUID(package_id).bytes
    for number, (path, media_type, size, blake3, sha256, executable) in enumerate(entries, start=1):
        yield events.file_ingested(
            key,
            relative_path=path,
            media_type=media_type,
            size=size,
            blake3=blake3,
            sha256=sha256,
            executable=executable,
            backend_id=backend_id,
            idempotency=idempotency if number == count else None,
        )


def finalized(
    transaction: Transaction,
    package: Package,
    manifest: Staged,
    content_digest: bytes,
    backend_id: str,
    idempotency: Idempotency | None,
) -> Draft:
    """The event that seals a package; its clock of retention starts at the time of the transaction."""
    return events.package_finalized(
        uuid.UUID(package.package_id).bytes,
        manifest_blake3=manifest.digests.blake3,
        manifest_sha256=manifest.digests.sha256,
        manifest_size=manifest.size,
        content_digest=content_digest,
        file_count=package.file_count,
        total_size=package.total_size,
        expires_at=expiry(transaction.recorded_at, package.retention_seconds),
        backend_id=backend_id,
        idempotency=idempotency,
    )


def require_open(connection: Connection, sequence: int) -> Package:
    """The package, if files can still be added to it.

    Raises:
        StateError: it is finalized.
    """
    found = package_queries.package(connection, sequence)
    if found.status != OPEN:
        raise StateError(
            f"package {found.package_id} is {found.status.replace('_', ' ')} already; it takes no more files",
            hint="put further files into a new package",
            code="package-finalized",
        )
    return found


def refuse_unexpected(staged: Staged, size: int | None, digests: Iterable[Digest]) -> None:
    """Refuse bytes that are not those that the caller announced.

    Args:
        size: bytes; None if he announced none.
    Raises:
        InvalidInputError: there are more or fewer, or a digest is another.
    """
    if size is not None and staged.size != size:
        raise InvalidInputError(
            f"{staged.size} bytes came instead of {codec.integer_text(size)}",
            hint="send them again",
            code="size-mismatch",
        )
    for expected in digests:
        found = Digest(expected.algorithm, getattr(staged.digests, expected.algorithm))
        if found != expected:
            message = f"the bytes are {found} instead of {expected}"
            raise InvalidInputError(message, hint="send them again", code="digest-mismatch")


def refuse_other_bytes(expected: Mapping[str, Digest], entries: Iterable[Entry]) -> None:
    """Refuse files that are not as the caller has read them, or are gone.

    Raises:
        SourceChangedError: names the first one.
    """
    if not expected:
        return
    found = {entry[0]: entry[3] for entry in entries if entry[0] in expected}
    for path, digest in expected.items():
        if found.get(path) != digest.value:
            raise SourceChangedError(
                f"{printable(path)} changed after it was read", hint="store it when its producer is done"
            )


def refuse_collision(connection: Connection, sequence: int, relative_path: str) -> None:
    """Refuse a path that the package has already, as a file or as a folder.

    Raises:
        DuplicateRelativePathError: names both paths.
    """
    taken = file_queries.colliding_path(connection, sequence, relative_path)
    if taken == relative_path:
        raise DuplicateRelativePathError(
            f"the package has a file {printable(relative_path)} already", hint="use a distinct relative path"
        )
    if taken is not None:
        raise DuplicateRelativePathError(
            f"{printable(relative_path)} cannot stand beside {printable(taken)}: one would be a folder",
            hint="use a distinct relative path",
        )
