"""What a call makes of refusals and answers, whichever way it goes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from client.harness import Caller, answering, closing, http_answer, rude
from store.harness import refused

from artifactstore import AccessError, BackendError, SettingsError
from artifactstore.objects.s3.failures import ConditionFailed
from artifactstore.objects.s3.service import S3Service
from artifactstore.objects.service import Range
from s3.test_short_way import DATA, GOOD, KEYS, calling, config, get, put, the_long_way, xml_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.harness import Script

    from artifactstore.objects.s3.calls import S3Calls


def head_answer(size: int) -> bytes:
    """What a HEAD is told of an object."""
    more = "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    return f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n{more}\r\n".encode()


# Answers


def test_a_key_that_an_earlier_try_may_have_taken_is_told_from_one_that_was_taken() -> None:
    taken = answering(xml_answer("412 Precondition Failed", "PreconditionFailed"))
    for scripts, repeated in (((taken,), False), ((closing(), taken), True)):
        with rude(*scripts) as server, calling(server.url) as calls:
            with pytest.raises(ConditionFailed) as caught:
                put(calls, IfNoneMatch="*")
            assert caught.value.repeated == repeated


@pytest.mark.parametrize(("start", "size"), [(0, 0), (10, 3)])
def test_a_range_that_the_object_does_not_have_tells_its_size(start: int, size: int) -> None:
    beyond = xml_answer("416 Requested Range Not Satisfiable", "InvalidRange")
    with rude(answering(beyond, head_answer(size))) as server:
        service = S3Service(config(server.url))
        assert service.get("key", start, 10) == Range(b"", size)
        service.close()


def test_a_range_that_the_object_should_have_is_no_damage() -> None:
    beyond = xml_answer("416 Requested Range Not Satisfiable", "InvalidRange")
    with rude(answering(beyond, head_answer(10))) as server:
        service = S3Service(config(server.url))
        with refused(BackendError, "connection-lost", server.url):
            service.get("key", 0, 10)
        service.close()


PAGE = http_answer(b"<html><body><p>maintenance</p></body></html>", content_type="text/html")
EMPTY = http_answer(b"")
LISTING = {"Bucket": "bucket", "Prefix": "", "MaxKeys": 10}


@pytest.mark.parametrize("further", [{}, {"ExpectedBucketOwner": "1"}], ids=["short", "long"])
@pytest.mark.parametrize(
    ("method", "asked", "answer"),
    [
        ("put_object", {"Bucket": "bucket", "Key": "key", "Body": DATA}, PAGE),
        ("put_object", {"Bucket": "bucket", "Key": "key", "Body": DATA}, EMPTY),
        ("head_object", {"Bucket": "bucket", "Key": "key"}, EMPTY),
        ("list_objects_v2", LISTING, PAGE),
        ("list_object_versions", {"Bucket": "bucket"}, PAGE),
        ("list_multipart_uploads", {"Bucket": "bucket"}, PAGE),
        ("create_multipart_upload", {"Bucket": "bucket", "Key": "key"}, PAGE),
        ("copy_object", {"Bucket": "bucket", "Key": "key", "CopySource": "bucket/other"}, PAGE),
    ],
)
def test_a_page_in_front_of_a_server_is_no_answer_of_it(
    method: str, asked: dict[str, Any], answer: bytes, further: dict[str, str]
) -> None:
    with rude(answering(answer)) as server, calling(server.url) as calls:
        with refused(BackendError, "not-s3", server.url):
            calls.call(method, **asked, **further)
        assert len(server.requests) == 1


# Keys


def head(calls: S3Calls) -> Any:
    return calls.call("head_object", Bucket="bucket", Key="key")


def accepting(access: str, answer: bytes) -> Script:
    """Accepts one key. The answer to a HEAD does not say why it is a refusal."""

    def script(caller: Caller) -> None:
        while True:
            request = caller.read_request()
            if f"Credential={access}/".encode() in request:
                caller.say(answer)
            elif request.startswith(b"HEAD"):
                caller.say(http_answer(b"", status="403 Forbidden"))
            else:
                caller.say(xml_answer("403 Forbidden", "InvalidAccessKeyId"))

    return script


@pytest.mark.parametrize("call", [get, the_long_way, head])
def test_keys_that_were_replaced_are_read_again(call: Callable[[S3Calls], Any]) -> None:
    present = ["OLD"]
    answer = head_answer(5) if call is head else GOOD
    with (
        rude(accepting("NEW", answer)) as server,
        calling(server.url, credentials=lambda: (present[0], KEYS[1])) as calls,
    ):
        for _ in range(2):
            with pytest.raises(AccessError):
                call(calls)
        assert len(server.requests) == 2  # the same keys are not tried again
        present[0] = "NEW"
        call(calls)
        assert len(server.requests) == 4
        call(calls)
        assert len(server.requests) == 5


def test_threads_with_replaced_keys_all_go_on() -> None:
    present = ["OLD"]
    with (
        rude(accepting("NEW", GOOD)) as server,
        calling(server.url, credentials=lambda: (present[0], KEYS[1])) as calls,
        ThreadPoolExecutor(8) as pool,
    ):
        with refused(AccessError, "bad-credentials"):
            get(calls)
        present[0] = "NEW"
        assert list(pool.map(lambda _: get(calls), range(40))) == [DATA] * 40


def test_keys_that_cannot_be_read_again_are_refused_keys() -> None:
    def read() -> tuple[str, str]:
        if server.requests:
            raise SettingsError("the file is gone")
        return KEYS

    with (
        rude(accepting("NEW", GOOD)) as server,
        calling(server.url, credentials=read) as calls,
        refused(AccessError, "bad-credentials"),
    ):
        get(calls)
