"""Two real processes on one store, driven step by step, and killed at each of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store.harness import write_tree

from artifactstore import events
from lifecycle.harness import Life

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"the same bytes\n" * 100
TESTS = Path(__file__).parent.parent


class Process:
    """A worker that stops at each step; see `lifecycle.worker`."""

    def __init__(self, life: Life, call: str) -> None:
        command = [
            sys.executable,
            "-m",
            "lifecycle.worker",
            call,
            life.home.root,
            life.clock.now,
            life.root / "again",
        ]
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            text=True,
        )
        self.step = self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def next(self) -> str:
        """Do one step; the place where it stops then."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.step = self._read()
        return self.step

    def steps(self, count: int) -> None:
        """Do some steps, which must be there."""
        for _ in range(count):
            assert self.step not in {"", "done"}
            self.next()

    def finish(self) -> list[str]:
        """Do all steps; the names of them."""
        names = [self.step]
        while self.step not in {"", "done"}:
            names.append(self.next())
        assert self.step == "done"
        self._process.communicate()
        assert self._process.returncode == 0
        return names

    def kill(self) -> None:
        """End it at once; it must have been at work."""
        assert self.step not in {"", "done"}
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        assert self._process.returncode == -signal.SIGKILL


# Where gc stops: the release of one package, then the removal of its two objects in one transaction.
GC_STEPS = [
    "begin", "commit", "committed",
    "begin", "remove", "remove done", "remove", "remove done", "commit", "committed",
    "begin", "commit", "committed", "done",
]  # fmt: skip
# Where a push stops outside its transaction.
PUSH_STEPS = ["publish", "publish done", "begin"]


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Life]:
    """A store with an expired package; the tree `again` has the same bytes."""
    life = Life(tmp_path)
    life.expired(CONTENT)
    write_tree(tmp_path / "again", {"data": CONTENT})
    life.store.close()
    yield life
    life.store = life.open()
    life.finish()


def check(life: Life) -> None:
    """After a gc that nobody disturbs, the bytes of the new package are there and nothing is left over."""
    with life.open() as store:
        store.gc(actor="cron")
        store.orphans(actor="cron", delete=True, older_than=-(10**9))
        kept = [package for package in store.list_packages().items if package.status == "finalized"]
        for package in kept:
            assert store.read_file(package.package_id, "data") == CONTENT
        assert store.fsck(read=True).findings == ()
        (gone,) = store.list_packages(status="garbage_collected").items
        assert gone.retention_class == "transient"
        log = store.events()
        deleted = [event for event in log if event.type == events.OBJECT_DELETED]
        assert len({event.payload["blake3"] for event in deleted}) >= 1 + (not kept)
        assert len(life.home.object_paths()) == 2 * bool(kept)


def test_gc_takes_the_steps_that_the_drills_know(prepared: Life) -> None:
    assert Process(prepared, "gc").finish() == GC_STEPS
    check(prepared)


@pytest.mark.parametrize("call", ["push", "ingest_file"])
def test_a_gc_that_dies_in_the_removal_beside_an_ingest(prepared: Life, call: str) -> None:
    """The deaths that cost bytes in simpler protocols."""
    gc = Process(prepared, "gc")
    gc.steps(GC_STEPS.index("remove done"))
    ingest = Process(prepared, call)
    while ingest.step != "begin" or call == "ingest_file":
        if call == "ingest_file" and ingest.step == "begin":
            break
        ingest.next()
    gc.kill()
    ingest.finish()
    check(prepared)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["push", "ingest_file"])
@pytest.mark.parametrize("place", range(len(GC_STEPS) - 1), ids=lambda place: f"{place}-{GC_STEPS[place]}")
@pytest.mark.parametrize("ahead", range(len(PUSH_STEPS) + 1))
@pytest.mark.parametrize("dies", [True, False], ids=["dies", "lives"])
def test_gc_at_each_step_beside_an_ingest_at_each_step(
    prepared: Life, call: str, place: int, ahead: int, dies: bool
) -> None:
    holds_the_lock = GC_STEPS[place] in {"commit", "remove", "remove done"}
    ingest = Process(prepared, call)
    if call == "ingest_file":
        # The package is created first, which is a transaction of its own.
        ingest.steps(3)
    for _ in range(min(ahead, len(PUSH_STEPS) - 1)):
        if ingest.step != "begin":
            ingest.next()
    gc = Process(prepared, "gc")
    gc.steps(place)
    if ahead == len(PUSH_STEPS) and not holds_the_lock:
        # The ingest is whole while gc stands still.
        ingest.finish()
    if dies:
        gc.kill()
    elif ingest.step != "done" and not holds_the_lock:
        ingest.finish()
        gc.finish()
    else:
        gc.finish()
    if ingest.step != "done":
        ingest.finish()
    check(prepared)


@pytest.mark.slow
def test_a_push_that_dies_at_each_step_beside_a_gc(tmp_path: Path) -> None:
    place = 0
    while True:
        life = Life(tmp_path / str(place))
        life.expired(CONTENT)
        write_tree(life.root / "again", {"data": CONTENT})
        push = Process(life, "push")
        for _ in range(place):
            push.next()
        if push.step == "done":
            push.finish()
            life.store.close()
            break
        push.kill()
        life.store.gc(actor="cron")
        for stale in (life.home.objects / "tmp").iterdir():
            shutil.rmtree(stale)
        life.store.close()
        check(life)
        place += 1
    assert place >= 5


# Killed by the kernel, at each system call that changes something


CALLS = "unlink,unlinkat,pwrite64,fsync,fdatasync,ftruncate,syncfs"
straced = pytest.mark.skipif(
    shutil.which("strace") is None
    or subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode
    != 0,
    reason="strace is not there or may not trace",
)


def killed(life: Life, call: str, number: int) -> bool:
    """Run a call that is killed at its `number`th system call that changes something; whether it was."""
    inject = f"inject={CALLS}:signal=SIGKILL:when={number}"
    worker = [
        sys.executable,
        "-m",
        "lifecycle.worker",
        call,
        life.home.root,
        life.clock.now,
        life.root / "again",
        "run",
    ]
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", f"trace={CALLS}", "-e", inject, *map(str, worker)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        assert done.stdout == "done\n"
        return False
    assert done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, done.stderr
    return True


@pytest.mark.slow
@straced
@pytest.mark.parametrize("call", ["gc", "verify"])
def test_killed_at_each_system_call(tmp_path: Path, call: str) -> None:
    deaths = 0
    while True:
        life = Life(tmp_path / str(deaths))
        life.expired(CONTENT, b"another")
        kept = life.push({"data": CONTENT, "own": b"own"}, "permanent-record")
        life.store.close()
        # One system call later each time, until the call ends before it is reached.
        if not killed(life, call, deaths + 1):
            break
        deaths += 1
        life.store = life.open()
        assert life.store.fsck(read=True).findings == ()
        assert life.store.read_file(kept, "data") == CONTENT
        if call == "gc":
            life.store.gc(actor="cron")
            assert len(life.home.object_paths()) == 3
            assert len(life.store.list_packages(status="garbage_collected").items) == 2
        else:
            assert life.store.verify(actor="scrub").failures == ()
            assert life.store.verification(kept).failed_count == 0
        life.finish()
        shutil.rmtree(life.root)
    assert deaths >= (8 if call == "gc" else 3)
