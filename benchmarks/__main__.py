"""`python -m benchmarks`: see README.md beside this file."""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import calls, floors, http, library, many, page, pipeline, report, s3, targets, verifying
from benchmarks.datasets import Dataset, LargeFile, RealTree, SmallFiles
from benchmarks.machine import NOISY, VOLATILE, busy_seconds, commit, describe, file_system, settle
from benchmarks.measure import compile_program, own_seconds
from benchmarks.peers.catalogue import FIRST, PEERS
from benchmarks.suite import WORKS, Line, Suite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.peers.peer import Peer

# First what looks at other processes, before this one becomes large; last what leaves most to delete.
LIBRARY = ("w6", "w7", "calls", "barrier", "floor", "log", "replay", "verify", "w5")
SETS = (*WORKS, *LIBRARY)
NAMED = {"log": "log share"}  # sets whose findings have another name
# What these options change; of no other set would they change anything.
CONCERNED = {
    "peers": tuple(WORKS),
    "works": tuple(WORKS),
    "size": ("w2",),
    "packages": ("w5",),
    "rounds": tuple(name for name in SETS if name != "w5"),
}


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare artifactstore with its peers on this machine, as ratios.",
    )
    result.add_argument(
        "sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; all of them if none is named"
    )
    result.add_argument(
        "--rounds",
        type=positive,
        help="runs of each peer, each after a run of ours (5; quick: 2); w5 has one, of many calls",
    )
    result.add_argument("--quick", action="store_true", help="small sets: does it work, not how fast is it")
    result.add_argument(
        "--peers",
        type=names,
        help="of w1 to w4: `all`, or comma-separated, of"
        f" {', '.join(peer.name for peer in PEERS)} ({','.join(peer.name for peer in FIRST)})",
    )
    result.add_argument(
        "--works",
        type=lambda text: text.split(","),
        help=f"only these of w1 to w4, comma-separated, of {', '.join(known_works(WORKS))}",
    )
    result.add_argument("--packages", type=positive, help="largest store of w5 (100000; quick: 10000)")
    result.add_argument("--size", type=positive, help="bytes of the file of w2 (4 GiB; quick: 256 MiB)")
    result.add_argument(
        "--repeats",
        type=not_negative,
        default=2,
        help="more tries for a run that others disturbed (%(default)s)",
    )
    result.add_argument(
        "--patience",
        type=not_negative,
        default=20,
        help="seconds to wait for a quiet machine before a run (%(default)s)",
    )
    result.add_argument(
        "--dir",
        type=Path,
        default=Path("var/bench"),
        help="where to work, on the disk to measure (./%(default)s)",
    )
    kept = result.add_mutually_exclusive_group()
    kept.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write everything, each sample too; what the file has and this run has not stays",
    )
    kept.add_argument(
        "--page",
        action="store_true",
        help="write benchmarks/results.json, then docs/benchmarks.md from it; nothing with --quick",
    )
    return result


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """The arguments, each of which changes something."""
    known = parser()
    arguments = known.parse_args(words)
    if unknown := set(arguments.sets) - set(SETS):
        known.error(f"no set is called {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    arguments.sets = sorted(set(arguments.sets) or SETS, key=SETS.index)
    for option, concerned in CONCERNED.items():
        if getattr(arguments, option) is not None and not set(concerned) & set(arguments.sets):
            known.error(f"--{option} changes nothing there; it is for {', '.join(concerned)}")
    offered = known_works(arguments.sets)
    if unknown := set(arguments.works or ()) - set(offered):
        known.error(f"no work is called {', '.join(sorted(unknown))}; there are {', '.join(offered)}")
    if arguments.page and (arguments.size or arguments.packages):
        known.error("--page is for the full sizes: leave out --size and --packages")
    if arguments.quick and arguments.json and arguments.json.resolve() == page.RESULTS.resolve():
        known.error("--quick measures nothing that belongs there; name another file")
    if arguments.page and not arguments.quick:
        arguments.json = page.RESULTS
    return arguments


def known_works(sets: Iterable[str]) -> list[str]:
    """The works of some sets, each once."""
    return list(dict.fromkeys(work for name in sets for work in WORKS.get(name, ())))


def positive(text: str) -> int:
    """A number above zero."""
    return at_least(1, text)


def not_negative(text: str) -> int:
    """Zero or more."""
    return at_least(0, text)


def at_least(least: int, text: str) -> int:
    """A number that is not too small."""
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"must be {least} or more, not {number}")
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


