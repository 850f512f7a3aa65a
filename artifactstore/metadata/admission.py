"""Whether a package keeps to the schema that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore.errors import InvalidInputError
from artifactstore.metadata import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artifactstore.codec import Value
    from artifactstore.connection import Connection
    from artifactstore.model import MetadataSchema


def require_metadata(
    connection: Connection,
    slug: str | None,
    metadata: Mapping[str, Value],
    *,
    before: int | None = None,
    checked: MetadataSchema | None = None,
) -> MetadataSchema | None:
    """The schema that metadata keeps to; None if none is named.

    Args:
        before: the sequence of the package's creation, if it exists.
        checked: the version that it was held against already.
    Raises:
        NotFoundError: the schema is not registered.
        InvalidInputError: the metadata breaks its rules; the message names places, values and rules.
    """
    if slug is None:
        return None
    from artifactstore.metadata.validation import violations

    schema = records.schema_of(connection, slug, before=before)
    if checked is not None and checked.version == schema.version:
        return schema
    broken = violations(schema.body, metadata, f"the metadata by the schema {slug}")
    if broken:
        more = f"; and {len(broken) - _TOLD} more" if len(broken) > _TOLD else ""
        raise InvalidInputError(
            f"the metadata breaks the schema {slug}, version {schema.version}:"
            f" {'; '.join(map(str, broken[:_TOLD]))}{more}",
            hint=f"`artifactstore schema check {slug} FILE` tells all",
            code="metadata-invalid",
        )
    return schema


def require_files(schema: MetadataSchema | None, files: Iterable[tuple[str, str]]) -> None:
    """Refuse a package that lacks files which its schema demands.

    Args:
        files: relative path and media type of each.
    Raises:
        StateError: names what is missing.
    """
    if schema is not None:
        from artifactstore.metadata import required_files

        required_files.require_files(schema.body, files, schema.slug)


_TOLD = 5  # violations in a message
