"""`python -m benchmarks`: see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import library, lifecycle, pipeline, report
from benchmarks.datasets import Dataset, LargeFile, RealTree, SmallFiles
from benchmarks.machine import describe, file_system
from benchmarks.measure import memory_floor
from benchmarks.peers import OPTIONAL, PEERS, Peer
from benchmarks.suite import WORKS, Line, Suite

LIBRARY = ("barrier", "log", "replay", "packages", "lifecycle")
SETS = (*WORKS, *LIBRARY)
VOLATILE = ("tmpfs", "ramfs")  # a sync costs nothing there, so nothing is measured


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare artifactstore with its peers on this machine, as ratios.",
    )
    result.add_argument(
        "sets", nargs="+", choices=SETS, metavar="SET", help=f"one or more of {', '.join(SETS)}"
    )
    result.add_argument(
        "--rounds", type=positive, help="runs of each peer, each after a run of ours (5; quick: 2)"
    )
    result.add_argument("--quick", action="store_true", help="small sets: does it work, not how fast is it")
    result.add_argument(
        "--peers", type=names, help=f"comma-separated, of: {', '.join(peer.name for peer in PEERS)}"
    )
    result.add_argument(
        "--packages", type=positive, help="largest store of `packages` and `lifecycle` (100000; quick: 10000)"
    )
    result.add_argument("--size", type=positive, help="bytes of the file of w2 (4 GiB; quick: 256 MiB)")
    result.add_argument(
        "--repeats", type=int, default=2, help="more tries for a run that others disturbed (%(default)s)"
    )
    result.add_argument(
        "--patience",
        type=float,
        default=20.0,
        help="seconds to wait for a quiet machine before a run (%(default)s)",
    )
    result.add_argument(
        "--dir",
        type=Path,
        default=Path("var/bench"),
        help="where to work, on the disk to measure (./%(default)s)",
    )
    result.add_argument("--json", type=Path, metavar="FILE", help="write everything, each sample too")
    return result


def positive(text: str) -> int:
    """A number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def names(text: str) -> list[type[Peer]]:
    """Peers by name."""
    known = {peer.name: peer for peer in PEERS}
    try:
        return [known[name] for name in text.split(",")]
    except KeyError as error:
        raise argparse.ArgumentTypeError(
            f"no peer is called {error}; there are {', '.join(known)}"
        ) from error


def dataset(name: str, directory: Path, arguments: argparse.Namespace) -> Dataset:
    """The files of a set, not built yet."""
    quick = arguments.quick
    if name == "w2":
        return LargeFile(
            directory / "large", size=arguments.size or (256 * 1024**2 if quick else 4 * 1024**3)
        )
    if name == "w3":
        return RealTree.of_environment(quick=quick)
    return SmallFiles(directory / f"small-{name}", *((1_000, 20) if quick else (10_000, 200)))


def main() -> None:
    """Run the sets, print the table, delete the work directory at the very end."""
    arguments = parser().parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    arguments.dir.mkdir(parents=True, exist_ok=True)
    if (kind := file_system(arguments.dir)) in VOLATILE:
        sys.exit(f"error: {arguments.dir} is in memory ({kind})\nhint: name a directory on a disk with --dir")
    peers = arguments.peers or [peer for peer in PEERS if peer not in OPTIONAL]
    work = Path(tempfile.mkdtemp(prefix="run-", dir=arguments.dir.resolve()))
    machine = describe(work)
    lines: list[Line] = []
    findings: list[library.Finding] = []
    print(report.machine_line(machine))
    try:
        # The library's benchmarks come last: they make this process large, and children start as its copy.
        for name in sorted(set(arguments.sets), key=SETS.index):
            place = work / name
            place.mkdir()
            data = dataset(name, place, arguments)
            if name == "packages":
                findings += library.packages(
                    place, limit=arguments.packages or (10_000 if arguments.quick else 100_000)
                )
                continue
            if name == "barrier":
                findings += pipeline.barrier(place, rounds=rounds)
                continue
            data.build()
            if name == "log":
                findings += pipeline.log_share(data, place, rounds=rounds)
                continue
            if name == "lifecycle":
                findings += lifecycle.verify(data, place, rounds=rounds)
                large = LargeFile(place / "large", size=(64 if arguments.quick else 1024) * 1024**2)
                large.build()
                findings += lifecycle.verify(large, place, rounds=rounds, most=lifecycle.VERIFY_TARGET)
                findings += lifecycle.expiry(
                    place, count=arguments.packages or (10_000 if arguments.quick else 100_000)
                )
                continue
            if name == "replay":
                findings += library.replay(data, place, rounds=rounds)
                continue
            suite = Suite(name, data, place, repeats=arguments.repeats, patience=arguments.patience)
            results = suite.run(peers, rounds=rounds)
            print(report.table(results, memory_floor()))
            lines += results
        if lines:
            print(report.versions(lines))
        if findings:
            print(report.findings_table(findings))
        if arguments.json:
            text = json.dumps(report.document(machine, lines, findings), indent=2)
            arguments.json.write_text(text + "\n", encoding="utf-8")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
