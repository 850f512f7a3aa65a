"""Sweep: marks what has expired and takes back what is not due any more. It deletes nothing."""

from __future__ import annotations

import sys
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from artifactstore import events
from artifactstore.lifecycle import retention
from artifactstore.results import SweepResult

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
    limit: int = sys.maxsize,
) -> SweepResult:
    """Bring the eligibility of all packages up to date; see `Store.sweep`.

    Crash: what was committed is marked; the next sweep does the rest.
    """
    withdrawn = _withdraw(new_transaction, clock, limit)
    marked: list[RetentionState] = []
    while len(marked) < limit:
        together = min(_TOGETHER, limit - len(marked))
        with new_transaction() as transaction:
            found = retention.due(transaction.connection, now=clock(), limit=together)
            if found:
                transaction.record(
                    events.deletion_eligible(
                        uuid.UUID(state.package_id).bytes,
                        reason=retention.EXPIRED,
                        expires_at=state.expires_at,
                    )
                    for state in found
                )
                marked += _marked(transaction, found, retention.EXPIRED)
        if len(found) < together:
            break
    with new_transaction() as transaction:
        left = retention.abandoned(
            transaction.connection, before=clock() - abandoned_after * retention.MICROSECONDS
        )[:limit]
        if left and mark_abandoned:
            transaction.record(
                events.deletion_eligible(
                    uuid.UUID(state.package_id).bytes, reason=retention.ABANDONED, expires_at=None
                )
                for state in left
            )
            left = _marked(transaction, left, retention.ABANDONED)
    return SweepResult(tuple(marked), tuple(withdrawn), tuple(left))


def _marked(transaction: Transaction, states: list[RetentionState], reason: str) -> list[RetentionState]:
    """The same packages as the views have them now."""
    moment, actor = transaction.recorded_at, transaction.actor
    return [replace(state, eligible_at=moment, eligible_reason=reason, eligible_by=actor) for state in states]


def _withdraw(
    new_transaction: Callable[[], AbstractContextManager[Transaction]], clock: Clock, limit: int
) -> list[RetentionState]:
    """Take back what a hold, an extension or new work has saved."""
    withdrawn: list[RetentionState] = []
    after = 0
    while len(withdrawn) < limit:
        with new_transaction() as transaction:
            found = retention.eligible(transaction.connection, after=after, limit=_TOGETHER)
            saved = [state for state in found if not retention.may_be_collected(state, clock())]
            saved = saved[: limit - len(withdrawn)]
            if saved:
                transaction.record(
                    events.eligibility_withdrawn(
                        uuid.UUID(state.package_id).bytes,
                        reason="held" if state.hold_count else "not due any more",
                    )
                    for state in saved
                )
                withdrawn += (
                    replace(state, eligible_at=None, eligible_reason=None, eligible_by=None)
                    for state in saved
                )
        if len(found) < _TOGETHER:
            break
        after = found[-1].sequence
    return withdrawn
