"""How a power cut may end for what is pending: the telling cases, and random ones beside them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crash.disk_states import Fate, Name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crash.disk_states import Decide, Disk, Pending

_DAMAGED = (Fate.ZEROED, Fate.TORN, Fate.CUT, Fate.GARBAGE)
_RANDOM = 4  # outcomes of each cut
_CHANCES = (0.15, 0.5, 0.85)  # that a change is kept


@dataclass(frozen=True)
class Outcome:
    """One way in which a cut may end."""

    name: str
    decide: Decide


def outcomes(disk: Disk, seed: str) -> Iterator[Outcome]:
    """The ways in which a cut now may end; different ones may leave equal disks.

    Args:
        seed: of the random ones.
    """
    loose = disk.loose()
    if not loose:
        yield Outcome("nothing was pending", _all(Fate.KEPT))
        return
    yield Outcome("all was kept", _all(Fate.KEPT))
    yield Outcome("all was lost", _all(Fate.LOST))
    yield from _names_or_bytes(loose)
    for owner in sorted({each.change.owner for each in loose}):
        yield from _of_one_owner(loose, owner)
    names = [each for each in loose if isinstance(each.change, Name)]
    for each in names if len(names) > 1 else ():
        yield Outcome(f"one name was lost: {_said(each)}", _one(each, Fate.LOST, Fate.KEPT))
        yield Outcome(f"one name was kept: {_said(each)}", _one(each, Fate.KEPT, Fate.LOST))
    for number in range(_RANDOM):
        yield Outcome(f"random {number}", _random(f"{seed} {number}", loose))


def _names_or_bytes(loose: list[Pending]) -> Iterator[Outcome]:
    if any(not isinstance(each.change, Name) for each in loose):
        yield Outcome("names without bytes", _split(Fate.KEPT, Fate.LOST))
        yield Outcome("bytes without names", _split(Fate.LOST, Fate.KEPT))
        for fate in _DAMAGED:
            yield Outcome(f"names with bytes {fate.value}", _split(Fate.KEPT, fate))


def _of_one_owner(loose: list[Pending], owner: int) -> Iterator[Outcome]:
    """One file, or one folder, against all others."""
    own = [each for each in loose if each.change.owner == owner]
    if len(own) < len(loose):
        yield Outcome(f"all but {_said(own[0])} and the like", _owned(owner, Fate.LOST, Fate.KEPT))
        yield Outcome(f"only {_said(own[0])} and the like", _owned(owner, Fate.KEPT, Fate.LOST))
    if not isinstance(own[0].change, Name):
        for fate in _DAMAGED:
            yield Outcome(f"{_said(own[0])} and the like {fate.value}", _owned(owner, fate, Fate.KEPT))
        yield Outcome(f"the last of {_said(own[0])} was lost", _one(own[-1], Fate.LOST, Fate.KEPT))
        yield Outcome(f"the last of {_said(own[0])} was torn", _one(own[-1], Fate.TORN, Fate.KEPT))


def _said(each: Pending) -> str:
    change = each.change
    return (
        f"{'+' if change.target else '-'}{change.name}"
        if isinstance(change, Name)
        else f"bytes of {change.owner}"
    )


def _all(fate: Fate) -> Decide:
    return lambda _each: fate


def _split(names: Fate, rest: Fate) -> Decide:
    return lambda each: names if isinstance(each.change, Name) else rest


def _owned(owner: int, own: Fate, others: Fate) -> Decide:
    return lambda each: own if each.change.owner == owner else others


def _one(chosen: Pending, own: Fate, others: Fate) -> Decide:
    """One change against all others of its kind; with a name the bytes of all files are there."""
    if isinstance(chosen.change, Name):
        return lambda each: own if each is chosen else others if isinstance(each.change, Name) else Fate.KEPT
    return lambda each: own if each is chosen else others


def _random(seed: str, loose: list[Pending]) -> Decide:
    chance = random.Random(seed)
    kept = chance.choice(_CHANCES)
    fates = {
        id(each): Fate.KEPT
        if chance.random() < kept
        else Fate.LOST
        if isinstance(each.change, Name)
        else chance.choice((Fate.LOST, *_DAMAGED))
        for each in loose
    }
    return lambda each: fates.get(id(each), Fate.LOST)
