"""`python -m benchmarks.page`: writes the tables and charts of docs/benchmarks.md and docs/scale.md.

What a run of the suite measured while others used the machine is not shown as a number.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks import extrapolation, targets
from benchmarks.charts import chart
from benchmarks.judging import DISTURBED, Row, judged
from benchmarks.machine import NOISY
from benchmarks.peers.catalogue import OURS, PEERS
from benchmarks.report import NOT_KNOWN, UNTOLD, machine_line, number, spread
from benchmarks.suite import WORKS

RESULTS = Path(__file__).parent / "results.json"
SCALE = Path(__file__).parent / "scale.json"
DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"
SCALE_PAGE = DOCS / "scale.md"
CHARTS = DOCS / "charts"
LARGE_TREE = 20_000  # files of a real tree
ORDER = {peer.name: number for number, peer in enumerate((OURS, *PEERS))}


def rendered(page: str, document: dict[str, Any]) -> str:
    """The page with its generated parts written anew; each stands between two comments."""
    results, library = document["results"], document["library"]
    untold = UNTOLD | ({"machine": machine_line(document["machine"])} if document["machine"] else {})
    results = [{"measured": untold} | line for line in results]
    library = [{"measured": untold} | item for item in library]
    told = judged(results, library)
    parts = {
        "machine": machines([*results, *library]),
        "targets": targets_table(told),
        "limits": limits_table(told),
        "calls": findings_table(library),
        "peers": versions_table(results),
    } | {name: set_table(name, results) for name in WORKS}
    return filled(page, parts)


def rendered_scale(page: str, document: dict[str, Any], results: dict[str, Any]) -> str:
    """The page about scale, likewise."""
    parts = {name: table(*each) for name, each in extrapolation.tables(document, results).items()}
    measured = origin({"measured": UNTOLD} | document["library"][0])
    said = f"{machine_line(document['machine'])}\n\nCommit: {measured}."
    return filled(page, parts | {"scale": f"{said}\n\n{parts['scale']}"})


def filled(page: str, parts: dict[str, str]) -> str:
    """The page with the text between the comment of each part and the end of it replaced.

    Raises:
        ValueError: the page has no place for a part.
    """
    for name, text in parts.items():
        begin, end = f"<!-- {name} -->", "<!-- end -->"
        pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        page, count = pattern.subn(lambda _: f"{begin}\n{text}\n{end}", page)  # noqa: B023 - called at once
        if count != 1:
            raise ValueError(f"`{begin}` to `{end}` stands {count} times on the page, not once")
    return page


def machines(items: list[dict[str, Any]]) -> str:
    """Each machine on which something was measured, and what."""
    sets: dict[str, dict[str, None]] = {}
    for item in items:
        sets.setdefault(item["measured"]["machine"], {})[item.get("set") or item["benchmark"]] = None
    if len(sets) == 1:
        return next(iter(sets))
    return "\n".join(f"- {machine} ({', '.join(names)})" for machine, names in sets.items())


def origin(item: dict[str, Any]) -> str:
    """Commit and day of one line."""
    measured = item["measured"]
    if measured["commit"] is None and measured["date"] is None:
        return NOT_KNOWN
    return f"{measured['commit'] or NOT_KNOWN} of {measured['date']}"


def with_origin(headings: tuple[str, ...], rows: list[tuple[str, ...]], items: list[dict[str, Any]]) -> str:
    """A table under the commit and day of its lines; each has its own where they differ."""
    if not rows:
        return "Not measured."
    if len({item["measured"]["commit"] for item in items}) > 1:
        said = "**These lines are from different commits of the program.**"
        headings = (*headings, "commit")
        rows = [(*row, origin(item)) for row, item in zip(rows, items, strict=True)]
    else:
        days = sorted({item["measured"]["date"] or NOT_KNOWN for item in items})
        said = f"Commit {items[0]['measured']['commit'] or NOT_KNOWN}, measured on: {', '.join(days)}."
    return f"{said}\n\n{table(headings, rows)}"


def charts(document: dict[str, Any]) -> dict[str, str]:
    """File name to SVG, one for each set."""
    found = {}
    for name in WORKS:
        works: dict[str, list[tuple[str, float, str]]] = {}
        for line in lines_of(name, document["results"]):
            summary = line["summary"]
            if summary is None or summary["noisy"]:
                continue
            kind = "ours" if line["peer"] == OURS.name else "lesser" if lesser(line) else "same"
            works.setdefault(line["work"], []).append((line["peer"], summary["median"], kind))
        if works:
            found[f"{name}.svg"] = chart(f"{name}: seconds until durable", works)
    return found


def lesser(line: dict[str, Any]) -> bool:
    """Whether a line's push promises less than ours."""
    return line["work"] != "verify" and "syncfs counted" in line["promise"] and line["work"] != "export"


