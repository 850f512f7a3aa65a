"""`w7`: HTTP beside `http.server`, a bare sendfile and, if they are installed, FastAPI and uvicorn."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import artifactstore
from artifactstore.digest import object_key
from benchmarks import targets
from benchmarks.library import FAILURES, Finding, beside, failed, found, missing, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "benchmark"  # noqa: S105 - of a server that only this process reaches
CONNECTIONS = 32
PUSHERS = 4  # connections that send small files
POLLERS = 200
UNANSWERED = (*FAILURES, HTTPException)  # what makes a line without a number
_SAID = {"name": "n", "producer": "p", "subject": "s", "retention_class": "raw-evidence", "actor": "bench"}


@dataclass(frozen=True)
class Served:
    """A server that runs in a process of its own."""

    name: str
    url: str
    process: int

    def connect(self) -> HTTPConnection:
        """A connection."""
        parts = urlsplit(self.url)
        return HTTPConnection(str(parts.hostname), parts.port, timeout=120)

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        with open(f"/proc/{self.process}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of memory that it holds."""
        with open(f"/proc/{self.process}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def served(name: str, *command: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run a server that prints its address, until the block ends."""
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    ) as process:
        try:
            line = "" if process.stdout is None else process.stdout.readline().decode()
            match = re.search(r"https?://\S+?:\d+|port \d+", line)
            if match is None:
                raise RuntimeError(f"{name} did not start: {line!r}")
            url = match[0].replace("port ", "http://127.0.0.1:")
            yield Served(name, url, process.pid)
        finally:
            process.terminate()


def ours(root: Path) -> contextlib.AbstractContextManager[Served]:
    """Our own server."""
    environment = {
        "ARTIFACTSTORE_DATABASE_URL": str(root / "artifactstore.db"),
        "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": str(root / "storage"),
        "ARTIFACTSTORE_AUTH_TOKENS": TOKEN,
        "ARTIFACTSTORE_LOG_LEVEL": "WARNING",
    }
    environment |= dict.fromkeys(("ARTIFACTSTORE_API_URL", "ARTIFACTSTORE_API_TOKEN"), "")
    return served("artifactstore", "-m", "artifactstore", "serve", "--port", "0", environment=environment)


def w7(directory: Path, *, rounds: int, quick: bool) -> list[Finding]:
    """Downloads, small pushes, look-ups under many connections, and those who only wait."""
    size = (64 if quick else 1024) * 1024**2
    count = 500 if quick else 10_000
    seconds = 1 if quick else 8
    root = directory / "store"
    plain = directory / "plain"
    plain.mkdir()
    with artifactstore.open(root) as store:
        package = store.create_package(**_SAID)
        with open(plain / "large.bin", "wb") as file:
            for number in range(size >> 20):
                file.write(number.to_bytes(4, "big") * (1 << 18))
        file = store.ingest_file(package, "large.bin", plain / "large.bin", actor="bench")
        store.finalize_package(package, actor="bench")
        opened = [store.create_package(**_SAID) for _ in range(2)]
    (plain / "package.json").write_text("x" * 1024)
    show, large = f"/packages/{package}", f"/packages/{package}/files/large.bin"
    findings: list[Finding] = []
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(ours(root))
        plain_server = ("-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", str(plain))
        peers = []
        for name, path, command in (
            ("http.server", "/large.bin", plain_server),
            ("bare sendfile", "/", ("-m", "benchmarks.sendfile_peer", str(plain / "large.bin"))),
            ("fastapi", large, ("-m", "benchmarks.http_peer", str(root))),
        ):
            if name == "fastapi" and not all(map(importlib.util.find_spec, ("fastapi", "uvicorn"))):
                findings.append(missing("w7", name, "absent: FastAPI or uvicorn"))
                continue
            try:
                peers.append((stack.enter_context(served(name, *command)), path))
            except UNANSWERED as error:
                findings.append(missing("w7", name, failed(error)))
        stored = root / "storage" / object_key(file.digest.value)
        findings += _downloads(mine, peers, large, size, rounds, stored)
        rivals = [peer for peer, _ in peers if peer.name == "fastapi"]
        for each, target in zip([mine, *rivals], opened, strict=False):
            what = f"small files put, {each.name}"
            try:
                rate = count / seconds_of(partial(_push, each, target, count))
                findings.append(Finding("w7", what, rate, "files/s"))
            except UNANSWERED as error:
                findings.append(missing("w7", what, failed(error)))
        looked = [
            (peer, "/package.json" if peer.name == "http.server" else show)
            for peer, _ in peers
            if peer.name != "bare sendfile"
        ]
        findings += _lookups(mine, looked, show, seconds)
        findings += _waiting(mine, seconds)
    return findings


