"""Backup: the database in one file, looked at before it gets its name."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.database import Database
from artifactstore.errors import IntegrityError, InvalidInputError
from artifactstore.lifecycle import inspection
from artifactstore.local_files import check_local_path
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactstore.acknowledged import Head


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A copy of the database that was written and found whole.

    Args:
        path: of the copy, absolute.
        size: bytes of the copy.
        event_count: events in it, which is also the highest sequence.
    """

    path: str
    size: int
    event_count: int


def backup(database: Database, path: str) -> BackupResult:
    """Write a backup; see `Store.backup`."""
    folder, name = os.path.split(os.path.abspath(check_local_path(path)))
    if not os.path.isdir(folder):
        message = f"cannot write {printable(path)}: there is no folder {printable(folder)}"
        raise InvalidInputError(message, hint="make it first")
    target = os.path.join(os.path.realpath(folder), name)
    # Before the copy begins: the log can only have grown since.
    last = database.last_acknowledged()
    results: list[BackupResult] = []

    def examine(copy: str) -> None:
        count = _event_count(database, copy, last)
        results.append(BackupResult(target, os.stat(copy).st_size, count))

    database.backup(target, examine=examine)
    return results[0]


def _event_count(database: Database, path: str, last: Head | None) -> int:
    """How many events a copy holds.

    Raises:
        IntegrityError: it is not whole, and neither is the database.
    """
    with contextlib.closing(Database(path)) as copy:
        findings = list(_findings(copy, last))
        if findings:
            more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
            raise IntegrityError(
                f"nothing was written, since {database.path} is damaged: {findings[0]}{more}",
                hint="run `artifactstore fsck`; keep the older backups",
                code="database-damaged",
            )
        with copy.read() as connection:
            return inspection.newest(copy, connection)


def _findings(copy: Database, last: Head | None) -> Iterator[str]:
    """What fsck would say of the file and of the log in it."""
    try:
        with copy.read() as connection:
            yield from inspection.schema(connection)
            yield from inspection.file(connection)
            yield from inspection.log(copy, connection, last)
    except IntegrityError as error:
        yield error.message
