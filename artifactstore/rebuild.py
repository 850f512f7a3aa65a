"""Rebuilding the views from the log: replay, and migration to a newer schema, which is the same."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import database as databases
from artifactstore import schema, views
from artifactstore.errors import IntegrityError
from artifactstore.model import ReplayResult
from artifactstore.moment import format_moment

if TYPE_CHECKING:
    from artifactstore.database import Connection, Database
    from artifactstore.moment import Clock

UNREADABLE = (
    "unreadable"  # the fingerprint of views whose tables, or their bytes, are not what they should be
)


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What a migration did; equal versions mean that nothing was to be done.

    Args:
        backup: path of the copy taken before, None if nothing was changed.
    """

    version_before: int
    version_after: int
    backup: str | None


def replay(database: Database, *, check: bool = False) -> ReplayResult:
    """Rebuild every view from the events.

    Args:
        check: rebuild into a scratch database only and change nothing.
    Raises:
        BusyError: another writer held the store.
        IntegrityError: the log holds what cannot be applied.
    """
    database.check(views=False)
    if check:
        with database.read() as connection, databases.scratch() as target:
            before = fingerprint(database, connection)
            count = views.rebuild(connection, target)
            return ReplayResult(count, before, views.fingerprint(target))
    with database.write() as connection:
        before = fingerprint(database, connection)
        count = views.replay(connection)
        return ReplayResult(count, before, views.fingerprint(connection))


def fingerprint(database: Database, connection: Connection) -> str:
    """The fingerprint of the views, or that they cannot be read."""
    if not databases.views_are_whole(connection):
        return UNREADABLE
    try:
        with database.translated():
            return views.fingerprint(connection)
    except IntegrityError:
        return UNREADABLE


def migrate(database: Database, clock: Clock) -> MigrationResult:
    """Bring the views of an older store to this version; the log is never touched.

    A backup is taken first, beside the database.

    Raises:
        StateError: the store is newer than this program.
    """
    before = database.check(views=False)
    if before == schema.SCHEMA_VERSION:
        return MigrationResult(before, before, None)
    stamp = format_moment(clock()).replace(":", "").replace("-", "")
    backup = f"{os.path.splitext(database.path)[0]}.v{before}.{stamp}.backup.db"
    database.backup(backup)
    with database.write() as connection:
        views.replay(connection)
    return MigrationResult(before, schema.SCHEMA_VERSION, backup)
