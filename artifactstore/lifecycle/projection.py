"""The part of the views that rare events change: retention, gc, verify, linkage; called by `views` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactstore import codec, events, model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artifactstore.connection import Connection
    from artifactstore.events import Event

    Handler = Callable[[Event, Mapping[str, Any], int | None], None]

# States of a location.
STORED = "stored"
FAILED = "failed"
DELETED = "deleted"

_ONE_LOCATION = "WHERE blake3 = ?1 AND backend_id = ?2 AND sequence = ?3"
_HAS_NO_LOCATION = (
    "NOT EXISTS (SELECT 1 FROM storage_locations"
    f" WHERE blake3 = ?1 AND backend_id = ?2 AND state <> '{DELETED}')"
)

_PENDING = (
    "INSERT OR IGNORE INTO pending_deletions SELECT blake3, backend_id, size FROM storage_locations"
    f" {_ONE_LOCATION} AND {_HAS_NO_LOCATION}"
)

# The statements of what a gc and a verify record by the thousand; all of one event take the same values.
_VERIFIED = (f"UPDATE storage_locations SET state = ?4, verified_at = ?5, failure = ?6 {_ONE_LOCATION}",)
_LOCATION_DELETED = (
    f"UPDATE storage_locations SET state = '{DELETED}' {_ONE_LOCATION}",
    _PENDING,
)
_OBJECT_DELETED = ("DELETE FROM pending_deletions WHERE blake3 = ? AND backend_id = ?",)


class Lifecycle:
    """Applies the events of a package's later life.

    Of events that come by the thousand the values are gathered while their type stays the same.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._statements: tuple[str, ...] = ()
        self._gathered: list[tuple[object, ...]] = []
        self.types: dict[str, Handler] = {
            events.RETENTION_EXTENDED: self._extended,
            events.HOLD_APPLIED: self._hold_applied,
            events.HOLD_RELEASED: self._hold_released,
            events.DELETION_ELIGIBLE: self._eligible,
            events.ELIGIBILITY_WITHDRAWN: self._withdrawn,
            events.LOCATION_VERIFIED: self._verified,
            events.LOCATION_ADDED: self._added,
            events.LOCATION_REPAIRED: self._repaired,
            events.LOCATION_DELETED: self._location_deleted,
            events.OBJECT_DELETED: self._object_deleted,
            events.GARBAGE_COLLECTED: self._collected,
            events.LINKAGE_REQUESTED: self._linkage_requested,
            events.LINKAGE_DELIVERED: self._linkage_delivered,
            events.LINKAGE_FAILED: self._linkage_failed,
        }

    def apply(self, event: Event, package: int | None) -> None:
        """Apply one event.

        Args:
            package: key of the package's rows; None for what concerns the store.
        """
        self.types[event.type](event, event.payload, package)
        if package is not None and not event.type.startswith(("v1.storage.", "v1.linkage.")):
            self._execute("INSERT INTO retention_history VALUES (?, ?)", (package, event.sequence))

    def write(self) -> None:
        """Write what was gathered."""
        for statement in self._statements:
            self._connection.executemany(statement, self._gathered)
        self._statements, self._gathered = (), []

    def _gather(self, statements: tuple[str, ...], values: tuple[object, ...]) -> None:
        if statements is not self._statements:
            self.write()
            self._statements = statements
        self._gathered.append(values)

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        self.write()
        self._connection.execute(statement, values)

    def deletions_are_pending(self) -> bool:
        """Whether any object waits to be removed."""
        row = self._connection.execute("SELECT EXISTS (SELECT 1 FROM pending_deletions)").fetchone()
        return bool(row and row[0])

    # Retention

    def _extended(self, _event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._execute(
            "UPDATE retention_state SET expires_at = ? WHERE package_sequence = ?",
            (payload["expires_at"], package),
        )

    def _hold_applied(self, event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._execute(
            "INSERT INTO retention_holds VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
            (
                payload["hold_id"],
                package,
                payload["reason"],
                payload["authority"],
                payload["case_id"],
                event.recorded_at,
                event.actor,
            ),
        )
        self._count_holds(package)

    def _hold_released(self, event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._execute(
            "UPDATE retention_holds SET released_at = ?, released_by = ?, release_reason = ?"
            " WHERE hold_id = ?",
            (event.recorded_at, event.actor, payload["reason"], payload["hold_id"]),
        )
        self._count_holds(package)

    def _count_holds(self, package: int | None) -> None:
        self._execute(
            "UPDATE retention_state SET hold_count = (SELECT count(*) FROM retention_holds"
            " WHERE package_sequence = ?1 AND released_at IS NULL) WHERE package_sequence = ?1",
            (package,),
        )

    def _eligible(self, event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._execute(
            "UPDATE retention_state SET eligible_at = ?, eligible_reason = ?, eligible_by = ?"
            " WHERE package_sequence = ?",
            (event.recorded_at, payload["reason"], event.actor, package),
        )

    def _withdrawn(self, _event: Event, _payload: Mapping[str, Any], package: int | None) -> None:
        self._execute(
            "UPDATE retention_state SET eligible_at = NULL, eligible_reason = NULL, eligible_by = NULL"
            " WHERE package_sequence = ?",
            (package,),
        )

    # Storage

    def _verified(self, event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        failure = payload["failure"]
        state = STORED if failure is None else FAILED
        self._gather(_VERIFIED, (*_key(payload), state, event.recorded_at, failure))

    def _repaired(self, event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        self._execute(
            f"UPDATE storage_locations SET state = ?4, verified_at = ?5, failure = NULL {_ONE_LOCATION}",
            (*_key(payload), STORED, event.recorded_at),
        )

    def _added(self, _event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        blake3, backend_id, reference = _key(payload)
        self._execute(
            "INSERT OR REPLACE INTO storage_locations VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
            (blake3, backend_id, reference, package, payload["size"], STORED),
        )
        self._execute(
            "DELETE FROM pending_deletions WHERE blake3 = ? AND backend_id = ?", (blake3, backend_id)
        )

    def _location_deleted(self, _event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        self._gather(_LOCATION_DELETED, _key(payload))

    def _object_deleted(self, _event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        self._gather(_OBJECT_DELETED, (payload["blake3"], payload["backend_id"]))

    def _collected(self, event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._execute(
            "UPDATE artifact_packages SET status = ? WHERE sequence = ?", (model.GARBAGE_COLLECTED, package)
        )
        self._execute(
            "UPDATE retention_state SET collected_at = ?, collected_by = ?, collected_plan = ?"
            " WHERE package_sequence = ?",
            (event.recorded_at, event.actor, payload["plan_digest"], package),
        )

    # Linkage

    def _linkage_requested(self, event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._execute(
            "INSERT INTO linkages VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, NULL, NULL)",
            (
                payload["link_id"],
                package,
                event.sequence,
                payload["workstream_id"],
                payload["task_id"],
                codec.encode(payload["message"]),
                model.DUE,
                event.recorded_at,
                event.recorded_at,
            ),
        )

    def _linkage_delivered(self, event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        self._execute(
            "UPDATE linkages SET state = ?, attempts = attempts + 1, retry_at = NULL, failure = NULL,"
            " delivered_at = ? WHERE link_id = ?",
            (model.DELIVERED, event.recorded_at, payload["link_id"]),
        )

    def _linkage_failed(self, _event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        self._execute(
            "UPDATE linkages SET attempts = attempts + 1, retry_at = ?, failure = ? WHERE link_id = ?",
            (payload["retry_at"], payload["reason"], payload["link_id"]),
        )


def _key(payload: Mapping[str, Any]) -> tuple[bytes, str, int]:
    return payload["blake3"], payload["backend_id"], payload["reference"]
