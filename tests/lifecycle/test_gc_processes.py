"""A gc and a verify that the kernel kills at each system call that changes something.

Beside another call they are driven by the drill of interleavings, tests/crash/test_interleavings.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle.harness import Life

CONTENT = b"the same bytes\n" * 100
TESTS = Path(__file__).parent.parent
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
    worker = [sys.executable, "-m", "lifecycle.worker", call, life.home.root, life.clock.now]
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
