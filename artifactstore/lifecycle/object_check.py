"""One object, read and compared with what the log says of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.digest import Hasher
from artifactstore.errors import (
    AccessError,
    ArtifactStoreError,
    BackendError,
    IntegrityError,
    ObjectNotFoundError,
)
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.objects.ring import pump
from artifactstore.reader import fill_from

if TYPE_CHECKING:
    import io

    from artifactstore.digest import DigestPair
    from artifactstore.objects.backend import Backend

_log = logging.getLogger(__name__)

MISSING = "missing"
TRUNCATED = "wrong size"
DIFFERENT = "digest differs"
UNREADABLE = "unreadable"

_FAILED_INSIDE = "server-error"
# Codes of answers that are about one object, if others are given.
_OF_ONE_OBJECT = frozenset({_FAILED_INSIDE, "access-denied"})


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a backend, with the digests that its bytes must have; sha256 may not be known."""

    blake3: bytes
    sha256: bytes | None
    size: int


def check(backend: Backend, wanted: StoredObject) -> str | None:
    """Read an object and compare it; None if it is right, else what is wrong.

    Raises:
        AccessError, BackendError: a remote service did not answer, which says nothing about the object.
    """
    try:
        return _compared(backend, wanted)
    except (ArtifactStoreError, OSError) as error:
        code = getattr(error, "code", None)
        if backend.folder and code != "too-many-open-files":
            return UNREADABLE
        if code != _FAILED_INSIDE:
            raise
    # Is it the object, or the place? Whoever gives its marker before and after gives what it can.
    backend.require()
    try:
        return _compared(backend, wanted)
    except BackendError as error:
        if error.code != _FAILED_INSIDE:
            raise
        backend.require()
        _log.warning("%s", error.message)
        return UNREADABLE


def refusal_of_one(backend: Backend, error: AccessError | BackendError) -> str:
    """Why a remote place refuses one object, while it still gives its marker.

    Raises:
        AccessError, BackendError: the error is the place's, or the place is away.
    """
    if backend.folder or error.code not in _OF_ONE_OBJECT:
        raise error
    backend.require()
    return error.message


def _compared(backend: Backend, wanted: StoredObject) -> str | None:
    try:
        with backend.open(wanted.blake3, wanted.size) as raw:
            digests = _digests(raw, wanted.size)
    except ObjectNotFoundError:
        return MISSING
    except IntegrityError:
        return TRUNCATED
    right = digests.blake3 == wanted.blake3 and wanted.sha256 in {None, digests.sha256}
    return None if right else DIFFERENT


def _digests(raw: io.RawIOBase, size: int) -> DigestPair:
    hasher = Hasher()
    if size < SMALL_FILE:
        hasher.update(raw.read(size + 1) or b"")
    else:
        pump(
            fill_from(raw),
            (
                (lambda view, _offset: hasher.update_sha256(view), 1),
                (lambda view, _offset: hasher.update_blake3(view), 1),
            ),
        )
    return hasher.pair()
