"""A server that has all bytes of a large file, and puts it in place more slowly than an answer may take."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.harness import PATIENCE
from store.harness import refused

from artifactstore import ConflictError, Digest
from artifactstore.client.address import Address
from artifactstore.client.transport import Transport
from artifactstore.client.uploads import COMPLETED, Uploads, entry_of
from artifactstore.facts import plain
from artifactstore.model import File
from client.harness import Caller, http_answer, rude

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from client.harness import RudeServer, Script

SIZE = 1000 * COMPLETED  # bytes, of which none is sent: they are all there
PACKAGE, SESSION = (f"01a00000-0000-7000-8000-00000000000{number}" for number in range(2))
FILE = File(
    file_id=PACKAGE,
    package_id=PACKAGE,
    relative_path="large.bin",
    media_type="application/octet-stream",
    size=SIZE,
    digest=Digest("blake3", b"b" * 32),
    sha256=Digest("sha256", b"s" * 32),
    executable=False,
)
BEGUN = http_answer(json.dumps({"upload_id": SESSION}).encode(), status="201 Created")
ALL_THERE = f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nUpload-Offset: {SIZE}\r\n\r\n".encode()
BUSY = http_answer(
    json.dumps({"code": "upload-busy", "detail": "another request is working on this upload"}).encode(),
    status="409 Conflict",
    content_type="application/problem+json",
)
DONE = http_answer(json.dumps(plain(FILE)).encode(), status="201 Created")


@dataclass
class Time:
    """A clock that a server moves."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def completing(caller: Caller) -> None:
    """Answer all before the request that completes an upload, and take that."""
    for answer in (BEGUN, ALL_THERE):
        caller.read_request()
        caller.say(answer)
    assert caller.read_request().startswith(f"POST /uploads/{SESSION}/complete ".encode())


@contextlib.contextmanager
def uploads_to(
    server: RudeServer, *, timeout: float = PATIENCE, clock: Time | None = None
) -> Iterator[Uploads]:
    """What sends files to a server."""
    transport = Transport(Address.parse(server.url), None, timeout=timeout, tries=3, connections=1)
    try:
        yield Uploads(transport, PACKAGE, "ada", "key", tries=3, clock=clock or Time())
    finally:
        transport.close()


def sent(uploads: Uploads) -> File:
    """Send the file; its bytes are not looked at any more."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        return uploads.send(entry_of(FILE), descriptor)
    finally:
        os.close(descriptor)


def losing(time: Time) -> Script:
    """Loses the answer to a completion, long after it was asked for."""

    def script(caller: Caller) -> None:
        completing(caller)
        time.now = 10_000.0

    return script


def at_work(time: Time, *seconds: float) -> Callable[[Caller], None]:
    """Says at these moments, in seconds since then, that it is still at work, and then that it is done."""

    def script(caller: Caller) -> None:
        for moment in seconds:
            caller.read_request()
            time.now = 10_000.0 + moment
            caller.say(BUSY)
        caller.read_request()
        caller.say(DONE)

    return script


def test_a_completion_is_waited_for_by_the_size_of_the_file() -> None:
    asked_again = threading.Event()

    def slow(caller: Caller) -> None:
        completing(caller)
        asked_again.wait(4.0)
        caller.say(DONE)

    def again(caller: Caller) -> None:
        caller.read_request()
        asked_again.set()

    with rude(slow, again) as server, uploads_to(server, timeout=2.0) as uploads:
        assert sent(uploads) == FILE
    assert not asked_again.is_set()


def test_a_completion_whose_answer_is_lost_is_asked_for_until_it_is_done() -> None:
    time = Time()
    with (
        rude(losing(time), at_work(time, 0, 900, 1059)) as server,
        uploads_to(server, clock=time) as uploads,
    ):
        assert sent(uploads) == FILE


def test_a_completion_that_never_ends_is_given_up() -> None:
    time = Time()
    with (
        rude(losing(time), at_work(time, 0, 1059, 1061)) as server,
        uploads_to(server, clock=time) as uploads,
        refused(ConflictError, "upload-busy"),
    ):
        sent(uploads)


def test_an_upload_that_another_request_just_begins_is_waited_for() -> None:
    """The first answer did not come in time, and its request is still at it."""

    def beginning(caller: Caller) -> None:
        caller.read_request()
        caller.say(BUSY)
        completing(caller)
        caller.say(DONE)

    with rude(beginning) as server, uploads_to(server) as uploads:
        assert sent(uploads) == FILE
