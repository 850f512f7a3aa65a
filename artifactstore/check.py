"""Comparing a directory with a manifest; needs no store."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING

from artifactstore import manifest as manifests
from artifactstore.errors import AccessError, ArtifactStoreError, IntegrityError, InvalidInputError
from artifactstore.local_files import check_local_path, read_whole
from artifactstore.manifest import Manifest
from artifactstore.os_errors import TOO_MANY_FILES, refusal, release, translation
from artifactstore.paths import collision_key, printable
from artifactstore.results import CheckResult
from artifactstore.sources import file_digests, unreadable
from artifactstore.workers import Job, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Expected = tuple[str, int, bytes, bytes]  # path, size, blake3, sha256

AUDIT_DIRECTORY = "ARTIFACTSTORE-AUDIT"
# Any text behind it: a person who looks for the kit may take `ARTIFACTSTORE-AUDIT-NEW` for it.
_LOOKS_LIKE_A_KIT = re.compile(f"{AUDIT_DIRECTORY.lower()}.*", re.DOTALL)
# What is wrong with a folder itself, or with the right to it.
_NOT_TO_BE_LISTED = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_RUN = 128  # files that are one piece of work
AUDIT_FILES = ("manifest.cbor", "manifest.json", "SHA256SUMS", "B3SUMS", "verify.py", "VERIFY.md")


def load_manifest(manifest: Manifest | bytes | str | os.PathLike[str]) -> Manifest:
    """A manifest from its value, its bytes or the path of its CBOR file.

    Raises:
        InvalidInputError: there is no such file.
        IntegrityError: it is no manifest.
    """
    if isinstance(manifest, Manifest):
        return manifest
    if isinstance(manifest, bytes):
        return manifests.decode(manifest)
    path = os.fspath(manifest)
    return decode_manifest(read_manifest(path), path)


def decode_manifest(data: bytes, path: str) -> Manifest:
    """A manifest from the bytes that a file held.

    Raises:
        IntegrityError: they are none; names the file.
    """
    try:
        return manifests.decode(data)
    except IntegrityError as error:
        raise IntegrityError(
            f"{printable(path)} is no manifest, or a damaged one: {error.message}",
            hint="name the manifest.cbor of an export",
            code=error.code,
        ) from error


def read_manifest(path: str) -> bytes:
    """The bytes of a manifest's file, whatever lies there.

    Raises:
        InvalidInputError: there is no such file, or it is too large for a manifest.
        AccessError: it may not be read.
    """
    name = printable(path)
    try:
        return read_whole(check_local_path(path), limit=manifests.MAX_SIZE)
    except OSError as error:
        raise unreadable(error, f"the manifest {name}") from error


def check_directory(
    manifest: Manifest | bytes | str | os.PathLike[str], directory: str | os.PathLike[str]
) -> CheckResult:
    """Compare a directory with a manifest: both digests and the size of every file, and what is surplus.

    A link or a special file in the place of a listed file counts as changed; it is not opened. The files
    of an export's auditor's kit are not evidence and are passed over.

    Args:
        manifest: a decoded manifest, its bytes, or the path of `manifest.cbor`.
        directory: what to compare.
    Raises:
        InvalidInputError: the directory does not exist.
        IntegrityError: the manifest is none.
    """
    loaded = load_manifest(manifest)
    root = os.fspath(directory)
    if not os.path.isdir(root):
        raise InvalidInputError(f"cannot check {printable(root)}: it is no directory")
    listed = {file.relative_path: file for file in loaded.files}
    folder = audit_directory(listed)
    kit = {f"{folder}/{name}" for name in AUDIT_FILES}
    # Everything is opened relative to the root, so that the root's own path does not count in the length.
    descriptor = _open_folder(root)
    try:
        found = {path: plain for path, plain in walk_files(descriptor) if path not in kit}
        changed = [path for path in listed if found.get(path) is False]
        plain = [(file.relative_path, file.size, file.blake3, file.sha256) for file in loaded.files]
        changed += _changed(descriptor, [expected for expected in plain if found.get(expected[0])])
    finally:
        release(descriptor)
    return CheckResult(
        file_count=len(listed),
        total_size=loaded.total_size,
        changed=tuple(sorted(changed)),
        missing=tuple(path for path in listed if path not in found),
        unlisted=tuple(sorted(path for path in found if path not in listed)),
    )


def audit_directory(paths: Iterable[str]) -> str:
    """The name of the auditor's kit: one that no file or folder of the evidence has, whatever its case."""
    taken = {path.partition("/")[0].casefold() for path in paths}
    name, number = AUDIT_DIRECTORY, 1
    while name.casefold() in taken:
        number += 1
        name = f"{AUDIT_DIRECTORY}-{number}"
    return name


def look_alikes(paths: Iterable[str]) -> tuple[str, ...]:
    """The names at the top of the evidence that are written as a kit's may be, whatever their case."""
    tops = {path.partition("/")[0] for path in paths}
    return tuple(sorted(name for name in tops if _LOOKS_LIKE_A_KIT.fullmatch(collision_key(name))))


def _open_folder(path: str, *, root: int | None = None) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if root is None else os.O_NOFOLLOW)
    try:
        return os.open(path, flags, dir_fd=root)
    except OSError as error:
        raise _unlistable(error, path) from error


def _unlistable(error: OSError, path: str) -> ArtifactStoreError:
    if error.errno in _NOT_TO_BE_LISTED:
        return AccessError(f"cannot list {printable(path)}: {error.strerror}")
    return refusal(error.errno or errno.EIO, printable(path))  # nothing is wrong with the folder


def walk_files(root: int) -> Iterator[tuple[str, bool]]:
    """Every name below the root that is no plain folder, and whether it is a regular file."""
    stack = [""]
    while stack:
        folder = stack.pop()
        descriptor = _open_folder(folder or ".", root=root)
        try:
            for entry in list(os.scandir(descriptor)):
                path = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    stack.append(f"{path}/")
                else:
                    yield path, entry.is_file(follow_symlinks=False)
        except OSError as error:
            raise _unlistable(error, folder or ".") from error
        finally:
            release(descriptor)


def _changed(root: int, expected: list[Expected]) -> Iterator[str]:
    """The paths of files that are not what they should be."""
    check = checking_worker(root)
    job: Job[list[Expected], list[str]] = Job(
        here=check,
        request=lambda run: run,
        receive=lambda _run, paths: paths,
        function="artifactstore.check:checking_worker",
        arguments=(root,),
        descriptors=(root,),
    )
    with Workers(job) as workers:
        for _, paths in workers.spread(expected[at : at + _RUN] for at in range(0, len(expected), _RUN)):
            yield from paths


def checking_worker(root: int) -> Callable[[list[Expected]], list[str]]:
    """Compares some files below a directory, here or in a worker process.

    Args:
        root: descriptor of the directory.
    Returns:
        What tells which of them are not as expected.
    """
    return lambda run: [expected[0] for expected in run if not _is_intact(root, *expected)]


def _is_intact(root: int, path: str, size: int, blake3: bytes, sha256: bytes) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, dir_fd=root)
    except OSError as error:
        if error.errno in TOO_MANY_FILES:
            raise translation(error, printable(path)) from error  # it says nothing about the file
        return False
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return False
        digests = file_digests(descriptor)
        return digests.blake3 == blake3 and digests.sha256 == sha256
    except OSError:
        return False
    finally:
        release(descriptor)
