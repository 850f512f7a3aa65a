"""Whether a store can be used, found out without changing anything."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from artifactstore import events, queries
from artifactstore.errors import ArtifactStoreError
from artifactstore.model import ComponentHealth, Health
from artifactstore.moment import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactstore.database import Database
    from artifactstore.moment import Clock
    from artifactstore.objects.backend import Backend


_FRESH = 5.0  # seconds in which what was found out about a remote backend is good enough


def probe(database: Database, backends: Iterable[Backend], clock: Clock, *, deep: bool = False) -> Health:
    """Look at the database and the object stores; nothing is created, migrated or repaired.

    Args:
        deep: also write a probe into each remote backend and remove it.
    Returns:
        `degraded` with reasons, where any other call would raise.
    """
    warnings: tuple[str, ...] = ()
    problems: list[str] = []
    moments: list[int] = []
    try:
        database.check()
        with database.read() as connection:
            store_id = uuid.UUID(bytes=events.store_id(connection))
            newest = events.newest_moment(connection)
            for backend in backends:
                claimed = queries.backend_is_used(connection, backend.backend_id)
                problems += backend.problems(store_id, claimed=claimed, deep=deep, max_age=_FRESH)
                verified = queries.backend_verification(connection, backend.backend_id)
                if verified.failed_count:
                    problems.append(
                        f"damaged objects in backend {backend.backend_id}: {verified.failed_count};"
                        " run `artifactstore storage repair`"
                    )
                if verified.oldest_at is not None:
                    moments.append(verified.oldest_at)
        if newest > clock():
            warnings = (f"the clock stands before the newest event, of {format_moment(newest)}",)
    except ArtifactStoreError as error:
        unknown = ComponentHealth(healthy=False, reasons=("not looked at: the database must come first",))
        return Health(ComponentHealth(healthy=False, reasons=(_reason(error),)), unknown)
    return Health(
        ComponentHealth(healthy=True),
        ComponentHealth(healthy=not problems, reasons=tuple(problems)),
        warnings,
        min(moments, default=None),
    )


def _reason(error: ArtifactStoreError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