def _downloads(
    mine: Served, peers: list[tuple[Served, str]], large: str, size: int, rounds: int, stored: Path
) -> list[Finding]:
    """Ours before each peer, in turn: a file that was found right a while ago, and one that has to be read.

    Args:
        stored: the object that ours sends.
    """
    samples: dict[str, list[float]] = {}
    failures: dict[str, str] = {}
    for _ in range(rounds):
        for peer, path in peers:
            if peer.name in failures:
                continue
            try:
                os.utime(stored)  # it looks as if somebody had written to it
                rates = [_download(mine, large, size) for _ in range(2)] + [_download(peer, path, size)]
            except UNANSWERED as error:
                failures[peer.name] = failed(error)
                continue
            for kind, rate in zip(("first", "again", "theirs"), rates, strict=True):
                samples.setdefault(f"{kind} {peer.name}", []).append(rate / 1e6)
    findings = [missing("w7", f"download, beside {name}", failure) for name, failure in failures.items()]
    for name in [peer.name for peer, _ in peers if peer.name not in failures]:
        first, again, theirs = (samples[f"{kind} {name}"] for kind in ("first", "again", "theirs"))
        least = targets.DOWNLOAD if name == "http.server" else None
        findings += [
            found("w7", f"download, beside {name}", again, "MB/s", ratios=beside(again, theirs), least=least),
            found("w7", f"download that is checked, beside {name}", first, "MB/s",
                  ratios=beside(first, theirs)),
            found("w7", f"download, {name}", theirs, "MB/s"),
        ]  # fmt: skip
    return findings


def _download(server: Served, path: str, size: int) -> float:
    """Bytes a second to a socket that throws them away: the reading must not be the brake."""
    parts = urlsplit(server.url)
    buffer = bytearray(1 << 20)
    begin = time.perf_counter()
    with socket.create_connection((str(parts.hostname), parts.port or 80)) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        request += f"Authorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(request.encode())
        received = 0
        while count := connection.recv_into(buffer, len(buffer), socket.MSG_TRUNC):
            received += count
    if received < size:
        raise RuntimeError(f"{server.name} sent {received} of {size} bytes")
    return size / (time.perf_counter() - begin)


def _push(server: Served, package: str, count: int) -> None:
    """Small files, each with bytes of its own, over a few connections at once."""

    def send(first: int) -> None:
        connection = server.connect()
        for number in range(first, count, PUSHERS):
            data = f"{server.name} {number}\n".encode() * 40
            fields = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/plain"}
            connection.request("PUT", f"/packages/{package}/files/{number}.txt", data, fields)
            response = connection.getresponse()
            response.read()
            if response.status != 201:
                raise RuntimeError(f"{server.name} answered {response.status}")
        connection.close()

    with ThreadPoolExecutor(PUSHERS) as pool:
        list(pool.map(send, range(PUSHERS)))


def _lookups(mine: Served, peers: list[tuple[Served, str]], path: str, seconds: int) -> list[Finding]:
    """Requests a second under many connections, by wrk."""
    what = f"GET /packages/ID, {CONNECTIONS} connections"
    if shutil.which("wrk") is None:
        return [missing("w7", what, "absent: wrk")]
    try:
        own = _wrk(mine, path, seconds)
    except UNANSWERED as error:
        return [missing("w7", what, failed(error))]
    findings = [Finding("w7", what, own, "1/s")]
    for peer, other in peers:
        what = "a file of 1 KiB" if peer.name == "http.server" else "GET /packages/ID"
        try:
            rate = _wrk(peer, other, seconds)
            findings.append(Finding("w7", f"{what}, {peer.name}", rate, "1/s", own / rate))
        except UNANSWERED as error:
            findings.append(missing("w7", f"{what}, {peer.name}", failed(error)))
    return findings


def _wrk(server: Served, path: str, seconds: int) -> float:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", f"Authorization: Bearer {TOKEN}"]
    done = subprocess.run([*command, server.url + path], capture_output=True, text=True, check=True)
    match = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if match is None or "Non-2xx" in done.stdout:
        raise RuntimeError(f"{server.name}: {done.stdout}")
    return float(match[1])


def _waiting(mine: Served, seconds: int) -> list[Finding]:
    """What those cost who wait for events that do not come."""
    before = mine.memory()
    connections = [mine.connect() for _ in range(POLLERS)]
    for connection in connections:
        fields = {"Authorization": f"Bearer {TOKEN}"}
        connection.request("GET", f"/events?after={2**62}&wait=60", headers=fields)
    while _threads(mine) < POLLERS:
        time.sleep(0.05)
    used = mine.cpu()
    time.sleep(seconds)
    cost = (mine.cpu() - used) / seconds
    memory = (mine.memory() - before) / POLLERS
    for connection in connections:
        connection.close()
    return [
        Finding("w7", f"{POLLERS} who wait: CPU", cost * 100, "% core"),
        Finding("w7", f"{POLLERS} who wait: memory of each", memory / 1024, "KiB"),
    ]


def _threads(server: Served) -> int:
    return len(os.listdir(f"/proc/{server.process}/task"))
