"""The ways in which bytes and rows go bad, each as many cases as a drill wants to choose from."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from crash.specimen import Specimen

    Damage = Callable[[Specimen], bool | None]

PAGE = 4096  # bytes of a page of the database
FRAME = PAGE + 24  # bytes of a frame of the write-ahead log, with its head
WAL_HEAD = 32


@dataclass(frozen=True)
class Case:
    """One damage.

    Args:
        name: for a message.
        damage: does it; False if it cannot be done.
        told: what must be named, each by a line of fsck that has it.
        parts: of the store that may be accused.
    """

    name: str
    damage: Damage
    told: tuple[str, ...] = ()
    parts: frozenset[str] = frozenset()


def flipped(data: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# Files


def written(path: Path, data: bytes | None) -> Damage:
    """The damage that gives a file other bytes, or takes it away."""

    def write(specimen: Specimen) -> None:
        specimen.write(path, data)

    return write


def flip(path: Path, data: bytes, many: int, told: tuple[str, ...] = ()) -> Iterator[Case]:
    """One bit, at places all over the file."""
    bits = len(data) * 8
    for bit in sorted(random.Random(bits).sample(range(bits), min(many, bits))):
        yield Case(f"{path.name} bit {bit}", written(path, flipped(data, bit)), told)


def truncate(path: Path, data: bytes, many: int, told: tuple[str, ...] = ()) -> Iterator[Case]:
    """The end is gone: a byte, nearly everything, and what is between."""
    sizes = {0, 1, len(data) - 1, *(len(data) * part // many for part in range(many))}
    for size in sorted(size for size in sizes if 0 <= size < len(data)):
        yield Case(f"{path.name} cut to {size}", written(path, data[:size]), told)


def extend(path: Path, data: bytes, many: int, told: tuple[str, ...] = ()) -> Iterator[Case]:
    """Something follows: zeros, noise, or the file itself once more."""
    for number in range(many):
        tail = (bytes(number + 1), random.Random(number).randbytes(number + 1), data[: 1 << number])[
            number % 3
        ]
        yield Case(f"{path.name} and {len(tail)} bytes", written(path, data + tail), told)


def delete(path: Path, _data: bytes, _many: int, told: tuple[str, ...] = ()) -> Iterator[Case]:
    """The file is gone."""
    yield Case(f"{path.name} gone", written(path, None), told)


def swap(one: Path, other: Path, told: tuple[str, ...]) -> Case:
    """Two files have each other's bytes."""

    def both(specimen: Specimen) -> None:
        specimen.write(one, specimen.files[other])
        specimen.write(other, specimen.files[one])

    return Case(f"{one.name} and {other.name} swapped", both, told)


WAYS = {"flip": flip, "truncate": truncate, "extend": extend, "delete": delete}


def swap_blocks(path: Path, data: bytes, head: int, size: int) -> Iterator[Case]:
    """Two blocks of a file have each other's place: pages, or frames."""
    for one, other in combinations(range((len(data) - head) // size), 2):
        first, second = (slice(head + number * size, head + (number + 1) * size) for number in (one, other))
        changed = bytearray(data)
        changed[first], changed[second] = data[second], data[first]
        if changed != data:
            yield Case(f"{path.name} blocks {one} and {other}", written(path, bytes(changed)))


# Rows


def row_cases(
    specimen: Specimen,
    table: str,
    key: list[str],
    told: Callable[[dict[str, object]], tuple[str, ...]],
    *,
    unique: tuple[str, ...] = (),
) -> dict[str, list[Case]]:
    """Every way for every row of a table: each value changed, cut and made longer; rows gone and swapped.

    Args:
        key: columns that name a row.
        told: what must be named if that row is damaged.
        unique: further columns, of which no two rows have the same.
    """
    names = [str(row[1]) for row in specimen.query(f"PRAGMA table_info({table})")]
    types = {str(row[1]): str(row[2]) for row in specimen.query(f"PRAGMA table_info({table})")}
    rows = [dict(zip(names, row, strict=True)) for row in specimen.query(f"SELECT * FROM {table}")]
    where = " AND ".join(f"{name} IS ?" for name in key)
    cases: dict[str, list[Case]] = {"flip": [], "truncate": [], "extend": [], "delete": [], "swap": []}
    for row in rows:
        place = [row[name] for name in key]
        named = f"{table} {place}"
        for name in names:
            for way, value in _values(row[name]):
                # Text may be no Unicode any more, so it goes in as bytes.
                new = f"CAST(? AS {types[name]})" if isinstance(value, bytes) else "?"
                edit = partial(_edit, f"UPDATE {table} SET {name} = {new} WHERE {where}", [value, *place])
                cases[way].append(Case(f"{named} {name} = {value!r:.40}", edit, told(row)))
        edit = partial(_edit, f"DELETE FROM {table} WHERE {where}", place)
        cases["delete"].append(Case(f"{named} gone", edit, told(row)))
    values = [name for name in names if name not in (*key, *unique)]
    for one, other in combinations(rows, 2):
        if any(one[name] != other[name] for name in values):
            named = f"{table} {[one[name] for name in key]} and {[other[name] for name in key]} swapped"
            edit = partial(_swap_rows, table, key, values, one, other)
            cases["swap"].append(Case(named, edit, told(one) + told(other)))
    return cases


def _edit(statement: str, values: list[object], specimen: Specimen) -> bool:
    return specimen.edit(statement, values)


def _values(value: object) -> Iterator[tuple[str, object]]:
    """What a value may become."""
    if value is None:
        yield "extend", 1
        yield "extend", "something"
    elif isinstance(value, int):
        yield from (("flip", value ^ (1 << bit)) for bit in (0, 1, 7, 31, 40))
        yield "truncate", None
        yield from (("truncate", part) for part in (0, value // 10) if part != value)
        yield "extend", value * 10 + 1 if value < 1 << 59 else -value
    else:
        data = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]
        bits = len(data) * 8
        chosen = random.Random(bits).sample(range(bits), min(4, bits))
        yield from (("flip", flipped(data, bit)) for bit in chosen)
        yield "truncate", None
        yield from (("truncate", data[:size]) for size in {0, len(data) // 2, len(data) - 1} if data)
        yield from (("extend", data + tail) for tail in (b"\x00", b"a", data))


def _swap_rows(
    table: str,
    key: list[str],
    values: list[str],
    one: dict[str, object],
    other: dict[str, object],
    specimen: Specimen,
) -> bool:
    """Two rows have each other's values, but for the keys."""
    sets = ", ".join(f"{name} = ?" for name in values)
    where = " AND ".join(f"{name} IS ?" for name in key)
    return all(
        specimen.edit(
            f"UPDATE {table} SET {sets} WHERE {where}",
            [row[name] for name in values] + [place[name] for name in key],
        )
        for place, row in ((one, other), (other, one))
    )


def all_of(cases: Iterable[Iterable[Case]]) -> list[Case]:
    """One list of all."""
    return [case for group in cases for case in group]
