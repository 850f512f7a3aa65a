"""Small calls: the start of a command, a durable call inside a program, many threads at once."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from benchmarks import targets
from benchmarks.library import Finding, beside, found, seconds_of
from benchmarks.machine import sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import apsw

    from artifactstore import Store

STARTS = 10  # commands of a round
SERIES = 100  # small calls of a round
CALLERS = 16
NEEDED = ("typer", "apsw", "cbor2")  # packages that a command which reads the log cannot be without
FILE_SIZE = 4096  # bytes
SAID = {"name": "n", "producer": "p", "subject": "s", "retention_class": "raw-evidence", "actor": "bench"}


def calls(directory: Path, *, rounds: int) -> list[Finding]:
    """All three."""
    import artifactstore

    with artifactstore.open(directory / "calls") as store:
        package = store.create_package(**SAID)
        findings = embedded(store, directory, rounds=rounds) + threads(store, rounds=rounds)
    return start(directory / "calls", package, rounds=rounds) + findings


def start(root: Path, package: str, *, rounds: int) -> list[Finding]:
    """`version` and `show` as whole processes, beside a Python that does nothing."""
    environment = os.environ | {
        "ARTIFACTSTORE_DATABASE_URL": str(root / "artifactstore.db"),
        "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": str(root / "storage"),
    }
    script = os.path.join(os.path.dirname(sys.executable), "artifactstore")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "packages": [sys.executable, "-c", f"import {', '.join(NEEDED)}"],
        "version": [script, "version"],
        "show": [script, "show", package],
    }
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(STARTS * rounds):
        for name, command in commands.items():
            samples[name].append(
                seconds_of(
                    lambda: subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)  # noqa: B023
                )
            )
    nothing, packages, version, show = ([seconds * 1000 for seconds in each] for each in samples.values())
    wanted = targets.SHOW_SECONDS * 1000
    return [
        found("calls", "start of `python -c pass`", nothing, "ms"),
        found("calls", f"start of a Python that imports {', '.join(NEEDED)}", packages, "ms"),
        found("calls", "`artifactstore version`", version, "ms", ratios=beside(version, nothing),
              most=targets.START),
        found("calls", f"`show`, beside {wanted:.0f} ms", show, "ms",
              ratios=[each / wanted for each in show], most=1.0),
    ]  # fmt: skip


def embedded(store: Store, directory: Path, *, rounds: int) -> list[Finding]:
    """A package of one small file in three calls, beside three bare commits and one synced file.

    And beside what the promise asks of the disk: two objects, the file and the manifest, each with its bytes
    durable before its name, and its name before the commit that says so.
    """
    bare = bare_database(directory / "bare.db")
    folder = directory / "bare"
    folder.mkdir()
    ours, files, promises = [], [], []
    for _ in range(rounds):
        ours.append(median_of(lambda: small_package(store)) * 1000)
        files.append(median_of(lambda: bare_package(bare, folder)) * 1000)
        promises.append(median_of(lambda: bare_promise(bare, folder)) * 1000)
    bare.close()
    return [
        found("calls", "three bare commits, one synced file", files, "ms p50"),
        found("calls", "create, ingest 4 KiB, finalize", ours, "ms p50", ratios=beside(ours, files),
              most=targets.EMBEDDED),
        found("calls", "three bare commits, two objects by two barriers each, and ours beside it", promises,
              "ms p50", ratios=beside(ours, promises)),
    ]  # fmt: skip


def small_package(store: Store) -> None:
    """Three durable calls."""
    package = store.create_package(**SAID)
    store.ingest_file(package, "data.bin", os.urandom(FILE_SIZE), actor="bench")
    store.finalize_package(package, actor="bench")


def bare_package(connection: apsw.Connection, folder: Path) -> None:
    """What the disk asks for the same promise: a new file with its name, and three commits."""
    name = os.path.join(folder, os.urandom(8).hex())
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(descriptor, os.urandom(FILE_SIZE))
    os.fsync(descriptor)
    os.close(descriptor)
    for _ in range(3):
        bare_commit(connection)


def bare_promise(connection: apsw.Connection, folder: Path) -> None:
    """Seven syncs: an event, an object and its event, a manifest and its event."""
    bare_commit(connection)
    for size in (FILE_SIZE, 512):
        name = os.path.join(folder, os.urandom(8).hex())
        with open(f"{name}.new", "xb", buffering=0) as file:
            file.write(os.urandom(size))
        sync(folder)
        os.rename(f"{name}.new", name)
        sync(folder)
        bare_commit(connection)


BARE_TABLE = "CREATE TABLE bare (sequence INTEGER PRIMARY KEY, payload BLOB)"


def bare_database(path: Path, table: str = BARE_TABLE) -> apsw.Connection:
    """A table with the pragmas of a durable commit."""
    import apsw

    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(table)
    return connection


def bare_commit(connection: apsw.Connection) -> None:
    """One row, durable."""
    with connection:
        connection.execute("INSERT INTO bare (payload) VALUES (randomblob(200))")


def threads(store: Store, *, rounds: int) -> list[Finding]:
    """Durable calls a second of many threads, beside those of one.

    And what the processor has to do for a call among them: one thread at a time runs in the interpreter.
    """
    alone, together, busy = [], [], []
    for _ in range(rounds):
        alone.append(rate(store, callers=1))
        begin = time.process_time()
        together.append(rate(store, callers=CALLERS))
        busy.append((time.process_time() - begin) / (CALLERS * SERIES) * 1e6)  # [s] -> [us]
    return [
        found("calls", "create_package, one caller", alone, "calls/s"),
        found("calls", f"create_package, {CALLERS} callers", together, "calls/s",
              ratios=beside(together, alone), least=targets.GROUP_COMMIT),
        found("calls", f"processor time of a create_package among {CALLERS} callers", busy, "us"),
    ]  # fmt: skip


def rate(store: Store, *, callers: int) -> float:
    """Calls a second of some threads that begin together."""
    begin = threading.Barrier(callers + 1)

    def work() -> None:
        begin.wait()
        for _ in range(SERIES):
            store.create_package(**SAID)

    running = [threading.Thread(target=work) for _ in range(callers)]
    for thread in running:
        thread.start()
    begin.wait()

    def finish() -> None:
        for thread in running:
            thread.join()

    return callers * SERIES / seconds_of(finish)


def median_of(call: Callable[[], object]) -> float:
    """Median seconds of a series of calls."""
    return statistics.median(seconds_of(call) for _ in range(SERIES))
