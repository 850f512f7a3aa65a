"""Every changing call with an error at each of its system calls, once or from then on."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from artifactstore import ArtifactStoreError
from crash.calls import CALLS, ROWS
from crash.changing_call import ChangingCall, check
from crash.points import Campaign, Point, Verdict, done, judge
from crash.tidiness import assert_tidy
from crash.tracing import Failure, Short, end_faults, requires_tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from artifactstore import Store
    from crash.place import Place
    from crash.report import Drill

pytestmark = [pytest.mark.slow, requires_tracing]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME = (errno.EIO, *_FULL, errno.EROFS)
_LOOK = (errno.EIO,)
_BYTES_OUT = (errno.EIO, *_FULL, errno.EINTR)
SHORT = 0  # no error, but only half of the bytes are taken
# What each system call may answer, one line each; those that cannot fail on an open file are left out.
ERRORS: dict[str, tuple[int, ...]] = {
    "access": _LOOK,
    "close": (errno.EIO, errno.EINTR),
    "dup": (errno.EMFILE,),
    "fcntl": (errno.EMFILE,),
    "fcntl lock": (errno.ENOLCK, errno.EINTR),
    "fdatasync": _BYTES_OUT,
    "flock": (errno.ENOLCK, errno.EINTR),
    "fstat": _LOOK,
    "fstatfs": _LOOK,
    "fsync": _BYTES_OUT,
    "ftruncate": _BYTES_OUT,
    "getdents64": _LOOK,
    "linkat": _NAME,
    "lstat": _LOOK,
    "mkdir": _NAME,
    "mkdirat": _NAME,
    "mmap": (errno.ENOMEM,),
    "newfstatat": _LOOK,
    "openat": (errno.EIO, errno.EMFILE, errno.EINTR),
    "openat create": (*_NAME, errno.EMFILE, errno.EINTR),
    "pread64": (errno.EIO, errno.EINTR),
    "pwrite64": (*_BYTES_OUT, SHORT),
    "read": (errno.EIO, errno.EINTR),
    "readlink": _LOOK,
    "readv": (errno.EIO, errno.EINTR),
    "rename": _NAME,
    "renameat": _NAME,
    "renameat2": _NAME,
    "rmdir": (errno.EIO, errno.EROFS),
    "stat": _LOOK,
    "syncfs": _BYTES_OUT,
    "unlink": (errno.EIO, errno.EROFS),
    "unlinkat": (errno.EIO, errno.EROFS),
    "write": (*_BYTES_OUT, SHORT),
}


# What the call may say of it: the codes of its errors. SQLite keeps some numbers to itself and says of a page
# that cannot be read that it is damaged.
FITTING: dict[int, set[str]] = {
    errno.EDQUOT: {"disk-full", "backend-failed"},
    errno.EINTR: {"backend-failed", "busy"},
    errno.EIO: {"backend-failed", "backend-missing", "database-damaged", "invalid-input"},
    errno.EMFILE: {"too-many-open-files", "backend-failed", "backend-missing"},
    errno.ENOLCK: {"backend-failed", "busy"},
    errno.ENOMEM: {"backend-failed"},
    errno.ENOSPC: {"disk-full", "backend-failed"},
    errno.EROFS: {"access-denied", "backend-failed"},
    SHORT: {"disk-full"},
}
# Calls of several transactions: what was done before the error stays done. The others happen or do not.
IN_STEPS = {"init", "migrate", "sweep", "gc", "delete orphans", "verify", "repair", "copy", "replay"}
# What came of an upload stays, so that it can go on; its bytes are none of the log's.
IN_STEPS |= {"upload begun", "upload part", "upload begun anew", "upload cancelled", "uploads expired"}
IN_STEPS |= {"adopt", "repair from a directory", "replay of wrong views", "sweep of what is abandoned"}
_PATIENCE = 0.2  # seconds; an injected refusal of a lock is not waited for


@dataclass(frozen=True, slots=True)
class FailingPoint(Point):
    """A point at which the call fails.

    Args:
        nth: it is the call so many of its name, from 0; threads may do others before it.
        errno: with this error.
        lasting: and all later calls of the same name too.
        of_the_promise: the call may say that all is durable only if this does not fail.
    """

    nth: int
    errno: int
    lasting: bool
    of_the_promise: bool

    def __str__(self) -> str:
        lasting = " from then on" if self.lasting else ""
        return f"{Point.__str__(self)}: {errno.errorcode.get(self.errno, 'short')}{lasting}"


def failing(found: Sequence[Point]) -> Iterator[FailingPoint]:
    seen: Counter[tuple[str, str]] = Counter()
    promised = set(_syncs_of_the_promise(found))
    for point in found:
        nth = seen[point.way, point.call]
        seen[point.way, point.call] += 1
        for error in ERRORS.get(point.call, ()):
            # A call that is interrupted or short is made again at once, so for ever would be for ever.
            # And where locks are refused for good SQLite waits for ten seconds: one of eight such points.
            long = error in {errno.EINTR, SHORT} or (error == errno.ENOLCK and nth % 8)
            for lasting in (False,) if long else (False, True):
                yield FailingPoint(
                    point.row,
                    point.way,
                    point.number,
                    point.call,
                    nth,
                    error,
                    lasting,
                    point in promised and error != errno.EINTR,
                )


def _syncs_of_the_promise(found: Sequence[Point]) -> Iterator[Point]:
    """The syncs before a row says that it is done; it says so by its last `write`."""
    said = {point.way: point.number for point in found if point.call == "write"}
    for before, point in pairwise(found):
        # A call that makes the store goes on without its second backend if that cannot be synced. And SQLite
        # does not look at what a sync of the folder of a new WAL gives.
        of_folder = point.call == "fdatasync" and before.call == "openat"
        is_sync = point.call in {"fdatasync", "fsync", "syncfs"} and not of_folder
        if is_sync and point.number < said[point.way] and not ROWS[point.row].creates:
            yield point


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_an_error_at_each_system_call(drill: Drill, campaign: Campaign, row: ChangingCall) -> None:
    chosen = drill.sample(list(failing(campaign.points(row))), at_most=5)
    judge(drill, "errors of system calls", campaign.verdicts(chosen, fail))


@pytest.mark.parametrize("row", [ROWS["ingest new file"], ROWS["push"]], ids=lambda row: row.name)
def test_an_error_of_each_sync_is_told(drill: Drill, campaign: Campaign, row: ChangingCall) -> None:
    """Whatever the sample."""
    found = failing(campaign.points(row))
    chosen = [each for each in found if each.of_the_promise and each.errno == errno.EIO and not each.lasting]
    judge(drill, "errors of system calls", campaign.verdicts(chosen, fail))


def fail(place: Place, point: FailingPoint) -> Verdict:
    """Let the call fail at the point; look, do it again with the same store and with another, look again."""
    row = ROWS[point.row]
    seen = 0

    def decide(_number: int, call: str) -> Failure | Short | None:
        nonlocal seen
        seen += call == point.call
        due = seen > point.nth if point.lasting else seen == point.nth + 1
        if not due or call != point.call:
            return None
        return Short() if point.errno == SHORT else Failure(point.errno)

    ended = done(replace(place, busy_timeout=_PATIENCE), point.row, point.way, decide, attempt)
    assert ended.code == 0, "\n".join([f"the process ended with {ended.code}", *ended.said])
    for line in ended.said:
        word, code = [*line.split(" "), "", ""][:2]
        assert word != "refused" or code in FITTING[point.errno], line
        assert word != "happened" or row.name in IN_STEPS, "it was refused and has happened"
    assert not (point.of_the_promise and ended.acknowledged), (
        "a sync failed and the call says that all is durable"
    )
    check(place, row, acknowledged=ended.acknowledged)
    row.again(place)
    check(place, row, acknowledged=True)
    assert_tidy(place, row)
    return Verdict(seen > point.nth, " ".join(ended.said))


def attempt(row: ChangingCall, place: Place, say: Callable[..., object]) -> None:
    """Do the row; if it is refused look, and do it again without the fault in the same process."""

    def refused(store: Store) -> None:
        end_faults()
        if row.happened(place, store):
            say("happened")
        check(place, row, acknowledged=False)
        row.finish(place, store)

    try:
        row.run(place, say, refused)
    except ArtifactStoreError as error:
        end_faults()
        say(f"refused {error.code} {error.message}")
        row.again(place)
