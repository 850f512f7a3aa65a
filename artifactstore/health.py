"""Whether a store can be used, found out without changing anything."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from artifactstore import events
from artifactstore.errors import ArtifactStoreError
from artifactstore.model import ComponentHealth, Health

if TYPE_CHECKING:
    from artifactstore.database import Database
    from artifactstore.moment import Clock
    from artifactstore.objects.backend import Backend


def probe(database: Database, backend: Backend, clock: Clock) -> Health:
    """Look at the database and the object store; nothing is created, migrated or repaired.

    Returns:
        `degraded` with reasons, where any other call would raise.
    """
    warnings: tuple[str, ...] = ()
    try:
        database.check()
        with database.read() as connection:
            store_id = uuid.UUID(bytes=events.store_id(connection))
            newest = connection.execute("SELECT max(recorded_at) FROM events").get
        if newest > clock():
            warnings = ("the clock stands before the newest event",)
    except ArtifactStoreError as error:
        unknown = ComponentHealth(healthy=False, reasons=("not looked at: the database must come first",))
        return Health(ComponentHealth(healthy=False, reasons=(_reason(error),)), unknown)
    problems = backend.problems(store_id)
    return Health(
        ComponentHealth(healthy=True), ComponentHealth(healthy=not problems, reasons=problems), warnings
    )


def _reason(error: ArtifactStoreError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
