"""A runner that embeds the store: it runs a board and stores the run, and a broken store never loses a run.

`python runner.py WORK_DIR STORE_DIR [--run-id ID] [--workstream ID] [--hub URL]`
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from make_run import make_run

import artifactstore
from artifactstore.interop.guide_board import ingest_run
from artifactstore.interop.state_hub import StateHub, deliver


def main() -> None:
    """Run, store, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--run-id", default="opencmis-0001")
    parser.add_argument("--workstream")
    parser.add_argument("--hub")
    given = parser.parse_args()
    run_dir = given.work / given.run_id
    if not run_dir.exists():
        make_run(run_dir, run_id=given.run_id)
    try:
        with artifactstore.open(given.store) as store:
            ingested = ingest_run(store, run_dir, actor="runner", workstream_id=given.workstream)
            print(ingested.package.package_id, ingested.package.manifest_digest, ingested.verdict)
            if given.hub is not None:
                for delivery in deliver(
                    store, StateHub(given.hub), actor="runner", now=time.time_ns() // 1000
                ):
                    print("told" if delivery.delivered else f"not told: {delivery.linkage.failure}")
    except artifactstore.ArtifactStoreError as error:
        # The run directory stays: the same call stores it later.
        raise SystemExit(f"the run is in {run_dir}, and not stored: {error.message}") from error


if __name__ == "__main__":
    main()
