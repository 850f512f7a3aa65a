"""Every route that changes something makes a call that has its row in the drills; servers that are killed.

The durable part of a route is the call of the library beneath it, which the drills kill at each system call.
What is left to show here is that nothing is answered before that call returns.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import pytest
from crash.calls import ROWS
from store.harness import SAID, incompressible, write_tree

from artifactstore.client import Client
from artifactstore.errors import BackendError, BusyError
from artifactstore.httpapi.table import ROUTES
from httpapi.harness import PATIENCE, PUSHER, TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.harness import Home

# The row of the call that each of these routes makes.
DRILLED = {
    ("POST", "/packages"): "create",
    ("POST", "/packages/{package}/files"): "ingest known",
    ("PUT", "/packages/{package}/files/{path}"): "ingest new file",
    ("POST", "/packages/{package}/finalize"): "finalize",
    ("POST", "/uploads"): "upload begun",
    ("PATCH", "/uploads/{upload}"): "upload part",
    ("PUT", "/uploads/{upload}"): "upload part",
    ("POST", "/uploads/{upload}/complete"): "upload complete",
    ("DELETE", "/uploads/{upload}"): "upload cancelled",
    ("POST", "/packages/{package}/retention/extend"): "extend",
    ("POST", "/packages/{package}/retention/holds"): "hold",
    ("POST", "/packages/{package}/retention/holds/{hold}/release"): "release",
    ("POST", "/retention/sweep"): "sweep",
    ("POST", "/retention/gc"): "gc",
    ("POST", "/metadata-schemas"): "schema",
}
READS = {("POST", "/objects/query"), ("POST", "/retention/gc/plan")}  # ask by POST, since they ask much
LARGE_FILE = 40 << 20  # bytes: several parts of an upload session


def test_every_changing_route_has_a_row_in_the_drills() -> None:
    changing = {(route.method, route.path) for route in ROUTES if route.method != "GET"}
    assert changing - READS == set(DRILLED)
    assert set(DRILLED.values()) <= set(ROWS)


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port of loopback on which servers can come and go."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def started(home: Home, port: int) -> subprocess.Popen[str]:
    """A server in a process of its own, listening."""
    place = ("--database", str(home.database), "--root", str(home.objects))
    process = subprocess.Popen(
        [sys.executable, "-m", "artifactstore", *place, "serve", "--port", str(port)],
        env={**os.environ, "ARTIFACTSTORE_AUTH_TOKENS": ",".join(TOKENS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline(), "the server does not say where it answers"
    return process


def ended(server: subprocess.Popen[str], number: signal.Signals) -> int:
    """The exit code of a server that gets a signal."""
    with server:
        server.send_signal(number)
        return server.wait(PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_push_outlives_servers_that_are_killed(home: Home, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    files = {f"logs/{number}.log": b"%d\n" % number * 100 for number in range(40)}
    tree = write_tree(tmp_path / "tree", {**files, "large.bin": incompressible(LARGE_FILE)})
    home.open().close()
    over, kills = threading.Event(), 0

    def push(port: int) -> str:
        """What a caller does who is not answered: the same again, with the same key."""
        with Client(f"http://127.0.0.1:{port}", PUSHER, timeout=PATIENCE) as client:
            while not over.is_set():
                with contextlib.suppress(BackendError, BusyError):
                    return client.push(tree, **SAID, idempotency_key="once").package.package_id
        raise AssertionError("the push has not ended in time")

    with reserved_port() as port, ThreadPoolExecutor(1) as beside, contextlib.ExitStack() as ending:
        ending.callback(over.set)
        server = started(home, port)
        pushed = beside.submit(push, port)
        while kills < 5 and not wait([pushed], chance.uniform(0.02, 0.3) if kills else 0.02).done:
            assert ended(server, signal.SIGKILL) == -signal.SIGKILL
            kills += 1
            server = started(home, port)
        package = pushed.result(4 * PATIENCE)
        assert ended(server, signal.SIGTERM) == 0
    assert kills > 0, "no server was killed while something was pushed"
    with home.open() as store:
        assert len(store.list_packages().items) == 1
        listed = {file.relative_path: file.size for file in store.list_files(package).items}
        assert listed == {**{path: len(data) for path, data in files.items()}, "large.bin": LARGE_FILE}
        assert store.get_package(package).status == "finalized"
        assert store.fsck(read=True).clean
        assert store.replay(check=True).identical
