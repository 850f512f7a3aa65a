"""The tables of docs/scale.md: a large store, what each thing costs, and what that makes of a far larger one.

Every number is measured, or computed from measured ones by the arithmetic that stands beside it. What was not
measured, or only while others used the machine, is not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.judging import DISTURBED
from benchmarks.machine import NOISY, VOLATILE
from benchmarks.report import NOT_KNOWN
from benchmarks.scale import FILES

if TYPE_CHECKING:
    from collections.abc import Iterator

    Document = dict[str, Any]
    Rows = list[tuple[str, ...]]
    Table = tuple[tuple[str, ...], Rows]

STEADY = ("B", "MiB")  # what neither other programs nor a file system in memory change
OURS = "artifactstore"

# The store that nobody has built.
PACKAGES = 10**6
OBJECTS = 10**8
BYTES = 2**50
EVENTS = OBJECTS + 2 * PACKAGES  # one of each file, two of each package
NINETY_DAYS = 90 * 86_400  # seconds
LEAVES = 2**16  # folders that hold objects: two levels of 256
FOLDERS = LEAVES + 2**8


@dataclass(frozen=True, slots=True)
class Number:
    """A measured number, or one computed from such; None: not known."""

    value: float | None

    def __mul__(self, other: Number | float) -> Number:
        value = other.value if isinstance(other, Number) else other
        return Number(None if self.value is None or value is None else self.value * value)

    def __add__(self, other: Number) -> Number:
        return Number(None if self.value is None or other.value is None else self.value + other.value)

    def __truediv__(self, other: Number | float) -> Number:
        value = other.value if isinstance(other, Number) else other
        return Number(None if self.value is None or not value else self.value / value)

    def text(self, unit: str) -> str:
        """With three digits or so, in a unit that people read."""
        if self.value is None:
            return NOT_KNOWN
        scaled, prefix = self.value, unit
        for limit, larger in LARGER.get(unit, ()):
            if self.value >= limit:
                scaled, prefix = self.value / limit, larger
        return f"{scaled:,.1f} {prefix}" if scaled < 10 else f"{scaled:,.0f} {prefix}"


LARGER = {
    "us": ((1e3, "ms"), (1e6, "s"), (60e6, "minutes"), (3.6e9, "hours"), (86.4e9, "days")),
    "B": ((2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"), (2**40, "TiB")),
}


class Costs:
    """What was measured, from the documents of `python -m benchmarks.scale` and of the suite."""

    def __init__(self, scale: Document, results: Document) -> None:
        self.scale = scale
        ours = [line for line in results["results"] if line["peer"] == OURS]
        self.lines = {(line["set"], line["work"]): line for line in ours}
        self.library = results["library"]

    def largest(self, what: str) -> tuple[Number, float]:
        """What the largest store says that was asked, and its packages."""
        found = [item for item in self.scale["library"] if item["what"].rpartition(", ")[0] == what]
        if not found:
            return Number(None), 1
        size = float(found[-1]["what"].rpartition(", ")[2].split()[0].replace(",", ""))
        return Number(found[-1]["value"] if counts(found[-1], self.scale) else None), size

    def finding(self, benchmark: str, pattern: str) -> tuple[Number, float]:
        """The last finding of the suite whose name fits, and the number in its name."""
        value, count = Number(None), 1.0
        for item in self.library:
            fits = re.fullmatch(pattern, item["what"])
            if item["benchmark"] == benchmark and fits and item["value"] is not None:
                steady = item["unit"].startswith("B") or item["foreign"] <= NOISY
                value = Number(item["value"] if steady else None)
                count = float(fits[1].replace(",", ""))
        return value, count

    def seconds(self, name: str, work: str, of: str) -> Number:
        """Of our work in a set, for each of its `files` or `bytes`."""
        line = self.lines.get((name, work)) or {}
        summary, count = line.get("summary"), line.get(of)
        return Number(None if not summary or summary["noisy"] else summary["median"]) / Number(count)

    def database(self) -> tuple[Number, Number]:
        """Bytes of a file and of a package, told apart by packages of one file and of several."""
        size, packages = self.largest("database")
        several = size * 2**20 / packages
        one, _ = self.finding("w5", r"database, ([\d,]+) packages")
        file = (several + one * -1.0) / (FILES - 1)
        return file, one + file * -1.0


def counts(item: dict[str, Any], scale: Document) -> bool:
    """Whether a finding about the large store is a number: times need a quiet machine and a disk."""
    foreign = max(item["foreign"], scale.get("foreign", 0.0))
    return item["unit"] in STEADY or (foreign <= NOISY and scale["machine"]["file_system"] not in VOLATILE)


def large_store(scale: Document) -> Table:
    """What each size of the store said."""
    cells: dict[str, dict[str, str]] = {}
    for item in scale["library"]:
        what, _, size = item["what"].rpartition(", ")
        if what:
            number = f"{item['value']:,.2f}" if item["value"] < 10 else f"{item['value']:,.0f}"
            shown = f"{number} {item['unit']}" if counts(item, scale) else DISTURBED
            cells.setdefault(what, {})[size] = shown
    sizes = list(dict.fromkeys(size for row in cells.values() for size in row))
    return ("what", *sizes), [(what, *(row.get(size, "") for size in sizes)) for what, row in cells.items()]


def costs_table(costs: Costs) -> Table:
    """One of each."""
    return ("thing", "costs", "measured"), list(_costs(costs))


def _costs(costs: Costs) -> Iterator[tuple[str, ...]]:
    file, package = costs.database()
    event, _ = costs.largest("database, of an event")
    replay, _ = costs.largest("replay")
    gc, _ = costs.finding("w5", r"gc of all others, ([\d,]+) packages, .*")
    verified, objects = costs.finding("verify", r"verify of ([\d,]{4,}) objects, .*")
    micro, gigabyte = 1e6, 1e6 * 2**30
    yield "a new small file", (costs.seconds("w1", "push", "files") * micro).text("us"), "`w1` push ÷ files"
    again = costs.seconds("w4", "unchanged", "files") * micro
    yield "the same bytes again", again.text("us"), "`w4` unchanged ÷ files"
    yield "a file in the database", file.text("B"), f"packages of {FILES} files beside packages of one"
    yield "a package in the database", package.text("B"), "the same"
    yield "an event, with its share of everything", event.text("B"), "the store above ÷ events"
    push = costs.seconds("w2", "push", "bytes") * gigabyte
    yield "a GiB taken in", push.text("us"), "`w2` push ÷ bytes"
    yield "a GiB verified", _gigabyte_verified(costs).text("us"), "`w2` verify ÷ bytes"
    yield "a small object verified", (verified / objects * micro).text("us"), "`verify` ÷ objects"
    yield "an event in a replay", (Number(micro) / replay).text("us"), "the store above"
    yield "a package of one file collected", gc.text("us"), "`w5` gc of all"


def _gigabyte_verified(costs: Costs) -> Number:
    return costs.seconds("w2", "verify", "bytes") * 1e6 * 2**30


def sums_table(costs: Costs) -> Table:
    """What they come to, each with how it is computed."""
    return ("what", "arithmetic", "comes to"), list(_sums(costs))


def _sums(costs: Costs) -> Iterator[tuple[str, ...]]:
    micro = 1e6
    file, package = costs.database()
    database = file * OBJECTS + package * PACKAGES
    append, _ = costs.largest("append")
    replay, _ = costs.largest("replay")
    backup, copied = costs.largest("backup")
    of_file, _ = costs.largest("database, of a file")
    each = backup / (of_file * FILES * copied)  # seconds of a byte of the database
    orphans, listed = costs.finding("w5", r"orphans among ([\d,]+) objects, .*")
    verified, objects = costs.finding("verify", r"verify of ([\d,]{4,}) objects, .*")
    yield "events", f"{OBJECTS:,} + 2 x {PACKAGES:,}", f"{EVENTS:,}"
    arithmetic = f"{OBJECTS:,} x {file.text('B')} + {PACKAGES:,} x {package.text('B')}"
    yield "database", arithmetic, database.text("B")
    taken = (Number(EVENTS) / append * micro).text("us")
    yield "taking the events in", f"{EVENTS:,} ÷ {append.text('a second')}", taken
    push = costs.seconds("w2", "push", "bytes") * micro
    gibibytes = f"{BYTES >> 30:,} GiB"
    yield "taking the bytes in", f"{gibibytes} x {(push * 2**30).text('us')}", (push * BYTES).text("us")
    yield "objects in a folder", f"{OBJECTS:,} ÷ {LEAVES:,}", f"{OBJECTS / LEAVES:,.0f}"
    yield "folders", f"{FOLDERS:,} x 4 KiB", Number(FOLDERS * 4096).text("B")
    read = _gigabyte_verified(costs)
    yield "verify: the bytes", f"{gibibytes} x {read.text('us')}", (read * (BYTES >> 30)).text("us")
    opened = verified / objects * micro
    yield "verify: the objects", f"{OBJECTS:,} x {opened.text('us')}", (opened * OBJECTS).text("us")
    speed = Number(BYTES / NINETY_DAYS).text("B")
    yield "verify of everything in 90 days", f"{gibibytes} ÷ 90 days", f"{speed}/s, always"
    replayed = (Number(EVENTS) / replay * micro).text("us")
    yield "replay", f"{EVENTS:,} ÷ {replay.text('a second')}", replayed
    arithmetic = f"{database.text('B')} x {(each * micro * 2**30).text('us')} a GiB"
    yield "backup of the database", arithmetic, (each * database * micro).text("us")
    seen = orphans / listed * micro
    yield "orphans", f"{OBJECTS:,} x {seen.text('us')}, folders in memory", (seen * OBJECTS).text("us")


def tables(scale: Document, results: Document) -> dict[str, Table]:
    """By the name of their place on the page."""
    costs = Costs(scale, results)
    return {"scale": large_store(scale), "costs": costs_table(costs), "sums": sums_table(costs)}
