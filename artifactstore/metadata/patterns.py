"""Regular expressions that cannot hang: matched in a time in proportion to text and pattern.

The patterns of a schema are those of ECMA-262 without look-around and back references, which no automaton
can follow. A pattern becomes a small program, and all its threads walk over the text side by side.

Source: Russ Cox, "Regular Expression Matching: the Virtual Machine Approach" (2009); ECMA-262 §22.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    Ranges = tuple[tuple[int, int], ...]

PATTERN_MAX = 1000  # characters
_PROGRAM_MAX = 4000  # instructions; a counted repetition writes its part so many times
_WORK_MAX = 5 * _PROGRAM_MAX  # instructions that are written on the way to it
_DEPTH_MAX = 32  # groups in groups
_LAST = 0x10FFFF
_DIGITS: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = (
    (9, 13), (32, 32), (160, 160), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
)  # fmt: skip
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}


# What a program is made of. A thread that stands on one of the first two needs no character to go on.


@dataclass(frozen=True, slots=True)
class _Fork:
    """Go on at both places, which are relative to this one."""

    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Assertion:
    """Go on if the place in the text is one of this kind: `^`, `$`, `b` or `B`."""

    kind: str


@dataclass(frozen=True, slots=True)
class _Characters:
    """Go on behind a character of these ranges."""

    ranges: Ranges


_Program = list["_Fork | _Assertion | _Characters"]


class Pattern:
    """A compiled pattern; `work` is how many instructions were written for it.

    Raises:
        InvalidInputError: it is no pattern, or one that could take too long.
    """

    def __init__(self, text: str) -> None:
        if len(text) > PATTERN_MAX:
            raise _refusal(text, f"it has {len(text)} characters, {PATTERN_MAX} are allowed")
        parser = _Parser(text)
        self._program = parser.program()
        self.work = parser.work

    def search(self, text: str, spend: Callable[[int], object]) -> bool:
        """Whether the pattern matches anywhere in the text.

        Args:
            spend: told of each step.
        """
        threads: set[int] = set()
        for place in range(len(text) + 1):
            threads = self._settled({0, *threads}, text, place)
            if len(self._program) in threads:
                return True
            cost = 1 + len(threads)
            following = set()
            if place < len(text):
                character = ord(text[place])
                for thread in threads:
                    instruction = self._program[thread]
                    if isinstance(instruction, _Characters):
                        cost += len(instruction.ranges)
                        if any(low <= character <= high for low, high in instruction.ranges):
                            following.add(thread + 1)
            spend(cost)
            threads = following
        return False

    def _settled(self, threads: set[int], text: str, place: int) -> set[int]:
        """All places in the program that threads reach without a character."""
        reached: set[int] = set()
        waiting = list(threads)
        while waiting:
            thread = waiting.pop()
            if thread in reached:
                continue
            reached.add(thread)
            if thread == len(self._program):
                continue
            instruction = self._program[thread]
            if isinstance(instruction, _Fork):
                waiting.extend(thread + step for step in instruction.places)
            elif isinstance(instruction, _Assertion) and _holds(instruction.kind, text, place):
                waiting.append(thread + 1)
        return reached


def _holds(kind: str, text: str, place: int) -> bool:
    if kind == "^":
        return place == 0
    if kind == "$":
        return place == len(text)
    before = place > 0 and _is_word(text[place - 1])
    behind = place < len(text) and _is_word(text[place])
    return (before != behind) == (kind == "b")


def _is_word(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")


class _Parser:
    """Reads a pattern and writes its program, by recursive descent."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._depth = 0
        self.work = 0

    def program(self) -> _Program:
        program = self._alternatives()
        if self._place < len(self._text):
            raise self._refusal("a parenthesis is closed that was not opened")
        return program

    def _alternatives(self) -> _Program:
        """Texts with `|` between them."""
        found = self._sequence()
        while self._taken("|"):
            other = self._sequence()
            found = [_Fork((1, len(found) + 2)), *found, _Fork((len(other) + 1,)), *other]
            self._check_size(found)
        return found

    def _sequence(self) -> _Program:
        found: _Program = []
        while self._place < len(self._text) and self._text[self._place] not in "|)":
            found += self._repeated()
            self._check_size(found)
        return found

    def _repeated(self) -> _Program:
        """One thing, and how often it may come."""
        start = self._place
        one = self._one()
        bounds = self._bounds()
        if bounds is None:
            return one
        if self._text[start] in "^$" or self._text[start : start + 2] in {"\\b", "\\B"}:
            raise self._refusal(f"nothing to repeat at character {start}")
        self._taken("?")  # greedy or not: the same texts match
        least, most = bounds
        if most is not None and most < least:
            raise self._refusal(f"a repetition of {least} to {most}")
        if len(one) * max(least, most or 0) > _PROGRAM_MAX:
            raise self._refusal("its repetitions are too many")
        # Counted here: of a part that comes no time at all, nothing stays to be counted.
        self.work += len(one) * max(1, least, most or 0)
        if self.work > _WORK_MAX:
            raise self._refusal("its repetitions are too many")
        if most is None:
            loop: _Program = [_Fork((1, len(one) + 2)), *one, _Fork((-len(one) - 1,))]
            return [*one * least, *loop]
        optional: _Program = [_Fork((1, len(one) + 1)), *one]
        return [*one * least, *optional * (most - least)]

    def _bounds(self) -> tuple[int, int | None] | None:
        for mark, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._taken(mark):
                return bounds
        if not self._taken("{"):
            return None
        inside, closed, _ = self._text[self._place :].partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not _is_number(low) or not (high == "" or _is_number(high)):
            raise self._refusal("a brace that is no repetition; write \\{ for the character")
        self._place += len(inside) + 1
        return int(low), (None if not high else int(high)) if comma else int(low)

    def _one(self) -> _Program:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return [_Characters(self._class())]
        if character == ".":
            return [_Characters(_without(_LINE_ENDS))]
        if character in "^$":
            return [_Assertion(character)]
        if character == "\\":
            if self._text[self._place : self._place + 1] in {"b", "B"}:
                return [_Assertion(self._next())]
            return [_Characters(self._escaped())]
        if character in "*+?{}]":
            raise self._refusal(f"{character!r} at character {self._place - 1}; write \\{character} for it")
        return [_Characters(_single(character))]

    def _group(self) -> _Program:
        if self._taken("?") and not self._taken(":"):
            raise self._refusal("only (...) and (?:...) are groups here: no look-around, no names")
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise self._refusal(f"groups nested deeper than {_DEPTH_MAX}")
        found = self._alternatives()
        if not self._taken(")"):
            raise self._refusal("a parenthesis is not closed")
        self._depth -= 1
        return found

    def _class(self) -> Ranges:
        """The inside of brackets."""
        negated = self._taken("^")
        found: list[tuple[int, int]] = []
        while not self._taken("]"):
            low = self._member()
            if self._text[self._place : self._place + 1] == "-" and self._text[
                self._place + 1 : self._place + 2
            ] not in {"]", ""}:
                self._next()
                high = self._member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] < low[0][0]:
                    raise self._refusal("a range of characters that is none")
                found.append((low[0][0], high[0][1]))
            else:
                found.extend(low)
        return _without(tuple(found)) if negated else tuple(found)

    def _member(self) -> Ranges:
        character = self._next()
        if character != "\\":
            return _single(character)
        if self._taken("b"):
            return ((8, 8),)
        if self._taken("-"):
            return _single("-")
        return self._escaped()

    def _escaped(self) -> Ranges:
        """What stands behind a backslash, in brackets or not."""
        character = self._next()
        classes = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
        if character in classes:
            return classes[character]
        if character.lower() in classes:
            return _without(classes[character.lower()])
        if character in _CONTROLS:
            return ((_CONTROLS[character],) * 2,)
        if character in {"x", "u"}:
            digits = 2 if character == "x" else 4
            code = self._text[self._place : self._place + digits]
            if len(code) != digits or not all(digit in "0123456789abcdefABCDEF" for digit in code):
                raise self._refusal(f"\\{character} without {digits} hexadecimal digits")
            self._place += digits
            return ((int(code, 16),) * 2,)
        if character.isalnum():
            raise self._refusal(f"the escape \\{character} is not supported")
        return _single(character)

    def _next(self) -> str:
        if self._place >= len(self._text):
            raise self._refusal("it ends too early")
        self._place += 1
        return self._text[self._place - 1]

    def _taken(self, mark: str) -> bool:
        found = self._text.startswith(mark, self._place)
        self._place += len(mark) * found
        return found

    def _check_size(self, program: _Program) -> None:
        if len(program) > _PROGRAM_MAX:
            raise self._refusal("its repetitions are too many")

    def _refusal(self, rule: str) -> InvalidInputError:
        return _refusal(self._text, rule)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def _single(character: str) -> Ranges:
    return ((ord(character), ord(character)),)


def _without(ranges: Ranges) -> Ranges:
    """All characters but these."""
    found = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        found.append((start, _LAST))
    return tuple(found)


def _refusal(text: str, rule: str) -> InvalidInputError:
    return InvalidInputError(f"the pattern {printable(text[:80])} is refused: {rule}", code="schema-refused")
