"""Whether a store can be used, found out without changing anything."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from artifactstore import acknowledged, event_log, object_queries
from artifactstore.errors import ArtifactStoreError
from artifactstore.lifecycle import retention
from artifactstore.moment import format_moment
from artifactstore.results import ComponentHealth, Health

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
    warnings: list[str] = []
    problems: list[str] = []
    known: set[str] = set()
    moments: list[int] = []
    try:
        database.check()
        last = database.last_acknowledged()
        with database.read() as connection:
            lost = acknowledged.lost(connection, last)
            store_id = uuid.UUID(bytes=event_log.store_id(connection))
            newest = event_log.newest_moment(connection)
            for backend in backends:
                known.add(backend.backend_id)
                claimed = object_queries.backend_is_used(connection, backend.backend_id)
                problems += backend.problems(store_id, claimed=claimed, deep=deep, max_age=_FRESH)
                verified = object_queries.backend_verification(connection, backend.backend_id)
                if verified.failed_count:
                    problems.append(
                        f"damaged objects in backend {backend.backend_id}: {verified.failed_count};"
                        " run `artifactstore storage repair`"
                    )
                if verified.oldest_at is not None:
                    moments.append(verified.oldest_at)
            warnings += [
                f"backend {backend_id} holds objects and is not configured"
                for backend_id in object_queries.used_backends(connection)
                if backend_id not in known
            ]
        now = clock()
        if newest > now:
            warnings.append(f"the clock stands before the newest event, of {format_moment(newest)}")
        elif retention.has_jumped(now, newest):
            found = f"the clock stands more than a year after the newest event, of {format_moment(newest)}"
            warnings.append(f"{found}: sweep and gc stop until somebody says --accept-clock")
    except ArtifactStoreError as error:
        unknown = ComponentHealth(healthy=False, reasons=("not looked at: the database must come first",))
        return Health(ComponentHealth(healthy=False, reasons=(_reason(error),)), unknown)
    return Health(
        ComponentHealth(
            healthy=lost is None, reasons=() if lost is None else (f"the log is not whole: {lost}",)
        ),
        ComponentHealth(healthy=not problems, reasons=tuple(problems)),
        tuple(warnings),
        min(moments, default=None),
    )


def _reason(error: ArtifactStoreError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
