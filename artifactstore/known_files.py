"""Files whose bytes the store has already: named by digest, without sending the bytes again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import object_queries
from artifactstore.errors import DuplicateRelativePathError, InvalidInputError, NotFoundError
from artifactstore.media_types import check_media_type, guess_media_type
from artifactstore.paths import check_new_path, parents, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artifactstore.codec import Value
    from artifactstore.connection import Connection
    from artifactstore.digest import Digest
    from artifactstore.ingest import Entry
    from artifactstore.objects.backend import Backend


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file to put into a package by the digest of its bytes.

    Args:
        digest: blake3 or sha256, whole.
        media_type: guessed from the name if not given.
    """

    relative_path: str
    digest: Digest
    media_type: str | None = None
    executable: bool = False

    def described(self) -> tuple[Value, ...]:
        """What a caller says of it beside its digest."""
        return self.media_type or guess_media_type(self.relative_path), self.executable


def check_known_files(files: Iterable[KnownFile]) -> list[KnownFile]:
    """The files, if they can stand beside each other in one package.

    Raises:
        InvalidInputError: a path or a media type breaks a rule, or there is no file.
        DuplicateRelativePathError: a path comes twice, or is a folder of another one.
    """
    wanted = list(files)
    if not wanted:
        raise InvalidInputError("there are no files to take", code="empty-package")
    paths: set[str] = set()
    for file in wanted:
        check_new_path(file.relative_path)
        if file.media_type is not None:
            check_media_type(file.media_type)
        if file.relative_path in paths:
            raise DuplicateRelativePathError(f"the path {printable(file.relative_path)} comes twice")
        paths.add(file.relative_path)
    for path in paths:
        for folder in parents(path):
            if folder in paths:
                message = f"{printable(path)} cannot stand beside {printable(folder)}: one would be a folder"
                raise DuplicateRelativePathError(message, hint="use a distinct relative path")
    return wanted


def known_entries(connection: Connection, backend: Backend, files: Sequence[KnownFile]) -> list[Entry]:
    """The files with both digests and sizes, for the events that name them.

    Call under the write lock: a gc needs it to remove an object, so what is there now stays.

    Raises:
        NotFoundError: no package holds the bytes of one of them, or they are not where they should be.
    """
    entries: list[Entry] = []
    for file in files:
        found = object_queries.known_object(connection, file.digest, backend.backend_id)
        if found is None:
            raise _unknown(file)
        blake3, sha256, size = found
        media_type = file.media_type or guess_media_type(file.relative_path)
        entries.append((file.relative_path, media_type, size, blake3, sha256, file.executable))
    # A package needs them, so no gc can have removed them; where a look costs a request, that is enough.
    sizes = ((entry[3], entry[2]) for entry in entries) if backend.folder else ()
    missing = set(backend.missing(sizes))
    for file, entry in zip(files, entries, strict=True):
        if entry[3] in missing:
            raise _unknown(file)
    return entries


def _unknown(file: KnownFile) -> NotFoundError:
    return NotFoundError(
        f"no package holds the bytes {file.digest} for {printable(file.relative_path)}",
        hint="send the bytes",
        code="object-unknown",
    )
