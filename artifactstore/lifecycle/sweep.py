"""Sweep: marks what has expired and takes back what is not due any more. It deletes nothing."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from artifactstore import events
from artifactstore.lifecycle import retention
from artifactstore.model import SweepResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from artifactstore.commit import Transaction
    from artifactstore.model import RetentionState
    from artifactstore.moment import Clock

_TOGETHER = 1000  # packages marked in one transaction


def sweep(
    new_transaction: Callable[[], AbstractContextManager[Transaction]],
    clock: Clock,
    *,
    abandoned_after: int,
    mark_abandoned: bool,
) -> SweepResult:
    """Bring the eligibility of all packages up to date; see `Store.sweep`.

    Crash: what was committed is marked; the next sweep does the rest.
    """
    withdrawn = _withdraw(new_transaction, clock)
    marked: list[RetentionState] = []
    while True:
        with new_transaction() as transaction:
            found = retention.due(transaction.connection, now=clock(), limit=_TOGETHER)
            if found:
                transaction.record(
                    events.deletion_eligible(
                        uuid.UUID(state.package_id).bytes,
                        reason=retention.EXPIRED,
                        expires_at=state.expires_at,
                    )
                    for state in found
                )
                marked += found
        if len(found) < _TOGETHER:
            break
    with new_transaction() as transaction:
        left = retention.abandoned(
            transaction.connection, before=clock() - abandoned_after * retention.MICROSECONDS
        )
        if left and mark_abandoned:
            transaction.record(
                events.deletion_eligible(
                    uuid.UUID(state.package_id).bytes, reason=retention.ABANDONED, expires_at=None
                )
                for state in left
            )
    return SweepResult(tuple(marked), tuple(withdrawn), tuple(left))


def _withdraw(
    new_transaction: Callable[[], AbstractContextManager[Transaction]], clock: Clock
) -> list[RetentionState]:
    """Take back what a hold, an extension or new work has saved."""
    withdrawn: list[RetentionState] = []
    after = 0
    while True:
        with new_transaction() as transaction:
            found = retention.eligible(transaction.connection, after=after, limit=_TOGETHER)
            saved = [state for state in found if not retention.may_be_collected(state, clock())]
            if saved:
                transaction.record(
                    events.eligibility_withdrawn(
                        uuid.UUID(state.package_id).bytes,
                        reason="held" if state.hold_count else "not due any more",
                    )
                    for state in saved
                )
                withdrawn += saved
        if len(found) < _TOGETHER:
            return withdrawn
        after = found[-1].sequence
