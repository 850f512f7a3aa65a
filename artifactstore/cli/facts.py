"""Packages and files as the commands show them: the columns of tables and the facts of records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from artifactstore.cli.columns import Column, Fact
from artifactstore.cli.text import count_text, moment_text, size_text
from artifactstore.facts import members
from artifactstore.moment import format_moment

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from artifactstore.model import File, FileHit, Package
    from artifactstore.results import IngestResult, PushResult

PACKAGE_COLUMNS: tuple[Column[Package], ...] = (
    Column("ID", lambda package: package.package_id),
    Column("NAME", lambda package: package.name),
    Column("PRODUCER", lambda package: package.producer),
    Column("SUBJECT", lambda package: package.subject),
    Column("STATUS", lambda package: package.status),
    Column("CLASS", lambda package: package.retention_class),
    Column(
        "CREATED",
        lambda package: format_moment(package.created_at),
        lambda package: moment_text(package.created_at),
    ),
    Column(
        "EXPIRES",
        lambda package: "" if package.expires_at is None else format_moment(package.expires_at),
        lambda package: _expiry_text(package),  # noqa: PLW0108 - it is defined further down
    ),
    Column("FILES", lambda package: str(package.file_count), right=True),
    Column(
        "SIZE",
        lambda package: str(package.total_size),
        lambda package: size_text(package.total_size),
        right=True,
    ),
)

FILE_COLUMNS: tuple[Column[File], ...] = (
    Column("PATH", lambda file: file.relative_path),
    Column("SIZE", lambda file: str(file.size), lambda file: size_text(file.size), right=True),
    Column("TYPE", lambda file: file.media_type),
    Column("EXECUTABLE", lambda file: "yes" if file.executable else "no"),
    Column("BLAKE3", lambda file: str(file.digest)),
    Column("SHA256", lambda file: str(file.sha256), pipe_only=True),
)

HIT_COLUMNS: tuple[Column[FileHit], ...] = (
    Column("PACKAGE", lambda hit: hit.package.package_id),
    Column("PATH", lambda hit: hit.file.relative_path),
    Column("SIZE", lambda hit: str(hit.file.size), lambda hit: size_text(hit.file.size), right=True),
    Column("NAME", lambda hit: hit.package.name),
    Column("BLAKE3", lambda hit: str(hit.file.digest)),
    Column("SHA256", lambda hit: str(hit.file.sha256), pipe_only=True),
    Column("STATUS", lambda hit: hit.package.status),
)


def record_of(value: DataclassInstance) -> list[Fact]:
    """The fields of a value of the library, named as in JSON; sizes and moments are also told to people."""
    return [_fact(name, getattr(value, name), projected) for name, projected in members(value).items()]


def _fact(name: str, value: object, projected: object) -> Fact:
    exact = _exact(projected)
    if isinstance(value, int) and name.endswith("_at"):
        return Fact(name, exact, moment_text(value))
    if isinstance(value, int) and name.endswith("_size") and value >= 1024:
        return Fact(name, exact, f"{value} ({size_text(value)})")
    return Fact(name, exact)


def _exact(projected: object) -> str:
    if projected is None:
        return ""
    if isinstance(projected, str | int) and not isinstance(projected, bool):
        return str(projected)
    return json.dumps(projected, ensure_ascii=False, separators=(",", ":"))


def push_summary(result: PushResult) -> list[Fact]:
    """What a push did, for people."""
    package = result.package
    return [
        Fact("package", package.package_id),
        Fact("name", package.name),
        Fact("content", f"{count_text(package.file_count, 'file')}, {size_text(package.total_size)}"),
        Fact("stored", _stored(result)),
        Fact("manifest", str(package.manifest_digest)),
        Fact("expires", _expiry_text(package)),
    ]


def ingest_facts(result: IngestResult) -> list[Fact]:
    """What ingesting a directory did."""
    return [
        Fact("file_count", str(result.file_count)),
        Fact("total_size", str(result.total_size), size_text(result.total_size)),
        Fact("new_object_count", str(result.new_object_count)),
        Fact("new_object_size", str(result.new_object_size), size_text(result.new_object_size)),
    ]


def _stored(result: PushResult) -> str:
    if result.unchanged:
        return "0 new bytes: this package has exactly these files already"
    ingest = result.ingest
    if not ingest.new_object_count:
        return "0 new bytes: everything was stored already"
    return f"{count_text(ingest.new_object_count, 'new object')}, {size_text(ingest.new_object_size)}"


def _expiry_text(package: Package) -> str:
    if package.expires_at is not None:
        return moment_text(package.expires_at)
    return "never" if package.retention_seconds is None else "not before it is finalized"
