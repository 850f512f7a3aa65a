"""The order of the runs: ours before each peer, in the same minute, so that both meet the same machine."""

from __future__ import annotations

import shutil
import statistics
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.datasets import Dataset, tree_size
from benchmarks.machine import settle
from benchmarks.measure import (
    Command,
    CommandFailedError,
    Sample,
    disk_usage,
    memory_floor,
    run,
    run_one,
    traced,
    warm,
)
from benchmarks.peers.catalogue import OURS
from benchmarks.peers.peer import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from benchmarks.peers.peer import Peer, Promise

LIFE = ("push", "verify", "export", "delete")
PUSH_AGAIN = ("unchanged", "changed")
DELETING = ("delete",)
WORKS = {"w1": LIFE, "w2": LIFE, "w3": LIFE, "w4": PUSH_AGAIN}
SPACE_FACTOR = 3  # a session writes a repository, an export and caches: about three times its source
MASS_DELETE = 1_000  # files of a set from which on a delete disturbs what comes after it
RETIRED_LIMIT = 24 * 1024**3  # bytes of finished sessions kept, since deleting them disturbs the disk


@dataclass(slots=True)
class Line:
    """One peer at one work of one set: a line of the report."""

    set: str
    work: str
    peer: str
    version: str
    promise: Promise
    samples: list[Sample] = field(default_factory=list)
    pairs: list[tuple[Sample, Sample]] = field(
        default_factory=list
    )  # ours, then the peer's of the same minute
    failure: str | None = None
    disk: int | None = None  # bytes that the repository takes after the push
    syncs: dict[str, int] | None = None  # calls that make bytes durable, by name
    files: int | None = None  # of the set
    bytes: int | None = None
    floor: int = 0  # bytes of memory below which a peak says nothing

    def seconds(self, sample: Sample) -> float:
        """Seconds until what was written is durable."""
        return durable_seconds(sample, self.promise)


@dataclass(frozen=True, slots=True)
class Summary:
    """A line in numbers: medians over the quiet runs, over all runs if none was quiet.

    Args:
        median, fastest, slowest: seconds until durable.
        ratio: median over the pairs of our seconds divided by the peer's: below 1 we are faster.
        ratios: those of the pairs.
        peak: largest memory of a process, bytes.
        noisy: whether other processes were busy in a run that counts.
    """

    median: float
    fastest: float
    slowest: float
    ratio: float | None
    peak: int
    noisy: bool
    ratios: tuple[float, ...] = ()


def durable_seconds(sample: Sample, promise: Promise) -> float:
    """Time to return; plus the syncfs after it for what a peer leaves to the kernel."""
    return sample.returned if promise.durable else sample.returned + sample.synced


def summarize(line: Line) -> Summary | None:
    """The numbers of a line; None if no run succeeded."""
    if not line.samples:
        return None
    chosen = [sample for sample in line.samples if not sample.noisy] or line.samples
    pairs = [pair for pair in line.pairs if not (pair[0].noisy or pair[1].noisy)] or line.pairs
    seconds = [line.seconds(sample) for sample in chosen]
    ratios = tuple(our_seconds(line, mine) / line.seconds(theirs) for mine, theirs in pairs)
    return Summary(
        median=statistics.median(seconds),
        fastest=min(seconds),
        slowest=max(seconds),
        ratio=statistics.median(ratios) if ratios else None,
        peak=max(sample.peak for sample in chosen),
        noisy=any(sample.noisy for sample in [*chosen, *(sample for pair in pairs for sample in pair)]),
        ratios=ratios,
    )


def our_seconds(line: Line, sample: Sample) -> float:
    """Seconds until durable of our run beside a peer's."""
    return durable_seconds(sample, OURS.promised(operation(line.work)))


def operation(work: str) -> str:
    """What a peer is asked to do: W4's works are pushes too."""
    return "push" if work in PUSH_AGAIN else work


