"""The calls of a store about how long a package is kept, and why."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING

from artifactstore import events, fields, package_queries, query_arguments
from artifactstore.calls import StoreCalls
from artifactstore.errors import ArtifactStoreError, StateError
from artifactstore.idempotency import first_use, request
from artifactstore.lifecycle import object_locks, retention
from artifactstore.model import GARBAGE_COLLECTED

if TYPE_CHECKING:
    from artifactstore.events import Event
    from artifactstore.model import Explanation, Hold, RetentionState

_log = logging.getLogger(__name__)


class RetentionCalls(StoreCalls):
    """Extensions and holds: retention only grows, and a hold always wins."""

    def retention_seconds(self, retention_class: str) -> int | None:
        """How long a new package of a class is kept after finalize, in seconds; None is for ever.

        Raises:
            InvalidInputError: neither the store nor its policy knows the class.
        """
        fields.check_label(retention_class, field="retention class")
        with self._database.read() as connection:
            return self._policy.duration(retention_class, package_queries.retention_classes(connection))

    def extend_retention(
        self,
        package: str,
        *,
        actor: str,
        until: int | None = None,
        by: int | None = None,
        for_ever: bool = False,
        reason: str | None = None,
    ) -> RetentionState:
        """Keep a finalized package longer: to an instant, by a duration, or for ever.

        Args:
            until: microseconds since 1970, later than the present expiry.
            by: seconds after the present expiry.
        Raises:
            InvalidInputError: not exactly one of the three, not later than now decided, or in the past.
            StateError: the package is open, collected, or kept for ever already.
        """
        if reason is not None:
            fields.check_label(reason, field="reason")
        with self._transaction(actor) as transaction:
            connection = transaction.connection
            sequence = package_queries.package_sequence(connection, package)
            state = retention.state_of(connection, sequence)
            expires_at = retention.later_expiry(state, self._clock(), until=until, by=by, for_ever=for_ever)
            package_id = uuid.UUID(state.package_id).bytes
            transaction.record([events.retention_extended(package_id, expires_at=expires_at, reason=reason)])
            object_locks.follow_package(connection, self._backends.locking(), sequence, holds=False)
            return retention.state_of(connection, sequence)

    def apply_hold(
        self,
        package: str,
        *,
        reason: str,
        actor: str,
        authority: str | None = None,
        case_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Hold:
        """Forbid the deletion of a package until this hold is released; a package may have several.

        Args:
            authority: who ordered it.
            case_id: under which case.
            idempotency_key: the same key with the same arguments returns the first hold.
        Returns:
            The hold with its id.
        Raises:
            StateError: the package is collected already.
            ConflictError: the key was used with other arguments.
        """
        fields.check_label(reason, field="reason")
        for field, text in (("authority", authority), ("case", case_id)):
            if text is not None:
                fields.check_label(text, field=field)
        with self._transaction(actor) as transaction:
            connection = transaction.connection
            sequence = package_queries.package_sequence(connection, package)
            idempotency = request(idempotency_key, "apply_hold", sequence, reason, authority, case_id)
            first = first_use(connection, idempotency)
            if first is not None:
                return retention.hold_of_event(connection, sequence, first)
            state = retention.state_of(connection, sequence)
            if state.status == GARBAGE_COLLECTED:
                raise StateError(
                    f"package {state.package_id} is collected: there is nothing to hold",
                    hint="its bytes are gone",
                    code="collected",
                )
            hold_id = self._new_id()
            applied = events.hold_applied(
                uuid.UUID(state.package_id).bytes,
                hold_id=hold_id.bytes,
                reason=reason,
                authority=authority,
                case_id=case_id,
                idempotency=idempotency,
            )
            transaction.record([applied])
            object_locks.follow_package(connection, self._backends.locking(), sequence, retention=False)
            return retention.active_hold(connection, sequence, str(hold_id))

    def release_hold(self, package: str, hold: str, *, reason: str, actor: str) -> Hold:
        """End one hold; others of the package go on.

        Where objects are locked, their legal holds end after that: what the server does not lift then, a gc
        lifts when it removes the object.

        Args:
            hold: its id, or a unique prefix of it.
        Raises:
            InvalidInputError: it is no id, or fits several holds of the package.
            NotFoundError: the package has no such hold.
            StateError: it is released already.
        """
        fields.check_label(reason, field="reason")
        query_arguments.id_range(hold, what="hold")
        with self._transaction(actor) as transaction:
            connection = transaction.connection
            sequence = package_queries.package_sequence(connection, package)
            hold_id = retention.active_hold(connection, sequence, hold).hold_id
            package_id = uuid.UUID(retention.state_of(connection, sequence).package_id).bytes
            released = events.hold_released(package_id, hold_id=uuid.UUID(hold_id).bytes, reason=reason)
            transaction.record([released])
            found = retention.holds_of(connection, sequence)
        self._lift_holds(sequence)
        return next(each for each in found if each.hold_id == hold_id)

    def _lift_holds(self, sequence: int) -> None:
        """End what no package needs; a legal hold that stays behind is lifted by the gc that finds it."""
        locking = self._backends.locking()
        if not locking:
            return
        try:
            # Nobody can apply another hold meanwhile.
            with self._database.write() as connection:
                object_locks.lift_holds(connection, locking, sequence)
        except ArtifactStoreError as error:
            _log.warning("some objects keep their legal hold until gc removes them: %s", error.message)

    def retention_history(self, package: str) -> list[Event]:
        """Everything that ever touched the retention of a package, oldest first."""
        with self._database.read() as connection:
            return retention.history_of(connection, package_queries.package_sequence(connection, package))

    def explain_retention(self, package: str) -> Explanation:
        """Why a package is kept, until when, and what sweep and gc would do with it now, in plain words."""
        with self._database.read() as connection:
            sequence = package_queries.package_sequence(connection, package)
            return retention.explain(connection, sequence, self._clock())
