"""The async face of a store: the same names, each call run as a whole in a worker thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from artifactstore.lifecycle.calls import ABANDONED_AFTER, ORPHAN_PROTECTION

if TYPE_CHECKING:
    import io
    import os
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
    from typing import IO, Literal

    from artifactstore.arrivals import Arrivals
    from artifactstore.codec import Value
    from artifactstore.digest import Digest
    from artifactstore.events import Event
    from artifactstore.known_files import KnownFile
    from artifactstore.lifecycle.backup import BackupResult
    from artifactstore.lifecycle.copying import CopyResult
    from artifactstore.lifecycle.fsck import FsckResult
    from artifactstore.lifecycle.gc import GcResult
    from artifactstore.lifecycle.gc_plan import GcPlan
    from artifactstore.lifecycle.orphans import OrphanResult
    from artifactstore.lifecycle.repair import RepairResult
    from artifactstore.lifecycle.verify import VerifyResult
    from artifactstore.linkage.message import LinkageRequest
    from artifactstore.manifest import Manifest
    from artifactstore.model import (
        Explanation,
        File,
        FileHit,
        Hold,
        Linkage,
        MetadataSchema,
        Package,
        Page,
        RetentionState,
        Verification,
    )
    from artifactstore.results import (
        ExportResult,
        Health,
        IngestResult,
        PushResult,
        ReplayResult,
        SweepResult,
        Violation,
    )
    from artifactstore.scan import Selection
    from artifactstore.sources import Source
    from artifactstore.store import Store
    from artifactstore.uploads import Uploads

ResultT = TypeVar("ResultT")


class Registry:
    """A store for programs that run an event loop.

    A call that is cancelled goes on in its thread to its end: it commits or it does not, never half.

    Args:
        store: stays usable beside the registry; `dispose` closes it.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    async def dispose(self) -> None:
        """Close the store."""
        await asyncio.to_thread(self.store.close)

    async def __aenter__(self) -> Registry:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.dispose()

    async def create_package(
        self,
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        metadata_schema: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """See `Store.create_package`."""
        return await _run(
            lambda: self.store.create_package(
                name=name,
                producer=producer,
                subject=subject,
                retention_class=retention_class,
                actor=actor,
                metadata=metadata,
                metadata_schema=metadata_schema,
                idempotency_key=idempotency_key,
            )
        )

    async def ingest_file(
        self,
        package: str,
        *,
        relative_path: str,
        stream: Source | AsyncIterable[bytes],
        actor: str,
        media_type: str | None = None,
        executable: bool | None = None,
        expected_size: int | None = None,
        expected_digests: Iterable[Digest] = (),
        idempotency_key: str | None = None,
    ) -> File:
        """See `Store.ingest_file`; `stream` may also be an async iterator of chunks."""
        loop = asyncio.get_running_loop()
        source = _pulled(stream.__aiter__(), loop) if hasattr(stream, "__aiter__") else stream
        return await _run(
            lambda: self.store.ingest_file(
                package,
                relative_path,
                source,
                actor=actor,
                media_type=media_type,
                executable=executable,
                expected_size=expected_size,
                expected_digests=expected_digests,
                idempotency_key=idempotency_key,
            )
        )

    async def ingest_known(
        self,
        package: str,
        files: Iterable[KnownFile],
        *,
        actor: str,
        idempotency_key: str | None = None,
    ) -> list[File]:
        """See `Store.ingest_known`."""
        return await _run(
            lambda: self.store.ingest_known(package, files, actor=actor, idempotency_key=idempotency_key)
        )

    async def known_objects(self, digests: Iterable[Digest]) -> list[Digest]:
        """See `Store.known_objects`."""
        return await _run(lambda: self.store.known_objects(digests))

    async def check_new_file(self, package: str, relative_path: str) -> Package:
        """See `Store.check_new_file`."""
        return await _run(lambda: self.store.check_new_file(package, relative_path))

    async def uploads(self) -> Uploads:
        """See `Store.uploads`; its own calls block."""
        return await _run(self.store.uploads)

    async def ingest_directory(
        self,
        package: str,
        directory: str | os.PathLike[str],
        *,
        actor: str,
        selection: Selection | None = None,
        cache: bool = True,
        idempotency_key: str | None = None,
    ) -> IngestResult:
        """See `Store.ingest_directory`."""
        return await _run(
            lambda: self.store.ingest_directory(
                package,
                directory,
                actor=actor,
                selection=selection,
                cache=cache,
                idempotency_key=idempotency_key,
            )
        )

    async def finalize_package(
        self, package: str, *, actor: str, idempotency_key: str | None = None
    ) -> Digest:
        """See `Store.finalize_package`."""
        return await _run(
            lambda: self.store.finalize_package(package, actor=actor, idempotency_key=idempotency_key)
        )

    async def push(
        self,
        directory: str | os.PathLike[str],
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        metadata_schema: str | None = None,
        selection: Selection | None = None,
        cache: bool = True,
        if_changed: bool = False,
        idempotency_key: str | None = None,
        expected: Mapping[str, Digest] | None = None,
        linkage: LinkageRequest | None = None,
    ) -> PushResult:
        """See `Store.push`."""
        return await _run(
            lambda: self.store.push(
                directory,
                name=name,
                producer=producer,
                subject=subject,
                retention_class=retention_class,
                actor=actor,
                metadata=metadata,
                metadata_schema=metadata_schema,
                selection=selection,
                cache=cache,
                if_changed=if_changed,
                idempotency_key=idempotency_key,
                expected=expected,
                linkage=linkage,
            )
        )

    async def register_metadata_schema(
        self, slug: str, schema: Mapping[str, Value], *, actor: str, idempotency_key: str | None = None
    ) -> MetadataSchema:
        """See `Store.register_metadata_schema`."""
        return await _run(
            lambda: self.store.register_metadata_schema(
                slug, schema, actor=actor, idempotency_key=idempotency_key
            )
        )

    async def request_linkage(self, package: str, linkage: LinkageRequest, *, actor: str) -> Linkage:
        """See `Store.request_linkage`."""
        return await _run(lambda: self.store.request_linkage(package, linkage, actor=actor))

    async def list_linkages(
        self, *, undelivered: bool = False, due_at: int | None = None, limit: int = 1000
    ) -> tuple[Linkage, ...]:
        """See `Store.list_linkages`."""
        return await _run(
            lambda: self.store.list_linkages(undelivered=undelivered, due_at=due_at, limit=limit)
        )

    async def record_linkage_delivered(self, link_id: str, *, status: int, actor: str) -> Linkage:
        """See `Store.record_linkage_delivered`."""
        return await _run(lambda: self.store.record_linkage_delivered(link_id, status=status, actor=actor))

    async def record_linkage_failed(self, link_id: str, *, reason: str, retry_at: int, actor: str) -> Linkage:
        """See `Store.record_linkage_failed`."""
        return await _run(
            lambda: self.store.record_linkage_failed(link_id, reason=reason, retry_at=retry_at, actor=actor)
        )

    async def list_metadata_schemas(self) -> tuple[MetadataSchema, ...]:
        """See `Store.list_metadata_schemas`."""
        return await _run(self.store.list_metadata_schemas)

    async def get_metadata_schema(self, slug: str, *, version: int | None = None) -> MetadataSchema:
        """See `Store.get_metadata_schema`."""
        return await _run(lambda: self.store.get_metadata_schema(slug, version=version))

    async def check_metadata(
        self, slug: str, metadata: Mapping[str, Value], *, version: int | None = None
    ) -> tuple[Violation, ...]:
        """See `Store.check_metadata`."""
        return await _run(lambda: self.store.check_metadata(slug, metadata, version=version))

    async def get_package(self, package: str) -> Package:
        """See `Store.get_package`."""
        return await _run(lambda: self.store.get_package(package))

    async def list_packages(
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
        size: int | None = None,
        cursor: str | None = None,
    ) -> Page[Package]:
        """See `Store.list_packages`."""
        return await _run(
            lambda: self.store.list_packages(
                producer=producer,
                subject=subject,
                retention_class=retention_class,
                status=status,
                name=name,
                created_after=created_after,
                created_before=created_before,
                metadata=metadata,
                limit=limit,
                size=size,
                cursor=cursor,
            )
        )

    async def list_files(self, package: str, *, limit: int = 1000, cursor: str | None = None) -> Page[File]:
        """See `Store.list_files`."""
        return await _run(lambda: self.store.list_files(package, limit=limit, cursor=cursor))

    async def get_file(self, package: str, relative_path: str) -> File:
        """See `Store.get_file`."""
        return await _run(lambda: self.store.get_file(package, relative_path))

    async def open_file(self, package: str, relative_path: str) -> io.BufferedReader:
        """See `Store.open_file`; the stream itself is an ordinary, blocking one."""
        return await _run(lambda: self.store.open_file(package, relative_path))

    async def read_file(self, package: str, relative_path: str) -> bytes:
        """See `Store.read_file`."""
        return await _run(lambda: self.store.read_file(package, relative_path))

    async def get_manifest_bytes(self, package: str, *, format: Literal["cbor", "json"] = "cbor") -> bytes:  # noqa: A002 - the guide's name
        """See `Store.get_manifest_bytes`."""
        return await _run(lambda: self.store.get_manifest_bytes(package, format=format))

    async def get_manifest(self, package: str) -> Manifest:
        """See `Store.get_manifest`."""
        return await _run(lambda: self.store.get_manifest(package))

    async def export_package(
        self, package: str, directory: str | os.PathLike[str], *, bare: bool = False
    ) -> ExportResult:
        """See `Store.export_package`."""
        return await _run(lambda: self.store.export_package(package, directory, bare=bare))

    async def export_tar(self, package: str, stream: IO[bytes], *, bare: bool = False) -> ExportResult:
        """See `Store.export_tar`; the stream is written in another thread."""
        return await _run(lambda: self.store.export_tar(package, stream, bare=bare))

    async def export_zip(self, package: str, stream: IO[bytes], *, bare: bool = False) -> ExportResult:
        """See `Store.export_zip`; the stream is written in another thread."""
        return await _run(lambda: self.store.export_zip(package, stream, bare=bare))

    async def find_file(self, file_id: str) -> File:
        """See `Store.find_file`."""
        return await _run(lambda: self.store.find_file(file_id))

    async def find_object(self, digest: str | Digest) -> list[FileHit]:
        """See `Store.find_object`."""
        return await _run(lambda: self.store.find_object(digest))

    async def newest_sequence(self) -> int:
        """See `Store.newest_sequence`."""
        return await _run(self.store.newest_sequence)

    async def arrivals(self) -> Arrivals:
        """See `Store.arrivals`; its own calls block."""
        return await _run(self.store.arrivals)

    async def events(self, *, after: int = 0, limit: int = 1000, size: int | None = None) -> list[Event]:
        """See `Store.events`."""
        return await _run(lambda: self.store.events(after=after, limit=limit, size=size))

    async def verification(self, package: str) -> Verification:
        """See `Store.verification`."""
        return await _run(lambda: self.store.verification(package))

    async def retention_seconds(self, retention_class: str) -> int | None:
        """See `Store.retention_seconds`."""
        return await _run(lambda: self.store.retention_seconds(retention_class))

    async def extend_retention(
        self,
        package: str,
        *,
        actor: str,
        until: int | None = None,
        by: int | None = None,
        for_ever: bool = False,
        reason: str | None = None,
    ) -> RetentionState:
        """See `Store.extend_retention`."""
        return await _run(
            lambda: self.store.extend_retention(
                package, actor=actor, until=until, by=by, for_ever=for_ever, reason=reason
            )
        )

    async def apply_hold(
        self,
        package: str,
        *,
        reason: str,
        actor: str,
        authority: str | None = None,
        case_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Hold:
        """See `Store.apply_hold`."""
        return await _run(
            lambda: self.store.apply_hold(
                package,
                reason=reason,
                actor=actor,
                authority=authority,
                case_id=case_id,
                idempotency_key=idempotency_key,
            )
        )

    async def release_hold(self, package: str, hold: str, *, reason: str, actor: str) -> Hold:
        """See `Store.release_hold`."""
        return await _run(lambda: self.store.release_hold(package, hold, reason=reason, actor=actor))

    async def retention_history(self, package: str) -> list[Event]:
        """See `Store.retention_history`."""
        return await _run(lambda: self.store.retention_history(package))

    async def explain_retention(self, package: str) -> Explanation:
        """See `Store.explain_retention`."""
        return await _run(lambda: self.store.explain_retention(package))

    async def sweep(
        self,
        *,
        actor: str,
        abandoned_after: int = ABANDONED_AFTER,
        mark_abandoned: bool = False,
        accept_clock: bool = False,
        limit: int | None = None,
    ) -> SweepResult:
        """See `Store.sweep`."""
        return await _run(
            lambda: self.store.sweep(
                actor=actor,
                abandoned_after=abandoned_after,
                mark_abandoned=mark_abandoned,
                accept_clock=accept_clock,
                limit=limit,
            )
        )

    async def plan_gc(self, *, plan: GcPlan | None = None, limit: int | None = None) -> GcPlan:
        """See `Store.plan_gc`."""
        return await _run(lambda: self.store.plan_gc(plan=plan, limit=limit))

    async def gc(self, *, actor: str, plan: GcPlan | None = None, accept_clock: bool = False) -> GcResult:
        """See `Store.gc`."""
        return await _run(lambda: self.store.gc(actor=actor, plan=plan, accept_clock=accept_clock))

    async def orphans(
        self, *, actor: str, delete: bool = False, older_than: int = ORPHAN_PROTECTION
    ) -> OrphanResult:
        """See `Store.orphans`."""
        return await _run(lambda: self.store.orphans(actor=actor, delete=delete, older_than=older_than))

    async def verify(
        self,
        *,
        actor: str,
        backend: str | None = None,
        package: str | None = None,
        max_bytes: int | None = None,
        max_seconds: float | None = None,
        older_than: int | None = None,
        sample: float | None = None,
        shard: tuple[int, int] | None = None,
        failed_only: bool = False,
    ) -> VerifyResult:
        """See `Store.verify`."""
        return await _run(
            lambda: self.store.verify(
                actor=actor,
                backend=backend,
                package=package,
                max_bytes=max_bytes,
                max_seconds=max_seconds,
                older_than=older_than,
                sample=sample,
                shard=shard,
                failed_only=failed_only,
            )
        )

    async def repair(
        self, *, actor: str, backend: str | None = None, directory: str | os.PathLike[str] | None = None
    ) -> RepairResult:
        """See `Store.repair`."""
        return await _run(lambda: self.store.repair(actor=actor, backend=backend, directory=directory))

    async def copy(
        self,
        *,
        source: str,
        target: str,
        actor: str,
        package: str | None = None,
        producer: str | None = None,
        retention_class: str | None = None,
    ) -> CopyResult:
        """See `Store.copy`."""
        return await _run(
            lambda: self.store.copy(
                source=source,
                target=target,
                actor=actor,
                package=package,
                producer=producer,
                retention_class=retention_class,
            )
        )

    async def backup(self, path: str | os.PathLike[str]) -> BackupResult:
        """See `Store.backup`."""
        return await _run(lambda: self.store.backup(path))

    async def fsck(self, *, read: bool = False) -> FsckResult:
        """See `Store.fsck`."""
        return await _run(lambda: self.store.fsck(read=read))

    async def replay(self, *, check: bool = False) -> ReplayResult:
        """See `Store.replay`."""
        return await _run(lambda: self.store.replay(check=check))

    async def adopt_backend(self, backend: str) -> str | None:
        """See `Store.adopt_backend`."""
        return await _run(lambda: self.store.adopt_backend(backend))

    async def health(self, *, deep: bool = False) -> Health:
        """See `Store.health`."""
        return await _run(lambda: self.store.health(deep=deep))


async def _run(call: Callable[[], ResultT]) -> ResultT:
    return await asyncio.to_thread(call)


def _pulled(chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """An async iterator as a plain one, for a worker thread; the loop stays free between two chunks."""

    async def following() -> bytes | None:
        return await anext(chunks, None)

    while (chunk := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not None:
        yield chunk
