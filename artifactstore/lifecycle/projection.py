"""The part of the views that retention, gc and verify change; called by `views.apply` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifactstore import events, model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artifactstore.database import Connection
    from artifactstore.events import Event

    Handler = Callable[[Event, Mapping[str, Any], int | None], None]

# States of a location.
STORED = "stored"
FAILED = "failed"
DELETED = "deleted"

_ONE_LOCATION = "WHERE blake3 = ? AND backend_id = ? AND sequence = ?"


class Lifecycle:
    """Applies the events of a package's later life, one by one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
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
        }

    def apply(self, event: Event, package: int | None) -> None:
        """Apply one event.

        Args:
            package: key of the package's rows; None for what concerns the store.
        """
        self.types[event.type](event, event.payload, package)
        if package is not None and not event.type.startswith("v1.storage."):
            self._connection.execute("INSERT INTO retention_history VALUES (?, ?)", (package, event.sequence))

    def deletions_are_pending(self) -> bool:
        """Whether any object waits to be removed."""
        row = self._connection.execute("SELECT EXISTS (SELECT 1 FROM pending_deletions)").fetchone()
        return bool(row and row[0])

    # Retention

    def _extended(self, _event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._connection.execute(
            "UPDATE retention_state SET expires_at = ? WHERE package_sequence = ?",
            (payload["expires_at"], package),
        )

    def _hold_applied(self, event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._connection.execute(
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
        self._connection.execute(
            "UPDATE retention_holds SET released_at = ?, released_by = ?, release_reason = ?"
            " WHERE hold_id = ?",
            (event.recorded_at, event.actor, payload["reason"], payload["hold_id"]),
        )
        self._count_holds(package)

    def _count_holds(self, package: int | None) -> None:
        self._connection.execute(
            "UPDATE retention_state SET hold_count = (SELECT count(*) FROM retention_holds"
            " WHERE package_sequence = ?1 AND released_at IS NULL) WHERE package_sequence = ?1",
            (package,),
        )

    def _eligible(self, event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._connection.execute(
            "UPDATE retention_state SET eligible_at = ?, eligible_reason = ?, eligible_by = ?"
            " WHERE package_sequence = ?",
            (event.recorded_at, payload["reason"], event.actor, package),
        )

    def _withdrawn(self, _event: Event, _payload: Mapping[str, Any], package: int | None) -> None:
        self._connection.execute(
            "UPDATE retention_state SET eligible_at = NULL, eligible_reason = NULL, eligible_by = NULL"
            " WHERE package_sequence = ?",
            (package,),
        )

    # Storage

    def _verified(self, event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        failure = payload["failure"]
        self._connection.execute(
            f"UPDATE storage_locations SET state = ?, verified_at = ?, failure = ? {_ONE_LOCATION}",
            (STORED if failure is None else FAILED, event.recorded_at, failure, *_key(payload)),
        )

    def _repaired(self, event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        self._connection.execute(
            f"UPDATE storage_locations SET state = ?, verified_at = ?, failure = NULL {_ONE_LOCATION}",
            (STORED, event.recorded_at, *_key(payload)),
        )

    def _added(self, _event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        blake3, backend_id, reference = _key(payload)
        self._connection.execute(
            "INSERT OR REPLACE INTO storage_locations VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
            (blake3, backend_id, reference, package, payload["size"], STORED),
        )
        self._connection.execute(
            "DELETE FROM pending_deletions WHERE blake3 = ? AND backend_id = ?", (blake3, backend_id)
        )

    def _location_deleted(self, _event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        blake3, backend_id, _ = key = _key(payload)
        self._connection.execute(f"UPDATE storage_locations SET state = ? {_ONE_LOCATION}", (DELETED, *key))
        self._connection.execute(
            "INSERT OR IGNORE INTO pending_deletions SELECT blake3, backend_id, size FROM storage_locations"
            f" {_ONE_LOCATION} AND NOT EXISTS (SELECT 1 FROM storage_locations"
            " WHERE blake3 = ? AND backend_id = ? AND state <> 'deleted')",
            (*key, blake3, backend_id),
        )

    def _object_deleted(self, _event: Event, payload: Mapping[str, Any], _package: int | None) -> None:
        self._connection.execute(
            "DELETE FROM pending_deletions WHERE blake3 = ? AND backend_id = ?",
            (payload["blake3"], payload["backend_id"]),
        )

    def _collected(self, event: Event, payload: Mapping[str, Any], package: int | None) -> None:
        self._connection.execute(
            "UPDATE artifact_packages SET status = ? WHERE sequence = ?", (model.GARBAGE_COLLECTED, package)
        )
        self._connection.execute(
            "UPDATE retention_state SET collected_at = ?, collected_by = ?, collected_plan = ?"
            " WHERE package_sequence = ?",
            (event.recorded_at, event.actor, payload["plan_digest"], package),
        )


def _key(payload: Mapping[str, Any]) -> tuple[bytes, str, int]:
    return payload["blake3"], payload["backend_id"], payload["reference"]