def data_of(name: str, directory: Path, arguments: argparse.Namespace) -> tuple[Dataset, ...]:
    """The files that a set reads, not built yet."""
    quick = arguments.quick
    small = SmallFiles(directory / f"small-{name}", *((1_000, 20) if quick else (10_000, 200)))
    tree = RealTree(directory / "real", quick=quick)
    match name:
        case "w1" | "w4" | "log" | "replay":
            return (small,)
        case "w2":
            size = arguments.size or (256 * 1024**2 if quick else 4 * 1024**3)
            return (LargeFile(directory / "large", size=size),)
        case "w3":
            return (tree,)
        case "floor":
            return (small, tree)
        case "verify":
            return (small, LargeFile(directory / "large", size=(64 if quick else 1024) * 1024**2))
    return ()


def quiet_findings(
    name: str, data: tuple[Dataset, ...], place: Path, rounds: int, arguments: argparse.Namespace
) -> list[library.Finding]:
    """What a set finds inside the process, repeated while others disturb it; the quietest run counts."""
    for each in data:
        each.build()
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
    name: str, data: tuple[Dataset, ...], place: Path, rounds: int, arguments: argparse.Namespace
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
            small, tree = data
            return floors.floors(small, tree, place, rounds=rounds, patience=arguments.patience)
        case "log":
            return pipeline.log_share(*data, place, rounds=rounds)
        case "replay":
            return library.replay(*data, place, rounds=rounds)
        case "verify":
            small, large = data
            return [
                *verifying.verify(small, place, rounds=rounds, patience=arguments.patience),
                *verifying.verify(
                    large, place, rounds=rounds, patience=arguments.patience, most=targets.VERIFY
                ),
            ]
    raise ValueError(name)


class Run:
    """One run of some sets: what is known so far, saved whenever there is more.

    Args:
        work: a directory on the disk to measure; the caller deletes it.
    """

    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        self.arguments = arguments
        self.work = work
        self.rounds = arguments.rounds or (2 if arguments.quick else 5)
        self.machine = describe(work)
        self.told = {"commit": commit(), "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
        self.lines: list[Line] = []
        self.findings: list[library.Finding] = []

    def measure(self, name: str) -> None:
        """One set. What keeps it from its numbers is told in their place, and the next one goes on."""
        place = self.work / name
        place.mkdir()
        before = len(self.lines)
        try:
            data = data_of(name, place, self.arguments)
            if name in LIBRARY:
                self.findings += quiet_findings(name, data, place, self.rounds, self.arguments)
            else:
                self.compare(name, *data, place)
        except library.FAILURES as error:
            print(f"{name}: {error}", file=sys.stderr)
            failure = library.failed(error)
            self.findings.append(library.missing(NAMED.get(name, name), "all of it", failure))
        self.save([])
        if lines := self.lines[before:]:
            print(report.table(lines))

    def compare(self, name: str, data: Dataset, place: Path) -> None:
        """A set with peers of its own kind."""
        data.build()
        suite = Suite(
            name,
            data,
            place,
            repeats=self.arguments.repeats,
            patience=self.arguments.patience,
            works=self.arguments.works or (),
        )
        peers = FIRST if self.arguments.peers is None else self.arguments.peers
        try:
            suite.run(peers, rounds=self.rounds, after_each=self.save)
        finally:
            self.lines += suite.sorted_lines()

    def save(self, current: list[Line]) -> None:
        """Write what is known, with the lines of a set that is not done."""
        measured = [line for line in (*self.lines, *current) if line.samples or line.failure]
        document = report.document(self.machine, measured, self.findings, **self.told)
        report.save(self.arguments.json, document)


def main() -> None:
    """Run the sets, print the tables, delete the work directory at the very end."""
    arguments = parsed()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    if (kind := file_system(arguments.dir)) in VOLATILE:
        sys.exit(f"error: {arguments.dir} is in memory ({kind})\nhint: name a directory on a disk with --dir")
    work = Path(tempfile.mkdtemp(prefix="run-", dir=arguments.dir.resolve()))
    try:
        compile_program()
        run = Run(arguments, work)
        print(report.machine_line(run.machine))
        # The library's benchmarks come last: they make this process large, and children start as its copy.
        for name in arguments.sets:
            run.measure(name)
        if run.lines:
            print(report.versions(run.lines))
        if run.findings:
            print(report.findings_table(run.findings))
    finally:
        shutil.rmtree(work)
    if arguments.page and not arguments.quick:
        page.main()


if __name__ == "__main__":
    main()
