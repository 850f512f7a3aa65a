"""The calls of a store about schemas of metadata."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from artifactstore import events, fields
from artifactstore.calls import StoreCalls
from artifactstore.idempotency import first_use, request
from artifactstore.metadata import records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.codec import Value
    from artifactstore.connection import Connection
    from artifactstore.events import Idempotency
    from artifactstore.model import MetadataSchema
    from artifactstore.results import Violation


class SchemaCalls(StoreCalls):
    """Registering schemas, and holding metadata against them.

    A package that names a schema keeps to the version that was the last one when it was created.
    """

    def register_metadata_schema(
        self, slug: str, schema: Mapping[str, Value], *, actor: str, idempotency_key: str | None = None
    ) -> MetadataSchema:
        """Register a schema, or a new version of it.

        The content of the last version again changes nothing; other content is a new version, and packages
        that exist keep theirs.

        Args:
            slug: its name, as `guide-board.run.v1`.
            schema: JSON Schema 2020-12 without references to anything outside; also `x-required-files`.
            idempotency_key: the same key with the same arguments returns the version that it made, if it
                made one.
        Returns:
            The version that is the last one now.
        Raises:
            InvalidInputError: it is no such schema, or could take too much work to check against.
            ConflictError: the key was used with other arguments.
        """
        from artifactstore.metadata.registration import check_schema

        fields.check_slug(slug)
        fields.check_label(actor, field="actor")
        body, encoded = check_schema(schema)
        digest = hashlib.sha256(encoded).digest()
        idempotency = request(idempotency_key, "register_metadata_schema", slug, digest)
        with self._database.read() as connection:
            known = _known(connection, slug, digest, idempotency)
        if known is not None:
            return known
        with self._transaction(actor) as transaction:
            # Asked again under the lock: two programs may start at once with the same schema.
            known = _known(transaction.connection, slug, digest, idempotency)
            if known is not None:
                return known
            last = records.newest(transaction.connection, slug)
            registered = events.schema_registered(
                slug=slug,
                version=1 if last is None else last.version + 1,
                digest=digest,
                body=body,
                idempotency=idempotency,
            )
            transaction.record([registered])
            return records.schema_of(transaction.connection, slug)

    def list_metadata_schemas(self) -> tuple[MetadataSchema, ...]:
        """The last version of every schema, by slug."""
        with self._database.read() as connection:
            return records.newest_of_each(connection)

    def get_metadata_schema(self, slug: str, *, version: int | None = None) -> MetadataSchema:
        """A schema, in its last version or the one named.

        Raises:
            NotFoundError: there is none.
        """
        fields.check_slug(slug)
        with self._database.read() as connection:
            return records.schema_of(connection, slug, version=version)

    def check_metadata(
        self, slug: str, metadata: Mapping[str, Value], *, version: int | None = None
    ) -> tuple[Violation, ...]:
        """Hold metadata against a schema; nothing is stored.

        Returns:
            What is wrong, by place; at most twenty.
        Raises:
            InvalidInputError: it is no metadata at all, or takes too much work to check.
            NotFoundError: there is no such schema.
        """
        from artifactstore.metadata.validation import violations

        document = fields.check_metadata(metadata)
        schema = self.get_metadata_schema(slug, version=version)
        return violations(schema.body, document, f"the metadata by the schema {slug}")


def _known(
    connection: Connection, slug: str, digest: bytes, idempotency: Idempotency | None
) -> MetadataSchema | None:
    """What this very request made before, or the last version if it has this content."""
    first = first_use(connection, idempotency)
    if first is not None:
        return records.of_event(connection, first)
    last = records.newest(connection, slug)
    return last if last is not None and last.digest.value == digest else None
