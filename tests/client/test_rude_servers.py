"""A client meets servers that are away, are none of ours, or do what no server should."""

from __future__ import annotations

import json
import socket
import ssl
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from store.harness import refused

from artifactstore import (
    AccessError,
    ArtifactStoreError,
    BackendError,
    BusyError,
    Health,
    InvalidInputError,
)
from artifactstore.client import Client
from artifactstore.client.connection import Body, Request
from artifactstore.results import ComponentHealth
from client.harness import Caller, answering, closing, http_answer, rude

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOKEN = "canary-6d1f0c"  # noqa: S105 - looked for in what must not hold it
WELL = {
    "status": "ok",
    "db": {"healthy": True, "reasons": []},
    "backend": {"healthy": True, "reasons": []},
    "warnings": [],
    "oldest_verified_at": "2026-11-22T20:15:00.000000Z",
}
GOOD = http_answer(json.dumps(WELL).encode())


def client_of(url: str, **options: Any) -> Client:
    return Client(url, TOKEN, **{"timeout": 20.0, "tries": 3, **options})


def health_of(url: str, **options: Any) -> Health:
    with client_of(url, **options) as client:
        return client.health()


def test_a_good_answer_is_understood() -> None:
    with rude(answering(GOOD)) as server:
        found = health_of(server.url)
    well = ComponentHealth(healthy=True)
    assert found == Health(well, well, (), 1_795_378_500_000_000)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with refused(BackendError, "server-unreachable", f"http://127.0.0.1:{port}", "refused"):
        health_of(f"http://127.0.0.1:{port}")


def test_a_connection_is_used_again_and_replaced_when_the_server_has_closed_it() -> None:
    with rude(answering(GOOD), closing(GOOD), answering(GOOD)) as server:
        with client_of(server.url) as client:
            for _ in range(3):
                client.health()
        assert [len(caller.requests) for caller in server.callers] == [3]
    with rude(closing(GOOD), answering(GOOD)) as server, client_of(server.url) as client:
        for _ in range(3):
            client.health()
        assert len(server.requests) == 3


def test_what_can_be_repeated_is_sent_again_when_a_connection_ends() -> None:
    with rude(closing(), closing(b"HTTP"), answering(GOOD)) as server:
        assert health_of(server.url).status == "ok"
        assert len(server.callers) == 3


def test_the_tries_come_to_an_end() -> None:
    with rude(closing()) as server:
        with refused(BackendError, "server-unreachable", "ended the connection too early"):
            health_of(server.url)
        assert len(server.requests) == 3


def test_what_cannot_be_repeated_is_sent_once() -> None:
    with rude(closing()) as server:
        with client_of(server.url) as client:
            request = Request("POST", "/packages", body=Body.of(b"{}"), repeatable=False)
            with refused(BackendError, "server-unreachable", "may have been done"):
                client._transport.ask(request)
        assert len(server.requests) == 1


def test_a_busy_server_is_asked_again() -> None:
    problem = json.dumps({"code": "busy", "detail": "another writer", "hint": None}).encode()
    busy = http_answer(
        problem,
        status="503 Service Unavailable",
        content_type="application/problem+json",
        more="Retry-After: 0\r\n",
    )
    with rude(answering(busy, GOOD)) as server:
        assert health_of(server.url).status == "ok"
        assert len(server.requests) == 2
    with rude(answering(busy)) as server:
        with refused(BusyError, "busy", "another writer"):
            health_of(server.url)
        assert len(server.requests) == 3


FOREIGN = {
    "a web page": http_answer(b"<html>", content_type="text/html"),
    "no JSON": http_answer(b"{"),
    "a list": http_answer(b"[]"),
    "deep JSON": http_answer(b"[" * 100_000),
    "NaN": http_answer(b'{"status": NaN}'),
    "nothing": http_answer(b""),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "another service": http_answer(b'{"status": "UP"}'),
    "not found": http_answer(b"<html>", status="404 Not Found", content_type="text/html"),
    "an error of a proxy": http_answer(b"", status="500 Oops", content_type="text/html"),
    "a problem of somebody else": http_answer(
        b'{"type": "about:blank"}', status="400 Bad", content_type="application/problem+json"
    ),
    "a teapot": http_answer(b"", status="418 Teapot"),
    "a status that is none": http_answer(GOOD, status="299 Odd"),
}


@pytest.mark.parametrize("answer", FOREIGN.values(), ids=FOREIGN)
def test_somebody_else_answers(answer: bytes) -> None:
    with rude(answering(answer)) as server, refused(BackendError, "not-an-api"):
        health_of(server.url)


