"""A call that a signal ends anywhere leaves a store that works, in the same process too."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from store.harness import SAID, FakeClock, Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from artifactstore import Store

_LOCKS = (type(threading.Lock()), type(threading.RLock()))
CALLS: dict[str, Callable[[Store, Path], object]] = {
    "create": lambda store, _tree: store.create_package(**SAID),
    "ingest": lambda store, _tree: store.ingest_file(
        store.create_package(**SAID), "new", b"new bytes", actor="ada"
    ),
    "push": lambda store, tree: store.push(tree, **SAID),
}


_STRIDES = {"push": 7}  # of how many places one is tried


@contextlib.contextmanager
def interrupted_after(count: int) -> Iterator[Callable[[], bool]]:
    """Raise after so many calls of built-in functions: where Python acts upon a signal that came in them.

    Gives what tells whether it came to that.
    """
    left = count

    def observe(_frame: FrameType, event: str, called: object) -> None:
        nonlocal left
        # The standard library's own locks cannot stand it either; no signal comes in them, they take no time.
        if event == "c_return" and not isinstance(getattr(called, "__self__", None), _LOCKS):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

    sys.setprofile(observe)
    try:
        yield lambda: left <= 0
    finally:
        sys.setprofile(None)


# Where Python cannot raise it says so and goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_call_can_be_interrupted_anywhere(home: Home, clock: FakeClock, tree: Path, name: str) -> None:
    # The errors are kept, with all that their tracebacks hold, as an interactive session does.
    kept = []
    with home.open(clock=clock, busy_timeout=0.5) as store:
        CALLS[name](store, tree)
        for count in range(1, 20_000, _STRIDES.get(name, 1)):
            try:
                with interrupted_after(count) as fired:
                    CALLS[name](store, tree)
            except KeyboardInterrupt as error:
                kept.append(error)
            if not fired():
                break
            store.create_package(**SAID)
        assert len(kept) > 100
        left = [
            finding for finding in store.fsck(read=True).findings if "no location names" not in finding.what
        ]
        assert left == []
        assert store.replay(check=True).identical
    with home.open(create=False, clock=clock) as store:
        CALLS[name](store, tree)
    kept.clear()
    gc.collect()  # here, not in a test in which a file that nobody has closed is a bug
