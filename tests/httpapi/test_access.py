"""Who gets in, and what they may do."""

from __future__ import annotations

import hmac
import os
import socket
import stat
import struct
from hmac import compare_digest
from typing import TYPE_CHECKING

import pytest

from artifactstore import SettingsError
from artifactstore.httpapi import make_server
from artifactstore.httpapi.access import ADMIN, READ, SCOPES, WRITE, Tokens
from artifactstore.httpapi.package_routes import add_known_files
from artifactstore.httpapi.refusals import Refusal
from artifactstore.httpapi.table import ROUTES
from httpapi.harness import OPERATOR, PUSHER, READER, TOKENS, WRITER, Client, raw, serving

if TYPE_CHECKING:
    from pathlib import Path

    from artifactstore import Store
    from artifactstore.httpapi import Server
    from artifactstore.httpapi.routes import Route

PROTECTED = [route for route in ROUTES if route.scope is not None]
OPEN = {"/", "/health", "/docs"}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is refused
NAMES = {
    "package": "0" * 32,
    "file": "0" * 32,
    "digest": "0" * 64,
    "upload": "0" * 32,
    "hold": "0" * 32,
    "path": "a",
    "slug": "a",
}


def target(route: Route) -> str:
    """A path of a route, of something that is not there."""
    return "/" + "/".join(NAMES[part[1:-1]] if part.startswith("{") else part for part in route.segments)


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_only_these_answer_without_a_token() -> None:
    assert {route.path for route in ROUTES if route.scope is None} == OPEN


@pytest.mark.parametrize("route", PROTECTED, ids=named)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {PUSHER}x",
        f"Bearer {PUSHER[:-1]}",
        f"Bearer {PUSHER.upper()}",
        f"Basic {PUSHER}",
        f"Bearer ci:read+write:{PUSHER}",
        PUSHER,
        "Bearer " + "x" * 7000,
    ],
    ids=repr,
)
def test_no_route_takes_a_wrong_token(
    store: Store, server: Server, route: Route, authorization: str | None
) -> None:
    del store
    fields = "" if authorization is None else f"Authorization: {authorization}\r\n"
    request = f"{route.method} {target(route)} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: 0\r\n"
    answers = raw(server, f"{request}Connection: close\r\n\r\n".encode())
    assert answers.statuses == [401]
    assert b"WWW-Authenticate: Bearer" in answers.data


@pytest.mark.parametrize("route", PROTECTED, ids=named)
def test_a_token_in_the_address_is_not_read(server: Server, route: Route) -> None:
    stranger = Client(server, None)
    for name in ("token", "access_token", "api_key"):
        assert stranger(route.method, f"{target(route)}?{name}={OPERATOR}").status == 401
    stranger.close()


@pytest.mark.parametrize("route", PROTECTED, ids=named)
def test_without_tokens_nobody_gets_in(store: Store, route: Route) -> None:
    with serving(store, tokens=()) as server:
        for token in (None, "", ",", PUSHER):
            client = Client(server, token)
            assert client(route.method, target(route)).status == 401
            client.close()


@pytest.mark.parametrize("route", PROTECTED, ids=named)
def test_each_token_may_do_what_its_scope_says(
    reader: Client, writer: Client, operator: Client, route: Route
) -> None:
    """What may be done fails here for another reason: there is no such thing. One route needs two scopes."""
    for scope, client in ((READ, reader), (WRITE, writer), (ADMIN, operator)):
        answer = client(route.method, target(route))
        may = scope == ADMIN or (scope == route.scope and route.respond is not add_known_files)
        assert (answer.status == 403) is not may, answer
        if not may:
            assert answer.document["code"] == "scope-missing"


@pytest.mark.parametrize("route", PROTECTED, ids=named)
def test_anonymous_read_opens_reads_alone(store: Store, route: Route) -> None:
    with serving(store, anonymous_read=True) as server:
        stranger = Client(server, None)
        assert (stranger(route.method, target(route)).status == 401) is (route.scope != READ)
        stranger.close()


def test_a_writer_cannot_claim_bytes_that_it_never_had(client: Client, writer: Client) -> None:
    client.finalized({"secret.txt": b"the secret"})
    digest = client("GET", "/events", Accept="application/json").document["items"][-2]["payload"]["blake3"]
    package = writer.package()
    path = f"/packages/{package}/files/mine.txt?known=true"
    refused = writer("PUT", path, Artifactstore_Digest=digest, status=403)
    assert refused.document["code"] == "scope-missing"
    batch = {"files": [{"relative_path": "mine.txt", "digest": digest}]}
    writer("POST", f"/packages/{package}/files", batch, status=403)
    writer("POST", "/objects/query", {"digests": [digest]}, status=403)
    assert client("GET", f"/packages/{package}").document["file_count"] == 0


