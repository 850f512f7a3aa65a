"""Each target beside what was measured: met or not, and how near the floor would come."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from benchmarks import targets
from benchmarks.machine import NOISY
from benchmarks.peers.catalogue import OURS
from benchmarks.report import spread

DISTURBED = "disturbed"


@dataclass(frozen=True, slots=True)
class Row:
    """A target and what was measured.

    Args:
        key: of its limit.
        limit: the measured floor as a ratio to the same peer; empty if none is measured.
    """

    key: tuple[str, str]
    work: str
    beside: str
    target: str
    ratio: str
    verdict: str
    limit: str = ""

    @property
    def missed(self) -> bool:
        """Whether it is not met."""
        return self.verdict.startswith("MISSED")


def judged(results: list[dict[str, Any]], library: list[dict[str, Any]]) -> list[Row]:
    """Each target of targets.py beside what was measured."""
    costs = known_costs(results, library)
    measured = {(line["set"], line["work"], line["peer"]): line for line in results}
    rows = []
    for (name, work, peer), most in targets.PEERS.items():
        summary = measured.get((name, work, peer), {}).get("summary")
        told = (name, work), f"{name} {work}", peer, f"at most {most:g}"
        if not summary or summary["ratio"] is None:
            rows.append(Row(*told, "", "not measured"))
        elif summary["noisy"]:
            rows.append(Row(*told, "", DISTURBED))
        else:
            said = verdict(summary["ratio"], summary.get("ratios"), most=most)
            limit = limit_beside((name, work), (f"{name} {work}", peer), costs)
            rows.append(Row(*told, spread(summary["ratio"], summary.get("ratios")), said, limit))
    rows += peak_rows(results)
    for wanted in targets.INSIDE:
        rows += inside_rows(wanted, library, costs)
    return rows


def verdict(ratio: float, ratios: list[float] | None, **wanted: Any) -> str:
    """Whether a target is met; a spread that was not kept is told."""
    return targets.verdict(ratio, ratios or (), **wanted) + ", spread not known" * (ratios is None)


def peak_rows(results: list[dict[str, Any]]) -> list[Row]:
    """The largest memory of ours in the sets that run as whole processes."""
    ours = [line for line in results if line["peer"] == OURS.name and line["summary"]]
    sets = sorted({line["set"] for line in ours})
    told = ("peak", "memory"), f"peak memory, any work of {', '.join(sets) or 'w1 to w4'}", ""
    bound = f"at most {targets.MEMORY >> 20} MiB"
    if not ours:
        return [Row(*told, bound, "", "not measured")]
    largest = max(line["summary"]["peak"] for line in ours)
    said = "met" if largest <= targets.MEMORY else "MISSED"
    return [Row(*told, bound, f"{largest / 2**20:.0f} MiB", said)]


def inside_rows(
    wanted: targets.Wanted, library: list[dict[str, Any]], costs: dict[tuple[str, str], float]
) -> list[Row]:
    """A row for each finding that a target is about."""
    bound = f"at most {wanted.most:.2g}" if wanted.most is not None else f"at least {wanted.least:.2g}"
    key = (wanted.benchmark, wanted.what)
    rows = []
    for item in library:
        about = item["benchmark"] == wanted.benchmark and fnmatchcase(item["what"], wanted.what)
        bounded = item["most"] is not None or item["least"] is not None
        if not (about and bounded and item["ratio"] is not None):
            continue
        told = key, item["what"], item["benchmark"], bound
        if item["foreign"] > NOISY:
            rows.append(Row(*told, "", DISTURBED))
            continue
        said = verdict(item["ratio"], item.get("ratios"), most=wanted.most, least=wanted.least)
        number = starred(wanted.what, item["what"])
        limit = limit_beside(key, None, costs, rate=wanted.least is not None, number=number)
        rows.append(Row(*told, spread(item["ratio"], item.get("ratios")), said, limit))
    return rows or [Row(key, wanted.what, wanted.benchmark, bound, "", "not measured")]


UNITS = {"s": 1.0, "ms": 1e-3, "ms p50": 1e-3, "us p50": 1e-6, "us": 1e-6, "B": 1.0}  # in seconds, or bytes
RATES = ("events/s", "rows/s", "calls/s", "MB/s")


def known_costs(results: list[dict[str, Any]], library: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """What was measured quietly, in seconds or bytes: by set and work with peer, benchmark with finding."""
    found = {}
    for line in results:
        if line["summary"] and not line["summary"]["noisy"]:
            found[f"{line['set']} {line['work']}", line["peer"]] = line["summary"]["median"]
    for item in library:
        if item["value"] and item["foreign"] <= NOISY:
            if item["unit"] in UNITS:
                found[item["benchmark"], item["what"]] = item["value"] * UNITS[item["unit"]]
            elif item["unit"] in RATES:
                found[item["benchmark"], item["what"]] = 1 / item["value"]
    return found


def limit_beside(
    key: tuple[str, str],
    peer: tuple[str, str] | None,
    costs: dict[tuple[str, str], float],
    *,
    rate: bool = False,
    number: str = "",
) -> str:
    """The floor of a target as a ratio to the median of the same peer; empty if a part is not measured.

    Args:
        number: stands for `{}` in the names of findings.
    """
    limit = targets.LIMITS.get(key)
    if limit is None:
        return ""
    parts = [looked_up(part, costs, number) for part in limit.parts]
    beside = looked_up(limit.beside or peer, costs, number)
    if beside is None or None in parts:
        return ""
    ratio = sum(part for part in parts if part is not None) / beside
    return f"{1 / ratio if rate else ratio:.2f}"


def starred(pattern: str, what: str) -> str:
    """What the `*` of a pattern stands for; empty if it has none."""
    found = re.fullmatch(re.escape(pattern).replace(r"\*", "(.*)"), what)
    return found[1] if found and found.groups() else ""


def looked_up(
    wanted: tuple[str, str] | float | None, costs: dict[tuple[str, str], float], number: str
) -> float | None:
    """The first that is called so; what is a number already stays."""
    if not isinstance(wanted, tuple):
        return wanted
    where, pattern = wanted[0], wanted[1].replace("{}", number)
    matching = (
        value
        for (benchmark, what), value in costs.items()
        if benchmark == where and fnmatchcase(what, pattern)
    )
    return next(matching, None)
