"""The calls of a client about how long packages are kept, and about deleting those that are not."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from artifactstore.client import answers
from artifactstore.client.reads import ClientReads
from artifactstore.client.targets import target
from artifactstore.client.uploads import changing
from artifactstore.facts import plan_digest, plan_document
from artifactstore.model import Hold, RetentionState
from artifactstore.moment import format_moment
from artifactstore.results import SweepResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.client.reads import DataclassT
    from artifactstore.lifecycle.gc import GcResult
    from artifactstore.lifecycle.gc_plan import GcPlan

_ABANDONED_AFTER = 30 * 86_400  # seconds, as those of a store on this machine
PACKAGES_AT_ONCE = 10_000  # of one request
_DELETING = 3600.0  # seconds that a server may take to delete


class ClientRetention(ClientReads):
    """What a client says about retention; `Client` adds what goes into a store."""

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
        """As `Store.extend_retention`."""
        said = {
            "until": None if until is None else format_moment(until),
            "by": None if by is None else f"PT{by}S",
            "forever": for_ever or None,
            "reason": reason,
        }
        return self._changed(RetentionState, target("packages", package, "retention", "extend"), said, actor)

    def apply_hold(
        self,
        package: str,
        *,
        reason: str,
        actor: str,
        authority: str | None = None,
        case_id: str | None = None,
    ) -> Hold:
        """As `Store.apply_hold`."""
        said = {"reason": reason, "authority": authority, "case_id": case_id}
        place = target("packages", package, "retention", "holds")
        return self._changed(Hold, place, said, actor, uuid.uuid4().hex)

    def release_hold(self, package: str, hold: str, *, reason: str, actor: str) -> Hold:
        """As `Store.release_hold`."""
        place = target("packages", package, "retention", "holds", hold, "release")
        return self._changed(Hold, place, {"reason": reason}, actor)

    # Sweep and gc

    def sweep(
        self,
        *,
        actor: str,
        abandoned_after: int = _ABANDONED_AFTER,
        mark_abandoned: bool = False,
        accept_clock: bool = False,
    ) -> SweepResult:
        """As `Store.sweep`, but by a request for each 10,000 packages: those before a break are marked.

        Of abandoned packages that are not to be marked, the first 10,000 are reported.
        """
        said = {
            "abandoned_after": abandoned_after,
            "mark_abandoned": mark_abandoned,
            "accept_clock": accept_clock,
            "limit": PACKAGES_AT_ONCE,
        }
        marked: list[RetentionState] = []
        withdrawn: list[RetentionState] = []
        abandoned: dict[str, RetentionState] = {}
        while True:
            part = self._changed(SweepResult, target("retention", "sweep"), said, actor)
            marked += part.marked
            withdrawn += part.withdrawn
            abandoned |= {state.package_id: state for state in part.abandoned}
            full = max(len(part.marked), len(part.withdrawn), len(part.abandoned) if mark_abandoned else 0)
            if full < PACKAGES_AT_ONCE:
                return SweepResult(tuple(marked), tuple(withdrawn), tuple(abandoned.values()))

    def plan_gc(self, *, plan: GcPlan | None = None) -> GcPlan:
        """As `Store.plan_gc`; a new plan has at most 10,000 packages, the oldest first."""
        document = self._transport.ask_with("POST", target("retention", "gc", "plan"), _said_of(plan))
        return self._understood(lambda: _plan_of(document))

    def gc(self, *, actor: str, plan: GcPlan | None = None, accept_clock: bool = False) -> GcResult:
        """As `Store.gc`, but for at most 10,000 packages at a time: while a plan has so many, go on."""
        from artifactstore.lifecycle.gc import GcResult

        said = {**_said_of(plan), "accept_clock": accept_clock}
        document = self._transport.send(
            "POST", target("retention", "gc"), said, changing(actor, None), waits=_DELETING
        )

        def read() -> GcResult:
            _plan_of(answers.member(document, "plan"))
            return answers.value(GcResult, document)

        return self._understood(read)

    def _changed(
        self,
        kind: type[DataclassT],
        place: str,
        said: Mapping[str, object],
        actor: str,
        key: str | None = None,
    ) -> DataclassT:
        """Ask for a change, by a POST with what is said and not None; how the thing is then.

        Args:
            key: without one it is asked for once: nothing would tell the server that it is a repetition.
        """
        given = {name: value for name, value in said.items() if value is not None}
        document = self._transport.send("POST", place, given, changing(actor, key))
        return self._understood(lambda: answers.value(kind, document))


def _said_of(plan: GcPlan | None) -> dict[str, object]:
    from artifactstore.lifecycle.gc_plan import check_kind

    return {} if plan is None else {"plan": plan_document(check_kind(plan))}


def _plan_of(document: object) -> GcPlan:
    """A plan, if its digest is the one beside it."""
    from artifactstore.lifecycle.gc_plan import GcPlan

    plan = answers.value(GcPlan, document)
    if answers.member(document, "plan_digest") != plan_digest(plan):
        raise answers.MalformedError("plan_digest is not that of the plan")
    return plan
