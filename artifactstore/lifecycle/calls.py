"""The calls of a store about deletion, and about the bytes that are kept."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from artifactstore import codec, event_log, fields, package_queries
from artifactstore.calls import StoreCalls
from artifactstore.errors import InvalidInputError
from artifactstore.lifecycle import retention
from artifactstore.lifecycle.durations import check_age

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore.lifecycle.copying import CopyResult
    from artifactstore.lifecycle.fsck import FsckResult
    from artifactstore.lifecycle.gc import GcResult
    from artifactstore.lifecycle.gc_plan import GcPlan
    from artifactstore.lifecycle.orphans import OrphanResult
    from artifactstore.lifecycle.repair import RepairResult
    from artifactstore.lifecycle.verify import VerifyResult
    from artifactstore.results import SweepResult

_log = logging.getLogger(__name__)

ABANDONED_AFTER = 30 * 86_400  # seconds without work after which an open package counts as abandoned
ORPHAN_PROTECTION = 86_400  # seconds in which an object without a location may belong to a running ingest


class LifecycleCalls(StoreCalls):
    """Sweep, gc, verify, repair, copies and fsck.

    What only one call needs is imported by it: most programs that open a store just put something in.
    gc decides again at the moment of deletion.
    """

    # Sweep and gc

    def sweep(
        self,
        *,
        actor: str,
        abandoned_after: int = ABANDONED_AFTER,
        mark_abandoned: bool = False,
        accept_clock: bool = False,
        limit: int | None = None,
    ) -> SweepResult:
        """Mark what is expired, unheld and finalized as eligible, and take back what is not any more.

        Idempotent; safe beside writers and other sweeps; costs what expired, not what is stored.

        Args:
            abandoned_after: seconds without work after which an open package is reported.
            mark_abandoned: mark those too.
            accept_clock: believe a clock more than a year past the newest event.
            limit: packages at most that are marked, and that are taken back; the next sweep does the rest.
        Raises:
            StateError: the clock has jumped.
        """
        from artifactstore.lifecycle import sweep

        check_age(abandoned_after, field="abandoned after")
        _check_limit(limit)
        self._check_clock(accept=accept_clock)
        return sweep.sweep(
            lambda: self._transaction(actor),
            self._clock,
            abandoned_after=abandoned_after,
            mark_abandoned=mark_abandoned,
            limit=sys.maxsize if limit is None else limit,
        )

    def plan_gc(self, *, plan: GcPlan | None = None, limit: int | None = None) -> GcPlan:
        """What `gc` would delete now, with names and bytes. Changes nothing.

        A clock that `gc` would not believe is warned of in the log of the program.

        Args:
            plan: look whether exactly this one may still be executed, and return it.
            limit: packages that a new plan takes at most, the oldest first.
        Raises:
            StateError: the plan is stale.
            InvalidInputError: the plan is of another store.
        """
        _check_limit(limit)
        with self._database.read() as connection:
            if retention.has_jumped(self._clock(), event_log.newest_moment(connection)):
                _log.warning(
                    "the clock stands more than a year after the newest event:"
                    " gc deletes nothing unless the clock is accepted"
                )
        return self._planned(plan, limit)

    def _planned(self, plan: GcPlan | None, limit: int | None = None) -> GcPlan:
        from artifactstore.lifecycle import gc, gc_plan

        with self._database.read() as connection:
            if plan is None:
                return gc.plan(connection, self.store_id, self._clock(), limit=limit)
            gc.check_plan(connection, gc_plan.check_kind(plan), self.store_id, self._clock())
            return plan

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
        backends = self._backends.sound()
        plan = self._planned(plan)
        begin = partial(self._transaction, actor)
        collected: dict[bool, list[str]] = {True: [], False: []}
        for package_id, taken in gc.release(begin, plan, self._clock):
            collected[taken].append(package_id)
        removed = list(gc.remove_objects(begin, backends))
        with self._database.read() as connection:
            waiting_count = gc.waiting_count(connection, backends)
        return gc.GcResult(
            plan=plan,
            collected=tuple(collected[True]),
            passed_over=tuple(collected[False]),
            removed_count=sum(each.count for each in removed),
            removed_size=sum(each.size for each in removed),
            locked_count=sum(each.locked_count for each in removed),
            locked_size=sum(each.locked_size for each in removed),
            unlocked_at=max((each.unlocked_at for each in removed if each.unlocked_at), default=None),
            held_count=sum(each.held_count for each in removed),
            held_size=sum(each.held_size for each in removed),
            waiting_count=waiting_count,
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

        check_age(older_than, field="older than")
        return orphans.find(
            self._database.read,
            lambda: self._transaction(actor),
            self._backends.sound(),
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
        shard: tuple[int, int] | None = None,
        failed_only: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> VerifyResult:
        """Read objects again, recompute both digests, and record for each location what was found.

        The longest unverified come first, each object is read once, and a budget can end it anywhere. Where a
        place locks objects, what it locks less than the log says is locked again.

        Args:
            backend: its id; the default one if not given.
            max_bytes, max_seconds: stop after so much.
            older_than: seconds; only what was not verified for so long.
            sample: share of the objects, over 0 and up to 1, chosen anew each time.
            shard: part number i of n, from 1, for processes that verify one store beside each other.
            on_progress: called with objects and bytes done so far.
        Raises:
            InvalidInputError: the backend is unknown, or a budget is none.
        """
        from artifactstore.lifecycle import verify
        from artifactstore.lifecycle.verify_budget import Budget

        if older_than is not None:
            check_age(older_than, field="older than")
        chosen = self._backends.named(backend)
        with self._database.read() as connection:
            started = max(self._clock(), event_log.newest_moment(connection))
            budget = Budget(
                max_bytes=max_bytes,
                max_seconds=max_seconds,
                verified_before=None if older_than is None else self._clock() - older_than * 1_000_000,
                sample=sample,
                shard=shard,
                package=None if package is None else package_queries.package_sequence(connection, package),
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

        A damaged object is set aside, never overwritten. One that its place does not let be set aside stays,
        and is told with the others that could not be healed.

        Args:
            directory: files there are matched by digest.
        Returns:
            What was healed, and what could not be, with the packages and holds that it hurts.
        """
        from artifactstore.lifecycle import repair

        chosen = self._backends.named(backend)
        return repair.repair(
            self._database.read,
            lambda: self._transaction(actor),
            self._backends.present(),
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

        What turns out to be damaged in the source, or is refused there, is left out and told, and so is what
        the target has damaged and cannot set aside; the rest is copied. Nothing is recorded of the damage,
        which is for `verify`; what that has marked is no source.

        Args:
            source, target: ids of backends.
            package, producer, retention_class: only these packages.
        Raises:
            InvalidInputError: a backend is unknown, or both are the same.
        """
        from artifactstore.lifecycle import copying

        chosen = copying.Filter(producer, retention_class, None)
        if package is not None:
            with self._database.read() as connection:
                chosen = copying.Filter(
                    producer, retention_class, package_queries.package_sequence(connection, package)
                )
        return copying.copy(
            self._database.read,
            lambda: self._transaction(actor),
            self._backends.named(source),
            self._backends.named(target),
            chosen,
        )

    def fsck(self, *, read: bool = False) -> FsckResult:
        """Check that log, views and objects agree. Changes nothing.

        Args:
            read: also read all objects and compare their digests.
        """
        from artifactstore.lifecycle import fsck

        return fsck.fsck(
            self._database, self._backends.present(), self._backends.away(), self.store_id, read=read
        )

    def adopt_backend(self, backend: str) -> str | None:
        """Mark the place of a backend as this store's, whoever it belonged to.

        For a marker that is lost, and for a prefix that is handed from one store to another. What lies there
        without a location in this store is then an orphan of this store.

        Args:
            backend: its id.
        Returns:
            The id of the store that the place belonged to, if any.
        """
        chosen = self._backends.known(backend)
        with self._database.write():
            owner = chosen.take_over(self.store_id)
        _log.warning("backend %s is adopted; it belonged to %s", backend, owner or "no store")
        self._backends.ready(backend)
        return owner

    def _check_clock(self, *, accept: bool) -> None:
        with self._database.read() as connection:
            now, newest = self._clock(), event_log.newest_moment(connection)
        if now < newest:
            _log.warning("the clock stands before the newest event: less counts as expired than is")
        retention.check_clock(now, newest, accept=accept)


def _check_limit(limit: int | None) -> None:
    if limit is not None and fields.check_integer(limit, field="limit") < 1:
        raise InvalidInputError(f"limit must be at least 1, not {codec.integer_text(limit)}")