class Suite:
    """Runs one set.

    Args:
        name: `w1` to `w4`.
        dataset: its files, built.
        directory: where repositories and exports go, on the file system to measure; the caller deletes it.
        repeats: how often a noisy run is tried again.
        patience: seconds to wait for a quiet machine before each run.
        works: what to measure; all of the set if empty.
    """

    def __init__(
        self,
        name: str,
        dataset: Dataset,
        directory: Path,
        *,
        repeats: int,
        patience: float,
        works: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.dataset = dataset
        self.directory = directory
        self.repeats = repeats
        self.patience = patience
        self.works = [work for work in WORKS[name] if not works or work in works]
        self.files, self.bytes = tree_size(dataset.root)
        self.session_space = SPACE_FACTOR * self.bytes
        self.sessions = 0
        self.retired: list[Path] = []
        self.lines: dict[tuple[str, str], Line] = {}

    def run(
        self, peers: Sequence[Peer], *, rounds: int, after_each: Callable[[list[Line]], object] = list
    ) -> list[Line]:
        """Measure all peers `rounds` times, each time after a run of ours.

        Args:
            after_each: takes what is known after each peer, so that a run that is ended loses little.
        """
        self.enter(OURS)
        present = [peer for peer in peers if self.enter(peer)]
        for phase in self.phases():
            for number in range(1, rounds + 1):
                for peer in present:
                    works = self.open_works(peer, phase)
                    if not works:
                        continue
                    ours = self.measure(OURS, works)
                    theirs = self.measure(peer, works)
                    for work in theirs.keys() & ours.keys():
                        self.lines[work, peer.name].pairs.append((ours[work], theirs[work]))
                    said = f"{', '.join(works)} of {peer.name}"
                    print(f"{self.name} round {number}/{rounds}: {said}", file=sys.stderr, flush=True)
                    after_each(self.sorted_lines())
        # Last, since these runs delete too.
        for peer in (OURS, *present):
            self.trace(peer, self.open_works(peer, self.works))
        return self.sorted_lines()

    def phases(self) -> list[list[str]]:
        """The works; deletes of many files last: for minutes after them the disk makes new files more slowly.

        Of few files it is done where it comes, which saves a second push of everything for each peer.
        """
        if self.files < MASS_DELETE:
            return [self.works]
        kept = [work for work in self.works if work not in DELETING]
        return [phase for phase in (kept, [work for work in self.works if work in DELETING]) if phase]

    def open_works(self, peer: Peer, works: Sequence[str]) -> list[str]:
        """Those of some works that a peer has, and has not failed at."""
        lines = ((work, self.lines.get((work, peer.name))) for work in works)
        return [work for work, line in lines if line and not line.failure]

    def sorted_lines(self) -> list[Line]:
        """The lines by work."""
        return sorted(self.lines.values(), key=lambda line: WORKS[self.name].index(line.work))

    def enter(self, peer: Peer) -> bool:
        """Open a line for each work, also for what a peer does not have; returns whether it takes part."""
        version = peer.installed()
        absence = None if version else f"absent: `{peer.version.split()[0].rpartition('/')[2]}` does not run"
        offered = {work for work in self.works if peer.calls(operation(work))}
        for work in self.works:
            if work in offered or peer.whole:
                self.lines[work, peer.name] = Line(
                    *(self.name, work, peer.name, version or "", peer.promised(operation(work))),
                    failure=absence if work in offered else "has none",
                    files=self.files,
                    bytes=self.bytes,
                )
        return bool(version and offered)

    def measure(self, peer: Peer, works: Sequence[str]) -> dict[str, Sample]:
        """One session, repeated while others disturb it; the quietest sample of each work counts."""
        best: dict[str, Sample] = {}
        for _ in range(1 + self.repeats):
            working = [work for work in works if not self.lines[work, peer.name].failure]
            if not working:
                break
            for work, sample in self.session(peer, working).items():
                if work not in best or sample.foreign < best[work].foreign:
                    best[work] = sample
            if not any(sample.noisy for sample in best.values()):
                break
        for work, sample in best.items():
            self.lines[work, peer.name].samples.append(sample)
            self.lines[work, peer.name].floor = memory_floor()  # this process only grows
        return best

    def session(self, peer: Peer, works: Sequence[str]) -> dict[str, Sample]:
        """A fresh repository, a first push, then the works; what fails is noted in its line and left out."""
        session = Session(peer, self.new_place(), self.dataset.root, self.name)
        samples: dict[str, Sample] = {}
        try:
            self.dataset.reset()
            self.untimed(session.prepare(), session.place)
            if "push" not in works:
                self.untimed(session.work("push"), session.place)
        except CommandFailedError as failure:
            self.fail(peer, works, failure)
            return samples
        for work in works:
            try:
                samples[work] = self.work(session, work)
            except CommandFailedError as failure:
                self.fail(peer, works if work == "push" else [work], failure)
                if work == "push":
                    break
            if work == "push" and self.lines[work, peer.name].disk is None and session.repository.exists():
                self.lines[work, peer.name].disk = disk_usage(session.repository)
        return samples

    def work(self, session: Session, work: str) -> Sample:
        """One measured work.

        Raises:
            CommandFailedError: it could not be done.
        """
        commands = self.ready(session, work)
        return self.timed(commands, session.place, reads=session.reads(operation(work)))

    def ready(self, session: Session, work: str) -> list[Command]:
        """The commands of a work, after what must be there for it.

        Raises:
            CommandFailedError: it could not be made.
        """
        done = operation(work)
        self.untimed(session.before(done), session.place)
        if work == "export":
            session.target.mkdir()
        if work == "changed":
            self.dataset.change()
        return list(session.work(done))

    def trace(self, peer: Peer, works: Sequence[str]) -> None:
        """Count what each work does to make its bytes durable, untimed; nothing where nobody may trace."""
        if not works:
            return
        session = Session(peer, self.new_place(), self.dataset.root, self.name)
        try:
            self.dataset.reset()
            self.untimed(session.prepare(), session.place)
            if peer.push and "push" not in works:
                self.untimed(session.work("push"), session.place)
            for work in works:
                syncs = traced(self.ready(session, work), session.place)
                self.lines[work, peer.name].syncs = syncs
        except CommandFailedError as failure:
            print(f"{self.name}: the syncs of {peer.name} are not counted: {failure}", file=sys.stderr)

    def new_place(self) -> Path:
        """A directory for a session, on a disk that has room for it."""
        self.make_room()
        self.sessions += 1
        place = self.directory / f"session-{self.sessions:04}"
        place.mkdir()
        self.retired.append(place)
        return place

    def fail(self, peer: Peer, works: Sequence[str], failure: CommandFailedError) -> None:
        """Note why there are no numbers."""
        for work in works:
            self.lines[work, peer.name].failure = f"failed: {failure}"

    def timed(self, commands: Iterable[Command], place: Path, *, reads: Path) -> Sample:
        """Run with warm sources on a quiet machine."""
        settle(self.directory, patience=self.patience)
        warm(reads)
        return run(list(commands), place)

    def untimed(self, commands: Iterable[Command], place: Path) -> None:
        """Run what is not measured."""
        for command in commands:
            run_one(command, place)

    def make_room(self) -> None:
        """Delete finished sessions, but only when they would fill the disk."""
        limit = min(RETIRED_LIMIT, shutil.disk_usage(self.directory).free // 2)
        if (len(self.retired) + 1) * self.session_space > limit:
            for place in self.retired:
                shutil.rmtree(place)
            self.retired.clear()
