"""How far the log has come, noted beside the database: the last event that was acknowledged.

SQLite takes a write-ahead log that is damaged, cut or gone for one that ends earlier, and says nothing; a
backup that is put in the place of the database ends earlier too. In both cases events that a caller was
told of are no longer there, and new ones would take their numbers. So every commit, once it is durable and
before its call returns, notes its last event in the file that puts writers in a queue.

The note is not synced: after a power cut it may be older than the log, and it is never newer.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from artifactstore.connection import Connection

_SIZE = 20 + 1 + 64 + 1 + 16 + 1  # bytes: three fields, each with a separator or the end of the line


class Head(NamedTuple):
    """The last event of a log."""

    sequence: int
    leaf_hash: bytes


def newest(connection: Connection) -> Head:
    """The head of the log as it is; sequence 0 in an empty one."""
    sql = "SELECT sequence, leaf_hash FROM events ORDER BY sequence DESC LIMIT 1"
    row = connection.execute(sql).fetchone()
    return Head(0, bytes(32)) if row is None else Head._make(row)


def lost(connection: Connection, last: Head | None) -> str | None:
    """What is wrong if the log does not hold the event that was acknowledged last, else None.

    Args:
        last: noted before the connection began to read; the log can only have grown since.
    """
    if last is None:
        return None
    sql = "SELECT leaf_hash FROM events WHERE sequence = ?"
    row = connection.execute(sql, (last.sequence,)).fetchone()
    if row is None:
        end = newest(connection).sequence
        return f"event {last.sequence} was acknowledged, but the log ends at event {end}"
    return None if row[0] == last.leaf_hash else f"event {last.sequence} is not the one that was acknowledged"


def note(descriptor: int, head: Head) -> None:
    """Write the head of the log over the earlier one, under the lock of the writers."""
    line = f"{head.sequence:020} {head.leaf_hash.hex()}"
    # The commit is durable already: a note that cannot be written must not make it look undone.
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, f"{line} {_check(line)}\n".encode(), 0)


def noted(descriptor: int) -> Head | None:
    """What was noted last; None if nothing was, or if a crash left half of it."""
    text = os.pread(descriptor, _SIZE, 0).decode("ascii", "replace")
    line, _, check = text.rstrip("\n").rpartition(" ")
    if len(text) != _SIZE or check != _check(line):
        return None
    sequence, _, leaf_hash = line.partition(" ")
    return Head(int(sequence), bytes.fromhex(leaf_hash))


def _check(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:16]
