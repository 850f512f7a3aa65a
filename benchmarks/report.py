"""The lines as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from benchmarks import targets
from benchmarks.peers.catalogue import OURS
from benchmarks.suite import Line, Summary, our_seconds, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.library import Finding
    from benchmarks.measure import Sample

HEADINGS = (
    *("set", "work", "peer", "promise", "median s", "min-max s", "ours/peer", "target", "disk MiB"),
    *("peak MiB", "syncs"),
)


NOT_KNOWN = "not known"
# What a line is told with that was measured before lines were: nothing.
UNTOLD = {"commit": None, "date": None, "machine": NOT_KNOWN}


def machine_line(machine: Mapping[str, str | int]) -> str:
    """The machine in one line."""
    said = {"processor": f"processor {NOT_KNOWN}", "disk": f"disk {NOT_KNOWN}"} | dict(machine)
    return (
        f"machine: {said['cores']} cores {said['architecture']}, {said['processor']},"
        f" {said['memory_gib']} GiB, {said['file_system']} on {said['disk']},"
        f" Linux {said['kernel']}, Python {said['python']}"
    )


def table(lines: Sequence[Line]) -> str:
    """The lines, aligned, with the failures below."""
    rows = [HEADINGS, *(row(line) for line in lines)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEADINGS))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in rows
    ]
    if any("*" in cells[HEADINGS.index("median s")] for cells in rows):
        text.append("* others used more than 30% of a core in each run of this line")
    text.extend(f"{line.set} {line.work} {line.peer}: {line.failure}" for line in lines if line.failure)
    return "\n".join(text)


def versions(lines: Sequence[Line]) -> str:
    """What each peer says of itself, one a line."""
    return "\n".join({f"{line.peer}: {line.version}": None for line in lines if line.version})


def row(line: Line) -> tuple[str, ...]:
    """The cells of one line."""
    start = (line.set, line.work, line.peer)
    summary = summarize(line)
    if summary is None:
        reason = line.failure or "no run"
        return (*start, reason.partition(":")[0], *("-",) * (len(HEADINGS) - len(start) - 1))
    mark = "*" if summary.noisy else ""
    peak = f"{'<=' if summary.peak <= line.floor else ''}{summary.peak / 1024**2:.0f}"
    return (
        *start,
        line.promise.text,
        f"{summary.median:.3f}{mark}",
        f"{summary.fastest:.3f}-{summary.slowest:.3f}",
        "" if summary.ratio is None else spread(summary.ratio, summary.ratios),
        verdict(line, summary),
        "" if line.disk is None else f"{line.disk / 1024**2:.0f}",
        peak,
        syncs(line),
    )


def syncs(line: Line) -> str:
    """The calls that made a push durable."""
    if line.syncs is None:
        return ""
    return ", ".join(f"{count} {name}" for name, count in sorted(line.syncs.items())) or "none"


def verdict(line: Line, summary: Summary) -> str:
    """The target and whether it is met; for our own lines the target of memory."""
    if line.peer == OURS.name:
        return f"<=128 MiB {'met' if summary.peak <= targets.MEMORY else 'MISSED'}"
    target = targets.PEERS.get((line.set, line.work, line.peer))
    if target is None or summary.ratio is None:
        return ""
    return f"<={target} {targets.verdict(summary.ratio, summary.ratios, most=target)}"


def spread(ratio: float, ratios: Sequence[float] | None) -> str:
    """A ratio with the smallest and the largest of those of which it is the median.

    Args:
        ratios: None if they were not kept.
    """
    if not ratios:
        return f"{ratio:.2f}"
    return (
        f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else f"{ratio:.2f} (one)"
    )


def findings_table(findings: Sequence[Finding]) -> str:
    """What the library's own benchmarks found."""
    width = max(len(item.what) for item in findings)
    lines = (
        f"{each.benchmark:9} {each.what:{width}} {each.failure}"
        if each.failure
        else f"{each.benchmark:9} {each.what:{width}} {number(each.value):>12} {each.unit:9} {wanted(each)}"
        for each in findings
    )
    return "\n".join(line.rstrip() for line in lines)


def number(value: float | None) -> str:
    """The number of a finding; empty if there is none."""
    return "" if value is None else f"{value:,.1f}" if abs(value) >= 1 else f"{value:.2g}"


def wanted(finding: Finding) -> str:
    """Ratio, target and whether it is met, as far as there are any."""
    if finding.ratio is None:
        return ""
    text = f"ratio {spread(finding.ratio, finding.ratios)}"
    for sign, bound in ((">=", finding.least), ("<=", finding.most)):
        if bound is not None:
            judged = targets.verdict(finding.ratio, finding.ratios, least=finding.least, most=finding.most)
            text += f"  {sign}{bound:.2g} {judged}"
    return text


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A document in which what a new run measured takes the place of the same of an old run.

    What is kept keeps its commit, day and machine.
    """

    def key(line: Mapping[str, Any]) -> tuple[str, str, str]:
        return line["set"], line["work"], line["peer"]

    untold = UNTOLD | ({"machine": machine_line(old["machine"])} if old.get("machine") else {})
    results = [{"measured": untold} | line for line in old["results"]]
    library = [{"measured": untold} | item for item in old["library"]]
    lines = {key(line): line for line in [*results, *new["results"]]}
    again = {item["benchmark"] for item in new["library"]} | {line["set"] for line in new["results"]}
    kept = [item for item in library if item["benchmark"] not in again]
    return {**new, "results": list(lines.values()), "library": kept + new["library"]}


def save(path: Path | None, new: Mapping[str, Any]) -> None:
    """Write a document over those lines of a file that it has too; the file is whole at any time."""
    if path is None:
        return
    if path.exists():
        new = merged(json.loads(path.read_text(encoding="utf-8")), new)
    partial = path.with_name(f"{path.name}.new")
    partial.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def document(
    machine: Mapping[str, Any],
    lines: Sequence[Line],
    findings: Sequence[Finding],
    *,
    commit: str | None = None,
    date: str | None = None,
) -> dict[str, Any]:
    """Everything, with each sample, as one JSON document.

    Args:
        commit: of the program that was measured, as far as it is known.
        date: on which the run began.
    """
    measured = {"commit": commit, "date": date, "machine": machine_line(machine) if machine else NOT_KNOWN}
    results = []
    for line in lines:
        summary = summarize(line)
        results.append(
            {
                "set": line.set,
                "work": line.work,
                "peer": line.peer,
                "version": line.version,
                "promise": line.promise.text,
                "failure": line.failure,
                "files": line.files,
                "bytes": line.bytes,
                "disk": line.disk,
                "syncs": line.syncs,
                "floor": line.floor,
                "summary": dataclasses.asdict(summary) if summary else None,
                "samples": [sample_of(sample, line.seconds(sample)) for sample in line.samples],
                "pairs": [
                    {
                        "ours": sample_of(mine, our_seconds(line, mine)),
                        "its": sample_of(theirs, line.seconds(theirs)),
                    }
                    for mine, theirs in line.pairs
                ],
                "measured": measured,
            }
        )
    return {
        "machine": dict(machine),
        "results": results,
        "library": [dataclasses.asdict(item) | {"measured": measured} for item in findings],
    }


def sample_of(sample: Sample, seconds: float) -> dict[str, float]:
    """A sample, with its seconds until durable."""
    values = dataclasses.asdict(sample) | {"seconds": seconds}
    return {name: round(value, 6) for name, value in values.items()}
