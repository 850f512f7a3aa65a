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
from benchmarks.extrapolation import DISTURBED
from benchmarks.machine import NOISY
from benchmarks.peers.catalogue import OURS, PEERS
from benchmarks.report import machine_line, number
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
    parts = {
        "machine": machine_line(document["machine"]),
        "targets": targets_table(document),
        "calls": findings_table(document["library"]),
        "peers": versions_table(document["results"]),
    } | {name: set_table(name, document["results"]) for name in WORKS}
    return filled(page, parts)


def rendered_scale(page: str, document: dict[str, Any], results: dict[str, Any]) -> str:
    """The page about scale, likewise."""
    parts = {name: table(*each) for name, each in extrapolation.tables(document, results).items()}
    return filled(page, parts | {"scale": f"{machine_line(document['machine'])}\n\n{parts['scale']}"})


def filled(page: str, parts: dict[str, str]) -> str:
    """The page with the text between the comment of each part and the end of it replaced."""
    for name, text in parts.items():
        begin, end = f"<!-- {name} -->", "<!-- end -->"
        pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        page = pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)  # noqa: B023 - called at once
    return page


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
    rows = []
    for line in lines_of(name, results):
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
                "" if summary["ratio"] is None else f"{summary['ratio']:.2f}",
            )
        )
        syncs = line["syncs"]
        counted = (
            "" if syncs is None else ", ".join(f"{n} {call}" for call, n in sorted(syncs.items())) or "none"
        )
        disk = "" if line["disk"] is None else f"{line['disk'] / 2**20:,.0f}"
        rows.append((*start, *shown, disk, f"{summary['peak'] / 2**20:.0f}", counted))
    headings = (
        "work",
        "program",
        "promise",
        "median s",
        "fastest to slowest",
        "ours/its",
        "disk MiB",
        "peak MiB",
    )
    if not rows:
        return "Not measured."
    return f"{data_line(name, results)}\n\n{table((*headings, 'syncs'), rows)}"


def data_line(name: str, results: list[dict[str, Any]]) -> str:
    """What was pushed."""
    files, size = next((line.get("files"), line.get("bytes")) for line in results if line["set"] == name)
    if not files:
        return "Files and bytes: not known."
    fewer = f", fewer than the {LARGE_TREE:,} wanted" if name == "w3" and files < LARGE_TREE else ""
    return f"{files:,} file{'s' * (files > 1)}, {size / 1e6:,.0f} MB{fewer}."


def targets_table(document: dict[str, Any]) -> str:
    """Each target beside what was measured."""
    measured = {(line["set"], line["work"], line["peer"]): line for line in document["results"]}
    rows = []
    for (name, work, peer), most in targets.PEERS.items():
        line = measured.get((name, work, peer))
        summary = line and line["summary"]
        if not summary or summary["ratio"] is None:
            verdict = ("", "not measured")
        elif summary["noisy"]:
            verdict = ("", DISTURBED)
        else:
            verdict = (f"{summary['ratio']:.2f}", "met" if summary["ratio"] <= most else "MISSED")
        rows.append((f"{name} {work}", f"{peer}", f"at most {most:g}", *verdict))
    peaks = [
        line["summary"]["peak"]
        for line in document["results"]
        if line["peer"] == OURS.name and line["summary"]
    ]
    if peaks:
        met = "met" if max(peaks) <= targets.MEMORY else "MISSED"
        rows.append(("peak memory, any set", "", "at most 128 MiB", f"{max(peaks) / 2**20:.0f} MiB", met))
    for item in document["library"]:
        for bound, word, worse in (("most", "at most", 1), ("least", "at least", -1)):
            if item[bound] is not None and item["ratio"] is not None:
                quiet = item["foreign"] <= NOISY
                met = "met" if worse * item["ratio"] <= worse * item[bound] else "MISSED"
                shown = (f"{item['ratio']:.2f}", met) if quiet else ("", DISTURBED)
                rows.append((item["what"], item["benchmark"], f"{word} {item[bound]:.2g}", *shown))
    return table(("work", "beside", "target", "ratio", ""), rows)


def findings_table(library: list[dict[str, Any]]) -> str:
    """What was measured inside the process."""
    rows = [
        (
            item["benchmark"],
            item["what"],
            f"{number(item['value'])} {item['unit']}".lstrip() if item["foreign"] <= NOISY else DISTURBED,
            "" if item["ratio"] is None or item["foreign"] > NOISY else f"{item['ratio']:.2f}",
        )
        for item in library
    ]
    return table(("set", "what", "median", "ratio"), rows) if rows else "Not measured."


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
