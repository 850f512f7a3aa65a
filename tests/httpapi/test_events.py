"""The event log over HTTP: pages, waiting, streams; also what other processes append."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from store.harness import SAID, Home

from artifactstore import codec
from artifactstore.event_log import to_json
from artifactstore.httpapi import Limits
from httpapi.harness import PATIENCE, PUSHER, Answer, Client, raw, serving

if TYPE_CHECKING:
    from artifactstore import Store
    from artifactstore.httpapi import Server

OTHER_PROCESS = """
import sys, artifactstore
from artifactstore import Store
with Store.open(sys.argv[1], sys.argv[2], create=False) as store:
    store.create_package(name="n", producer="p", subject="s", retention_class="transient", actor="other")
"""


def append_elsewhere(home: Home) -> None:
    """An event of another process."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(home.database), str(home.objects)]
    subprocess.run(command, check=True)


def asked(server: Server, path: str, **fields: str) -> tuple[threading.Thread, list[Answer]]:
    """A request on a thread of its own."""
    answers: list[Answer] = []

    def ask() -> None:
        client = Client(server)
        answers.append(client("GET", path, **fields))
        client.close()

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def wait_for_waiters(server: Server, count: int) -> None:
    """Until so many wait."""
    service = server.service
    with service.counting:
        assert service.counting.wait_for(lambda: service.waiting_count >= count, PATIENCE)


def wait_for_nobody(server: Server) -> None:
    """Until nobody waits any more; the time is that of one beat, far less than what was asked for."""
    service = server.service
    with service.counting:
        assert service.counting.wait_for(lambda: service.waiting_count == 0, 10)


def test_json_is_what_the_command_prints(store: Store, client: Client) -> None:
    answer = client("GET", "/events", Accept="application/json", status=200)
    assert answer.document["items"] == [to_json(event) for event in store.events()]
    assert answer.document["next_cursor"] == str(store.newest_sequence())


def test_cbor_is_the_default_and_says_the_same(store: Store, client: Client) -> None:
    for fields in ({}, {"Accept": "*/*"}, {"Accept": "application/cbor"}):
        answer = client("GET", "/events?limit=3", status=200, **fields)
        assert answer.fields["content-type"] == "application/cbor"
        said = codec.decode(answer.body)
        items = [event._asdict() for event in store.events(limit=3)]
        assert said == {"items": items, "next_cursor": "3"}


def test_pages_have_no_gap(store: Store, client: Client) -> None:
    for _ in range(5):
        client.package()
    found, after = [], "0"
    while True:
        page = client("GET", f"/events?limit=2&after={after}", Accept="application/json").document
        if not page["items"]:
            break
        found += [event["sequence"] for event in page["items"]]
        after = page["next_cursor"]
    assert found == list(range(1, store.newest_sequence() + 1))


def test_a_page_of_large_entries_ends_early(store: Store, client: Client) -> None:
    packages = [store.create_package(**SAID, metadata={"log": "x" * 1_000_000}) for _ in range(9)]
    found, after = [], "0"
    while page := client("GET", f"/events?limit=1000&after={after}", Accept="application/cbor").body:
        assert len(page) < 5 << 20
        items, after = (codec.decode(page)[name] for name in ("items", "next_cursor"))  # type: ignore[index,call-overload]
        if not items:
            break
        found += [event["sequence"] for event in items]
    assert found == list(range(1, store.newest_sequence() + 1))
    listed, address = [], "/packages?limit=1000"
    while address:
        answer = client("GET", address, status=200)
        assert len(answer.body) < 5 << 20
        listed += [package["package_id"] for package in answer.document["items"]]
        address = answer.fields.get("link", "").partition(">")[0].removeprefix("<")
    assert listed == packages[::-1]


def test_a_page_has_an_entry_however_large(store: Store) -> None:
    newest = store.newest_sequence()
    packages = [store.create_package(**SAID, metadata={"log": "x" * 1000}) for _ in range(3)]
    assert [event.sequence for event in store.events(after=newest, size=1)] == [newest + 1]
    assert len(store.events(after=newest, size=2500)) == 2
    assert store.events(after=newest + 3, size=1) == []
    page = store.list_packages(size=1)
    assert [package.package_id for package in page.items] == packages[:1:-1]
    last = store.list_packages(size=2500, cursor=page.next_cursor)
    assert [package.package_id for package in last.items] == packages[1::-1]
    assert last.next_cursor is None


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=9223372036854775808", "after=x", "after=", "limit=0", "limit=1001", "limit=-1",
     "wait=1000000000", "wait=-1", "wait=NaN", "wait=61", "wait=1e1", "since=1", "after=1.5", "after=%2b1"],
)  # fmt: skip
def test_nonsense_is_400(client: Client, query: str) -> None:
    assert client("GET", f"/events?{query}", status=400).document["code"] == "bad-query"


def test_the_end_of_what_can_be_asked_for(client: Client) -> None:
    query = f"after={2**63 - 1}&wait=0"
    assert client("GET", f"/events?{query}", Accept="application/json", status=200).document["items"] == []


def test_a_wait_ends_with_the_first_event_of_another_process(
    home: Home, store: Store, server: Server
) -> None:
    after = store.newest_sequence()
    thread, answers = asked(server, f"/events?after={after}&wait=30", Accept="application/json")
    wait_for_waiters(server, 1)
    append_elsewhere(home)
    thread.join(PATIENCE)
    assert [event["actor"] for event in answers[0].document["items"]] == ["other"]


def test_a_wait_ends_when_its_time_is_up(store: Store, client: Client) -> None:
    after = store.newest_sequence()
    answer = client("GET", f"/events?after={after}&wait=0.05", Accept="application/json", status=200)
    assert answer.document == {"items": [], "next_cursor": str(after)}


