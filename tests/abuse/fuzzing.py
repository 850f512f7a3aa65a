"""Fuzzing: wild input at every door that reads something from outside, in bulk, the same for the same seed.

To add a door: write how its input is made and how it is asked, and add one line to a table of doors. A door
answers whether it has taken the input, after having checked that what it took is right, or refuses it with a
documented error. Whatever else comes out is a failure.
"""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from artifactstore import ArtifactStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ANSWER_MAX = 4000  # characters of a refusal, its hint included
PIECES = [
    *("", " ", "\t", "\n", "\r\n", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ufeff"),
    *("\ud800", "\udcff", "\udfff", "\u00e9", "e\u0301", "\u0661", "\u212a", "\uff20", "\U0001f600"),
    *("/", "//", ".", "..", "../", "./", "\\", "~", ":", "::", "://", "@", "?", "#", "&", "%", "%00", "%2e"),
    *("'", '"', "{", "}", "[", "]", "(", ")", ",", "=", "==", "+", "-", "--", "_", "*", "**", "**/", "|"),
    *("$", "${HOME}", "`", ";", "!", "<", ">", "0", "-1", "9", "1_0", "0x2", "1e999", "NaN", "null", "true"),
    *("9" * 20, "9" * 400, "x" * 300, "a/" * 50, "[" * 200, "{" * 200, "-" * 1000, "A" * 5000),
]


@dataclass(frozen=True)
class Door:
    """A row: one reader of input from outside.

    Args:
        make: the next input, from chance.
        ask: hands it in; true if it was taken, and then it was right to take it.
    """

    name: str
    make: Callable[[random.Random], Any]
    ask: Callable[[Any], bool]


@dataclass
class Tally:
    """What came of some inputs at one door."""

    tried: int = 0
    taken: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another one in."""
        self.tried += other.tried
        self.taken += other.taken
        self.refused += other.refused
        self.failures += other.failures


def knock(door: Door, value: Any) -> bool:
    """Hand an input in; whether it was taken.

    Raises:
        AssertionError: it was refused in a way in which nothing may be refused.
        Exception: it was neither taken nor refused.
    """
    try:
        return door.ask(value)
    except ArtifactStoreError as refusal:
        said = f"{refusal.message} {refusal.hint or ''}"
        assert said.isprintable(), ascii(said)
        assert len(said) <= ANSWER_MAX, said[:200]
        return False


def run(doors: Sequence[Door], number: int, seed: str, count: int) -> Tally:
    """So many inputs at one of the doors."""
    door = doors[number]
    chance = random.Random(f"{door.name} {seed}")
    tally = Tally()
    for _ in range(count):
        value = door.make(chance)
        tally.tried += 1
        try:
            taken = knock(door, value)
        except Exception:  # noqa: BLE001 - that is what is looked for
            tally.failures.append(f"{door.name}: {value!r:.2000}\n{traceback.format_exc()[-2000:]}")
        else:
            tally.taken += taken
            tally.refused += not taken
    return tally


def wild(chance: random.Random, seeds: Sequence[str]) -> str:
    """A text that begins as one of the seeds and has a few places changed."""
    text = chance.choice(seeds)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 6))):
        start = chance.randint(0, len(text))
        end = start + chance.choice((0, 0, 1, 2, 5, 40))
        elsewhere = chance.randint(0, len(text))
        filling = chance.choice(
            (
                chance.choice(PIECES),
                chance.choice(PIECES),
                text[start:end] * 2,
                text[elsewhere : elsewhere + 8],
                chr(chance.choice((chance.randrange(128), chance.randrange(0x110000)))),
            )
        )
        text = text[:start] + filling + text[end:]
        if len(text) > 20_000:
            break
    return text


def texts(*seeds: str) -> Callable[[random.Random], str]:
    """A maker of wild texts."""
    return lambda chance: wild(chance, seeds)
