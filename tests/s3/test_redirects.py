"""A server that sends elsewhere, and one that repeats the session token: neither bytes nor token get away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from cli.harness import Program
from client.harness import answering, http_answer, rude
from store.harness import refused

from artifactstore import AccessError, BackendError
from s3.test_short_way import DATA, GOOD, calling

if TYPE_CHECKING:
    from pathlib import Path

    from artifactstore.objects.s3.calls import S3Calls

TOKEN = "canary-5e5510n+token/of/AWS=="  # noqa: S105 - of no account
KEY = {"Bucket": "bucket", "Key": "key"}
CALLS = {
    "put_object": {**KEY, "Body": DATA},
    "get_object": {**KEY, "Range": "bytes=0-9"},
    "head_object": KEY,
    "list_objects_v2": {"Bucket": "bucket", "Prefix": "", "MaxKeys": 10},
    "upload_part": {**KEY, "Body": DATA, "UploadId": "1", "PartNumber": 1},
    "delete_object": KEY,
    "create_multipart_upload": KEY,
    "list_object_versions": {"Bucket": "bucket"},
}


def redirect(status: str, place: str, more: str = "") -> bytes:
    """Sends elsewhere, in all the ways that S3 servers have."""
    body = f"<Error><Code>PermanentRedirect</Code><Endpoint>{place}</Endpoint></Error>"
    return http_answer(body.encode(), status=status, more=f"Location: {place}\r\n{more}")


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that expire, as the AWS tools have them: all calls go the long way."""
    for name, value in {
        "ACCESS_KEY_ID": "ACCESS",
        "SECRET_ACCESS_KEY": "SECRET",
        "SESSION_TOKEN": TOKEN,
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.mark.parametrize(
    ("method", "status"),
    [
        *(("get_object", status) for status in ("301 Moved", "302 Found", "303 See Other", "308 Permanent")),
        *((method, "307 Temporary Redirect") for method in CALLS),
    ],
)
@pytest.mark.parametrize("keys", [{}, {"credentials": lambda: None}], ids=["short", "long"])
def test_a_redirect_is_not_followed(session: None, method: str, status: str, keys: dict[str, Any]) -> None:
    with rude(answering(GOOD)) as elsewhere:
        place = f"http://me:pw@127.0.0.1:{elsewhere.port}/there?X-Amz-Security-Token={TOKEN}"
        away = redirect(status, place, "x-amz-bucket-region: eu-west-1\r\n")
        if method == "head_object":
            away = away.partition(b"<Error>")[0]
        with rude(answering(away)) as server, calling(server.url, **keys) as calls:
            told = f"elsewhere, to 'http://127.0.0.1:{elsewhere.port}/there';"
            with refused(
                BackendError, "wrong-region", server.url, told, "not followed", status[:3]
            ) as caught:
                calls.call(method, **CALLS[method])
            assert len(server.requests) == 1
        assert elsewhere.callers == []
    said = f"{caught.value!r} {caught.value.hint}"
    assert "Security" not in said
    assert "me:pw" not in said
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("region", ["eu-west-1", "elsewhere.example/x#"])
def test_the_name_of_another_region_leads_to_no_other_host(session: None, region: str) -> None:
    body = f"<Error><Code>AuthorizationHeaderMalformed</Code><Region>{region}</Region></Error>"
    refusal = http_answer(body.encode(), status="400 Bad Request", more=f"x-amz-bucket-region: {region}\r\n")
    with rude(answering(refusal)) as server, calling(server.url) as calls:
        with pytest.raises(BackendError):
            put(calls)
        assert all(
            f"\r\nHost: {server.url[7:]}\r\n".lower().encode() in head.lower() for head in server.requests
        )


def test_a_library_that_would_follow_is_not_used(session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiobotocore.httpsession import AIOHTTPSession

    monkeypatch.delattr(AIOHTTPSession, "_get_session")
    with rude(answering(GOOD)) as server:
        with calling(server.url, credentials=lambda: None) as calls, refused(BackendError, "no-s3fs"):
            put(calls)
        assert server.callers == []


def test_a_redirect_is_told_alike_on_both_ways(session: None) -> None:
    said = []
    with rude(answering(redirect("307 Temporary", "/other"))) as server:
        for keys in ({}, {"credentials": lambda: None}):
            with calling(server.url, **keys) as calls, refused(BackendError, "wrong-region") as caught:
                put(calls)
            said.append((caught.value.message, caught.value.hint))
    assert said[0] == said[1]


@pytest.mark.parametrize("place", [f"http://h/{TOKEN}", f"http://h/{quote(TOKEN, safe='')}", "http://[h", ""])
def test_a_place_that_is_none_or_holds_the_token_is_not_told(session: None, place: str) -> None:
    with (
        rude(answering(redirect("302 Found", place))) as server,
        calling(server.url, credentials=lambda: None) as calls,
        refused(BackendError, "wrong-region", server.url) as caught,
    ):
        put(calls)
    assert "canary" not in f"{caught.value!r} {caught.value.hint}"


@pytest.mark.parametrize(
    "said", [TOKEN, quote(TOKEN, safe=""), f"x-amz-security-token:{TOKEN[:-4]}", f"{'x' * 180}{TOKEN}"]
)
@pytest.mark.parametrize("where", ["Code", "Message"])
def test_a_session_token_that_a_server_repeats_is_not_told(session: None, said: str, where: str) -> None:
    answer = http_answer(f"<Error><{where}>{said}</{where}></Error>".encode(), status="403 Forbidden")
    with (
        rude(answering(answer)) as server,
        calling(server.url, credentials=lambda: None) as calls,
        refused(AccessError, "access-denied", server.url) as caught,
    ):
        put(calls)
    assert TOKEN.encode() in server.requests[0]
    assert "canary" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__}"


def test_no_output_of_a_command_shows_a_session_token(
    session: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tree: Path
) -> None:
    with rude(answering(GOOD)) as elsewhere:
        away = redirect("307 Temporary", f"http://127.0.0.1:{elsewhere.port}/?{TOKEN}")
        with rude(answering(away)) as server:
            monkeypatch.setenv("ARTIFACTSTORE_S3_ENDPOINT_URL", server.url)
            monkeypatch.setenv("ARTIFACTSTORE_S3_BUCKET", "bucket")
            monkeypatch.setenv("ARTIFACTSTORE_STORAGE_BACKENDS", "local,s3")
            monkeypatch.setenv("ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND", "s3")
            said = ("--producer", "ci", "--subject", "app", "--actor", "ada")
            answer = Program(tmp_path / "store").call("push", str(tree), *said, "-vv", code=7)
            assert TOKEN.encode() in server.requests[0]
        assert elsewhere.callers == []
    assert "not followed" in answer.stderr
    assert "canary" not in f"{answer.text} {answer.stderr}"


def test_a_region_that_a_server_names_is_told(session: None) -> None:
    away = redirect("301 Moved", "", "x-amz-bucket-region: eu-west-1\r\n")
    with rude(answering(away)) as server, calling(server.url, credentials=lambda: None) as calls:
        with refused(BackendError, "wrong-region") as caught:
            put(calls)
        assert len(server.requests) == 1
    assert re.search(r"ARTIFACTSTORE_S3_REGION\b.*eu-west-1", str(caught.value.hint))


def put(calls: S3Calls) -> Any:
    return calls.call("put_object", **CALLS["put_object"])