def test_many_wait_while_others_work(store: Store) -> None:
    """Those who wait hold no place of those who work."""
    with serving(store, limits=Limits(handlers=2, waiters=20)) as server:
        after = store.newest_sequence()
        waiting = [asked(server, f"/events?after={after}&wait=30") for _ in range(20)]
        wait_for_waiters(server, 20)
        client = Client(server)
        refused = client("GET", f"/events?after={after}&wait=30", status=503)
        assert refused.document["code"] == "overloaded"
        assert refused.fields["retry-after"] == "1"
        client.package()
        for thread, answers in waiting:
            thread.join(PATIENCE)
            assert len(codec.decode(answers[0].body)["items"]) == 1  # type: ignore[index,call-overload]
        client.close()


def test_nobody_who_waits_costs_time(store: Store, server: Server) -> None:
    """The thread that listens sleeps, and so do those who wait: the log is looked at a few times at most."""
    looks = []
    newest = server.service.arrivals._newest
    server.service.arrivals._newest = lambda: looks.append(1) or newest()  # type: ignore[func-returns-value]
    after = store.newest_sequence()
    waiting = [asked(server, f"/events?after={after}&wait=1") for _ in range(10)]
    for thread, _ in waiting:
        thread.join(PATIENCE)
    assert len(looks) <= 10 + 3


class Stream:
    """A reader of server-sent events."""

    def __init__(self, server: Server, **fields: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE)
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        self._socket.sendall(
            f"GET /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {PUSHER}\r\n"
            f"Accept: text/event-stream\r\n{more}\r\n".encode()
        )
        self.received = b""

    def read_until(self, wanted: bytes) -> None:
        """Read until something has come."""
        while wanted not in self.received:
            part = self._socket.recv(1 << 16)
            assert part, self.received
            self.received += part

    def read_to_the_end(self) -> None:
        """Read until the server ends it."""
        while part := self._socket.recv(1 << 16):
            self.received += part

    def close(self) -> None:
        """Go away."""
        self._socket.close()


def test_a_stream_sends_what_is_there_and_what_comes(home: Home, store: Store, server: Server) -> None:
    stream = Stream(server)
    stream.read_until(b"id: %d\n" % store.newest_sequence())
    assert b"Content-Type: text/event-stream\r\n" in stream.received
    append_elsewhere(home)
    stream.read_until(b"id: %d\n" % (store.newest_sequence()))
    lines = [line for line in stream.received.split(b"\n") if line.startswith(b"data: ")]
    assert [json.loads(line[6:]) for line in lines] == [to_json(event) for event in store.events()]
    stream.close()


def test_a_stream_goes_on_behind_the_last_event_that_was_seen(store: Store, server: Server) -> None:
    store.create_package(**SAID)
    stream = Stream(server, Last_Event_ID="3")
    stream.read_until(b"id: %d\n" % store.newest_sequence())
    assert b"id: 3\n" not in stream.received
    assert b"id: 4\n" in stream.received
    stream.close()


def test_a_stream_too_many_is_503(store: Store) -> None:
    with serving(store, limits=Limits(waiters=1)) as server:
        client = Client(server)
        for _ in range(2):  # what is not sent holds no place
            client("HEAD", "/events", Accept="text/event-stream", status=200)
        wait_for_nobody(server)
        stream = Stream(server)
        stream.read_until(b"id: 1\n")
        refused = client("GET", "/events", Accept="text/event-stream", status=503)
        assert refused.document["code"] == "overloaded"
        assert refused.fields["retry-after"] == "1"
        client.close()
    stream.read_to_the_end()
    stream.close()


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_who_hangs_up_gives_the_place_back(store: Store, accept: str) -> None:
    after = store.newest_sequence()
    request = (
        f"GET /events?after={after}&wait=60 HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {PUSHER}\r\nAccept: {accept}\r\n\r\n"
    )
    with serving(store, limits=Limits(waiters=4)) as server:
        for _ in range(3):
            gone = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(4)]
            for connection in gone:
                connection.sendall(request.encode())
            wait_for_waiters(server, 4)
            for connection in gone:
                connection.close()
            wait_for_nobody(server)
        client = Client(server)
        answer = client("GET", f"/events?after={after}&wait=0.05", Accept="application/json", status=200)
        assert answer.document["items"] == []
        client.close()


def test_who_only_ends_his_own_side_gets_an_answer(store: Store, server: Server) -> None:
    request = f"GET /events?after={store.newest_sequence()}&wait=60 HTTP/1.1\r\nHost: localhost\r\n"
    answers = raw(
        server, f"{request}Authorization: Bearer {PUSHER}\r\n\r\n".encode(), finish=True, patience=10
    )
    assert answers.statuses == [200]
    assert answers.closed


def test_a_stop_ends_streams_and_waits(store: Store) -> None:
    with serving(store) as server:
        stream = Stream(server)
        stream.read_until(b"id: 1\n")
        thread, answers = asked(server, f"/events?after={store.newest_sequence()}&wait=60")
        wait_for_waiters(server, 2)
    stream.read_to_the_end()
    thread.join(PATIENCE)
    assert answers[0].status == 200
    stream.close()


def test_without_inotify_the_log_is_looked_at(
    store: Store, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from artifactstore import arrivals

    monkeypatch.setattr(arrivals, "_watch", lambda _path: None)
    listening = store.arrivals()
    after = store.newest_sequence()
    append_elsewhere(home)
    assert listening.wait(after, PATIENCE)
    assert not listening.wait(after + 100, 0)
    listening.close()
    listening.close()
