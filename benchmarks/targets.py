"""What the project asks of itself: all in one place, shown beside each ratio as met or MISSED."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEMORY = 128 * 1024**2  # bytes at most, ours, in any work of `w1` to `w4`

# Our seconds divided by the peer's, at most: by set, work, peer.
PEERS: Mapping[tuple[str, str, str], float] = {
    ("w1", "push", "restic"): 0.65,
    ("w1", "push", "borg"): 0.6,
    ("w1", "push", "ostree"): 0.6,
    ("w1", "push", "git"): 0.25,
    ("w1", "push", "cp+sync"): 1.8,
    ("w1", "push", "disk-objectstore packed"): 1.2,
    ("w1", "verify", "restic"): 0.25,
    ("w1", "verify", "borg"): 0.25,
    ("w1", "verify", "b3sum"): 1.5,
    ("w1", "export", "restic"): 0.4,
    ("w1", "export", "borg"): 0.4,
    ("w1", "export", "cp+sync"): 1.2,
    ("w1", "delete", "restic"): 0.5,
    ("w2", "push", "sha256 alone"): 1.3,
    ("w2", "push", "cp+sync"): 0.5,
    ("w2", "verify", "sha256 alone"): 1.3,
    ("w2", "export", "cp+sync"): 1.0,
    ("w3", "push", "restic"): 0.5,
    ("w3", "push", "borg"): 0.65,
    ("w3", "push", "ostree"): 0.65,
    ("w3", "verify", "restic"): 0.3,
    ("w3", "verify", "borg"): 0.3,
    ("w3", "verify", "ostree"): 0.3,
    ("w4", "unchanged", "restic"): 0.4,
    ("w4", "changed", "restic"): 0.35,
}

# Inside the process. Each is a ratio, but where a unit stands.
LOG_SHARE = 1 / 3  # encoding, log and views, as a share of W1's push, at most
REPLAY = 0.28  # events/s of replay, as a share of the rows/s of a bare insert, at least
FLAT = 1.2  # cost at any number of packages, as a multiple of that at the smallest, at most
PROPORTIONAL = 2.0  # cost of each expired package, as a multiple of that at the smallest number, at most
DATABASE_BYTES = 600  # of the database for each file, at most
START = 2.0  # `version`, as a multiple of `python -c pass`, at most
SHOW_SECONDS = 0.150  # `show`, at most
GROUP_COMMIT = 3.0  # commits/s of 16 callers, as a multiple of those of one, at least
EMBEDDED = 2.0  # create, ingest, finalize, as a multiple of three commits and a synced file, at most
VERIFY = 1.2  # of large files, as a multiple of reading and hashing them, at most
ORPHANS = 10.0  # as a multiple of listing the same tree, at most
S3_SMALL = 1.0  # objects/s to and from an S3 server, as a multiple of rclone's, at least
S3_LARGE = 0.9  # the same in bytes/s of a large object
S3_MEMORY = 256 * 1024**2  # bytes at most, ours, in `w6`
DOWNLOAD = 2.0  # bytes/s, as a multiple of a plain `http.server`, at least


@dataclass(frozen=True, slots=True)
class Wanted:
    """A target inside the process.

    Args:
        what: how a finding is called; `*` stands for numbers.
        most, least: of its ratio.
    """

    benchmark: str
    what: str
    most: float | None = None
    least: float | None = None


INSIDE = (
    Wanted("log share", "encoding, log and views of W1's push", most=LOG_SHARE),
    Wanted("verify", "verify of *", most=VERIFY),
    Wanted("replay", "database for each of * files", most=1.0),
    Wanted("replay", "replay of * events", least=REPLAY),
    Wanted("w5", "replay, * packages", least=REPLAY),
    Wanted("calls", "`artifactstore version`", most=START),
    Wanted("calls", "`show`, beside * ms", most=1.0),
    Wanted("calls", "create, ingest 4 KiB, finalize", most=EMBEDDED),
    Wanted("calls", "create_package, * callers", least=GROUP_COMMIT),
    *(
        Wanted("w5", f"{what}, * packages", most=FLAT)
        for what in (
            *("append in batches of 1,000", "create_package, durable", "list, newest"),
            *("list, a page by its cursor", "list, of a producer", "list, of a subject", "list, by metadata"),
            *("show", "find by blake3", "find by sha256", "events after a sequence", "database", "fsck"),
        )
    ),
    Wanted("w5", "sweep of 1%, * expired", most=PROPORTIONAL),
    Wanted("w5", "gc of 1%, * expired", most=PROPORTIONAL),
    Wanted("w5", "orphans among * objects, beside listing them", most=ORPHANS),
    *(
        wanted
        for what, least in (("small objects", S3_SMALL), ("a large object", S3_LARGE))
        for wanted in (
            Wanted("w6", f"{what} up, rclone", least=least),
            Wanted("w6", f"{what} down, rclone", least=least),
            Wanted("w6", f"{what}: memory of artifactstore", most=1.0),
        )
    ),
    Wanted("w7", "download, beside http.server", least=DOWNLOAD),
)


@dataclass(frozen=True, slots=True)
class Limit:
    """What the suite measures of the least that a work takes.

    Args:
        parts: whose costs are added up: set and work with a peer, or a benchmark with a finding of it; in the
            name of one, `{}` is what the `*` of the target stands for.
        words: what they are.
        beside: the finding that the target compares with, or a number of its unit; a line has its peer.
    """

    parts: tuple[tuple[str, str], ...]
    words: str
    beside: tuple[str, str] | float | None = None


_STAT = Limit((("floor", "push again: *, bare loop"),), "a bare loop: stat of each file and each object")
_LOOP = "a bare loop: each object a file in two levels of folders, two syncs; no hash, log or check"
_BOTH = "sha256sum and b3sum over the same files, one after the other"
_FOLDED = "the events read and decoded, and SQLite copying the rows of the views, without what is between"
# By set and work, or by benchmark and the target there; of what is not here, no limit is measured.
LIMITS: Mapping[tuple[str, str], Limit] = {
    ("w1", "push"): Limit((("floor", "push: *, bare loop"),), _LOOP),
    ("w1", "verify"): Limit(
        (("verify", "reading and hashing *"),),
        "each object read and both its digests computed, without the start of a process and without a record",
    ),
    ("w1", "export"): Limit(
        (("floor", "export: *, bare loop"),),
        "a bare loop of one thread: the same files written, one sync; no check",
    ),
    ("w1", "delete"): Limit(
        (("floor", "gc: *, bare loop"),), "a bare loop: each object unlinked, one sync; no log"
    ),
    ("w4", "unchanged"): _STAT,
    ("w4", "changed"): _STAT,
    ("w2", "push"): Limit((("w2 push", "sha256 alone"),), "the sha256 of the file on one core"),
    ("w2", "verify"): Limit((("w2 verify", "sha256 alone"),), "the sha256 of the file on one core"),
    ("w3", "push"): Limit((("floor", "push of a real tree of *, bare loop"),), _LOOP),
    ("w3", "verify"): Limit((("w3 verify", "sha256sum+b3sum"),), _BOTH),
    ("replay", "database for each of * files"): Limit(
        (("replay", "of a file's bytes: log and rows*"),),
        "the events with their payloads and leaf hashes and the rows of the views, packed, without an index",
        DATABASE_BYTES,
    ),
    ("replay", "replay of * events"): Limit(
        (("replay", "of it: reading and decoding*"), ("replay", "of it: SQLite copying*")),
        _FOLDED,
        ("replay", "bare executemany of *"),
    ),
    ("w5", "replay, * packages"): Limit(
        (("w5", "of a replay: reading*, {} packages"), ("w5", "of a replay: SQLite*, {} packages")),
        _FOLDED,
        ("w5", "bare executemany of *, {} packages"),
    ),
    ("calls", "`show`, beside * ms"): Limit(
        (("calls", "start of a Python that imports *"),),
        "a Python that imports the packages which read arguments, SQLite and CBOR, and ends",
        SHOW_SECONDS,
    ),
    ("calls", "create, ingest 4 KiB, finalize"): Limit(
        (("calls", "three bare commits, two objects by two barriers each*"),),
        "a bare loop: three commits, and two objects, the file and the manifest, with two barriers each",
        ("calls", "three bare commits, one synced file"),
    ),
    ("calls", "create_package, * callers"): Limit(
        (("calls", "processor time of a create_package among *"),),
        "calls a second of one core that never waits for a commit: the interpreter runs one thread at a time",
        ("calls", "create_package, one caller"),
    ),
    ("w7", "download, beside http.server"): Limit(
        (("w7", "download, bare sendfile"),),
        "a bare loop of sendfile, which is what any server can reach",
        ("w7", "download, http.server"),
    ),
}


def verdict(
    ratio: float,
    ratios: Sequence[float],
    *,
    most: float | None = None,
    least: float | None = None,
) -> str:
    """Whether a median is what is wanted, and whether its spread says the same."""

    def good(value: float) -> bool:
        return (most is None or value <= most) and (least is None or value >= least)

    straddles = any(good(each) != good(ratio) for each in ratios)
    return ("met" if good(ratio) else "MISSED") + ", within noise" * straddles
