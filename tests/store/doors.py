"""The doors to one store: the library, the async face, the command line.

All of them offer the calls of `Store`, so that one test body runs through each.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import tempfile
import uuid
from typing import TYPE_CHECKING, Any, Protocol, cast

from client.serving import ACTORS, serving, token_of

from artifactstore import (
    AccessError,
    ArtifactStoreError,
    BackendError,
    BusyError,
    ConflictError,
    Digest,
    Event,
    ExportResult,
    File,
    FileHit,
    Health,
    IngestResult,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    Package,
    Page,
    PushResult,
    ReplayResult,
    Selection,
    SkippedFile,
    StateError,
    Store,
    StoreNotFoundError,
    SweepResult,
)
from artifactstore.cli.exit_codes import BY_ERROR
from artifactstore.client import answers
from artifactstore.lifecycle.gc import GcResult
from artifactstore.lifecycle.gc_plan import GcPlan
from artifactstore.moment import format_moment, parse_moment
from artifactstore.registry import Registry
from artifactstore.results import ComponentHealth
from store import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Literal

    from artifactstore.client import Client
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

    def find_object(self, digest: str | Digest) -> list[FileHit]: ...

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]: ...

    def sweep(
        self, *, actor: str, abandoned_after: int = ..., mark_abandoned: bool = False
    ) -> SweepResult: ...

    def plan_gc(self, *, plan: GcPlan | None = None) -> GcPlan: ...

    def gc(self, *, actor: str, plan: GcPlan | None = None) -> GcResult: ...

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


class CommandDoor:
    """Each call as a command in a process of its own, its JSON turned back into the library's values."""

    def __init__(self, home: Home, through: Callable[[str], tuple[str, ...]] | None = None) -> None:
        self._local = ("--database", str(home.database), "--root", str(home.objects))
        self._through = through

    def _flags_of_the_store(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        """The store here, or the API with the token of who acts."""
        if self._through is None:
            return self._local
        # An idempotency key belongs to one token.
        keyed = any(argument.startswith("--idempotency-key=") for argument in arguments)
        named = [actor for actor in ACTORS if f"--actor={actor}" in arguments and not keyed]
        return self._through(named[0] if named else ACTORS[0])

    def _run(self, *arguments: str, stdin: bytes = b"", store: tuple[str, ...] = ()) -> bytes:
        """Run a command; a failure becomes the error that it stands for."""
        store = store or self._flags_of_the_store(arguments)
        code, stdout, stderr = forked.run([*store, *arguments], stdin=stdin)
        if code != 0:
            raise _error(code, stderr)
        return stdout

    def _ask(self, command: str, *arguments: str, stdin: bytes = b"", store: tuple[str, ...] = ()) -> Any:
        return json.loads(self._run(*command.split(), "--json", *arguments, stdin=stdin, store=store))

    def create_package(
        self, *, metadata: Mapping[str, Value] | None = None, idempotency_key: str | None = None, **said: str
    ) -> str:
        """`package create`."""
        flags = _flags(**said, idempotency_key=idempotency_key)
        answer = self._ask("package create", *flags, "--metadata-file=-", stdin=_document(metadata))
        return str(answer["package_id"])

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
    ) -> File:
        """`package add ID PATH SOURCE`, with bytes on the standard input."""
        flags = _flags(actor=actor, media_type=media_type, idempotency_key=idempotency_key)
        if executable is not None:
            flags.append("--executable" if executable else "--not-executable")
        place, data = ("-", source) if isinstance(source, bytes) else (str(source), b"")
        return _file(self._ask("package add", *flags, "--", package, relative_path, place, stdin=data))

    def ingest_directory(
        self,
        package: str,
        directory: str | os.PathLike[str],
        *,
        actor: str,
        selection: Selection | None = None,
        idempotency_key: str | None = None,
    ) -> IngestResult:
        """`package add ID --directory DIR`."""
        flags = _flags(actor=actor, idempotency_key=idempotency_key, directory=os.fspath(directory))
        return _ingest(self._ask("package add", *flags, *_selection(selection), "--", package))

    def finalize_package(self, package: str, *, actor: str, idempotency_key: str | None = None) -> Digest:
        """`package finalize ID`."""
        flags = _flags(actor=actor, idempotency_key=idempotency_key)
        return Digest.parse(self._ask("package finalize", *flags, "--", package)["manifest_digest"])

    def push(
        self,
        directory: str | os.PathLike[str],
        *,
        metadata: Mapping[str, Value] | None = None,
        selection: Selection | None = None,
        if_changed: bool = False,
        idempotency_key: str | None = None,
        **said: str,
    ) -> PushResult:
        """`push DIR`."""
        flags = [*_flags(**said, idempotency_key=idempotency_key), *_selection(selection)]
        flags += ["--if-changed"] * if_changed
        answer = self._ask(
            "push", *flags, "--metadata-file=-", "--", os.fspath(directory), stdin=_document(metadata)
        )
        return PushResult(_package(answer["package"]), _ingest(answer["ingest"]), answer["unchanged"])

    def get_package(self, package: str) -> Package:
        """`show ID`."""
        return _package(self._ask("show", "--", package))

    def list_packages(
        self,
        *,
        created_after: int | None = None,
        created_before: int | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 50,
        **wanted: str | None,
    ) -> Page[Package]:
        """`list`."""
        times = {"created_after": created_after, "created_before": created_before}
        wanted |= {name: format_moment(time) for name, time in times.items() if time is not None}
        entries = [f"--metadata={key}={value}" for key, value in (metadata or {}).items()]
        answer = self._ask("list", *_flags(**wanted, limit=str(limit)), *entries)
        return Page(tuple(_package(item) for item in answer["items"]), answer["next_cursor"])

    def list_files(self, package: str) -> Page[File]:
        """`files ID`, which has no pages."""
        return Page(tuple(_file(item) for item in self._ask("files", "--", package)), None)

    def read_file(self, package: str, relative_path: str) -> bytes:
        """`cat ID PATH`."""
        return self._run("cat", "--", package, relative_path)

    def get_manifest_bytes(self, package: str, *, format: Literal["cbor", "json"] = "cbor") -> bytes:  # noqa: A002 - Store's name
        """`manifest ID`."""
        as_json = self._run("manifest", "--json", "--", package)
        return as_json if format == "json" else self._run("manifest", "--format=cbor", "--", package)

    def export_package(
        self, package: str, directory: str | os.PathLike[str], *, bare: bool = False
    ) -> ExportResult:
        """`export ID DIR`."""
        return ExportResult(**self._ask("export", *["--bare"] * bare, "--", package, os.fspath(directory)))

    def find_object(self, digest: str | Digest) -> list[FileHit]:
        """`find DIGEST`."""
        hits = self._ask("find", "--", str(digest))
        return [FileHit(_package(hit["package"]), _file(hit["file"])) for hit in hits]

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """`events`; a payload keeps its JSON form."""
        return [_event(item) for item in self._ask("events", f"--after={after}", f"--limit={limit}")]

    def sweep(
        self, *, actor: str, abandoned_after: int | None = None, mark_abandoned: bool = False
    ) -> SweepResult:
        """`retention sweep`."""
        age = None if abandoned_after is None else str(abandoned_after)
        flags = [*_flags(actor=actor, abandoned_after=age), *["--mark-abandoned"] * mark_abandoned]
        return answers.value(SweepResult, self._ask("retention sweep", *flags))

    def plan_gc(self, *, plan: GcPlan | None = None) -> GcPlan:
        """`retention gc --dry-run`."""
        with _plan_file(plan) as flags:
            return answers.value(GcPlan, self._ask("retention gc", "--dry-run", *flags))

    def gc(self, *, actor: str, plan: GcPlan | None = None) -> GcResult:
        """`retention gc`."""
        with _plan_file(plan) as flags:
            return answers.value(GcResult, self._ask("retention gc", "--yes", *_flags(actor=actor), *flags))

    def replay(self, *, check: bool = False) -> ReplayResult:
        """`replay`, always on the machine of the store."""
        answer = self._ask("replay", *["--check"] * check, store=self._local)
        return ReplayResult(answer["event_count"], answer["fingerprint_before"], answer["fingerprint_after"])

    def health(self) -> Health:
        """`health`."""
        answer = self._ask("health")
        parts = [
            ComponentHealth(answer[part]["healthy"], tuple(answer[part]["reasons"]))
            for part in ("db", "backend")
        ]
        return Health(parts[0], parts[1], tuple(answer["warnings"]))


