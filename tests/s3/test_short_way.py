"""The short way to a server: what it meets on the wire, what it signs, and what it leaves to the long way."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

import pytest
from client.conftest import certificate  # noqa: F401 - a fixture
from client.harness import Caller, answering, closing, http_answer, rude
from hypothesis import given
from hypothesis import strategies as st
from store.harness import refused

from artifactstore import AccessError, BackendError
from artifactstore.objects.s3.calls import S3Calls
from artifactstore.objects.s3.config import S3Config
from artifactstore.objects.s3.service import S3Service
from artifactstore.objects.s3.short_way import Signer, short_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from client.harness import Script

KEYS = ("ACCESS", "canary-b81f20-secret")
DATA = b"0123456789"
SAID = f'Content-Range: bytes 0-9/{len(DATA)}\r\nETag: "e"\r\n'
GOOD = http_answer(DATA, status="206 Partial Content", more=SAID)
NEVER = 1e6  # seconds before a call is repeated: longer than it may last, so it is not repeated
LONG = b"\r\namz-sdk-"  # what only the long way says


def config(url: str, **changed: Any) -> S3Config:
    said: dict[str, Any] = {"credentials": lambda: KEYS, "timeout": 20.0, "pause": 0.001}
    return S3Config("bucket", url, **{**said, **changed})


@contextlib.contextmanager
def calling(url: str, **changed: Any) -> Iterator[S3Calls]:
    with contextlib.closing(S3Calls(config(url, **changed))) as calls:
        yield calls


def get(calls: S3Calls, **further: Any) -> Any:
    return calls.call("get_object", Bucket="bucket", Key="key", Range="bytes=0-9", **further)["Body"]


def the_long_way(calls: S3Calls) -> Any:
    return calls.call("get_object", Bucket="bucket", Key="key")


def put(calls: S3Calls, data: bytes = DATA, **further: Any) -> Any:
    return calls.call("put_object", Bucket="bucket", Key="key", Body=data, **further)


def xml_answer(status: str, code: str) -> bytes:
    return http_answer(
        f"<Error><Code>{code}</Code><Message>as planned</Message></Error>".encode(), status=status
    )


def hanging(caller: Caller) -> None:
    """Takes a head and says no more."""
    caller.read_head()
    caller.stopped.wait()


def resetting(after: bytes) -> Script:
    """Says this and breaks the connection."""

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.say(after)
        caller.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return script


def dripping(first: bytes) -> Script:
    """Says this, and then one byte after the other without an end."""

    def script(caller: Caller) -> None:
        caller.read_head()
        caller.say(first)
        while not caller.stopped.wait(0.01):
            caller.say(b"x")

    return script


# Connections


def test_one_connection_carries_one_call_after_the_other() -> None:
    with rude(answering(GOOD)) as server, calling(server.url) as calls:
        assert [bytes(get(calls)) for _ in range(3)] == [DATA] * 3
        assert len(server.callers) == 1
    assert not any(LONG in head for head in server.requests)


def test_an_answer_that_says_so_ends_its_connection() -> None:
    last = GOOD.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    with rude(answering(last)) as server, calling(server.url, pause=NEVER) as calls:
        assert get(calls) == get(calls) == DATA
        assert len(server.callers) == 2


def closing_at_rest(caller: Caller) -> None:
    closing(GOOD)(caller)


def closing_at_the_next_request(caller: Caller) -> None:
    caller.read_request()
    caller.say(GOOD)
    caller.read_head()


def resetting_at_the_next_request(caller: Caller) -> None:
    caller.read_request()
    caller.say(GOOD)
    resetting(b"")(caller)


@pytest.mark.parametrize(
    "script", [closing_at_rest, closing_at_the_next_request, resetting_at_the_next_request]
)
@pytest.mark.parametrize("call", [get, put])
def test_a_connection_that_the_server_has_closed_is_replaced(script: Script, call: Any) -> None:
    with rude(script, answering(GOOD)) as server, calling(server.url, pause=NEVER) as calls:
        call(calls)
        call(calls)
        assert len(server.callers) == 2


HALF: dict[str, Script] = {
    "nothing": closing(),
    "half a head": closing(GOOD[:20]),
    "half a body": closing(GOOD[:-1]),
    "a reset": resetting(b""),
    "a reset in the body": resetting(GOOD[:-1]),
    "another protocol": closing(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "no status": closing(b"HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n"),
    "another version": closing(b"HTTP/3 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "no header": closing(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
    "a head without an end": closing(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
    "half of the chunks": closing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n"),
    "no chunk": closing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\n01234\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("what", HALF)
def test_half_an_answer_is_none(what: str) -> None:
    with rude(HALF[what]) as server, calling(server.url) as calls:
        with refused(BackendError, "connection-lost", server.url) as caught:
            get(calls)
        assert len(server.callers) == 5  # each try has a connection of its own
        assert KEYS[1] not in f"{caught.value!r} {caught.value.hint}"
        assert caught.value.__cause__ is None


def test_a_call_whose_first_try_fails_succeeds() -> None:
    with rude(closing(), answering(GOOD)) as server, calling(server.url) as calls:
        assert get(calls) == DATA


@pytest.mark.parametrize("more", [b"surplus", GOOD])
def test_what_follows_an_answer_is_no_answer_to_the_next_request(more: bytes) -> None:
    with rude(answering(GOOD + more), answering(GOOD)) as server, calling(server.url, pause=NEVER) as calls:
        assert get(calls) == get(calls) == DATA
        assert len(server.callers) == 2


def test_an_answer_that_announces_itself_is_waited_for() -> None:
    with rude(answering(b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD)) as server, calling(server.url) as calls:
        assert get(calls) == get(calls) == DATA
        assert len(server.callers) == 1


def test_a_body_in_chunks() -> None:
    chunks = b"4;name=value\r\n0123\r\n6\r\n456789\r\n0\r\nTrailer: x\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with rude(answering(head + chunks)) as server, calling(server.url) as calls:
        assert get(calls) == get(calls) == DATA
        assert len(server.callers) == 1
    assert not any(LONG in head for head in server.requests)


# Time


@pytest.mark.parametrize("script", [hanging, dripping(b"HTTP/1.1 200 OK\r\n")], ids=["hangs", "drips"])
def test_a_server_that_hangs_or_drips_is_given_up(script: Script) -> None:
    with (
        rude(script) as server,
        calling(server.url, timeout=0.2) as calls,
        refused(BackendError, "timeout", server.url),
    ):
        get(calls)


def test_a_body_without_an_end_is_given_up() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    with rude(dripping(head)) as server, calling(server.url) as calls:
        wanted = {"Bucket": "bucket", "Key": "key", "Range": "bytes=0-99999999"}
        with refused(BackendError, "timeout", server.url):
            calls.call("get_object", timeout=0.2, **wanted)


def test_a_server_that_stops_reading_is_given_up() -> None:
    with (
        rude(hanging) as server,
        calling(server.url, timeout=0.2) as calls,
        refused(BackendError, "timeout", server.url),
    ):
        put(calls, bytes(32 << 20))


def test_a_server_that_never_speaks_tls_is_given_up() -> None:
    def silent(caller: Caller) -> None:
        caller.stopped.wait()

    with rude(silent) as server:
        url = server.url.replace("http:", "https:")
        with calling(url, timeout=0.2) as calls, refused(BackendError, "timeout", url):
            get(calls)


def test_a_name_that_nobody_finds_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with rude(answering(GOOD)) as server, calling(server.url, timeout=0.1) as calls:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: server.stopped.wait())
        with refused(BackendError, "timeout", server.url):
            get(calls)


# Answers


@pytest.mark.parametrize(
    ("status", "code", "kind", "ours"),
    [
        ("403 Forbidden", "AccessDenied", AccessError, "access-denied"),
        ("403 Forbidden", "SignatureDoesNotMatch", AccessError, "bad-credentials"),
        ("400 Bad Request", "ExpiredToken", AccessError, "credentials-expired"),
        ("404 Not Found", "NoSuchBucket", BackendError, "no-such-bucket"),
        ("500 Internal Server Error", "InternalError", BackendError, "server-error"),
        ("503 Service Unavailable", "SlowDown", BackendError, "throttled"),
        ("599 Strange", "", BackendError, "server-error"),
    ],
)
def test_a_refusal_is_named_as_on_the_long_way(
    status: str, code: str, kind: type[AccessError | BackendError], ours: str
) -> None:
    said = []
    with rude(answering(xml_answer(status, code))) as server:
        for further in ({}, {"PartNumber": 1}):  # which only the long way knows of a whole object
            with calling(server.url) as calls, refused(kind, ours, server.url) as caught:
                calls.call("get_object", Bucket="bucket", Key="key", Range="bytes=0-9", **further)
            said.append((caught.value.message, caught.value.hint, getattr(caught.value, "retryable", None)))
    assert said[0] == said[1]


def test_a_refusal_without_words_is_named_as_on_the_long_way() -> None:
    said = []
    answer = http_answer(b"", status="403 Forbidden")
    with rude(answering(answer)) as server:
        for further in ({}, {"PartNumber": 1}):
            with calling(server.url) as calls, refused(AccessError, "access-denied") as caught:
                calls.call("head_object", Bucket="bucket", Key="key", **further)
            said.append(caught.value.message)
    assert said[0] == said[1]


def test_a_server_may_refuse_a_body_before_it_has_come() -> None:
    def script(caller: Caller) -> None:
        caller.read_head()
        caller.say(xml_answer("403 Forbidden", "AccessDenied"))

    with rude(script) as server, calling(server.url) as calls, refused(AccessError, "access-denied"):
        put(calls, bytes(32 << 20))


def test_a_server_that_ignores_ranges_is_left_to_the_long_way() -> None:
    whole = bytes(100_000)
    with rude(answering(http_answer(whole))) as server:
        service = S3Service(config(server.url))
        found = service.get("key", 0, 10)
        service.close()
    assert found is not None
    assert (found.data, found.size) == (whole[:10], len(whole))
    assert [LONG in head for head in server.requests] == [False, True]


def test_a_call_that_it_does_not_know_goes_the_long_way() -> None:
    with rude(answering(GOOD)) as server, calling(server.url) as calls:
        assert calls.call("get_object", Bucket="bucket", Key="key")["Body"] == DATA
        assert LONG in server.requests[0]


# Requests


def test_a_request_says_what_the_long_way_says() -> None:
    sha256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    asked = {"ChecksumSHA256": sha256, "IfNoneMatch": "*", "ServerSideEncryption": "AES256"}
    asked |= {"StorageClass": "STANDARD_IA"}
    with rude(answering(http_answer(b"", more='ETag: "e"\r\n'))) as server, calling(server.url) as calls:
        put(calls, **asked)
        calls.call(
            "put_object", Bucket="bucket", Key="key", Body=DATA, ContentType="application/octet-stream",
            **asked,
        )  # fmt: skip
    short, long = ({line.lower() for line in head.split(b"\r\n")[1:]} for head in server.requests)
    unsaid = (b"authorization:", b"x-amz-date:", b"amz-sdk-", b"user-agent:", b"accept:", b"")
    assert {line for line in long if not line.startswith(unsaid[:-1])} - short == set()


def test_an_endpoint_with_a_path_keeps_it() -> None:
    with rude(answering(GOOD)) as server, calling(f"{server.url}/s3/") as calls:
        get(calls)
        calls.call("get_object", Bucket="bucket", Key="key")
    short, long = (head.split(b" ")[1] for head in server.requests)
    assert short == b"/s3/bucket/key"
    assert long.partition(b"?")[0] == short


NAMES = st.sampled_from(["if-none-match", "range", "x-amz-storage-class", "x-amz-checksum-sha256"])
PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
QUERY = st.dictionaries(
    st.sampled_from(["partNumber", "uploadId", "versionId", "prefix"]), st.text(max_size=20)
)


@given(
    path=st.text(min_size=1, max_size=30),
    query=QUERY,
    headers=st.dictionaries(NAMES, PLAIN),
    body=st.binary(max_size=20),
    secret=PLAIN.filter(bool),
    region=st.sampled_from(["us-east-1", "eu-central-1", "default"]),
)
def test_signatures_are_those_of_botocore(
    path: str, query: dict[str, str], headers: dict[str, str], body: bytes, secret: str, region: str
) -> None:
    from urllib.parse import quote

    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    try:
        path = f"/bucket/{quote(path, safe='/~')}"
        asked = "&".join(f"{name}={quote(query[name], safe='~')}" for name in sorted(query))
    except UnicodeEncodeError:
        return  # a lone surrogate is in no name
    request = AWSRequest("PUT", f"http://host:9000{path}?{asked}", headers, data=body)
    S3SigV4Auth(Credentials("ACCESS", secret), "s3", region).add_auth(request)
    signed = {name.lower(): value for name, value in request.headers.items() if name != "Authorization"}
    signer = Signer("ACCESS", secret, region=region)
    expected = request.headers["Authorization"]
    assert signer.authorization("PUT", path, asked, {**signed, "host": "host:9000"}) == expected


# Which configurations


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"url": None}, id="AWS"),
        pytest.param({"url": "http://user:password@127.0.0.1:1"}, id="user"),
        pytest.param({"url": "http://127.0.0.1:1/?query"}, id="query"),
        pytest.param({"url": "http://127.0.0.1:1/a b"}, id="path"),
        pytest.param({"url": "http://b\xfccher.example"}, id="host"),
        pytest.param({"url": "ftp://127.0.0.1:1"}, id="scheme"),
        pytest.param({"credentials": lambda: None}, id="no keys"),
        pytest.param({"credentials": lambda: ("key\n", "secret")}, id="key"),
        pytest.param({"region": "us-\u00e9ast"}, id="region"),
    ],
)
def test_what_is_out_of_the_ordinary_has_no_short_way(changed: dict[str, Any]) -> None:
    assert short_way(config(**{"url": "http://127.0.0.1:1"} | changed)) is None


def test_a_proxy_is_only_on_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    there = config("http://127.0.0.1:1")
    assert short_way(there) is not None
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:2")
    assert short_way(there) is None
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert short_way(there) is not None


# TLS


def server_tls(certificate: Path) -> ssl.SSLContext:  # noqa: F811 - the fixture
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def test_only_a_server_that_proves_who_it_is_gets_a_request(
    certificate: Path,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with rude(answering(GOOD), tls=server_tls(certificate)) as server:
        other = server.url.replace("127.0.0.1", "localhost")
        for url, trusted in ((server.url, False), (other, True)):
            with monkeypatch.context() as patched:
                if trusted:
                    patched.setenv("AWS_CA_BUNDLE", str(certificate))
                with calling(url) as calls, refused(BackendError, "tls-failed", url):
                    get(calls)
        assert server.requests == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        with calling(server.url) as calls:
            assert get(calls) == get(calls) == DATA
        assert len(server.requests) == 2


def put_much(calls: S3Calls) -> Any:
    return put(calls, bytes(32 << 20))


@pytest.mark.parametrize("call", [get, put_much, the_long_way])
@pytest.mark.parametrize("said", [b"", GOOD[:-1]])
def test_tls_that_breaks_off_is_a_connection_that_breaks_off(
    certificate: Path,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    said: bytes,
    call: Callable[[S3Calls], Any],
) -> None:
    def script(caller: Caller) -> None:
        caller.read_head()
        caller.say(said)

    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    with (
        rude(script, tls=server_tls(certificate)) as server,
        calling(server.url) as calls,
        refused(BackendError, "connection-lost", server.url),
    ):
        call(calls)
    assert len(server.requests) >= 5  # a library may try twice by itself


def greeted(caller: Caller) -> None:
    """Takes what the client says first."""
    caller.stream.recv(1 << 16)


def greeted_in_plain_http(caller: Caller) -> None:
    greeted(caller)
    caller.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("call", [get, the_long_way])
@pytest.mark.parametrize(
    ("script", "code", "tries"), [(greeted, "connection-lost", 5), (greeted_in_plain_http, "tls-failed", 1)]
)
def test_a_greeting_that_breaks_off_is_told_from_one_that_is_none(
    call: Callable[[S3Calls], Any], script: Script, code: str, tries: int
) -> None:
    with rude(script) as server:
        url = server.url.replace("http:", "https:")
        with calling(url) as calls, refused(BackendError, code, url):
            call(calls)
        assert len(server.callers) == tries


# Processes


def test_a_forked_child_has_connections_of_its_own() -> None:
    with rude(answering(GOOD)) as server, calling(server.url) as calls:
        get(calls)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if get(calls) == DATA else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert get(calls) == DATA
        assert [len(caller.requests) for caller in server.callers] == [2, 1]


def test_after_a_close_calls_connect_anew() -> None:
    with rude(answering(GOOD)) as server, calling(server.url) as calls:
        assert get(calls) == DATA
        calls.close()
        assert get(calls) == DATA
        assert len(server.callers) == 2
