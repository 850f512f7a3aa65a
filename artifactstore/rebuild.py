"""Rebuilding the views from the log: replay, and migration to a newer schema, which is the same."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import schema, views
from artifactstore.connection import scratch
from artifactstore.database import PARTIAL, remove_partial
from artifactstore.errors import IntegrityError
from artifactstore.moment import format_moment
from artifactstore.results import ReplayResult

if TYPE_CHECKING:
    from artifactstore.connection import Connection
    from artifactstore.database import Database
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
        with database.read() as connection, scratch() as target:
            before = fingerprint(database, connection)
            count = views.rebuild(connection, target)
            return ReplayResult(count, before, views.fingerprint(target))
    with database.write(views=False) as connection:
        before = fingerprint(database, connection)
        count = views.replay(connection)
        return ReplayResult(count, before, views.fingerprint(connection))


def fingerprint(database: Database, connection: Connection) -> str:
    """The fingerprint of the views, or that they cannot be read."""
    if not schema.views_are_whole(connection):
        return UNREADABLE
    try:
        with database.translated():
            return views.fingerprint(connection)
    except IntegrityError:
        return UNREADABLE


def migrate(database: Database, clock: Clock) -> MigrationResult:
    """Bring the views of an older store to this version; the log is never touched.

    A backup is taken first, beside the database. Others who migrate wait, and find it done.

    Raises:
        StateError: the store is newer than this program.
    Crash: the store is as it was, and so are the backups of earlier attempts; the next attempt begins anew.
    """
    before = database.check(views=False)
    database.settle()
    if before == schema.SCHEMA_VERSION:
        return MigrationResult(before, before, None)
    stem = os.path.splitext(database.path)[0]
    stamp = format_moment(clock()).replace(":", "").replace("-", "")
    backup = f"{stem}.v{before}.{stamp}.backup.db"
    with database.write(views=False) as connection:
        if connection.pragma("user_version") == schema.SCHEMA_VERSION:
            return MigrationResult(schema.SCHEMA_VERSION, schema.SCHEMA_VERSION, None)
        for left in glob.glob(f"{glob.escape(stem)}.v*.backup.db*{PARTIAL}"):
            remove_partial(left)
        database.backup(backup)
        views.replay(connection)
    return MigrationResult(before, schema.SCHEMA_VERSION, backup)
