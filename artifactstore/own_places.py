"""Where a store keeps itself: no output is written there, and nothing there is evidence."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.errors import InvalidInputError
from artifactstore.local_files import check_local_path
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

    Inode = tuple[int, int]  # device and inode

# Of the names that begin with that of the database: SQLite's own, and those of this package.
_SUFFIXES = ("", "-wal", "-shm", "-journal", ".lock", ".seen")
_SESSIONS = ".uploads"


@dataclass(frozen=True, slots=True)
class OwnPlaces:
    """The files and folders of a store on this machine, whether they are there or not.

    Args:
        database: path of the SQLite file.
        folders: the object roots.
    """

    database: str
    folders: tuple[str, ...]

    def inodes(self, *, sessions: bool = True) -> frozenset[Inode]:
        """Device and inode of all that is there.

        Args:
            sessions: with the folder of upload sessions.
        """
        paths = self._paths(sessions=sessions)
        return frozenset(inode for path in paths if (inode := _inode(path)) is not None)

    def holds(self, path: str | os.PathLike[str], *, sessions: bool = True) -> bool:
        """Whether something that is there is one of them or lies in one, by whatever name.

        Args:
            sessions: as for `inodes`.
        """
        try:
            real = os.path.realpath(path)
        except ValueError:
            return False  # no path at all: to open it gives the precise error
        return lies_in(real, self.inodes(sessions=sessions))

    def refuse_output(self, path: str) -> None:
        """Refuse a place for what is written for the user: cleaning up would take it for the store's.

        Raises:
            InvalidInputError: it is the store's own, or no path.
        """
        # Neither the output nor the place that it would take need be there.
        names = {os.path.realpath(place) for place in self._paths(sessions=True)}
        above = _upwards(os.path.realpath(check_local_path(path)))
        if not names.isdisjoint(above) or self.holds(path):
            raise InvalidInputError(
                f"cannot write {printable(path)}: that place belongs to the store itself",
                hint="choose a place outside of the object roots, and a name that the database does not use",
                code="store-inside",
            )

    def _paths(self, *, sessions: bool) -> Iterator[str]:
        yield from (f"{self.database}{suffix}" for suffix in _SUFFIXES)
        if sessions:
            yield f"{self.database}{_SESSIONS}"
        yield from self.folders


def lies_in(path: str, own: Set[Inode]) -> bool:
    """Whether a path without links, or a folder above it, is one of these."""
    return any(_inode(each) in own for each in _upwards(path))


def _upwards(path: str) -> list[str]:
    found = [path]
    while (above := os.path.dirname(path)) != path:
        path = above
        found.append(path)
    return found


def _inode(path: str) -> Inode | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
