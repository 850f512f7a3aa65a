"""How often a place is looked at when somebody asks for its health."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from artifactstore.objects import remote
from artifactstore.objects.file_system import FileSystemService
from artifactstore.objects.remote import MARKER, RemoteBackend
from s3.places import REMOTE
from s3.watched import Watched

if TYPE_CHECKING:
    import pytest

STORE = uuid.uuid4()
FRESH = 10.0  # seconds


class Looks:
    """Counts looks at the marker of a place, and says what happens meanwhile."""

    def __init__(self) -> None:
        self.count = 0
        service = FileSystemService(f"memory://{uuid.uuid4().hex}", name="memory")
        self.backend = RemoteBackend(Watched(service, self._watch), backend_id=REMOTE)
        self.backend.attach(STORE, create=True)
        self.count = 0

    def meanwhile(self) -> None:
        """Nothing."""

    def _watch(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "get" and arguments[0] == MARKER:
            self.count += 1
            self.meanwhile()

    def problems(self) -> tuple[str, ...]:
        return self.backend.problems(STORE, max_age=FRESH)


def test_the_age_of_a_look_counts_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock, looks = Clock(), Looks()

    def pass_by() -> None:
        clock.now += 3 * FRESH

    monkeypatch.setattr(looks, "meanwhile", pass_by)
    monkeypatch.setattr(remote, "time", clock)
    assert looks.problems() == looks.problems() == ()
    assert looks.count == 1
    clock.now += FRESH
    looks.problems()
    assert looks.count == 2


def test_who_asks_during_a_look_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, begun, going = Looks(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        going.wait(60)

    monkeypatch.setattr(looks, "meanwhile", wait)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(looks.problems)
        assert begun.wait(60)
        others = [pool.submit(looks.problems) for _ in range(4)]
        going.set()
        assert [each.result() for each in (first, *others)] == [()] * 5
    assert looks.count == 1


def test_a_child_does_not_wait_for_a_look_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, begun, going = Looks(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        going.wait(60)

    monkeypatch.setattr(looks, "meanwhile", wait)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(looks.problems)
        assert begun.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            going.set()
            os._exit(0 if looks.problems() == () else 1)
        going.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert first.result() == ()
