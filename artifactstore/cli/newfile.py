"""A file that a command writes for its user: whole and durable, or not there at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from artifactstore.errors import AccessError, ArtifactStoreError, ConflictError
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

STANDARD_OUTPUT = "-"


@contextlib.contextmanager
def new_file(path: str) -> Iterator[BinaryIO]:
    """A file to write into, which gets its name when the block ends and vanishes when it raises.

    Raises:
        ConflictError: something has that name already.
        AccessError: permission is missing.
        ArtifactStoreError: it cannot be written.
    """
    if os.path.lexists(path):
        raise ConflictError(f"{printable(path)} exists already", hint="choose a new name, or remove it")
    folder, name = os.path.split(os.path.abspath(path))
    partial = os.path.join(folder, f".{name}.partial-{os.urandom(4).hex()}")
    with _translated(path):
        with open(partial, "xb") as stream:
            try:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                os.rename(partial, path)
            except BaseException:
                os.unlink(partial)
                raise
        _sync_folder(folder)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except ArtifactStoreError:
        raise
    except PermissionError as error:
        raise AccessError(f"cannot write {printable(path)}: permission denied") from error
    except OSError as error:
        message = f"cannot write {printable(path)}: {error.strerror}"
        raise ArtifactStoreError(message, code="output-failed") from error