def test_the_actor_is_the_token_whatever_the_client_says(
    store: Store, client: Client, operator: Client
) -> None:
    client.package()
    client("POST", "/packages", {"name": "n", "producer": "p", "subject": "s"}, Artifactstore_Actor="ada")
    client("POST", "/packages", {"name": "n", "producer": "p", "subject": "s"}, Artifactstore_Actor="ci")
    operator.package()
    actors = [event.actor for event in store.events() if event.package_id is not None]
    assert actors == ["ci", "ci (for ada)", "ci", "operator"]
    body = {"name": "n", "producer": "p", "subject": "s", "actor": "root"}
    assert (
        client("POST", "/packages", body, status=422).document["detail"].startswith("the body has a member")
    )
    for name in ("", " ada", "a\tb", "x" * 200):
        client("POST", "/packages", {**body}, Artifactstore_Actor=name, status=422)


def test_tokens_are_read_from_a_file(tmp_path: Path) -> None:
    from artifactstore.httpapi.token_file import expanded

    file = tmp_path / "tokens"
    file.write_text("a:read:one\n\nb:write:two, three\n")
    file.chmod(0o600)
    assert list(expanded(["zero", f"file:{file}"])) == ["zero", "a:read:one", "b:write:two", "three"]


def list_users(file: Path, group: int = 0, *users: int) -> None:
    """Let these users read a file by a list, as systemd does with a credential; the mode shows 0440 then."""
    none, read = 0xFFFFFFFF, 4
    entries = [(0x01, read, none), *((0x02, read, user) for user in users), (0x04, group, none)]
    entries += [(0x10, read, none), (0x20, 0, none)]
    packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(file, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    assert stat.S_IMODE(file.stat().st_mode) == 0o440


def test_a_credential_of_systemd_is_a_file_of_tokens(tmp_path: Path) -> None:
    from artifactstore.httpapi.token_file import expanded

    file = tmp_path / "tokens"
    file.write_text("a:read:one\n")
    list_users(file, 0, os.geteuid())
    assert list(expanded([f"file:{file}"])) == ["a:read:one"]


@pytest.mark.parametrize("kind", ["group", "group in a list", "another user in a list"])
def test_a_file_of_tokens_that_others_may_read_is_refused(tmp_path: Path, kind: str) -> None:
    from artifactstore.httpapi.token_file import expanded

    file = tmp_path / "tokens"
    file.write_text("a:read:canary\n")
    if kind == "group":
        file.chmod(0o440)
    elif kind == "group in a list":
        list_users(file, 4, os.geteuid())
    else:
        list_users(file, 0, os.geteuid(), os.geteuid() + 1)
    with pytest.raises(SettingsError, match="others than its owner") as caught:
        list(expanded([f"file:{file}"]))
    assert "canary" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "fifo", "readable", "large", "empty", "relative", "binary"]
)
def test_a_file_of_tokens_that_cannot_be_trusted_is_refused(tmp_path: Path, kind: str) -> None:
    from artifactstore.httpapi.token_file import expanded

    file = tmp_path / "tokens"
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file, 0o600)
    elif kind != "missing":
        file.write_bytes(
            {"large": b"canary\n" * 10_000, "empty": b"\n", "binary": b"can\x00ary"}.get(kind, b"canary")
        )
        file.chmod(0o644 if kind == "readable" else 0o600)
    name = "tokens" if kind == "relative" else str(file)
    with pytest.raises(SettingsError) as caught:
        list(expanded([f"file:{name}"]))
    # What is no absolute path may be a secret.
    assert (str(file) if kind != "relative" else "token 1") in caught.value.message
    assert ("tokens" in caught.value.message) == (kind != "relative")
    assert "canary" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("text", ["a:b:c", "a:read,write:secret-canary", ":read:x", "a::x", "a:read+sudo:x"])
