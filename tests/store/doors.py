"""The doors to one store: the library, the async face, the command line.

All of them offer the calls of `Store`, so that one test body runs through each.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol, cast

from artifactstore.registry import Registry

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from typing import Literal

    from artifactstore import (
        Digest,
        Event,
        ExportResult,
        File,
        FileHit,
        Health,
        IngestResult,
        Package,
        Page,
        PushResult,
        ReplayResult,
        Selection,
    )
    from artifactstore.codec import Value
    from artifactstore.sources import Source
    from store.harness import Home


class Door(Protocol):
    """What can be done through every door, with the signatures of `Store`."""

    def create_package(
        self,
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        idempotency_key: str | None = None,
    ) -> str: ...

    def ingest_file(
        self,
        package: str,
        relative_path: str,
        source: Source,
        *,
        actor: str,
        media_type: str | None = None,
        executable: bool | None = None,
        idempotency_key: str | None = None,
    ) -> File: ...

    def ingest_directory(
        self,
        package: str,
        directory: str | os.PathLike[str],
        *,
        actor: str,
        selection: Selection | None = None,
        idempotency_key: str | None = None,
    ) -> IngestResult: ...

    def finalize_package(self, package: str, *, actor: str, idempotency_key: str | None = None) -> Digest: ...

    def push(
        self,
        directory: str | os.PathLike[str],
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        selection: Selection | None = None,
        if_changed: bool = False,
        idempotency_key: str | None = None,
    ) -> PushResult: ...

    def get_package(self, package: str) -> Package: ...

    def list_packages(
        self,
        *,
        producer: str | None = None,
        subject: str | None = None,
        retention_class: str | None = None,
        status: str | None = None,
        name: str | None = None,
        created_after: int | None = None,
        created_before: int | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Package]: ...

    def list_files(self, package: str, *, limit: int = 1000, cursor: str | None = None) -> Page[File]: ...

    def read_file(self, package: str, relative_path: str) -> bytes: ...

    def get_manifest_bytes(
        self,
        package: str,
        *,
        format: Literal["cbor", "json"] = "cbor",  # noqa: A002 - Store's name
    ) -> bytes: ...

    def export_package(
        self, package: str, directory: str | os.PathLike[str], *, bare: bool = False
    ) -> ExportResult: ...

    def find_object(self, digest: str) -> list[FileHit]: ...

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]: ...

    def replay(self, *, check: bool = False) -> ReplayResult: ...

    def health(self) -> Health: ...


class AsyncDoor:
    """Each call through the async face, in an event loop of its own."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._registry, name)

        def call(*args: object, **kwargs: object) -> object:
            return asyncio.run(method(*args, **kwargs))

        return call

    def ingest_file(self, package: str, relative_path: str, source: object, **kwargs: Any) -> File:
        """The async face calls the source a stream."""
        return asyncio.run(
            self._registry.ingest_file(
                package, relative_path=relative_path, stream=cast("Source", source), **kwargs
            )
        )


@contextlib.contextmanager
def library(home: Home) -> Iterator[Door]:
    """The store itself."""
    with home.open() as store:
        yield store


@contextlib.contextmanager
def async_face(home: Home) -> Iterator[Door]:
    """`Registry`."""
    with home.open() as store:
        yield cast("Door", AsyncDoor(Registry(store)))


DOORS = [library, async_face]
