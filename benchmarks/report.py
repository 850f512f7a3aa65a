"""The lines as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from benchmarks import targets
from benchmarks.peers.catalogue import OURS
from benchmarks.suite import Line, Summary, operation, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.library import Finding

HEADINGS = (
    *("set", "work", "peer", "promise", "median s", "min-max s", "ours/peer", "target", "disk MiB"),
    *("peak MiB", "syncs"),
)


def machine_line(machine: Mapping[str, str | int]) -> str:
    """The machine in one line."""
    return (
        f"machine: {machine['cores']} cores {machine['architecture']}, {machine['memory_gib']} GiB,"
        f" Linux {machine['kernel']}, {machine['file_system']}, Python {machine['python']}"
    )


def table(lines: Sequence[Line], floor: int) -> str:
    """The lines, aligned, with the failures below.

    Args:
        floor: bytes of memory below which a peak says nothing.
    """
    rows = [HEADINGS, *(row(line, floor) for line in lines)]
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


def row(line: Line, floor: int) -> tuple[str, ...]:
    """The cells of one line."""
    start = (line.set, line.work, line.peer)
    summary = summarize(line)
    if summary is None:
        reason = line.failure or "no run"
        return (*start, reason.partition(":")[0], *("-",) * (len(HEADINGS) - len(start) - 1))
    mark = "*" if summary.noisy else ""
    peak = f"{summary.peak / 1024**2:.0f}" if summary.peak > floor else f"<={floor / 1024**2:.0f}"
    return (
        *start,
        line.promise.text,
        f"{summary.median:.3f}{mark}",
        f"{summary.fastest:.3f}-{summary.slowest:.3f}",
        "" if summary.ratio is None else f"{summary.ratio:.2f}",
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
    return f"<={target} {'met' if summary.ratio <= target else 'MISSED'}"


def findings_table(findings: Sequence[Finding]) -> str:
    """What the library's own benchmarks found."""
    width = max(len(item.what) for item in findings)
    lines = (
        f"{each.benchmark:9} {each.what:{width}} {number(each.value):>12} {each.unit:9} {wanted(each)}"
        for each in findings
    )
    return "\n".join(line.rstrip() for line in lines)


def number(value: float | None) -> str:
    """The number of a finding; empty if there is none."""
    return "" if value is None else f"{value:,.1f}"


def wanted(finding: Finding) -> str:
    """Ratio, target and whether it is met, as far as there are any."""
    if finding.ratio is None:
        return ""
    text = f"ratio {finding.ratio:.2f}"
    if finding.least is not None:
        text += f"  >={finding.least} {'met' if finding.ratio >= finding.least else 'MISSED'}"
    if finding.most is not None:
        text += f"  <={finding.most} {'met' if finding.ratio <= finding.most else 'MISSED'}"
    return text


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A document in which the lines of a new run take the place of the same ones of an old run."""

    def key(line: Mapping[str, Any]) -> tuple[str, str, str]:
        return line["set"], line["work"], line["peer"]

    lines = {key(line): line for line in [*old["results"], *new["results"]]}
    benchmarks = {item["benchmark"] for item in new["library"]}
    kept = [item for item in old["library"] if item["benchmark"] not in benchmarks]
    return {**new, "results": list(lines.values()), "library": kept + new["library"]}


def save(path: Path | None, new: Mapping[str, Any]) -> None:
    """Write a document over those lines of a file that it has too."""
    if path is None:
        return
    if path.exists():
        new = merged(json.loads(path.read_text(encoding="utf-8")), new)
    path.write_text(json.dumps(new, indent=2) + "\n", encoding="utf-8")


def document(
    machine: Mapping[str, Any], lines: Sequence[Line], findings: Sequence[Finding]
) -> dict[str, Any]:
    """Everything, with each sample, as one JSON document."""
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
                "operation": operation(line.work),
                "failure": line.failure,
                "target": targets.PEERS.get((line.set, line.work, line.peer)),
                "files": line.files,
                "bytes": line.bytes,
                "disk": line.disk,
                "syncs": line.syncs,
                "summary": dataclasses.asdict(summary) if summary else None,
                "samples": [
                    {name: round(value, 4) for name, value in dataclasses.asdict(sample).items()}
                    | {"seconds": round(line.seconds(sample), 4)}
                    for sample in line.samples
                ],
            }
        )
    return {
        "machine": dict(machine),
        "results": results,
        "library": [dataclasses.asdict(item) for item in findings],
    }
