"""`python -m benchmarks`: see README.md beside this file."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import calls, floors, http, library, many, pipeline, report, s3, targets, verifying
from benchmarks.datasets import Dataset, LargeFile, RealTree, SmallFiles
from benchmarks.machine import NOISY, VOLATILE, busy_seconds, describe, file_system, settle
from benchmarks.measure import compile_program, memory_floor, own_seconds
from benchmarks.peers.catalogue import FIRST, PEERS
from benchmarks.suite import WORKS, Line, Suite

if TYPE_CHECKING:
    from benchmarks.peers.peer import Peer

LIBRARY = ("barrier", "floor", "log", "replay", "verify", "calls", "w5", "w6", "w7")
FILES_WANTED = ("floor", "log", "replay", "verify")  # of those, who push the files of w1
SETS = (*WORKS, *LIBRARY)


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
        "--peers",
        type=names,
        default=list(FIRST),
        help=f"`all`, or comma-separated, of: {', '.join(peer.name for peer in PEERS)}",
    )
    result.add_argument("--works", type=lambda text: text.split(","), default=[], help="only these of a set")
    result.add_argument("--packages", type=positive, help="largest store of `w5` (100000; quick: 10000)")
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
    result.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write everything, each sample too; what the file has and this run has not stays",
    )
    return result


def positive(text: str) -> int:
    """A number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def names(text: str) -> list[Peer]:
    """Peers by name."""
    if text == "all":
        return list(PEERS)
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
        return RealTree(directory / "real", quick=quick)
    return SmallFiles(directory / f"small-{name}", *((1_000, 20) if quick else (10_000, 200)))


def quiet_findings(
    name: str, data: Dataset, place: Path, rounds: int, arguments: argparse.Namespace
) -> list[library.Finding]:
    """What a set finds inside the process, repeated while others disturb it; the quietest run counts."""
    if name in FILES_WANTED:
        data.build()
    best: list[library.Finding] = []
    for number in range(1 + arguments.repeats):
        directory = place / f"run-{number}"
        directory.mkdir()
        settle(place, patience=arguments.patience)
        begin, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
        found = library_findings(name, data, directory, rounds, arguments)
        foreign = (busy_seconds() - busy - own_seconds() + own) / (time.perf_counter() - begin)
        if not best or foreign < best[0].foreign:
            best = [replace(finding, foreign=max(0.0, round(foreign, 3))) for finding in found]
        if foreign <= NOISY:
            break
    return best


def library_findings(
    name: str, data: Dataset, place: Path, rounds: int, arguments: argparse.Namespace
) -> list[library.Finding]:
    """What a set finds that has no peers of its own kind."""
    packages = arguments.packages or (10_000 if arguments.quick else 100_000)
    match name:
        case "w5":
            return many.w5(place, limit=packages)
        case "calls":
            return calls.calls(place, rounds=rounds)
        case "w6":
            return s3.w6(place, rounds=rounds, quick=arguments.quick)
        case "w7":
            return http.w7(place, rounds=rounds, quick=arguments.quick)
        case "barrier":
            return pipeline.barrier(place, rounds=rounds)
        case "floor":
            return floors.floors(data, place, rounds=rounds, patience=arguments.patience)
        case "log":
            return pipeline.log_share(data, place, rounds=rounds)
        case "replay":
            return library.replay(data, place, rounds=rounds)
        case "verify":
            large = LargeFile(place / "large", size=(64 if arguments.quick else 1024) * 1024**2)
            large.build()
            return [
                *verifying.verify(data, place, rounds=rounds, patience=arguments.patience),
                *verifying.verify(
                    large, place, rounds=rounds, patience=arguments.patience, most=targets.VERIFY
                ),
            ]
    raise ValueError(name)


def main() -> None:
    """Run the sets, print the table, delete the work directory at the very end."""
    arguments = parser().parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    arguments.dir.mkdir(parents=True, exist_ok=True)
    if (kind := file_system(arguments.dir)) in VOLATILE:
        sys.exit(f"error: {arguments.dir} is in memory ({kind})\nhint: name a directory on a disk with --dir")
    work = Path(tempfile.mkdtemp(prefix="run-", dir=arguments.dir.resolve()))
    compile_program()
    machine = describe(work)
    lines: list[Line] = []
    findings: list[library.Finding] = []
    print(report.machine_line(machine))

    def save(current: list[Line]) -> None:
        measured = [line for line in (*lines, *current) if line.samples or line.failure]
        report.save(arguments.json, report.document(machine, measured, findings))

    try:
        # The library's benchmarks come last: they make this process large, and children start as its copy.
        for name in sorted(set(arguments.sets), key=SETS.index):
            place = work / name
            place.mkdir()
            data = dataset(name, place, arguments)
            if name in LIBRARY:
                findings += quiet_findings(name, data, place, rounds, arguments)
                save([])
                continue
            data.build()
            suite = Suite(
                name,
                data,
                place,
                repeats=arguments.repeats,
                patience=arguments.patience,
                works=arguments.works,
            )
            results = suite.run(arguments.peers, rounds=rounds, after_each=save)
            print(report.table(results, memory_floor()))
            lines += results
        if lines:
            print(report.versions(lines))
        if findings:
            print(report.findings_table(findings))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
