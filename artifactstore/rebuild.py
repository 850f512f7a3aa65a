"""Rebuilding the views from the log: replay, and migration to a newer schema, which is the same."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import database as databases
from artifactstore import schema, views
from artifactstore.model import ReplayResult
from artifactstore.moment import format_moment

if TYPE_CHECKING:
    from artifactstore.database import Connection, Database
    from artifactstore.moment import Clock

UNREADABLE = "unreadable"  # the fingerprint of views whose tables are not what they should be


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
            before = _fingerprint(connection)
            count = views.rebuild(connection, target)
            return ReplayResult(count, before, views.fingerprint(target))
    with database.write() as connection:
        before = _fingerprint(connection)
        count = views.replay(connection)
        return ReplayResult(count, before, views.fingerprint(connection))


def _fingerprint(connection: Connection) -> str:
    return views.fingerprint(connection) if databases.views_are_whole(connection) else UNREADABLE


def migrate(database: Database, clock: Clock) -> MigrationResult:
    """Bring the views of an older store to this version; the log is never touched.

    A backup is taken first, beside the database. Others who migrate wait, and find it done.

    Raises:
        StateError: the store is newer than this program.
    Crash: the store is as it was, and so are the backups of earlier attempts; the next attempt begins anew.
    """
    before = database.check(views=False)
    if before == schema.SCHEMA_VERSION:
        return MigrationResult(before, before, None)
    stem = os.path.splitext(database.path)[0]
    stamp = format_moment(clock()).replace(":", "").replace("-", "")
    backup = f"{stem}.v{before}.{stamp}.backup.db"
    with database.write() as connection:
        if connection.pragma("user_version") == schema.SCHEMA_VERSION:
            return MigrationResult(schema.SCHEMA_VERSION, schema.SCHEMA_VERSION, None)
        for left in glob.glob(f"{glob.escape(stem)}.v*.backup.db{databases.PARTIAL}"):
            databases.remove_partial(left)
        database.backup(backup)
        views.replay(connection)
    return MigrationResult(before, schema.SCHEMA_VERSION, backup)