# What an exit code stands for, unless the code of the error is that of another class with this exit code.
_BY_EXIT_CODE: dict[int, type[ArtifactStoreError]] = {
    2: InvalidInputError,
    3: IntegrityError,
    4: NotFoundError,
    5: StateError,
    6: AccessError,
    7: BackendError,
    8: BusyError,
    10: StoreNotFoundError,
}


def _error(exit_code: int, report: str) -> ArtifactStoreError:
    """The error that an exit code and a report stand for."""
    kind = _BY_EXIT_CODE[exit_code]
    if not report.startswith("{"):
        (line,) = (line for line in report.splitlines() if line.startswith("error: "))
        return kind(line.removeprefix("error: "))
    error = json.loads(report)
    if error["code"] == "idempotency-conflict":
        kind = ConflictError
    for other, code in BY_ERROR.items():
        if code == exit_code and other.default_code == error["code"]:
            kind = other
    return kind(error["message"], hint=error["hint"], code=error["code"])


def _flags(**values: str | None) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items() if value is not None]


@contextlib.contextmanager
def _plan_file(plan: GcPlan | None) -> Iterator[list[str]]:
    """The flag that names a plan."""
    if plan is None:
        yield []
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(plan.to_bytes())
        file.flush()
        yield [f"--plan={file.name}"]


