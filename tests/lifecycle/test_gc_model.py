"""The protocol of gc beside ingest as a state machine: all interleavings, with deaths at every step.

One object. An old package holds it and may be collected; ingests bring the same bytes; gc and the removal of
orphans run beside them and may die and start again at any step. A location that is live in the committed log
must have its bytes in every state that can be reached.

The variants are the simpler protocols that lose bytes. The model must find the loss in each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Defects that can be switched on.
NO_CHECK = "an ingest does not look for its objects inside its commit"
CHECK_DUPLICATES = "an ingest looks only for objects that it found already there"
CHECK_BEFORE_LOCK = "an ingest looks for its objects before its transaction begins"
UNLINK_OUTSIDE = "gc commits the deletion, then removes the object without the lock"
RECORD_FIRST = "gc records the removal, then removes the object"
NO_LAST_LOOK = "gc removes what was pending without looking for live locations"

OLD = "old"


@dataclass(frozen=True)
class Actor:
    """A process: its next step and what it remembers."""

    name: str
    step: str = "start"
    saw: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class World:
    """What outlives a process, and the processes."""

    present: bool
    live: frozenset[str]
    pending: bool
    lock: str | None
    actors: tuple[Actor, ...]

    @property
    def lost(self) -> bool:
        """Whether the committed log names bytes that are not there."""
        return bool(self.live) and not self.present


def ingest(world: World, me: Actor, defects: frozenset[str]) -> Iterator[tuple[Actor, World]]:
    """The steps of a push of the same bytes: look, stage, publish, then one transaction.

    `ingest_file` differs in that it always stages (its `saw` is never true); both branches are taken here.
    """
    if me.step == "start":
        if world.present:
            yield replace(me, step="publish", saw=True), world
        yield replace(me, step="publish", saw=False), world
    elif me.step == "publish":
        after = world if me.saw else replace(world, present=True)
        early = CHECK_BEFORE_LOCK in defects
        yield replace(me, step="check" if early else "begin"), after
    elif me.step == "begin" and world.lock is None:
        early = CHECK_BEFORE_LOCK in defects
        yield replace(me, step="commit" if early else "check"), replace(world, lock=me.name)
    elif me.step == "check":
        skipped = NO_CHECK in defects or (CHECK_DUPLICATES in defects and not me.saw)
        after = world if skipped or world.present else replace(world, present=True)
        yield replace(me, step="begin" if CHECK_BEFORE_LOCK in defects else "commit"), after
    elif me.step == "commit":
        after = replace(world, live=world.live | {me.name}, pending=False, lock=None)
        yield replace(me, step="done"), after


def gc(world: World, me: Actor, defects: frozenset[str]) -> Iterator[tuple[Actor, World]]:
    """Plan and release in a transaction; remove in another one, which records the removal."""
    if me.step == "start" and world.lock is None:
        live = world.live - {OLD}
        pending = world.pending or (OLD in world.live and not live)
        yield replace(me, step="begin"), replace(world, live=live, pending=pending)
    elif me.step == "begin":
        if UNLINK_OUTSIDE in defects or RECORD_FIRST in defects:
            chosen = world.pending and not world.live
            step = "record" if RECORD_FIRST in defects else "unlink"
            yield replace(me, step=step, chosen=chosen), world
        elif world.lock is None:
            chosen = world.pending and (not world.live or NO_LAST_LOOK in defects)
            yield replace(me, step="unlink", chosen=chosen), replace(world, lock=me.name)
    elif me.step == "unlink":
        after = replace(world, present=False) if me.chosen else world
        if RECORD_FIRST in defects:
            yield replace(me, step="done"), after
        else:
            yield replace(me, step="record"), after
    elif me.step == "record" and world.lock in {None, me.name}:
        after = replace(world, pending=False, lock=None) if me.chosen else replace(world, lock=None)
        yield replace(me, step="unlink" if RECORD_FIRST in defects else "done"), after


def orphans(world: World, me: Actor, defects: frozenset[str]) -> Iterator[tuple[Actor, World]]:
    """The removal of an object that no location names, whatever its age: look, then all under the lock."""
    del defects
    if me.step == "start":
        yield replace(me, step="begin", chosen=world.present and not world.live), world
    elif me.step == "begin" and world.lock is None:
        chosen = me.chosen and not world.live
        yield replace(me, step="unlink", chosen=chosen), replace(world, lock=me.name)
    elif me.step == "unlink":
        yield replace(me, step="record"), replace(world, present=world.present and not me.chosen)
    elif me.step == "record":
        yield replace(me, step="done"), replace(world, pending=world.pending and not me.chosen, lock=None)


PROGRAMS = {"gc": gc, "orphans": orphans, "ingest": ingest, "another ingest": ingest}


def successors(world: World, defects: frozenset[str]) -> Iterator[World]:
    """Every world that one step of one process, or its death, makes."""
    for number, me in enumerate(world.actors):
        for next_me, after in PROGRAMS[me.name](world, me, defects):
            actors = (*world.actors[:number], next_me, *world.actors[number + 1 :])
            yield replace(after, actors=actors)
        if me.step not in {"start", "done"}:
            # A dead process forgets all and loses its lock; what it had not committed has never been.
            dead = Actor(me.name)
            actors = (*world.actors[:number], dead, *world.actors[number + 1 :])
            yield replace(world, lock=None if world.lock == me.name else world.lock, actors=actors)
        if me.step == "done" and PROGRAMS[me.name] is not ingest:
            yield replace(world, actors=(*world.actors[:number], Actor(me.name), *world.actors[number + 1 :]))


def explore(names: tuple[str, ...], defects: frozenset[str] = frozenset()) -> tuple[set[World], World | None]:
    """All worlds that can be reached, and one in which bytes are lost."""
    start = World(True, frozenset({OLD}), False, None, tuple(Actor(name) for name in names))
    seen, stack = {start}, [start]
    lost = None
    while stack:
        world = stack.pop()
        if world.lost:
            lost = world
        for after in successors(world, defects):
            if after not in seen:
                seen.add(after)
                stack.append(after)
    return seen, lost


CASTS = [
    ("gc", "ingest"),
    ("gc", "ingest", "another ingest"),
    ("gc", "orphans", "ingest"),
    ("gc", "orphans", "ingest", "another ingest"),
]


@pytest.mark.parametrize("cast", CASTS, ids=" and ".join)
def test_no_interleaving_loses_bytes(cast: tuple[str, ...]) -> None:
    seen, lost = explore(cast)
    assert lost is None
    # It is no proof if nothing happens: removals, restored bytes and deaths under the lock were all there.
    assert any(not world.present for world in seen)
    assert any(world.lock == "gc" and not world.present and world.pending for world in seen)
    assert any("ingest" in world.live and OLD not in world.live for world in seen)
    for name in cast:
        assert any(actor.name == name and actor.step == "done" for world in seen for actor in world.actors)


@pytest.mark.parametrize("cast", CASTS, ids=" and ".join)
def test_what_nobody_needs_is_gone_in_the_end(cast: tuple[str, ...]) -> None:
    """From every state, one gc that nobody disturbs leaves nothing pending."""
    seen, _ = explore(cast)
    for world in seen:
        idle = all(actor.step in {"start", "done"} for actor in world.actors)
        if not idle:
            continue
        me = Actor("gc")
        while me.step != "done":
            [(me, world)] = gc(world, me, frozenset())  # noqa: PLW2901 - the world moves on
        assert not world.pending
        assert OLD not in world.live


@pytest.mark.parametrize(
    "defect",
    [NO_CHECK, CHECK_DUPLICATES, CHECK_BEFORE_LOCK, UNLINK_OUTSIDE, RECORD_FIRST],
)
def test_the_model_finds_the_loss_in_each_simpler_protocol(defect: str) -> None:
    _, lost = explore(CASTS[0], frozenset({defect}))
    assert lost is not None


def test_the_last_look_is_a_second_belt() -> None:
    """A commit takes the object off the pending list, so that list would do; the look guards the views."""
    assert explore(CASTS[0], frozenset({NO_LAST_LOOK}))[1] is None
