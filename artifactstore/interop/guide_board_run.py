"""A run directory of a guide-board: what it says, checked before anything is stored."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifactstore.digest import Digest, digest_pair, new_blake3
from artifactstore.errors import InvalidInputError
from artifactstore.ingest import open_directory
from artifactstore.interop.junit import read_totals
from artifactstore.media_types import guess_media_type
from artifactstore.metadata.registration import check_schema
from artifactstore.metadata.required_files import require_files
from artifactstore.metadata.validation import violations
from artifactstore.moment import parse_moment
from artifactstore.os_errors import release
from artifactstore.paths import printable
from artifactstore.scan import Scan, Selection
from artifactstore.sources import open_source, reading
from artifactstore.strict_json import read_object

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from typing import BinaryIO

    from artifactstore.codec import Value

SLUG = "guide-board.run.v1"
SCHEMA_FILE = Path(__file__).with_name(f"{SLUG}.json")
RUN_FILE = "run.json"
LOCK_FILE = "run.lock"
JUNIT_FOLDER = "junit"
_CHUNK = 1 << 16  # bytes
_SHOWN_MAX = 80  # characters of a value in a refusal
_RUN_FILE_MAX = 1 << 20  # bytes; as much metadata as a package may have


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run whose directory agrees with itself.

    Args:
        metadata: of its package: what run.json says, unknown members under `extensions`, and `junit`.
        schema: that the metadata keeps to.
        digests: of the files that were read for this, by path; as they were then.
    """

    directory: str
    metadata: dict[str, Any]
    schema: Mapping[str, Value]
    digests: Mapping[str, Digest]

    @property
    def run_id(self) -> str:
        """Names the run for ever."""
        return str(self.metadata["run_id"])

    @property
    def subject(self) -> str:
        """What was tested, with its version."""
        return f"{self.metadata['subject']['name']}@{self.metadata['subject']['version']}"

    @property
    def verdict(self) -> str:
        """`passed`, `failed` or `incomplete`."""
        return str(self.metadata["verdict"])

    @property
    def counts(self) -> dict[str, int]:
        """How many tests ended how."""
        return dict(self.metadata["counts"])


def read_schema(path: str | os.PathLike[str] | None = None) -> dict[str, Value]:
    """The schema of runs.

    Args:
        path: another one than that of the package.
    Raises:
        InvalidInputError: it is no schema that could be registered.
    """
    name = os.fspath(SCHEMA_FILE if path is None else path)
    schema, _ = check_schema(read_object(_read(name, _RUN_FILE_MAX), name=printable(name)))
    return schema


def read_run(directory: str | os.PathLike[str], schema: Mapping[str, Value]) -> Run:
    """A run directory, if it is finished and agrees with itself. Nothing is changed.

    Raises:
        InvalidInputError: `run-missing`, `run-unfinished`, `run-broken`, `junit-broken` or
            `verdict-disagrees`, or as a push says of a file that it does not take; the message says what is
            wrong.
        StateError: a file is missing that the schema demands.
    """
    root = os.fspath(directory)
    if not os.path.isdir(root):
        raise InvalidInputError(f"no directory {printable(root)}", code="run-missing")
    if os.path.lexists(os.path.join(root, LOCK_FILE)):
        raise _unfinished(root, f"it has a {LOCK_FILE}")
    if not os.path.lexists(os.path.join(root, RUN_FILE)):
        raise InvalidInputError(
            f"{printable(root)} is no run directory: it has no {RUN_FILE}",
            hint="name the directory that the runner wrote",
            code="run-missing",
        )
    data = _read(os.path.join(root, RUN_FILE), _RUN_FILE_MAX)
    try:
        said = read_object(data, name=RUN_FILE)
    except InvalidInputError as error:
        raise InvalidInputError(error.message, hint=error.hint, code="run-broken") from None
    if said.get("finished_at") is None:
        raise _unfinished(root, f"its {RUN_FILE} has no finished_at")
    metadata = with_extensions(said, schema)
    _check(metadata, schema)
    _check_times(metadata)
    files = _files(root)
    require_files(schema, ((path, guess_media_type(path)) for path in files), SLUG)
    digests = {RUN_FILE: Digest("blake3", digest_pair(data).blake3)}
    metadata["junit"] = _results(root, files, metadata, digests)
    _check(metadata, schema)
    return Run(root, metadata, schema, digests)


