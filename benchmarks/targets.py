"""What the project asks of itself: all in one place, shown beside each ratio as met or MISSED."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = 128 * 1024**2  # bytes at most, ours, in any set

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
PROPORTIONAL = (
    2.0  # cost of each expired package at any number, as a multiple of that at the smallest, at most
)
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
