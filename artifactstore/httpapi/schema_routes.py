"""Routes of metadata schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from artifactstore.facts import plain
from artifactstore.httpapi.access import ADMIN
from artifactstore.httpapi.answers import Answer, document
from artifactstore.httpapi.package_routes import ACTOR, KEY
from artifactstore.httpapi.routes import Parameter, Reply, Route, bad_query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.codec import Value
    from artifactstore.httpapi.routes import Call


def register_schema(call: Call) -> Answer:
    """Register a schema, or a new version of it; the content of the last version again changes nothing."""
    given = call.document(slug=str, schema=dict)
    schema = call.store.register_metadata_schema(
        cast("str", given["slug"]),
        cast("Mapping[str, Value]", given["schema"]),
        actor=call.actor,
        idempotency_key=call.idempotency_key,
    )
    return document(schema, status=201, fields={"Location": f"/metadata-schemas/{schema.slug}"})


def list_schemas(call: Call) -> Answer:
    """List the registered schemas in their last versions."""
    return document({"items": plain(call.store.list_metadata_schemas()), "next_cursor": None})


def show_schema(call: Call) -> Answer:
    """Show a schema in its last version, or in the one named."""
    version = call.text("version")
    if version is not None and not (version.isascii() and version.isdigit() and len(version) <= 9):
        raise bad_query("version is a number")
    return document(
        call.store.get_metadata_schema(call.path["slug"], version=None if version is None else int(version))
    )


ROUTES = (
    Route(
        "POST",
        "/metadata-schemas",
        register_schema,
        "Register a schema that packages can name",
        Reply("The version that is the last one now.", "MetadataSchema", status=201),
        ADMIN,
        "Packages that exist keep the version under which they were created. The content of the last version"
        " again changes nothing, and then no key is kept.",
        fields=(KEY, ACTOR),
        body="NewSchema",
        body_required=True,
        refuses=(409,),
    ),
    Route(
        "GET",
        "/metadata-schemas",
        list_schemas,
        "List the schemas",
        Reply("All schemas, by slug.", "SchemaList"),
    ),
    Route(
        "GET",
        "/metadata-schemas/{slug}",
        show_schema,
        "Show a schema",
        Reply("The schema with its version and digest.", "MetadataSchema"),
        query=(Parameter("version", "Not the last one.", {"type": "integer", "minimum": 1}),),
    ),
)
