"""Commands about schemas of metadata: `schema register`, `list`, `show`, `check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from artifactstore.cli import options
from artifactstore.cli.columns import Column, Fact
from artifactstore.cli.exit_codes import FINDINGS
from artifactstore.cli.metadata import read_file
from artifactstore.cli.text import moment_text
from artifactstore.moment import format_moment

if TYPE_CHECKING:
    from artifactstore.model import MetadataSchema
    from artifactstore.results import Violation

Slug = Annotated[str, typer.Argument(metavar="SLUG", help="Name of a schema, as guide-board.run.v1.")]
Version = Annotated[
    int | None,
    typer.Option("--schema-version", metavar="N", help="A version of it.", show_default="the last"),
]

SCHEMA_COLUMNS: tuple[Column[MetadataSchema], ...] = (
    Column("SLUG", lambda schema: schema.slug),
    Column("VERSION", lambda schema: str(schema.version), right=True),
    Column(
        "REGISTERED",
        lambda schema: format_moment(schema.registered_at),
        lambda schema: moment_text(schema.registered_at),
    ),
    Column("BY", lambda schema: schema.registered_by),
    Column("DIGEST", lambda schema: str(schema.digest)),
)

VIOLATION_COLUMNS: tuple[Column[Violation], ...] = (
    Column("PLACE", lambda violation: violation.pointer or "/"),
    Column("MESSAGE", lambda violation: violation.message),
    Column("VALUE", lambda violation: violation.value),
    Column("RULE", lambda violation: violation.rule),
    Column("EXPECTED", lambda violation: violation.expected),
)


def register(
    context: options.Context,
    slug: Slug,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSON Schema 2020-12; - reads stdin.")],
    actor: options.Actor = None,
    as_json: options.Json = False,
) -> None:
    """Register a schema, or a new version of it, and print the version.

    The content of the last version again changes nothing. Packages keep the version under which they were
    created.
    """
    run = options.invocation(context)
    body = read_file(file)
    with run.local_store(create=True) as store:
        schema = store.register_metadata_schema(slug, body, actor=options.actor_name(actor))
    if as_json:
        run.output.document(schema)
    elif run.brief:
        run.output.line(str(schema.version))
    else:
        run.output.record(_facts(schema))


def list_schemas(
    context: options.Context, as_json: options.Json = False, as_lines: options.Jsonl = False
) -> None:
    """List the registered schemas in their last versions."""
    run = options.invocation(context)
    with run.local_store() as store:
        found = store.list_metadata_schemas()
    run.output.listing(found, SCHEMA_COLUMNS, as_json=as_json, as_lines=as_lines)


def show(
    context: options.Context, slug: Slug, version: Version = None, as_json: options.Json = False
) -> None:
    """Print a schema; with --json also its version, its digest, and who registered it when."""
    run = options.invocation(context)
    with run.local_store() as store:
        schema = store.get_metadata_schema(slug, version=version)
    run.output.document(schema if as_json else schema.body)


def check(
    context: options.Context,
    slug: Slug,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Metadata, a JSON object; - reads stdin.")],
    version: Version = None,
    as_json: options.Json = False,
    as_lines: options.Jsonl = False,
) -> None:
    """Hold a file of metadata against a schema, and print what is wrong; nothing is stored.

    Exit code 3 if something is.
    """
    run = options.invocation(context)
    metadata = read_file(file)
    with run.local_store() as store:
        found = store.check_metadata(slug, metadata, version=version)
    run.output.listing(found, VIOLATION_COLUMNS, as_json=as_json, as_lines=as_lines)
    if found:
        raise typer.Exit(FINDINGS)
    run.note(f"the metadata keeps to the schema {slug}")


def _facts(schema: MetadataSchema) -> list[Fact]:
    return [
        Fact("slug", schema.slug),
        Fact("version", str(schema.version)),
        Fact("digest", str(schema.digest)),
        Fact("registered_at", format_moment(schema.registered_at), moment_text(schema.registered_at)),
        Fact("registered_by", schema.registered_by),
    ]