def with_extensions(said: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """What a document says, its unknown members moved to `extensions`, where nothing refuses them."""
    known, unknown = _divided(said, schema)
    given = known.get("extensions", {})
    if unknown and isinstance(given, dict):
        taken = sorted(set(unknown) & set(given))
        if taken:
            raise InvalidInputError(
                f"{RUN_FILE} says {taken[0]!a} twice: by itself and in extensions", code="run-broken"
            )
        known["extensions"] = {**given, **unknown}
    return known


def _divided(said: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The members that a schema knows, and the others, also those of objects with a fixed shape."""
    properties = schema.get("properties", {})
    if schema.get("additionalProperties") is not False:
        return dict(said), {}
    known, unknown = {}, {}
    for name, value in said.items():
        if name not in properties:
            unknown[name] = value
        elif isinstance(value, dict) and isinstance(properties[name], dict):
            known[name], more = _divided(value, properties[name])
            if more:
                unknown[name] = more
        else:
            known[name] = value
    return known, unknown


def _results(
    root: str, files: list[str], metadata: dict[str, Any], digests: dict[str, Digest]
) -> dict[str, Any]:
    """What the JUnit XML adds up to, which must be what the run says of itself."""
    documents = [path for path in files if path.startswith(f"{JUNIT_FOLDER}/") and path.endswith(".xml")]
    with contextlib.ExitStack() as opened:  # a document that is refused is not read to its end
        totals = read_totals(
            (path, opened.enter_context(contextlib.closing(_chunks(root, path, digests))))
            for path in documents
        )
    counted, claimed = totals.counts(), metadata["counts"]
    if counted != claimed:
        wrong = ", ".join(
            f"{name}: {claimed.get(name)} said, {count} found"
            for name, count in counted.items()
            if claimed.get(name) != count
        )
        raise _disagrees(f"counts are not those of the JUnit XML: {wrong}")
    bad = totals.failed + totals.errors
    if metadata["verdict"] == "passed" and (bad or not totals.total):
        raise _disagrees(f"the verdict is passed, and {bad} of {totals.total} tests failed or broke")
    if metadata["verdict"] == "failed" and not bad:
        raise _disagrees(f"the verdict is failed, and none of {totals.total} tests failed or broke")
    found: dict[str, Any] = {"documents": len(documents), "failed_tests": totals.failed_tests}
    if omitted := bad - len(totals.failed_tests):
        found["failed_tests_omitted"] = omitted
    return found


def _check(metadata: dict[str, Any], schema: Mapping[str, Value]) -> None:
    broken = violations(schema, metadata, RUN_FILE)
    if broken:
        raise _broken(f"breaks the schema {SLUG}: {'; '.join(map(str, broken[:5]))}")


def _check_times(metadata: dict[str, Any]) -> None:
    """Refuse times that no calendar has, and a run that ends before it starts: no schema can say that."""
    moments = []
    for name in ("started_at", "finished_at"):
        text = metadata.get(name)
        if not isinstance(text, str):
            return  # by another schema than ours
        try:
            moments.append(parse_moment(text))
        except InvalidInputError:
            raise _broken(
                f"is wrong at /{name}: there is no such instant"
                f" (rule: a date and a time that exist; found {_shown(text)})"
            ) from None
    if moments[1] < moments[0]:
        raise _broken(
            f"is wrong at /finished_at: it is before /started_at, {_shown(metadata['started_at'])}"
            f" (rule: a run ends after it starts; found {_shown(metadata['finished_at'])})"
        )


def _shown(value: object) -> str:
    return json.dumps(value)[:_SHOWN_MAX]


def _broken(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"{RUN_FILE} {what}", hint="docs/pilots/guide-board.md says what a run must tell", code="run-broken"
    )


def _files(root: str) -> list[str]:
    """The files of a run by the walk of a push, which refuses what cannot be stored."""
    descriptor = open_directory(root)
    try:
        scan = Scan(descriptor, os.path.realpath(root), Selection(), frozenset())
        return [f"{found.folder}{name}" for found in scan.runs() for name, _ in found.names]
    finally:
        release(descriptor)


def _chunks(root: str, path: str, digests: dict[str, Digest]) -> Generator[bytes]:
    """The bytes of a file; its digest is known when all are read."""
    state = new_blake3()
    with _opened(os.path.join(root, path)) as stream:
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
            yield chunk
    digests[path] = Digest("blake3", state.digest())


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """A file opened for reading; never waits for one that is no regular file."""
    with reading(path):
        descriptor = open_source(path)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidInputError(f"{printable(path)} is not a regular file", code="not-a-regular-file")
            yield os.fdopen(descriptor, "rb", closefd=False)
        finally:
            release(descriptor)


def _read(path: str, limit: int) -> bytes:
    with _opened(path) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise InvalidInputError(f"{printable(path)} is larger than {limit} bytes", code="run-broken")
    return data


def _unfinished(root: str, sign: str) -> InvalidInputError:
    return InvalidInputError(
        f"the run in {printable(root)} is still being written: {sign}",
        hint="ingest it when the runner is done",
        code="run-unfinished",
    )


def _disagrees(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"{RUN_FILE} disagrees with its results: {what}",
        hint="the runner must write run.json after the last result",
        code="verdict-disagrees",
    )
