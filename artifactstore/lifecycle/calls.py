"""The calls of a store about the later life of packages and objects."""

from __future__ import annotations

import logging
import os
import uuid
from functools import partial
from typing import TYPE_CHECKING

from artifactstore import commit, events, fields, queries
from artifactstore.errors import AccessError, BackendError, InvalidInputError, StateError
from artifactstore.lifecycle import retention
from artifactstore.model import GARBAGE_COLLECTED
from artifactstore.reads import StoreReads

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from artifactstore.commit import Transaction
    from artifactstore.database import Database
    from artifactstore.events import Event
    from artifactstore.lifecycle.copying import CopyResult
    from artifactstore.lifecycle.fsck import FsckResult
    from artifactstore.lifecycle.gc import GcPlan, GcResult
    from artifactstore.lifecycle.orphans import OrphanResult
    from artifactstore.lifecycle.repair import RepairResult
    from artifactstore.lifecycle.verify import VerifyResult
    from artifactstore.model import Explanation, Hold, RetentionState, SweepResult
    from artifactstore.moment import IdSource
    from artifactstore.objects.backend import Backend

_log = logging.getLogger(__name__)

ABANDONED_AFTER = 30 * 86_400  # seconds without work after which an open package counts as abandoned
ORPHAN_PROTECTION = 86_400  # seconds in which an object without a location may belong to a running ingest


