"""Makes the run directory of an OpenCMIS TCK board.

`python make_run.py DIR [--run-id ID] [--kind KIND] [--strict]`

The tests are real ones, run by pytest against a small repository over HTTP; so are the JUnit XML, the logs
and the captures. A strict run has tests that fail.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import platform
import struct
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

TCK = Path(__file__).parent / "tck"


def make_run(directory: Path, *, run_id: str, kind: str = "development", strict: bool = False) -> None:
    """Run the board, and write its run directory; `run.json` comes last.

    Args:
        directory: made; it must not exist.
        run_id: names the run.
        kind: why it runs.
        strict: ask more of the repository than it can do.
    """
    for name in ("junit", "report", "logs", "captures", "screenshots"):
        (directory / name).mkdir(parents=True)
    lock = directory / "run.lock"
    lock.touch()
    started = datetime.now(UTC)
    run_tests(directory, strict=strict)
    counts, rows = results(directory / "junit" / "browser-binding.xml")
    write_report(directory / "report", run_id, counts, rows)
    for number in range(8):
        (directory / "screenshots" / f"board-{number}.png").write_bytes(picture(number))
    bad = counts["failed"] + counts["errors"]
    run = {
        "run_id": run_id,
        "board": "opencmis-tck",
        "kind": kind,
        "suite": {"name": "opencmis-tck", "version": "1.1.0"},
        "subject": {"name": "acme-cmis", "version": "4.2", "endpoint": "http://127.0.0.1/browser"},
        "started_at": moment(started),
        "finished_at": moment(datetime.now(UTC)),
        "tools": {"python": platform.python_version(), "guide-board": "0.9"},
        "environment": {"os": platform.system(), "binding": "browser"},
        "verdict": "failed" if bad else "passed",
        "counts": counts,
        "operator": "nightly",
    }
    (directory / "run.json").write_text(json.dumps(run, indent=2), encoding="utf-8")
    lock.unlink()


def run_tests(directory: Path, *, strict: bool) -> None:
    """Let pytest run the board."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))},
        "TCK_CAPTURES": str(directory / "captures"),
        "TCK_STRICT": "1" if strict else "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [
        sys.executable, "-m", "pytest", str(TCK), f"--rootdir={TCK}", f"--confcutdir={TCK}", "-c", os.devnull,
        "-p", "no:cacheprovider", "-v", f"--junitxml={directory / 'junit' / 'browser-binding.xml'}",
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    (directory / "logs" / "board.log").write_bytes(done.stdout + done.stderr)
    if done.returncode not in {0, 1}:
        raise SystemExit(f"the board did not run:\n{done.stdout.decode()}{done.stderr.decode()}")


def results(junit: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """How many tests ended how, and how each did."""
    counts = dict.fromkeys(("total", "passed", "failed", "errors", "skipped"), 0)
    outcomes = {"failure": "failed", "error": "errors", "skipped": "skipped"}
    rows = []
    for case in ElementTree.parse(junit).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        outcome = next((outcomes[child.tag] for child in case if child.tag in outcomes), "passed")
        counts["total"] += 1
        counts[outcome] += 1
        rows.append((f"{case.get('classname')}::{case.get('name')}", outcome))
    return counts, rows


def write_report(folder: Path, run_id: str, counts: dict[str, int], rows: list[tuple[str, str]]) -> None:
    """A page with all results, and one for each test."""
    lines = []
    for number, (name, outcome) in enumerate(rows):
        page = f"<!doctype html><title>{html.escape(name)}</title><p>{outcome}\n"
        (folder / f"test-{number:03}.html").write_text(page, encoding="utf-8")
        lines.append(f'<li><a href="test-{number:03}.html">{html.escape(name)}</a>: {outcome}')
    head = f"<!doctype html><title>{html.escape(run_id)}</title><p>{html.escape(str(counts))}<ul>"
    (folder / "index.html").write_text("\n".join([head, *lines, "</ul>\n"]), encoding="utf-8")


def picture(number: int) -> bytes:
    """A small PNG of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((number * 30, 90, 160)) * 64 for _ in range(48))
    size = struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def moment(instant: datetime) -> str:
    """RFC 3339 in UTC."""
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def main() -> None:
    """Make a run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--run-id", default="opencmis-0001")
    parser.add_argument("--kind", default="development")
    parser.add_argument("--strict", action="store_true")
    given = parser.parse_args()
    make_run(given.directory, run_id=given.run_id, kind=given.kind, strict=given.strict)
    print(given.directory)


if __name__ == "__main__":
    main()
