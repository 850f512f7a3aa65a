"""One call of a store in a process of its own, as `python -m lifecycle.worker CALL ROOT NOW`; says `done`."""

from __future__ import annotations

import sys
from pathlib import Path

from store.harness import FakeClock, Home


def main(call: str, root: str, now: str) -> None:
    """Run one call of the store."""
    with Home(Path(root)).open(clock=FakeClock(int(now)), create=False) as store:
        if call == "gc":
            store.gc(actor="gc")
        elif call == "verify":
            store.verify(actor="scrub")
    print("done", flush=True)  # noqa: T201 - the answer of this program


if __name__ == "__main__":
    main(*sys.argv[1:])