def lines_of(name: str, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of a set by work and peer."""
    chosen = [line for line in results if line["set"] == name]
    return sorted(chosen, key=lambda line: (WORKS[name].index(line["work"]), ORDER[line["peer"]]))


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Rows as Markdown."""
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def set_table(name: str, results: list[dict[str, Any]]) -> str:
    """All lines of a set."""
    rows: list[tuple[str, ...]] = []
    lines = lines_of(name, results)
    for line in lines:
        summary, start = line["summary"], (line["work"], line["peer"], line["promise"])
        if summary is None:
            rows.append((*start, line["failure"].partition(":")[0], "", "", "", "", ""))
            continue
        shown = (
            (DISTURBED, "", "")
            if summary["noisy"]
            else (
                f"{summary['median']:.2f}",
                f"{summary['fastest']:.2f} to {summary['slowest']:.2f}",
                "" if summary["ratio"] is None else spread(summary["ratio"], summary.get("ratios")),
            )
        )
        syncs = line["syncs"]
        counted = (
            "" if syncs is None else ", ".join(f"{n} {call}" for call, n in sorted(syncs.items())) or "none"
        )
        disk = "" if line["disk"] is None else f"{line['disk'] / 2**20:,.0f}"
        rows.append((*start, *shown, disk, peak(line), counted))
    headings = (
        "work",
        "program",
        "promise",
        "median s",
        "fastest to slowest",
        "ours/its (pairs)",
        "disk MiB",
        "peak MiB",
        "syncs",
    )
    return f"{with_origin(headings, rows, lines)}\n\n{data_line(name, lines)}"


def data_line(name: str, lines: list[dict[str, Any]]) -> str:
    """What was pushed."""
    files, size = (lines[0].get("files"), lines[0].get("bytes")) if lines else (None, None)
    if not files or not size:
        return f"Files and bytes: {NOT_KNOWN}."
    fewer = f", fewer than the {LARGE_TREE:,} wanted" if name == "w3" and files < LARGE_TREE else ""
    return f"{files:,} file{'s' * (files > 1)}, {size / 1e6:,.0f} MB{fewer}."


def peak(line: dict[str, Any]) -> str:
    """The largest memory of a line; a process starts as a copy of the one that measures, which hides less."""
    mebibytes, floor = line["summary"]["peak"], line.get("floor")
    return f"{'at most ' * (floor is None or mebibytes <= floor)}{mebibytes / 2**20:.0f}"


def targets_table(rows: list[Row]) -> str:
    """Each target with its ratio and its limit."""
    cells = [
        (
            row.work,
            row.beside,
            row.target,
            row.ratio,
            row.limit or ("no limit measured" if row.missed else ""),
            row.verdict,
        )
        for row in rows
    ]
    return table(("work", "beside", "target", "ratio (pairs)", "floor", ""), cells)


def limits_table(rows: list[Row]) -> str:
    """For each work that misses a target: what its floor is, if the suite measures one."""
    missed: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.missed:
            missed.setdefault(row.key, []).append(row)
    cells = []
    for key, those in missed.items():
        limit = targets.LIMITS.get(key)
        measured = any(row.limit for row in those)
        work = ", ".join(dict.fromkeys(row.work for row in those))
        cells.append((work, limit.words if limit and measured else "no limit measured"))
    return table(("work", "its floor"), cells) if cells else "Every target that was measured is met."


def findings_table(library: list[dict[str, Any]]) -> str:
    """What was measured inside the process."""
    rows: list[tuple[str, ...]] = []
    for item in library:
        start = (item["benchmark"], item["what"])
        if item["value"] is None:
            rows.append((*start, item.get("failure") or item["unit"], "", "", ""))
            continue
        if item["foreign"] > NOISY:
            rows.append((*start, DISTURBED, "", "", ""))
            continue
        samples = item.get("samples")
        spread_of = (
            f"{number(min(samples))} to {number(max(samples))}" if samples and len(samples) > 1 else ""
        )
        runs = NOT_KNOWN if samples is None else str(len(samples) or 1)
        ratio = "" if item["ratio"] is None else spread(item["ratio"], item.get("ratios"))
        rows.append((*start, f"{number(item['value'])} {item['unit']}".rstrip(), spread_of, runs, ratio))
    headings = ("set", "what", "value: the median, if there are several", "smallest to largest", "samples")
    return with_origin((*headings, "ratio (pairs)"), rows, library)


def versions_table(results: list[dict[str, Any]]) -> str:
    """Who was there."""
    versions = {line["peer"]: line["version"] or "absent" for line in results}
    return table(("program", "version"), [(name, versions[name]) for name in ORDER if name in versions])


def main() -> None:
    """Write page and charts."""
    document = json.loads(RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), document), encoding="utf-8")
    scale = json.loads(SCALE.read_text(encoding="utf-8"))
    about_scale = rendered_scale(SCALE_PAGE.read_text(encoding="utf-8"), scale, document)
    SCALE_PAGE.write_text(about_scale, encoding="utf-8")
    CHARTS.mkdir(exist_ok=True)
    for name, text in charts(document).items():
        (CHARTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