def test_an_artifactstore_of_another_version_is_named() -> None:
    banner = http_answer(b'{"service": "artifactstore", "version": "99.0"}')
    with rude(answering(http_answer(b'{"condition": "fine"}'), banner)) as server:
        with refused(BackendError, "other-version", server.url, "it is artifactstore 99.0, this is"):
            health_of(server.url)
        assert [head.split()[1] for head in server.requests] == [b"/health", b"/"]
    problem = http_answer(
        b'{"code": "no-such-path", "detail": "there is no such path"}',
        status="404 Not Found",
        content_type="application/problem+json",
    )
    with rude(answering(problem, banner)) as server, refused(BackendError, "other-version", "no such path"):
        health_of(server.url)


BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "another HTTP": b"HTTP/3 200 OK\r\n\r\n",
    "a status line that is too long": b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
    "a header that is too long": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
    "a body that ends early": GOOD[:-10],
    "a chunk that ends early": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nff\r\n{}",
    "a chunk without a length": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_an_answer_is_broken(answer: bytes) -> None:
    with rude(closing(answer)) as server, refused(BackendError, "server-unreachable", server.url):
        health_of(server.url, tries=1)


def drip(head: bytes, byte: bytes) -> Callable[[Caller], None]:
    """Sends a byte now and then, and never an end."""

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.say(head)
        while not caller.stopped.wait(0.05):
            caller.say(byte)

    return script


