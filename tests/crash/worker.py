"""One changing call in a process of its own, `python -m crash.worker NAME ROOT`; says when it is done."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from crash.calls import ROWS
from crash.place import Place
from crash.planted import BARRIERS, BUGS


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=ROWS)
    parser.add_argument("root", type=Path)
    parser.add_argument("--again", action="store_true", help="as one who does not know whether it happened")
    parser.add_argument("--barrier", choices=BARRIERS, help="how objects are made durable")
    parser.add_argument("--bug", choices=BUGS, help="a mistake to make")
    chosen = parser.parse_args()
    for choice, table in ((chosen.barrier, BARRIERS), (chosen.bug, BUGS)):
        if choice is not None:
            table[choice]()
    row = ROWS[chosen.name]
    run = row.again if chosen.again else row.run
    run(Place(chosen.root), lambda: os.write(1, b"acknowledged\n"))


if __name__ == "__main__":
    main()
