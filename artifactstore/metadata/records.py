"""Questions to the view `metadata_schemas`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from artifactstore import codec
from artifactstore.connection import fetch, fetch_one
from artifactstore.digest import Digest
from artifactstore.errors import IntegrityError, NotFoundError
from artifactstore.model import MetadataSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.codec import Value
    from artifactstore.connection import Connection

_COLUMNS = "slug, version, digest, body, registered_at, registered_by"


def newest(connection: Connection, slug: str, *, before: int | None = None) -> MetadataSchema | None:
    """The last version of a schema, or None.

    Args:
        before: of those registered before the event of this sequence.
    """
    row = fetch_one(
        connection,
        f"SELECT {_COLUMNS} FROM metadata_schemas WHERE slug = ? AND (? IS NULL OR sequence < ?)"
        " ORDER BY version DESC LIMIT 1",
        (slug, before, before),
    )
    return None if row is None else _schema(row)


def schema_of(
    connection: Connection, slug: str, *, version: int | None = None, before: int | None = None
) -> MetadataSchema:
    """A version of a schema; the last one if none is named.

    Raises:
        NotFoundError: there is no such schema, or no such version of it.
    """
    if version is None:
        found = newest(connection, slug, before=before)
    else:
        row = fetch_one(
            connection,
            f"SELECT {_COLUMNS} FROM metadata_schemas WHERE slug = ? AND version = ?",
            (slug, version),
        )
        found = None if row is None else _schema(row)
    if found is None:
        what = f"the schema {slug!r}" if version is None else f"version {version} of the schema {slug!r}"
        raise NotFoundError(
            f"{what} is not registered",
            hint="see `artifactstore schema list`; `artifactstore schema register` adds one",
            code="schema-not-found",
        )
    return found


def of_event(connection: Connection, sequence: int) -> MetadataSchema:
    """The version that the event of this sequence registered."""
    row = fetch_one(connection, f"SELECT {_COLUMNS} FROM metadata_schemas WHERE sequence = ?", (sequence,))
    if row is None:
        raise IntegrityError("a schema has lost its row", hint="run `artifactstore replay`")
    return _schema(row)


def newest_of_each(connection: Connection) -> tuple[MetadataSchema, ...]:
    """The last version of every schema, by slug."""
    rows = fetch(
        connection,
        f"SELECT {_COLUMNS} FROM metadata_schemas m WHERE version ="
        " (SELECT max(version) FROM metadata_schemas WHERE slug = m.slug) ORDER BY slug",
    )
    return tuple(map(_schema, rows))


def _schema(row: Any) -> MetadataSchema:
    slug, version, digest, body, registered_at, registered_by = row
    return MetadataSchema(
        slug=slug,
        version=version,
        digest=Digest("sha256", digest),
        body=cast("Mapping[str, Value]", codec.decode_trusted(body)),
        registered_at=registered_at,
        registered_by=registered_by,
    )