SLOW = {
    "silence": lambda caller: caller.stopped.wait(),
    "a head that trickles": drip(b"HTTP/1.1 200 OK\r\nA: ", b"x"),
    "a body that trickles": drip(GOOD[: -len(GOOD) // 2], b" "),
    "interim answers without end": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_an_answer_never_ends(script: Callable[[Caller], None]) -> None:
    with rude(script) as server, refused(BackendError, "server-unreachable", "in time"):
        health_of(server.url, tries=1, timeout=0.3)


def test_a_redirect_is_not_followed() -> None:
    with rude(answering(GOOD)) as elsewhere:
        away = http_answer(
            b"",
            status="307 Temporary Redirect",
            more=f"Location: http://me:pw@127.0.0.1:{elsewhere.port}/?q\r\n",
        )
        with rude(answering(away)) as server:
            with refused(BackendError, "not-an-api", f"127.0.0.1:{elsewhere.port}"):
                health_of(server.url)
            assert len(server.requests) == 1
        assert elsewhere.callers == []


def problem(**members: Any) -> bytes:
    """A refusal of a server, with any members."""
    body = json.dumps(members).replace("@", "".join(f"\\u{ord(character):04x}" for character in TOKEN))
    return http_answer(body.encode(), status="401 Unauthorized", content_type="application/problem+json")


ECHOES = {
    "a place": http_answer(b"", status="302 Found", more=f"Location: http://other.example/{TOKEN}/x\r\n"),
    "a reason": http_answer(b"", status=f"401 {TOKEN}", content_type="text/html"),
    "a detail": problem(code="unauthorized", detail=f"got Bearer {TOKEN}"),
    "a detail that is cut": problem(code="unauthorized", detail="x" * 1_995 + TOKEN),
    "an escaped detail": problem(code="unauthorized", detail="got Bearer @"),
    "a detail of another kind": problem(code="unauthorized", detail=[TOKEN]),
    "a title": problem(code="unauthorized", title=TOKEN),
    "a hint": problem(code="unauthorized", detail="no", hint=f"use {TOKEN}"),
    "a code": problem(code=TOKEN, detail="no"),
    "an unknown path": problem(code="no-such-path", detail=TOKEN),
    "a media type": http_answer(b"", content_type=f"text/{TOKEN}"),
    "a version": http_answer(json.dumps({"service": "artifactstore", "version": TOKEN}).encode()),
    "a value": http_answer(json.dumps({**WELL, "status": TOKEN, "oldest_verified_at": TOKEN}).encode()),
}


@pytest.mark.parametrize("answer", ECHOES.values(), ids=ECHOES)
def test_a_server_that_repeats_our_token_does_not_make_us_show_it(answer: bytes) -> None:
    with rude(answering(answer)) as server, pytest.raises(ArtifactStoreError) as caught:
        health_of(server.url, tries=1)
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert TOKEN[:8] not in shown


def test_a_token_that_comes_back_in_the_form_of_urls_is_not_shown_either() -> None:
    token = "canary/6d1f+0c=="  # noqa: S105 - as above
    for place in (f"/a/{token}/b", f"/a/{quote(token)}/b", f"/a/{quote(token, safe='')}/b"):
        away = http_answer(b"", status="302 Found", more=f"Location: {place}\r\n")
        with (
            rude(answering(away)) as server,
            Client(server.url, token) as client,
            refused(BackendError, "not-an-api", "sends us elsewhere: '/a/***/b'"),
        ):
            client.health()


def test_a_body_that_is_refused_early_is_refused_in_the_words_of_the_server() -> None:
    problem = json.dumps({"code": "invalid-input", "detail": "the body is too large"}).encode()
    answer = http_answer(
        problem,
        status="413 Content Too Large",
        content_type="application/problem+json",
        more="Connection: close\r\n",
    )

    def script(caller: Caller) -> None:
        caller.read_head()
        caller.say(answer)
        caller.stream.shutdown(socket.SHUT_WR)
        while caller.stream.recv(1 << 16):
            pass

    with rude(script) as server, client_of(server.url) as client:
        body = Body(1 << 30, lambda: (b"\0" * 65536 for _ in range(1 << 14)))
        with refused(InvalidInputError, "invalid-input", "the body is too large"):
            client._transport.ask(Request("PUT", "/x", body=body))


def test_a_server_cannot_write_on_our_terminal() -> None:
    problem = json.dumps({"code": "not-found", "detail": "\x1b[2Jgone\n\u202etxt" + "x" * 9000}).encode()
    answer = http_answer(problem, status="404 Not Found", content_type="application/problem+json")
    with rude(answering(answer)) as server, pytest.raises(ArtifactStoreError) as caught:
        health_of(server.url)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 3000


def test_an_answer_without_end_is_given_up() -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            caller.say(b"10000\r\n" + b" " * 65536 + b"\r\n")

    with (
        rude(script) as server,
        client_of(server.url) as client,
        refused(BackendError, "not-an-api", "more than 1048576 bytes"),
    ):
        client._transport.read(Request("GET", "/events"), 1 << 20)


def test_each_request_carries_the_token_and_a_host_and_nothing_that_asks_for_compression() -> None:
    with rude(answering(GOOD)) as server:
        health_of(server.url)
        (head,) = server.requests
        port = server.port
    assert head.startswith(b"GET /health HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{port}\r\n".encode() in head
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n".encode() in head
    assert b"Accept-Encoding" not in head


# TLS


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def test_a_server_that_does_not_prove_who_it_is_gets_no_request(certificate: Path) -> None:
    with rude(answering(GOOD), tls=server_tls(certificate)) as server:
        with refused(AccessError, "certificate", server.url):
            health_of(server.url)
        assert server.requests == []


def test_a_certificate_for_another_name_is_none(certificate: Path) -> None:
    with rude(answering(GOOD), tls=server_tls(certificate)) as server:
        url = f"https://localhost:{server.port}"
        with refused(AccessError, "certificate", url):
            health_of(url, ca_file=str(certificate))
        assert server.requests == []


def test_a_server_that_proves_who_it_is(certificate: Path) -> None:
    with rude(answering(GOOD), tls=server_tls(certificate)) as server:
        assert health_of(server.url, ca_file=str(certificate)).status == "ok"


def test_tls_with_a_server_that_has_none() -> None:
    def script(caller: Caller) -> None:
        caller.stream.recv(5)
        caller.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with rude(script) as server:
        url = server.url.replace("http:", "https:")
        with refused(BackendError, "server-unreachable", "TLS"):
            health_of(url, tries=1)


# Arguments


@pytest.mark.parametrize(
    "url",
    ["", "host", "host:80", "ftp://host", "http://", "http://host:0", "http://host:port", "http://[::1",
     "http://ho st", "http://host/\n", "http://h\u00f6st", "http://me@host", f"http://me:{TOKEN}@host",
     f"http://host?{TOKEN}", f"http://host#{TOKEN}", "file:///etc/passwd",
     "http://.host", "http://a..b", f"http://{'a' * 64}", "http://-a"],
)  # fmt: skip
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Client(url)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nHost: b", "t\u00f6ken", "\0"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Client("http://localhost:1", token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"tries": 0}, {"connections": 0}, {"timeout": -1.0}])
def test_a_number_that_makes_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Client("http://localhost:1", **options)


def test_no_repr_shows_the_token() -> None:
    with client_of("http://localhost:1/base") as client:
        shown = repr(client) + repr(client._transport) + repr(client._transport.address)
    assert "http://localhost:1/base" in shown
    assert TOKEN not in shown