def _selection(selection: Selection | None) -> Iterator[str]:
    if selection is not None:
        yield f"--symlinks={selection.symlinks}"
        yield from (f"--include={glob}" for glob in selection.include)
        yield from (f"--exclude={glob}" for glob in selection.exclude)
        yield from ["--skip-unsafe"] * selection.skip_unsafe


def _document(metadata: Mapping[str, Value] | None) -> bytes:
    return json.dumps(dict(metadata or {})).encode()


def _package(item: dict[str, Any]) -> Package:
    # `show` says more than the package: what retention and verify know of it.
    own = {field.name: item[field.name] for field in dataclasses.fields(Package)}
    return Package(**_values(own, ("manifest_digest", "manifest_sha256", "content_digest")))


def _file(item: dict[str, Any]) -> File:
    return File(**_values(item, ("digest", "sha256")))


def _values(item: dict[str, Any], digests: Iterable[str]) -> dict[str, Any]:
    """Texts of digests and times as the library's values."""
    known = {name: value for name, value in item.items() if value is not None}
    read: dict[str, Any] = {name: Digest.parse(known[name]) for name in digests if name in known}
    read |= {name: parse_moment(value) for name, value in known.items() if name.endswith("_at")}
    return {**item, **read}


def _ingest(item: dict[str, Any]) -> IngestResult:
    skipped = tuple(SkippedFile(**file) for file in item["skipped"])
    return dataclasses.replace(IngestResult(**item), skipped=skipped, warnings=tuple(item["warnings"]))


def _event(item: dict[str, Any]) -> Event:
    package = item["package_id"]
    return Event(
        sequence=item["sequence"],
        event_id=uuid.UUID(item["event_id"]).bytes,
        type=item["type"],
        package_id=None if package is None else uuid.UUID(package).bytes,
        actor=item["actor"],
        recorded_at=parse_moment(item["recorded_at"]),
        payload=item["payload"],
        leaf_hash=bytes.fromhex(item["leaf_hash"].removeprefix("sha256:")),
    )


@contextlib.contextmanager
def command_line(home: Home) -> Iterator[Door]:
    """`python -m artifactstore`."""
    door = CommandDoor(home)
    door._run("init")
    yield cast("Door", door)


class HttpDoor:
    """Clients of a server, one for the token of each actor; `replay`, for nobody afar, is the store's own."""

    def __init__(self, clients: Mapping[str, Client], store: Store) -> None:
        self._clients = clients
        self.replay = store.replay

    def __getattr__(self, name: str) -> Any:
        def call(*args: object, **kwargs: Any) -> object:
            # An idempotency key belongs to one token.
            actor = ACTORS[0] if kwargs.get("idempotency_key") else kwargs.get("actor")
            client = self._clients.get(actor or "", self._clients[ACTORS[0]])
            return getattr(client, name)(*args, **kwargs)

        return call


@contextlib.contextmanager
def http(home: Home) -> Iterator[Door]:
    """`Client`, and a server of its own behind it."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(home.open())
        served = stack.enter_context(serving(store))
        clients = {actor: stack.enter_context(served.client(token_of(actor))) for actor in ACTORS}
        yield cast("Door", HttpDoor(clients, store))


@contextlib.contextmanager
def command_line_through_http(home: Home) -> Iterator[Door]:
    """`python -m artifactstore --api-url`."""
    with home.open() as store, serving(store) as served:
        yield cast("Door", CommandDoor(home, served.flags))


# What these do is done in one transaction; a client does it in several requests.
DOORS_IN_ONE_STEP = [library, async_face, command_line]
DOORS = [*DOORS_IN_ONE_STEP, http, command_line_through_http]
# For what a command cannot say: streams, bytes of an event, pages of files.
PYTHON_DOORS = [library, async_face, http]
