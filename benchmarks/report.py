"""The lines as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from benchmarks.peers import ArtifactStore
from benchmarks.suite import Line, Summary, operation, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.library import Finding

# Our seconds divided by the peer's, at most; a set without its own number takes none.
TARGETS: Mapping[tuple[str, str, str], float] = {
    ("w1", "push", "restic"): 0.8,
    ("w1", "push", "borg"): 0.75,
    ("w1", "push", "git"): 0.3,
    ("w1", "push", "cp+sync"): 2.2,
    ("w1", "verify", "restic"): 0.35,
    ("w1", "export", "restic"): 0.5,
    ("w1", "export", "cp+sync"): 1.5,
    ("w2", "push", "borg"): 0.4,
    ("w2", "push", "cp+sync"): 0.6,
    ("w2", "verify", "restic"): 0.4,
    ("w2", "export", "restic"): 0.3,
    ("w3", "push", "borg"): 0.9,
    ("w3", "push", "restic"): 0.7,
    ("w3", "verify", "restic"): 0.4,
    ("w3", "verify", "borg"): 0.4,
    ("w4", "unchanged", "restic"): 0.5,
    ("w4", "changed", "restic"): 0.4,
}
MEMORY_TARGET = 128 * 1024**2  # bytes at most, ours, in any set
HEADINGS = ("set", "work", "peer", "promise", "median s", "min-max s", "ours/peer", "target", "peak MiB")


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
        return (*start, reason.partition(":")[0], "-", "-", "-", "-", "-")
    mark = "*" if summary.noisy else ""
    peak = f"{summary.peak / 1024**2:.0f}" if summary.peak > floor else f"<={floor / 1024**2:.0f}"
    return (
        *start,
        line.promise.text,
        f"{summary.median:.3f}{mark}",
        f"{summary.fastest:.3f}-{summary.slowest:.3f}",
        "" if summary.ratio is None else f"{summary.ratio:.2f}",
        verdict(line, summary),
        peak,
    )


def verdict(line: Line, summary: Summary) -> str:
    """The target and whether it is met; for our own lines the target of memory."""
    if line.peer == ArtifactStore.name:
        return f"<=128 MiB {'met' if summary.peak <= MEMORY_TARGET else 'MISSED'}"
    target = TARGETS.get((line.set, line.work, line.peer))
    if target is None or summary.ratio is None:
        return ""
    return f"<={target} {'met' if summary.ratio <= target else 'MISSED'}"


def findings_table(findings: Sequence[Finding]) -> str:
    """What the library's own benchmarks found."""
    return "\n".join(
        f"{item.benchmark:9} {item.what:42} {item.value:12,.1f} {item.unit:9} {wanted(item)}".rstrip()
        for item in findings
    )


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
                "target": TARGETS.get((line.set, line.work, line.peer)),
                "summary": dataclasses.asdict(summary) if summary else None,
                "samples": [
                    dataclasses.asdict(sample) | {"seconds": line.seconds(sample)} for sample in line.samples
                ],
            }
        )
    return {
        "machine": dict(machine),
        "results": results,
        "library": [dataclasses.asdict(item) for item in findings],
    }