class LifecycleCalls(StoreReads):
    """Retention, holds, sweep, gc, verify, repair, copies and fsck.

    What only one call needs is imported by it: most programs that open a store just put something in.
    Retention only grows, a hold always wins, and gc decides again at the moment of deletion.
    """

    _new_id: IdSource

    # Retention

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
            sequence = queries.package_sequence(connection, package)
            state = retention.state_of(connection, sequence)
            expires_at = retention.later_expiry(state, self._clock(), until=until, by=by, for_ever=for_ever)
            package_id = uuid.UUID(state.package_id).bytes
            transaction.record([events.retention_extended(package_id, expires_at=expires_at, reason=reason)])
            return retention.state_of(connection, sequence)

    def apply_hold(
        self,
        package: str,
        *,
        reason: str,
        actor: str,
        authority: str | None = None,
        case_id: str | None = None,
    ) -> Hold:
        """Forbid the deletion of a package until this hold is released; a package may have several.

        Args:
            authority: who ordered it.
            case_id: under which case.
        Returns:
            The hold with its id.
        Raises:
            StateError: the package is collected already.
        """
        for field, text in (("reason", reason), ("authority", authority), ("case", case_id)):
            if text is not None:
                fields.check_label(text, field=field)
        with self._transaction(actor) as transaction:
            connection = transaction.connection
            sequence = queries.package_sequence(connection, package)
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
            )
            transaction.record([applied])
            return retention.active_hold(connection, sequence, hold_id)

    def release_hold(self, package: str, hold: str, *, reason: str, actor: str) -> Hold:
        """End one hold; others of the package go on.

        Args:
            hold: its id.
        Raises:
            NotFoundError: the package has no such hold.
            StateError: it is released already.
        """
        fields.check_label(reason, field="reason")
        try:
            hold_id = uuid.UUID(hold)
        except ValueError:
            raise InvalidInputError(f"not the id of a hold: {hold[:80]!r}") from None
        with self._transaction(actor) as transaction:
            connection = transaction.connection
            sequence = queries.package_sequence(connection, package)
            retention.active_hold(connection, sequence, hold_id)
            package_id = uuid.UUID(retention.state_of(connection, sequence).package_id).bytes
            transaction.record([events.hold_released(package_id, hold_id=hold_id.bytes, reason=reason)])
            found = retention.holds_of(connection, sequence)
            return next(each for each in found if each.hold_id == str(hold_id))

    def retention_history(self, package: str) -> list[Event]:
        """Everything that ever touched the retention of a package, oldest first."""
        with self._database.read() as connection:
            return retention.history_of(connection, queries.package_sequence(connection, package))

    def explain_retention(self, package: str) -> Explanation:
        """Class, rule, expiry and holds of a package, and what sweep and gc would do now, in plain words."""
        with self._database.read() as connection:
            sequence = queries.package_sequence(connection, package)
            state = retention.state_of(connection, sequence)
            return retention.explain(state, retention.holds_of(connection, sequence), self._clock())

    # Sweep and gc

    def sweep(
        self,
        *,
        actor: str,
        abandoned_after: int = ABANDONED_AFTER,
        mark_abandoned: bool = False,
        accept_clock: bool = False,
    ) -> SweepResult:
        """Mark what is expired, unheld and finalized as eligible, and take back what is not any more.

        Idempotent; safe beside writers and other sweeps; costs what expired, not what is stored.

        Args:
            abandoned_after: seconds without work after which an open package is reported.
            mark_abandoned: mark those too.
            accept_clock: believe a clock more than a year past the newest event.
        Raises:
            StateError: the clock has jumped.
        """
        from artifactstore.lifecycle import sweep

        self._check_clock(accept=accept_clock)
        return sweep.sweep(
            lambda: self._transaction(actor),
            self._clock,
            abandoned_after=abandoned_after,
            mark_abandoned=mark_abandoned,
        )

    def plan_gc(self) -> GcPlan:
        """What `gc` would delete now, with names and bytes. Changes nothing."""
        from artifactstore.lifecycle import gc

        with self._database.read() as connection:
            return gc.plan(connection, self.store_id, self._clock())

    def gc(self, *, actor: str, plan: GcPlan | None = None, accept_clock: bool = False) -> GcResult:
        """Release the eligible packages and remove the bytes that nobody needs any more.

        Args:
            plan: execute exactly this one; plan first if not given.
        Raises:
            StateError: the plan is stale, or the clock has jumped.
            InvalidInputError: the plan is of another store.
        Crash: what is released stays so; the next gc removes the bytes.
        """
        from artifactstore.lifecycle import gc

        self._check_clock(accept=accept_clock)
        backends = self._sound_backends()
        with self._database.read() as connection:
            if plan is None:
                plan = gc.plan(connection, self.store_id, self._clock())
            else:
                gc.check_plan(connection, plan, self.store_id, self._clock())
        begin = partial(self._transaction, actor)
        collected: dict[bool, list[str]] = {True: [], False: []}
        for package_id, taken in gc.release(begin, plan, self._clock):
            collected[taken].append(package_id)
        removed = list(gc.remove_objects(begin, backends))
        return gc.GcResult(
            plan=plan,
            collected=tuple(collected[True]),
            passed_over=tuple(collected[False]),
            removed_count=sum(count for count, _ in removed),
            removed_size=sum(size for _, size in removed),
        )

    def orphans(
        self, *, actor: str, delete: bool = False, older_than: int = ORPHAN_PROTECTION
    ) -> OrphanResult:
        """Find objects that no location names and locations that have no object.

        Args:
            delete: remove the orphaned objects and dead staging folders, inside the protocol of gc.
            older_than: seconds; a younger object may belong to an ingest that is under way.
        """
        from artifactstore.lifecycle import orphans

        return orphans.find(
            self._database.read,
            lambda: self._transaction(actor),
            self._sound_backends(),
            delete=delete,
            older_than=older_than,
            now=self._clock(),
        )

    # Bytes

    def verify(
        self,
        *,
        actor: str,
        backend: str | None = None,
        package: str | None = None,
        max_bytes: int | None = None,
        max_seconds: float | None = None,
        older_than: int | None = None,
        sample: float | None = None,
        failed_only: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> VerifyResult:
        """Read objects again, recompute both digests, and record for each location what was found.

        The longest unverified come first, each object is read once, and a budget can end it anywhere.

        Args:
            backend: its id; the default one if not given.
            max_bytes, max_seconds: stop after so much.
            older_than: seconds; only what was not verified for so long.
            sample: share of the objects, over 0 and up to 1, chosen anew each time.
            on_progress: called with objects and bytes done so far.
        Raises:
            InvalidInputError: the backend is unknown, or a budget is none.
        """
        from artifactstore.lifecycle import verify

        chosen = self._backend_named(backend)
        with self._database.read() as connection:
            started = max(self._clock(), events.newest_moment(connection))
            budget = verify.Budget(
                max_bytes=max_bytes,
                max_seconds=max_seconds,
                verified_before=None if older_than is None else self._clock() - older_than * 1_000_000,
                sample=sample,
                package=None if package is None else queries.package_sequence(connection, package),
                failed_only=failed_only,
            )
        return verify.run(
            chosen, self._database.read, lambda: self._transaction(actor), budget, started, on_progress
        )

    def repair(
        self,
        *,
        actor: str,
        backend: str | None = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> RepairResult:
        """Give failed locations their bytes again, from another backend or from a directory.

        A damaged object is set aside, never overwritten.

        Args:
            directory: files there are matched by digest.
        Returns:
            What was healed, and what could not be, with the packages and holds that it hurts.
        """
        from artifactstore.lifecycle import repair

        chosen = self._backend_named(backend)
        return repair.repair(
            self._database.read,
            lambda: self._transaction(actor),
            self._present_backends(),
            chosen,
            None if directory is None else os.fspath(directory),
        )

    def copy(
        self,
        *,
        source: str,
        target: str,
        actor: str,
        package: str | None = None,
        producer: str | None = None,
        retention_class: str | None = None,
    ) -> CopyResult:
        """Put the objects of packages into another backend too; reads fall back to it.

        Args:
            source, target: ids of backends.
            package, producer, retention_class: only these packages.
        Raises:
            InvalidInputError: a backend is unknown, or both are the same.
            IntegrityError: an object in the source is damaged.
        """
        from artifactstore.lifecycle import copying

        chosen = copying.Filter(producer, retention_class, None)
        if package is not None:
            with self._database.read() as connection:
                chosen = copying.Filter(
                    producer, retention_class, queries.package_sequence(connection, package)
                )
        return copying.copy(
            self._database.read,
            lambda: self._transaction(actor),
            self._backend_named(source),
            self._backend_named(target),
            chosen,
        )

    def fsck(self, *, read: bool = False) -> FsckResult:
        """Check that log, views and objects agree. Changes nothing.

        Args:
            read: also read all objects and compare their digests.
        """
        from artifactstore.lifecycle import fsck

        return fsck.fsck(self._database, self._present_backends(), self.store_id, read=read)

    def adopt_backend(self, backend: str) -> str | None:
        """Mark the place of a backend as this store's, whoever it belonged to.

        For a marker that is lost, and for a prefix that is handed from one store to another. What lies there
        without a location in this store is then an orphan of this store.

        Args:
            backend: its id.
        Returns:
            The id of the store that the place belonged to, if any.
        """
        if backend not in self._backends and backend not in self._waiting:
            raise self._unknown_backend(backend)
        chosen = self._backends.get(backend) or self._waiting[backend]
        with self._database.write():
            owner = chosen.take_over(self.store_id)
        _log.warning("backend %s is adopted; it belonged to %s", backend, owner or "no store")
        self._ready(backend)
        return owner

    def _backend_named(self, backend: str | None) -> Backend:
        """A backend whose place is there: an unmounted volume must not pass for a store without objects."""
        if backend is not None and backend not in self._backends and backend not in self._waiting:
            raise self._unknown_backend(backend)
        name = self._backend.backend_id if backend is None else backend
        chosen = self._waiting.get(name) or self._backends[name]
        if not chosen.folder:
            self._ready(name).attach(self.store_id, create=False)
            return chosen
        problems = chosen.problems(self.store_id)
        if problems:
            raise BackendError(
                f"backend {name} is not available: {problems[0]}",
                hint="mount or restore it",
                code="backend-missing",
            )
        return self._ready(name)

    def _unknown_backend(self, backend: str) -> InvalidInputError:
        return InvalidInputError(
            f"unknown backend {backend[:80]!r}",
            hint=f"one of {', '.join(sorted({*self._backends, *self._waiting}))}",
            code="unknown-backend",
        )

    def _ready(self, name: str) -> Backend:
        """A backend that is attached: its place is there and belongs to this store."""
        waiting = self._waiting.get(name)
        if waiting is not None:
            attach(self._database, waiting, self.store_id)
            self._backends[name] = waiting
            self._waiting.pop(name, None)
        return self._backends[name]

    def _present_backends(self) -> dict[str, Backend]:
        """All backends but those that are away."""
        for name in list(self._waiting):
            try:
                self._ready(name)
            except (AccessError, BackendError) as error:
                _log.warning("backend %s is not available: %s", name, error.message)
        return dict(self._backends)

    def _sound_backends(self) -> dict[str, Backend]:
        return {name: self._backend_named(name) for name in self._present_backends()}

    def _check_clock(self, *, accept: bool) -> None:
        with self._database.read() as connection:
            now, newest = self._clock(), events.newest_moment(connection)
        if now < newest:
            _log.warning("the clock stands before the newest event: less counts as expired than is")
        retention.check_clock(now, newest, accept=accept)

    def _transaction(self, actor: str) -> AbstractContextManager[Transaction]:
        fields.check_label(actor, field="actor")
        return commit.transaction(self._database, actor=actor, clock=self._clock, new_id=self._new_id)


def attach(database: Database, backend: Backend, store_id: uuid.UUID) -> None:
    """Take a backend into use, and claim its place if the log names no object there yet."""
    try:
        backend.attach(store_id, create=False)
    except BackendError as error:
        with database.read() as connection:
            used = queries.backend_is_used(connection, backend.backend_id)
        if used or error.code != "backend-missing":
            raise
        with database.write():
            backend.attach(store_id, create=True)
