"""The order of the runs: ours before each peer, in the same minute, so that both meet the same machine."""

from __future__ import annotations

import shutil
import statistics
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.datasets import Dataset, tree_size
from benchmarks.machine import settle
from benchmarks.measure import Command, CommandFailedError, Sample, run, run_one, warm
from benchmarks.peers import ArtifactStore, Peer, Promise

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

PUSH_ONCE = ("push", "verify", "export")
PUSH_AGAIN = ("unchanged", "changed")
WORKS = {"w1": PUSH_ONCE, "w2": PUSH_ONCE, "w3": PUSH_ONCE, "w4": PUSH_AGAIN}
SPACE_FACTOR = 3  # a session writes a repository, an export and caches: about three times its source
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

    def seconds(self, sample: Sample) -> float:
        """Seconds until what was written is durable."""
        return durable_seconds(sample, self.promise)


@dataclass(frozen=True, slots=True)
class Summary:
    """A line in numbers: medians over the quiet runs, over all runs if none was quiet.

    Args:
        median, fastest, slowest: seconds until durable.
        ratio: median over the pairs of our seconds divided by the peer's: below 1 we are faster.
        peak: largest memory of a process, bytes.
        noisy: whether other processes were busy in a run that counts.
    """

    median: float
    fastest: float
    slowest: float
    ratio: float | None
    peak: int
    noisy: bool


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
    ours = ArtifactStore.promises
    ratios = [
        durable_seconds(mine, ours[operation(line.work)]) / line.seconds(theirs) for mine, theirs in pairs
    ]
    return Summary(
        median=statistics.median(seconds),
        fastest=min(seconds),
        slowest=max(seconds),
        ratio=statistics.median(ratios) if ratios else None,
        peak=max(sample.peak for sample in chosen),
        noisy=any(sample.noisy for sample in [*chosen, *(sample for pair in pairs for sample in pair)]),
    )


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
    """

    def __init__(
        self, name: str, dataset: Dataset, directory: Path, *, repeats: int, patience: float
    ) -> None:
        self.name = name
        self.dataset = dataset
        self.directory = directory
        self.repeats = repeats
        self.patience = patience
        self.session_space = SPACE_FACTOR * tree_size(dataset.root)[1]
        self.sessions = 0
        self.retired: list[Path] = []
        self.lines: dict[tuple[str, str], Line] = {}

    def run(self, peers: Sequence[type[Peer]], *, rounds: int) -> list[Line]:
        """Measure all peers `rounds` times, each time after a run of ours."""
        self.enter(ArtifactStore)
        present = [peer for peer in peers if self.enter(peer)]
        for number in range(1, rounds + 1):
            for peer in present:
                works = [work for work, name in self.lines if name == peer.name]
                ours = self.measure(ArtifactStore, works)
                theirs = self.measure(peer, works)
                for work in theirs.keys() & ours.keys():
                    self.lines[work, peer.name].pairs.append((ours[work], theirs[work]))
                print(f"{self.name} round {number}/{rounds}: {peer.name}", file=sys.stderr, flush=True)
        return sorted(self.lines.values(), key=lambda line: WORKS[self.name].index(line.work))

    def enter(self, peer: type[Peer]) -> bool:
        """Open a line for each work that a peer offers; returns whether it takes part."""
        version = peer.version()
        absence = None if version else f"absent: `{' '.join(peer.version_command)}` does not run"
        offered = [work for work in WORKS[self.name] if operation(work) in peer.promises]
        for work in offered:
            self.lines[work, peer.name] = Line(
                self.name, work, peer.name, version or "", peer.promises[operation(work)], failure=absence
            )
        return bool(version and offered)

    def measure(self, peer: type[Peer], works: Sequence[str]) -> dict[str, Sample]:
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
        return best

    def session(self, peer_type: type[Peer], works: Sequence[str]) -> dict[str, Sample]:
        """A fresh repository, a first push, then the works; what fails is noted in its line and left out."""
        self.make_room()
        self.sessions += 1
        place = self.directory / f"session-{self.sessions:04}"
        place.mkdir()
        self.retired.append(place)
        peer = peer_type(place, self.dataset.root, self.name)
        samples: dict[str, Sample] = {}
        try:
            self.dataset.reset()
            self.untimed(peer.prepare(), place)
            if "push" not in works:
                self.untimed(peer.push(), place)
        except CommandFailedError as failure:
            self.fail(peer, works, failure)
            return samples
        for work in works:
            try:
                samples[work] = self.work(peer, work)
            except CommandFailedError as failure:
                self.fail(peer, works if work == "push" else [work], failure)
                if work == "push":
                    break
        return samples

    def work(self, peer: Peer, work: str) -> Sample:
        """One measured work.

        Raises:
            CommandFailedError: it could not be done.
        """
        if work == "verify":
            self.untimed(peer.before_verify(), peer.place)
            return self.timed(peer.verify(), peer.place, reads=peer.verified)
        if work == "export":
            target = peer.place / "export"
            target.mkdir()
            return self.timed(peer.export(target), peer.place, reads=peer.repository)
        if work == "changed":
            self.dataset.change()
        return self.timed(peer.push(), peer.place, reads=self.dataset.root)

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
