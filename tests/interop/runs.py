"""Small run directories of a guide-board."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from store.harness import write_tree

if TYPE_CHECKING:
    from pathlib import Path

JUNIT = (
    '<testsuites><testsuite name="board" tests="3">'
    '<testcase classname="suite.Types" name="create"/>'
    '<testcase classname="suite.Types" name="read"/>'
    '<testcase classname="suite.Types" name="policy"><skipped message="none"/></testcase>'
    "</testsuite></testsuites>"
)
FAILED_JUNIT = JUNIT.replace('name="read"/>', 'name="read"><failure message="no">trace</failure></testcase>')
RUN: dict[str, Any] = {
    "run_id": "run-7",
    "board": "opencmis-tck",
    "kind": "development",
    "suite": {"name": "opencmis-tck", "version": "1.1.0"},
    "subject": {"name": "acme-cmis", "version": "4.2", "endpoint": "http://127.0.0.1:8080/browser"},
    "started_at": "2026-11-22T20:15:00Z",
    "finished_at": "2026-11-22T20:16:00.5Z",
    "tools": {"python": "3.12"},
    "environment": {"os": "Linux"},
    "verdict": "passed",
    "counts": {"total": 3, "passed": 2, "failed": 0, "errors": 0, "skipped": 1},
}
FAILED_RUN: dict[str, Any] = {
    **RUN,
    "verdict": "failed",
    "counts": {"total": 3, "passed": 1, "failed": 1, "errors": 0, "skipped": 1},
}


def write_run(directory: Path, run: dict[str, Any] = RUN, junit: str = JUNIT) -> Path:
    """Write a run directory, and return it."""
    files = {
        "run.json": json.dumps(run).encode(),
        "junit/board.xml": junit.encode(),
        "report/index.html": b"<!doctype html><title>run</title>\n",
        "logs/board.log": b"3 tests\n",
        "captures/1.request.txt": b"GET / HTTP/1.1\n\n",
    }
    return write_tree(directory, files)
