"""Too slow, too many, too long: bounded in every direction, and a good client is served throughout."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from http.client import HTTPSConnection
from typing import TYPE_CHECKING

import pytest
from cli.harness import Program, read_line
from store.harness import SAID

from artifactstore.httpapi import Limits
from httpapi.harness import PATIENCE, PUSHER, Client, raw, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli.harness import Program

    from artifactstore import Store
    from artifactstore.httpapi import Server

HURRIED = Limits(connections=20, handlers=4, head=0.3, idle=5, stall=0.3, patience=0.3)
KEY = f"Authorization: Bearer {PUSHER}\r\n".encode()


@contextlib.contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    """A connection."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE) as connection:
        yield connection


def trickle(connection: socket.socket, piece: bytes, stop: threading.Event) -> None:
    """Send a byte again and again, each in time for a time-out that counts from the last one."""
    while not stop.wait(0.05):
        try:
            connection.send(piece)
        except OSError:
            return


@pytest.mark.parametrize("start", [b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"GET /", b"\r\n"])
def test_a_head_that_trickles_in_is_given_up(store: Store, start: bytes) -> None:
    with serving(store, limits=HURRIED) as server, connected(server) as connection:
        stop = threading.Event()
        connection.sendall(start)
        thread = threading.Thread(target=trickle, args=(connection, b"a", stop))
        thread.start()
        with contextlib.suppress(ConnectionResetError):
            received = connection.recv(1 << 16)
            assert received.startswith(b"HTTP/1.1 408")
        stop.set()
        thread.join()


def test_a_body_that_trickles_in_is_given_up_and_leaves_nothing(store: Store) -> None:
    with serving(store, limits=HURRIED) as server, connected(server) as connection:
        client = Client(server)
        package = client.package()
        client.close()
        before = store.newest_sequence()
        stop = threading.Event()
        target = f"PUT /packages/{package}/files/a HTTP/1.1\r\nHost: localhost\r\n".encode()
        connection.sendall(target + KEY + b"Content-Length: 100000\r\n\r\n")
        thread = threading.Thread(target=trickle, args=(connection, b"a", stop))
        thread.start()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1 << 16) == b""
        stop.set()
        thread.join()
        assert store.newest_sequence() == before


@pytest.mark.parametrize(
    ("start", "piece"),
    [(b"", b"0"), (b"2\r\n{}", b"x"), (b"2\r\n{}\r\n0\r\nX: ", b"a")],
    ids=["size", "end", "trailer"],
)
def test_a_line_of_a_chunked_body_that_trickles_in_is_given_up(
    store: Store, start: bytes, piece: bytes
) -> None:
    target = b"POST /objects/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with serving(store, limits=HURRIED) as server, connected(server) as connection:
        stop = threading.Event()
        connection.sendall(target + KEY + b"Transfer-Encoding: chunked\r\n\r\n" + start)
        thread = threading.Thread(target=trickle, args=(connection, piece, stop))
        thread.start()
        try:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1 << 16) == b""
        finally:
            stop.set()
            thread.join()


