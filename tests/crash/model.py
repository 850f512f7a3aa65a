"""The random operator of the lifecycle on bad days: calls that fail or die at any point, clocks that jump.

As `python -m crash.model SEED... ` it prints a line for each walk that is unlike all others: what happened in
it, and digests of the event log and of the views. The same seeds print the same lines, in whichever process.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import multiple, rule, run_state_machine_as_test
from lifecycle.harness import DAY, SECOND
from lifecycle.machine import CONTENTS, LOCAL, Expected, LifecycleMachine, classes, contents, trees
from store.harness import SAID, write_tree

from artifactstore import ArtifactStoreError, Store, events
from artifactstore.digest import digest_pair
from artifactstore.model import FINALIZED, GARBAGE_COLLECTED
from artifactstore.objects import durability
from crash.faults import ERRORS, Fault, ended, injected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from artifactstore.events import Event

WALKS = 5  # of a seed: later ones are mostly like earlier ones
STEPS = 50  # of a walk
CALLS_AHEAD = 260  # of the system: about as many as the longest of the calls makes
IDS_AHEAD = 10_000  # more than a process that dies has used
BY_DIGEST = {digest_pair(data).blake3: data for data in CONTENTS}
RAISED = (ArtifactStoreError, OSError)  # whether the class is the right one, other drills ask
COLLECTED = {events.LOCATION_DELETED, events.GARBAGE_COLLECTED, events.OBJECT_DELETED}
MENDED = {events.LOCATION_REPAIRED, events.ELIGIBILITY_WITHDRAWN}


@dataclass(frozen=True)
class Asked:
    """What a call is about."""

    package: str
    hold: str
    directory: Path
    retention_class: str
    data: bytes


@dataclass(frozen=True)
class Call:
    """A call that may meet a fault.

    Args:
        run: the call.
        says: the types of its events.
        in_parts: its work is several transactions, each of which stays.
    """

    run: Callable[[Store, Asked], object]
    says: set[str]
    in_parts: bool = False


CALLS: dict[str, Call] = {
    "push": Call(
        lambda store, asked: store.push(
            asked.directory, **{**SAID, "retention_class": asked.retention_class}
        ),
        {events.PACKAGE_CREATED, events.FILE_INGESTED, events.PACKAGE_FINALIZED, *MENDED},
    ),
    "create": Call(lambda store, asked: store.create_package(**SAID), {events.PACKAGE_CREATED}),
    "ingest file": Call(
        lambda store, asked: store.ingest_file(asked.package, "z", asked.data, actor="ada"),
        {events.FILE_INGESTED, *MENDED},
    ),
    "ingest directory": Call(
        lambda store, asked: store.ingest_directory(asked.package, asked.directory, actor="ada"),
        {events.FILE_INGESTED, *MENDED},
    ),
    "finalize": Call(
        lambda store, asked: store.finalize_package(asked.package, actor="ada"),
        {events.PACKAGE_FINALIZED, *MENDED},
    ),
    "extend": Call(
        lambda store, asked: store.extend_retention(asked.package, by=200 * DAY, actor="law"),
        {events.RETENTION_EXTENDED},
    ),
    "hold": Call(
        lambda store, asked: store.apply_hold(asked.package, reason="lawsuit", actor="law"),
        {events.HOLD_APPLIED},
    ),
    "release": Call(
        lambda store, asked: store.release_hold(asked.package, asked.hold, reason="over", actor="law"),
        {events.HOLD_RELEASED},
    ),
    "sweep": Call(
        lambda store, asked: store.sweep(actor="cron", accept_clock=True),
        {events.DELETION_ELIGIBLE, events.ELIGIBILITY_WITHDRAWN},
        in_parts=True,
    ),
    "gc": Call(lambda store, asked: store.gc(actor="cron", accept_clock=True), COLLECTED, in_parts=True),
    "delete orphans": Call(
        lambda store, asked: store.orphans(actor="cron", delete=True, older_than=-(3 * 10**10)),
        {events.OBJECT_DELETED},
        in_parts=True,
    ),
    "verify": Call(
        lambda store, asked: store.verify(actor="scrub"), {events.LOCATION_VERIFIED}, in_parts=True
    ),
    "repair": Call(lambda store, asked: store.repair(actor="ada"), {events.LOCATION_REPAIRED}, in_parts=True),
    "copy": Call(
        lambda store, asked: store.copy(source=LOCAL, target=SECOND, actor="ada", package=asked.package),
        {events.LOCATION_ADDED, events.LOCATION_REPAIRED},
        in_parts=True,
    ),
    "replay": Call(lambda store, asked: store.replay(), set()),
}


@dataclass
class Walk:
    """What happened in one walk of the machine."""

    steps: int = 0
    errors: int = 0
    deaths: int = 0
    log: str = ""
    views: str = ""

    def __str__(self) -> str:
        return f"{self.steps} {self.errors} {self.deaths} {self.log} {self.views}"


class FaultyMachine(LifecycleMachine):
    """Calls that meet a fault may happen or not; what the log then says is what happened."""

    walks: list[Walk]

    def __init__(self) -> None:
        super().__init__()
        self.walk = Walk()
        self.directories = itertools.count()

    def check_invariants(self, *arguments: Any, **named: Any) -> None:
        super().check_invariants(*arguments, **named)
        self.walk.steps += 1

    def teardown(self) -> None:
        log = hashlib.sha256(b"".join(event.leaf_hash for event in self.log()))
        self.walk.log = log.hexdigest()
        self.walk.views = self.store.replay(check=True).fingerprint_before
        self.walks.append(self.walk)
        super().teardown()

    def meet_a_fault(
        self,
        name: str,
        package_id: str,
        tree: dict[str, bytes],
        retention_class: str,
        data: bytes,
        at: int,
        error: int | None,
    ) -> Any:
        """A process opens the store and makes a call; on the way a system call fails, or it dies."""
        directory = write_tree(self.root / f"faulty-{next(self.directories)}", tree)
        hold = next(iter(self.model[package_id].holds), str(uuid.UUID(int=0)))
        asked = Asked(package_id, hold, directory, retention_class, data)
        call, damaged, last = CALLS[name], self.damaged(), self.life.newest()
        self.store.close()
        died, raised = False, False
        if error is None:
            died = ended(lambda: self.call_with(Fault(at, None), call, asked))
            start = next(self.life.ids.counter) + IDS_AHEAD
            self.life.ids.counter = itertools.count(start)
            self.walk.deaths += died
        else:
            fault = Fault(at, error)
            raised = self.call_with(fault, call, asked)
            self.walk.errors += fault.fired is not None
        self.life.store = self.life.open()
        said = self.log(after=last)
        types = [event.type for event in said]
        assert set(types) <= call.says
        if raised and not call.in_parts:
            assert types == [], "the call has raised, and something happened"
        if name == "push" and types:
            assert (types.count(events.FILE_INGESTED), types[-1]) == (len(tree), events.PACKAGE_FINALIZED)
        if name == "ingest directory" and types:
            assert types.count(events.FILE_INGESTED) == len(tree)
        assert self.damaged() & self.stored().keys() <= damaged, "a fault has damaged bytes"
        return multiple(*self.absorb(said))

    def call_with(self, fault: Fault, call: Call, asked: Asked) -> bool:
        """Open the store, make the call, close the store; whether it was refused."""
        try:
            with injected(fault), self.life.open() as store:
                try:
                    call.run(store, asked)
                finally:
                    # An error at the end of a connection SQLite swallows, where a layer in Python cannot.
                    fault.over = fault.error is not None
        except RAISED:
            return True
        return False

    def absorb(self, said: Sequence[Event]) -> list[str]:
        """Bring the dictionary up to what the log says, and check that it could be so; the new packages."""
        new = []
        for event in said:
            key = "" if event.package_id is None else str(uuid.UUID(bytes=event.package_id))
            if event.type == events.PACKAGE_CREATED:
                self.model[key] = Expected(str(event.payload["retention_class"]))
                new.append(key)
            else:
                self.absorb_one(event, key)
        self.settle()
        self.orphans |= self.stored().keys() - self.needed()
        return new

    def absorb_one(self, event: Event, key: str) -> None:
        """One event of a package that is known."""
        entry = self.model.get(key, Expected(""))
        payload: Any = event.payload
        place = (payload.get("backend_id"), payload.get("blake3"))
        if event.type == events.FILE_INGESTED:
            entry.files[payload["relative_path"]] = BY_DIGEST[payload["blake3"]]
            entry.objects.add(payload["blake3"])
        elif event.type == events.PACKAGE_FINALIZED:
            entry.finalize(self.store.get_package(key))
        elif event.type == events.RETENTION_EXTENDED:
            assert entry.expires_at is not None
            assert payload["expires_at"] > entry.expires_at
            entry.expires_at = payload["expires_at"]
        elif event.type == events.HOLD_APPLIED:
            entry.holds.append(str(uuid.UUID(bytes=payload["hold_id"])))
        elif event.type == events.HOLD_RELEASED:
            entry.holds.remove(str(uuid.UUID(bytes=payload["hold_id"])))
        elif event.type == events.DELETION_ELIGIBLE:
            assert self.due(entry)
            entry.eligible = True
        elif event.type == events.ELIGIBILITY_WITHDRAWN:
            entry.eligible = False
        elif event.type == events.GARBAGE_COLLECTED:
            assert self.may_go(entry)
            entry.status = GARBAGE_COLLECTED
        elif event.type == events.LOCATION_ADDED:
            entry.copies.add(payload["blake3"])
        elif event.type == events.OBJECT_DELETED:
            assert place not in self.needed()
            assert place not in self.stored()
        elif event.type == events.LOCATION_REPAIRED or payload.get("failure", "") is None:
            assert place not in self.damaged()
            self.known.discard(place)
        elif event.type == events.LOCATION_VERIFIED:
            self.known.add(place)
        assert entry.status in {FINALIZED, GARBAGE_COLLECTED} or entry.expires_at is None


def meeting_a_fault(name: str) -> Callable[..., Any]:
    """The rule in which one of the calls meets a fault."""

    def meet(self: FaultyMachine, **drawn: Any) -> Any:
        return self.meet_a_fault(name, **drawn)

    meet.__name__ = f"meet_a_fault_in_{name.replace(' ', '_')}"
    return rule(
        target=LifecycleMachine.packages,
        package_id=LifecycleMachine.packages,
        tree=trees,
        retention_class=classes,
        data=contents,
        at=st.integers(0, CALLS_AHEAD),
        error=st.sampled_from([*ERRORS, None, None]),
    )(meet)


for _name in CALLS:
    _met = meeting_a_fault(_name)
    setattr(FaultyMachine, _met.__name__, _met)


def walks(number: int) -> list[Walk]:
    """The walks that a seed chooses."""
    FaultyMachine.walks = []
    run_state_machine_as_test(
        seed(number)(FaultyMachine),
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return FaultyMachine.walks


def main(numbers: Sequence[str]) -> None:
    """Print the walks of some seeds."""
    logging.disable()
    # Which barrier is cheaper depends on what other programs write, and a walk must not.
    durability.dirty_kib = lambda: 0
    seen = set()
    for number in numbers:
        for walk in walks(int(number)):
            if walk.log not in seen:
                print(walk, flush=True)  # noqa: T201 - the answer of this program
            seen.add(walk.log)


if __name__ == "__main__":
    main(sys.argv[1:])
