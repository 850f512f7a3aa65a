"""Writing a package out: as a directory or as a deterministic tar, with the auditor's kit beside it."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

from artifactstore.check import AUDIT_FILES, audit_directory, look_alikes
from artifactstore.digest import digest_pair, new_blake3
from artifactstore.errors import ArtifactStoreError, ConflictError, IntegrityError
from artifactstore.ingest import Progress
from artifactstore.local_files import check_local_path
from artifactstore.manifest import json_bytes
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.objects.durability import FileSystem, make_folders, side_by_side, sync_path
from artifactstore.objects.files import write_new, write_stream
from artifactstore.objects.local import LocalBackend
from artifactstore.os_errors import release, translation
from artifactstore.paths import printable
from artifactstore.reader import fill_from, named, open_object, reject, settle
from artifactstore.results import ExportResult
from artifactstore.workers import NETWORK_THREADS, Job, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from artifactstore.ingest import OnProgress
    from artifactstore.manifest import Manifest, ManifestFile

    OpenObject = Callable[[bytes, int], io.RawIOBase]  # blake3, size
    Wanted = tuple[str, int, bytes, bool]  # path, size, blake3, executable

_RUN = 128  # files that are one piece of work
_NETWORK_RUN = 8  # the same over a network, at most
_ZIP64 = 2**31 - 1  # bytes; from here on a member of a zip needs the long form
_ZIP_BLOCK = 1 << 20  # bytes written to a zip at once


@dataclass(frozen=True, slots=True)
class StoredObjects:
    """How an export gets at the bytes.

    Args:
        open: opens an object by blake3 and size, wherever it is.
        folder: the object root where nearly all of them are, for worker processes; empty if it is none.
    """

    open: OpenObject
    folder: str


def export_directory(
    manifest: Manifest,
    manifest_bytes: bytes,
    stored: StoredObjects,
    directory: str,
    *,
    bare: bool,
    on_progress: OnProgress | None = None,
) -> ExportResult:
    """Write a package into a new directory, every file checked on the way and durable on return.

    The files are written beside the target and get its name when all are there, so the target is never
    half an export.

    Args:
        stored: where the bytes are.
        directory: must not exist or be empty.
        bare: without the auditor's kit.
    Raises:
        ConflictError: the directory holds something.
        IntegrityError: a stored object is damaged.
        BackendError: the disk is full or fails.
    """
    target = os.path.abspath(check_local_path(directory))
    if os.path.islink(target):
        raise ConflictError(f"{printable(directory)} is a symbolic link", hint="choose a new directory")
    if os.path.lexists(target) and not (os.path.isdir(target) and not os.listdir(target)):
        raise ConflictError(f"{printable(directory)} exists and is not empty", hint="choose a new directory")
    with _translated(directory):
        parent = os.path.realpath(os.path.dirname(target))
        make_folders(parent, mode=0o777)
        partial = f"{parent}/.{os.path.basename(target)}.partial-{os.urandom(4).hex()}"
        # Private until all is written, so that nobody can put a link in the way, whatever the umask is.
        os.mkdir(partial, 0o700)
        written = f"{partial}/export"
        os.mkdir(written)
        root = os.open(written, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _write_files(manifest, stored, root, on_progress)
            kit = None if bare else _write_kit(manifest, manifest_bytes, root)
            _make_durable(manifest, kit, root)
            os.rename(written, target)
        finally:
            release(root)
            shutil.rmtree(partial, ignore_errors=True)
        try:
            sync_path(parent, directory=True)
        except OSError:
            # Whoever is refused finds nothing there, and may try again.
            with contextlib.suppress(OSError):
                os.rename(target, partial)
                shutil.rmtree(partial)
            raise
    return _result(manifest, kit)


def _result(manifest: Manifest, kit: str | None) -> ExportResult:
    alike = look_alikes(file.relative_path for file in manifest.files)
    return ExportResult(len(manifest.files), manifest.total_size, kit, alike)


def _write_files(
    manifest: Manifest, stored: StoredObjects, root: int, on_progress: OnProgress | None
) -> None:
    for folder in _folders(manifest):
        os.mkdir(folder, dir_fd=root)
    files = [(file.relative_path, file.size, file.blake3, file.executable) for file in manifest.files]
    write = partial(_write_run, stored.open, root)

    def again(run: list[Wanted]) -> int:
        for path, *_ in run:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path, dir_fd=root)
        return write(run)

    job: Job[list[Wanted], int] = Job(
        here=write,
        again=again,
        request=lambda run: run,
        receive=lambda _run, size: int(size),
        function="artifactstore.export:writing_worker" if stored.folder else "",
        arguments=(stored.folder, root),
        descriptors=(root,),
        threads=0 if stored.folder else NETWORK_THREADS,
    )
    done = size = 0
    with Workers(job) as workers:
        for run, written in _written(workers, files, write, side_by_side=not stored.folder):
            done += len(run)
            size += written
            if on_progress is not None:
                on_progress(Progress(done, size))


def _written(
    workers: Workers[list[Wanted], int],
    files: list[Wanted],
    write: Callable[[list[Wanted]], int],
    *,
    side_by_side: bool,
) -> Iterator[tuple[list[Wanted], int]]:
    """Write all files.

    Args:
        side_by_side: over a network; large ones come last then, alone, since each wants megabytes of memory.
    """
    if not side_by_side:
        yield from workers.spread(files[at : at + _RUN] for at in range(0, len(files), _RUN))
        return
    small = [file for file in files if file[1] < SMALL_FILE]
    # Handing over a piece of work costs as much as signing a request: several at once if there are many.
    run = max(1, min(len(small) // (4 * NETWORK_THREADS), _NETWORK_RUN))
    yield from workers.spread(small[at : at + run] for at in range(0, len(small), run))
    for file in files:
        if file[1] >= SMALL_FILE:
            yield [file], write([file])


def writing_worker(folder: str, root: int) -> Callable[[list[Wanted]], int]:
    """What a worker process does for `export_directory`.

    Args:
        folder: root of the objects.
        root: descriptor of the export.
    """
    return partial(_write_run, LocalBackend(folder).open, root)


def _write_run(open_stored: OpenObject, root: int, run: list[Wanted]) -> int:
    """Write some files; the bytes written."""
    written = 0
    for path, size, blake3, executable in run:
        mode = 0o777 if executable else 0o666
        with named(repr(path)), open_stored(blake3, size) as raw:
            if size < SMALL_FILE:
                data = raw.read(size + 1) or b""
                _check(blake3, new_blake3(data).digest())
                write_new(path, data, folder=root, mode=mode)
            else:
                while _write_large(path, raw, root, mode) != blake3:
                    if not reject(raw):
                        _check(blake3, b"")
                    os.unlink(path, dir_fd=root)
        written += size
    return written


def _write_large(path: str, raw: io.RawIOBase, root: int, mode: int) -> bytes:
    """Write an object from its start; the blake3 of what was written."""
    digest = new_blake3()
    hashes = (lambda view, _offset: digest.update(view),)
    write_stream(path, fill_from(raw), folder=root, mode=mode, hashes=hashes)
    return digest.digest()


def _check(expected: bytes, blake3: bytes) -> None:
    if blake3 != expected:
        raise IntegrityError(
            f"the stored bytes are not blake3:{expected.hex()}",
            hint="the object is damaged; restore it from a copy",
        )


def _folders(manifest: Manifest) -> list[str]:
    """All folders of a package, parents first."""
    found: dict[str, None] = {}
    for file in manifest.files:
        cut = file.relative_path.find("/")
        while cut > 0:
            found.setdefault(file.relative_path[:cut])
            cut = file.relative_path.find("/", cut + 1)
    return list(found)


def _write_kit(manifest: Manifest, manifest_bytes: bytes, root: int) -> str:
    folder = audit_directory(file.relative_path for file in manifest.files)
    os.mkdir(folder, dir_fd=root)
    for name, data in kit_files(manifest, manifest_bytes, folder):
        write_new(f"{folder}/{name}", data, folder=root, mode=0o777 if name.endswith(".py") else 0o666)
    return folder


def _make_durable(manifest: Manifest, kit: str | None, root: int) -> None:
    file_system = FileSystem(root)
    if file_system.whole_is_cheaper(len(manifest.files)):
        file_system.barrier()
        return
    names = [file.relative_path for file in manifest.files]
    folders = [*_folders(manifest), "."]
    if kit is not None:
        names += [f"{kit}/{name}" for name in AUDIT_FILES]
        folders.append(kit)
    side_by_side(lambda name: sync_path(name, folder=root), names)
    side_by_side(lambda name: sync_path(name, folder=root, directory=True), folders)


def export_tar(
    manifest: Manifest, manifest_bytes: bytes, open_stored: OpenObject, stream: IO[bytes], *, bare: bool
) -> ExportResult:
    """Write the same as `export_directory` as a tar, the same bytes each time.

    Args:
        stream: only written, never read or sought.
    Raises:
        IntegrityError: a stored object is damaged; the stream then ends without the tar's end mark.
    Source: POSIX.1-2001 pax interchange format.
    """
    import tarfile

    kit = None if bare else audit_directory(file.relative_path for file in manifest.files)
    with tarfile.open(mode="w|", fileobj=stream, format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, size: int, content: IO[bytes], *, executable: bool) -> None:
            # Owner, group and times are left at zero: they are not evidence and would change the bytes.
            member = tarfile.TarInfo(name)
            member.size = size
            member.mode = 0o755 if executable else 0o644
            tar.addfile(member, content)

        for file in manifest.files:
            with _opened(open_stored, file) as content:
                add(file.relative_path, file.size, content, executable=file.executable)
        if kit is not None:
            for name, data in kit_files(manifest, manifest_bytes, kit):
                add(f"{kit}/{name}", len(data), io.BytesIO(data), executable=name.endswith(".py"))
    return _result(manifest, kit)


def export_zip(
    manifest: Manifest, manifest_bytes: bytes, open_stored: OpenObject, stream: IO[bytes], *, bare: bool
) -> ExportResult:
    """Write the same as `export_directory` as a zip, the same bytes each time; nothing is compressed.

    Args:
        stream: only written, never read or sought.
    Raises:
        IntegrityError: a stored object is damaged; the stream then ends without the zip's directory.
    Source: PKWARE APPNOTE 6.3.10, data descriptors and zip64.
    """
    import zipfile

    kit = None if bare else audit_directory(file.relative_path for file in manifest.files)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:

        def add(name: str, size: int, content: IO[bytes], *, executable: bool) -> None:
            # The first moment that a zip can name; and made on Unix, wherever it is made.
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            member.external_attr = (0o100755 if executable else 0o100644) << 16
            member.file_size = size
            with archive.open(member, "w", force_zip64=size >= _ZIP64) as target:
                while data := content.read(_ZIP_BLOCK):
                    target.write(data)

        for file in manifest.files:
            with _opened(open_stored, file) as content:
                add(file.relative_path, file.size, content, executable=file.executable)
        if kit is not None:
            for name, data in kit_files(manifest, manifest_bytes, kit):
                add(f"{kit}/{name}", len(data), io.BytesIO(data), executable=name.endswith(".py"))
    return _result(manifest, kit)


def _opened(open_stored: OpenObject, file: ManifestFile) -> io.BufferedReader:
    """A file for an archive, of which nothing can be taken back once it is written."""
    name = repr(file.relative_path)
    with named(name):
        raw = open_stored(file.blake3, file.size)
        settle(raw, file.blake3)
    return open_object(raw, file.blake3, file.size, name)


def kit_files(manifest: Manifest, manifest_bytes: bytes, folder: str) -> Iterator[tuple[str, bytes]]:
    """The auditor's kit: everything to check an export without this package.

    Args:
        folder: the name that the kit's folder has in the export.
    """
    digests = digest_pair(manifest_bytes)
    audit = resources.files("artifactstore.audit")
    explanation = audit.joinpath("VERIFY.md").read_text(encoding="utf-8")
    contents = {
        "manifest.cbor": manifest_bytes,
        "manifest.json": json_bytes(manifest),
        "SHA256SUMS": _sums((file.sha256, file.relative_path) for file in manifest.files),
        "B3SUMS": _sums((file.blake3, file.relative_path) for file in manifest.files),
        "verify.py": audit.joinpath("verify.py").read_bytes(),
        "VERIFY.md": explanation.format(
            kit=folder,
            name=manifest.package.name,
            package_id=manifest.package.package_id,
            files=len(manifest.files),
            manifest_blake3=f"blake3:{digests.blake3.hex()}",
            manifest_sha256=f"sha256:{digests.sha256.hex()}",
        ).encode(),
    }
    for name in AUDIT_FILES:
        yield name, contents[name]


def _sums(lines: Iterator[tuple[bytes, str]]) -> bytes:
    """The format of `sha256sum` and `b3sum`; a name with a backslash is escaped, its line starts with one."""
    text = []
    for digest, path in lines:
        escaped = path.replace("\\", "\\\\")
        text.append(f"{chr(92) * (escaped != path)}{digest.hex()}  {escaped}\n")
    return "".join(text).encode()


@contextlib.contextmanager
def _translated(directory: str) -> Iterator[None]:
    """Turn the operating system's errors about the target into ours."""
    try:
        yield
    except ArtifactStoreError:
        raise
    except FileExistsError as error:
        raise ConflictError(f"{printable(directory)} exists and is not empty") from error
    except OSError as error:
        raise translation(error, f"the export {printable(directory)}") from error