def test_a_body_that_stops_is_given_up(store: Store) -> None:
    with serving(store, limits=HURRIED) as server:
        answers = raw(server, b"POST /packages HTTP/1.1\r\nHost: localhost\r\n" + KEY
                      + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")  # fmt: skip
        assert answers.closed
        assert answers.statuses == []


def stored(store: Store, size: int) -> str:
    """A package with one large file, which comes over no connection and so within no limit."""
    package = store.create_package(**SAID)
    store.ingest_file(package, "large", bytes(size), actor="ada")
    store.finalize_package(package, actor="ada")
    return package


def test_an_answer_that_nobody_takes_is_given_up(store: Store) -> None:
    package = stored(store, 64 << 20)
    with serving(store, limits=Limits(stall=1)) as server, connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        target = f"GET /packages/{package}/files/large HTTP/1.1\r\nHost: localhost\r\n".encode()
        connection.sendall(target + KEY + b"\r\n")
        with server.change:
            assert server.change.wait_for(lambda: server.open_count == 0, PATIENCE)


def read_slowly(port: int, package: str) -> socket.socket:
    """A connection that has asked for a large file and takes nothing of it yet."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", port))
    head = f"GET /packages/{package}/files/large HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    connection.sendall(f"{head}Authorization: Bearer {PUSHER}\r\n\r\n".encode())
    return connection


def test_those_who_take_their_answers_slowly_keep_nobody_waiting(store: Store) -> None:
    limits = Limits(handlers=2, patience=PATIENCE / 3, stall=PATIENCE)
    package = stored(store, 32 << 20)
    with serving(store, limits=limits) as server, contextlib.ExitStack() as opened:
        client = Client(server)
        for _ in range(8):
            slow = opened.enter_context(read_slowly(server.server_port, package))
            assert slow.recv(1)  # the answer has begun, and goes on when more is taken
        client("GET", "/health", status=200)
        client("GET", f"/packages/{package}", status=200)
        client.close()
        taken = 1
        while taken < 32 << 20:
            part = slow.recv(1 << 20)
            assert part
            taken += len(part)


def test_an_answer_that_is_taken_in_drops_is_given_up(store: Store) -> None:
    limits = Limits(stall=0.5, rate=10 << 20)
    package = stored(store, 32 << 20)
    with serving(store, limits=limits) as server, read_slowly(server.server_port, package) as slow:
        taken = 0
        with contextlib.suppress(ConnectionError):
            while part := slow.recv(16 << 10):
                taken += len(part)
                threading.Event().wait(0.01)  # a drop at a time, and never a whole stall without one
        assert taken < 32 << 20


def test_idle_connections_give_way(store: Store) -> None:
    """More of them than there may be; each newcomer takes the place of the oldest."""
    with serving(store, limits=HURRIED) as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connected(server)) for _ in range(60)]
        for _ in range(5):
            client = Client(server)
            client("GET", "/health", status=200)
            client.close()
        assert idle[0].recv(1) == b""
        assert server.open_count <= HURRIED.connections


def test_those_who_only_begin_a_request_give_way(store: Store) -> None:
    with (
        serving(store, limits=Limits(connections=20, head=PATIENCE)) as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(60):
            stack.enter_context(connected(server)).sendall(b"GET /health HTTP/1.1\r\nX: ")
        client = Client(server)
        client("GET", "/health", status=200)
        client.close()


def test_those_who_are_refused_and_go_on_sending_give_way(store: Store) -> None:
    limits = Limits(connections=4)
    refused = b"POST /packages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    with serving(store, limits=limits) as server, contextlib.ExitStack() as stack:
        stop = threading.Event()
        for _ in range(limits.connections):
            connection = stack.enter_context(connected(server))
            connection.sendall(refused)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 401")
            thread = threading.Thread(target=trickle, args=(connection, b"a", stop))
            stack.callback(thread.join)
            thread.start()
        stack.callback(stop.set)
        for _ in range(5):
            client = Client(server)
            client("GET", "/health", status=200)
            client.close()


def test_a_request_too_many_is_503(store: Store) -> None:
    limits = Limits(handlers=1, patience=0.05, stall=PATIENCE)
    with serving(store, limits=limits) as server, connected(server) as connection:
        connection.sendall(
            b"POST /packages HTTP/1.1\r\nHost: localhost\r\n" + KEY
            + b"Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        )  # fmt: skip
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        client = Client(server)
        refused = client("GET", "/packages", status=503)
        assert refused.fields["retry-after"] == "1"
        client.close()


def test_those_who_send_slowly_keep_no_reader_waiting(store: Store) -> None:
    limits = Limits(handlers=3, senders=2, patience=1, stall=PATIENCE)
    begun = (
        b"POST /packages HTTP/1.1\r\nHost: localhost\r\n" + KEY
        + b"Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    )  # fmt: skip
    with serving(store, limits=limits) as server, contextlib.ExitStack() as opened:
        client = Client(server)
        package = client.package()
        slow = [opened.enter_context(connected(server)) for _ in range(limits.senders)]
        for connection in slow:
            connection.sendall(begun)
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
        client("GET", "/health", status=200)
        client("GET", f"/packages/{package}", status=200)
        # A sender too many is refused before it is asked for its body.
        refused = raw(server, begun)
        assert (refused.statuses, refused.closed) == ([503], True)
        chunked = begun.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
        assert raw(server, chunked).statuses == [503]
        slow[0].close()
        with server.change:
            assert server.change.wait_for(lambda: server.open_count == 2, PATIENCE)  # the other, and ours
        client("PUT", f"/packages/{package}/files/a", b"a", status=201)
        client.close()


def test_a_connection_too_many_is_503(store: Store) -> None:
    """When all of them are at work, so that none can give way."""
    limits = Limits(connections=1, stall=PATIENCE)
    with serving(store, limits=limits) as server, connected(server) as connection:
        connection.sendall(
            b"POST /packages HTTP/1.1\r\nHost: localhost\r\n" + KEY
            + b"Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        )  # fmt: skip
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        assert raw(server, b"").statuses == [503]


def test_a_body_over_the_limit_is_refused_whatever_it_says(store: Store) -> None:
    with serving(store, limits=Limits(body=1000)) as server:
        client = Client(server)
        package = client.package()
        before = store.newest_sequence()
        target = f"PUT /packages/{package}/files/a HTTP/1.1\r\nHost: localhost\r\n".encode()
        announced = raw(server, target + KEY + b"Content-Length: 1001\r\n\r\n")
        assert announced.statuses == [413]
        chunks = b"100\r\n" + b"a" * 256 + b"\r\n"
        hidden = raw(server, target + KEY + b"Transfer-Encoding: chunked\r\n\r\n" + chunks * 5 + b"0\r\n\r\n")
        assert hidden.statuses == [413]
        assert store.newest_sequence() == before
        client.close()


def test_a_stop_lets_a_running_request_end_and_refuses_new_ones(store: Store) -> None:
    with serving(store) as server, connected(server) as connection:
        body = b'{"name":"n","producer":"p","subject":"s"}'
        connection.sendall(
            b"POST /packages HTTP/1.1\r\nHost: localhost\r\n" + KEY + b"Content-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        stopper = threading.Thread(target=server.stop, args=(PATIENCE,))
        stopper.start()
        with server.change:
            assert server.change.wait_for(lambda: server.stopping, PATIENCE)
        while True:
            try:
                socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE).close()
            except OSError:
                break
        connection.sendall(body)
        answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 201")
        assert b"Connection: close\r\n" in answer
        stopper.join(PATIENCE)


# The program itself


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_after_what_runs(program: Program, number: signal.Signals) -> None:
    environment = program.environment({"ARTIFACTSTORE_AUTH_TOKENS": PUSHER})
    with subprocess.Popen(
        program.command("serve", "--port", "0"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            port = int(read_line(process).rpartition(b":")[2])
            body = b'{"name":"n","producer":"p","subject":"s"}'
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                connection.sendall(
                    b"POST /packages HTTP/1.1\r\nHost: localhost\r\n"
                    + KEY
                    + b"Content-Type: application/json\r\n"
                    b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
                )
                assert connection.recv(100).startswith(b"HTTP/1.1 100")
                process.send_signal(number)
                assert process.stderr is not None
                assert b"stopping\n" in iter(process.stderr.readline, b"")
                connection.sendall(body)
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 201")
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    assert len(program.call("list", "--json").document["items"]) == 1


def test_the_program_says_when_nobody_gets_in(program: Program) -> None:
    with subprocess.Popen(
        program.command("serve", "--port", "0"),
        env=program.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            read_line(process)
            assert process.stderr is not None
            assert b"ARTIFACTSTORE_AUTH_TOKENS is not set" in process.stderr.readline()
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_the_program_says_when_anybody_may_read(program: Program) -> None:
    with subprocess.Popen(
        program.command("serve", "--port", "0"),
        env=program.environment({"ARTIFACTSTORE_ANON_READ": "true"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            read_line(process)
            assert process.stderr is not None
            told = process.stderr.readline()
            assert b"ARTIFACTSTORE_AUTH_TOKENS is not set" in told
            assert b"anybody may read" in told
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_a_key_without_its_certificate_is_refused(program: Program, certificate: tuple[Path, Path]) -> None:
    answer = program.spawn("serve", "--port", "0", "--tls-key", str(certificate[1]), code=2)
    assert "--tls-cert" in answer.stderr


def test_the_program_refuses_to_be_reached_from_elsewhere(program: Program) -> None:
    answer = program.spawn("serve", "--host", "0.0.0.0", "--port", "0", code=2)  # noqa: S104 - refused
    assert "can be reached from elsewhere" in answer.stderr


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_tls(store: Store, certificate: tuple[Path, Path]) -> None:
    with serving(store, tls_certificate=certificate[0], tls_key=certificate[1]) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate[0]))
        connection = HTTPSConnection("localhost", server.server_port, timeout=PATIENCE, context=context)
        key = {"Authorization": f"Bearer {PUSHER}"}
        data = bytes(range(256)) * 40_000
        body = b'{"name":"n","producer":"p","subject":"s"}'
        connection.request("POST", "/packages", body, {**key, "Content-Type": "application/json"})
        location = connection.getresponse()
        location.read()
        target = f"{location.headers['Location']}/files/large"
        connection.request("PUT", target, data, key)
        assert connection.getresponse().read()
        connection.request("GET", target, headers=key)
        assert connection.getresponse().read() == data
        connection.close()
        # Whoever does not speak TLS gets nothing, and a good client is served still.
        assert raw(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").statuses == []
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(str(certificate[0]))
        old.set_ciphers("DEFAULT@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)), connected(server) as plain:
            old.wrap_socket(plain, server_hostname="localhost")
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_handshake_that_never_comes_holds_nobody_up(store: Store, certificate: tuple[Path, Path]) -> None:
    limits = Limits(connections=5, head=PATIENCE)
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with (
        serving(store, tls_certificate=certificate[0], tls_key=certificate[1], limits=limits) as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(20):
            stack.enter_context(connected(server))
        connection = HTTPSConnection("localhost", server.server_port, timeout=PATIENCE, context=context)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_key_of_another_certificate_is_refused(program: Program, certificate: tuple[Path, Path]) -> None:
    answer = program.spawn("serve", "--port", "0", "--tls-cert", str(certificate[1]), code=2)
    assert "cannot be used" in answer.stderr


def test_serving_loads_no_server_for_other_commands(program: Program) -> None:
    script = "import sys; from artifactstore.cli import main; sys.argv[1:] = ['list']\ntry: main()\nexcept SystemExit: pass\nprint('http.server' in sys.modules, file=sys.stderr)"  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", script], env=program.environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr.endswith("False\n")