def test_a_token_with_a_wrong_scope_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Tokens.parse(["plain", text])
    assert "token 2" in caught.value.message
    assert "canary" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "text",
    ["file:read:canary", "file:canary", "file:", "ci:canary", "canary:", ":canary", "anonymous:read:canary"],
)
def test_what_is_nearly_a_token_is_refused_without_being_shown(store: Store, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make_server(store, tokens=["plain", text])
    assert "token 2" in caught.value.message
    assert "canary" not in f"{caught.value} {caught.value.hint}"


def test_two_names_cannot_have_one_token() -> None:
    for texts in (["a:admin:canary", "b:read:canary"], ["a:read:canary", "canary"], ["canary", "canary"]):
        with pytest.raises(SettingsError, match="token 2 is that of another name") as caught:
            Tokens.parse(texts)
        assert "canary" not in f"{caught.value} {caught.value.hint}"


def test_two_tokens_cannot_have_one_name() -> None:
    with pytest.raises(SettingsError, match="taken"):
        Tokens.parse(["a:read:one", "a:write:two"])


def test_plain_tokens_may_do_everything_and_have_names_by_place() -> None:
    tokens = Tokens.parse(["one", "two"])
    found = tokens.principal({"authorization": "bearer two"})
    assert found is not None
    assert found.name == "token-2"
    assert all(found.may(scope) for scope in SCOPES)
    assert "one" not in repr(tokens)


@pytest.mark.parametrize("host", [EVERYWHERE, "::"])
def test_others_are_let_in_only_with_tokens_and_tls(store: Store, host: str) -> None:
    with pytest.raises(SettingsError, match="no tokens"):
        make_server(store, host=host, insecure_bind=True)
    with pytest.raises(SettingsError, match="in the clear"):
        make_server(store, host=host, tokens=TOKENS)
    make_server(store, host=EVERYWHERE, tokens=TOKENS, insecure_bind=True).server_close()


def asked_as(server: Server, host: str, *lines: str, change: bool = False) -> list[int]:
    """The statuses for a request under a name."""
    body = '{"name":"n","producer":"p","subject":"s"}' if change else ""
    head = [
        f"{'POST' if change else 'GET'} /packages HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {PUSHER}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *lines,
    ]
    return raw(server, ("\r\n".join(head) + "\r\n\r\n" + body).encode()).statuses


def test_a_name_that_points_here_is_not_ours_wherever_it_is_bound(store: Store) -> None:
    options = {"host": EVERYWHERE, "insecure_bind": True, "allowed_hosts": ["Evidence.example.org"]}
    with serving(store, **options) as server:
        for host in (
            "127.0.0.1",
            "localhost:8000",
            "[::1]",
            "192.0.2.7:80",
            "[2001:db8::7]:8000",
            "evidence.example.org",
            socket.gethostname(),
        ):
            assert asked_as(server, host) == [200], host
        for host in (
            "rebind.evil.example",
            "192.0.2.7.evil.example",
            "evidence.example.org.evil.example",
            "2130706433",
            "0x7f.1",
            "[192.0.2.7]",
        ):
            refused = asked_as(server, host)
            assert refused in ([421], [400]), host
        assert asked_as(server, "rebind.evil.example") == [421]
        evil = "rebind.evil.example"
        assert asked_as(server, evil, f"Origin: http://{evil}", change=True) == [421]
    with serving(store) as server:
        assert asked_as(server, "192.0.2.7") == [421]


def test_a_refused_host_is_told_the_setting(store: Store, server: Server) -> None:
    answers = raw(server, b"GET /health HTTP/1.1\r\nHost: evidence.example.org\r\n\r\n")
    assert b"--allowed-host" in answers.data
    assert b"allowed_hosts" in answers.data


def test_a_proxy_may_speak_tls_for_the_names_that_are_configured(store: Store) -> None:
    with serving(store, allowed_hosts=["evidence.example.org"]) as server:
        for host, origin, status in (
            ("evidence.example.org", "https://evidence.example.org", 201),
            ("evidence.example.org", "http://evidence.example.org", 201),
            ("evidence.example.org", "ftp://evidence.example.org", 403),
            ("127.0.0.1", "https://127.0.0.1", 403),
        ):
            assert asked_as(server, host, f"Origin: {origin}", change=True) == [status], origin


def test_no_secret_is_in_any_output(
    store: Store, server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    outputs = [repr(server.service.tokens), repr(server)]
    package = client.finalized({"a.txt": b"a"})
    for answer in (
        client("GET", "/openapi.json"),
        client("GET", f"/packages/{package}?token={OPERATOR}"),
        client("GET", "/nowhere"),
        client("POST", "/packages", b"{", Content_Type="application/json"),
        client("GET", "/events", Accept="application/json"),
    ):
        outputs += [str(answer.fields), str(answer.body)]
    outputs.append(caplog.text)
    outputs += [str(event) for event in store.events()]
    outputs += [str(vars(record)) for record in caplog.records if record.name == "artifactstore.access"]
    assert [secret for secret in (READER, WRITER, PUSHER, OPERATOR) if secret in "\n".join(outputs)] == []
    assert "artifactstore.access" in {record.name for record in caplog.records}


class Compared(bytes):
    """A digest that must not be compared byte by byte: how long that takes tells how many bytes are right."""

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a token is compared with ==")


@pytest.mark.parametrize("given", ["first", "second", "third", "none of them"])
def test_every_token_is_compared_in_constant_time_whichever_is_the_right_one(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    names = ("first", "second", "third")
    parsed = Tokens.parse(f"{name}:read:{name}-token" for name in names)
    known = tuple((Compared(digest), principal) for digest, principal in parsed.known)
    compared: list[object] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return compare_digest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    fields = {"authorization": f"Bearer {given}-token"}
    if given in names:
        principal = Tokens(known).principal(fields)
        assert principal is not None
        assert principal.name == given
    else:
        with pytest.raises(Refusal):
            Tokens(known).principal(fields)
    assert [id(each) for each in compared] == [id(digest) for digest, _ in known]
