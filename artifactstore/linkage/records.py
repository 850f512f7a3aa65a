"""Questions to the view `linkages`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from artifactstore import codec
from artifactstore.connection import fetch, fetch_one
from artifactstore.errors import NotFoundError
from artifactstore.model import DUE, Linkage
from artifactstore.moment import id_text

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping

    from artifactstore.codec import Value
    from artifactstore.connection import Connection

_COLUMNS = (
    "l.link_id, p.package_id, l.workstream_id, l.task_id, l.message, l.state, l.requested_at, l.attempts,"
    " l.retry_at, l.failure, l.delivered_at"
)
_SOURCE = "linkages l JOIN artifact_packages p ON p.sequence = l.package_sequence"


def linkage(connection: Connection, link_id: uuid.UUID) -> Linkage:
    """One message of the outbox.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = fetch_one(connection, f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE l.link_id = ?", (link_id.bytes,))
    if row is None:
        raise NotFoundError(f"no linkage {link_id}", hint="see `artifactstore guide-board link`")
    return _linkage(row)


def linkage_of(
    connection: Connection, package: int, workstream_id: str | None, task_id: str | None
) -> Linkage | None:
    """The message about a package that goes to this workstream and task, or None."""
    row = fetch_one(
        connection,
        f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE l.package_sequence = ? AND l.workstream_id IS ?"
        " AND l.task_id IS ? ORDER BY l.sequence LIMIT 1",
        (package, workstream_id, task_id),
    )
    return None if row is None else _linkage(row)


def linkages(connection: Connection, *, undelivered: bool, due_at: int | None, limit: int) -> list[Linkage]:
    """The outbox, oldest first; what waits, by the moment of its next attempt.

    Args:
        undelivered: only what waits.
        due_at: only what is due at this instant.
    """
    # What fails again and again must not fill each page before what was never tried.
    order = "l.retry_at, l.sequence" if undelivered else "l.sequence"
    rows = fetch(
        connection,
        f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE (NOT ? OR l.state = '{DUE}')"
        f" AND (? IS NULL OR l.retry_at <= ?) ORDER BY {order} LIMIT ?",
        (undelivered, due_at, due_at, limit),
    )
    return [_linkage(row) for row in rows]


def _linkage(row: Any) -> Linkage:
    link_id, package_id, workstream_id, task_id, message, *rest = row
    state, requested_at, attempts, retry_at, failure, delivered_at = rest
    return Linkage(
        link_id=id_text(link_id),
        package_id=id_text(package_id),
        workstream_id=workstream_id,
        task_id=task_id,
        message=cast("Mapping[str, Value]", codec.decode_trusted(message)),
        state=state,
        requested_at=requested_at,
        attempts=attempts,
        retry_at=retry_at,
        failure=failure,
        delivered_at=delivered_at,
    )
