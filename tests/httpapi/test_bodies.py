"""JSON bodies that nobody honest sends: each is refused in its own words, before it costs anything."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import TYPE_CHECKING

import pytest

from artifactstore.fields import VALUES_MAX
from artifactstore.httpapi import Limits
from httpapi.harness import OPERATOR, Client, serving

if TYPE_CHECKING:
    from artifactstore import Store

CPU_MAX = 3.0  # seconds of this process for what takes a few tenths
JSON = {"Content_Type": "application/json"}
BEGIN = b'{"name":"n","producer":"p","subject":"s","metadata":'
WRONG = {
    "a member twice": (BEGIN + b'{"a":1,"a":2}}', "comes twice"),
    "a member of the body twice": (b'{"name":"n","name":"m"}', "comes twice"),
    "a number beyond all": (BEGIN + b'{"a":1e999}}', "1e999"),
    "not a number": (BEGIN + b'{"a":NaN}}', "NaN"),
    "infinity": (BEGIN + b'{"a":-Infinity}}', "-Infinity"),
    "an integer of 65 bits": (BEGIN + b'{"a":18446744073709551616}}', "64 bits"),
    "an integer of 5,000 digits": (BEGIN + b'{"a":' + b"9" * 5000 + b"}}", "64 bits"),
    "a byte order mark": (b"\xef\xbb\xbf" + BEGIN + b"{}}", "byte order mark"),
    "UTF-16": ((BEGIN + b"{}}").decode().encode("utf-16"), "UTF-8"),
    "half of a pair": (BEGIN + b'{"a":"\\ud800"}}', "Unicode"),
    "65 levels": (BEGIN + b'{"a":' * 65 + b"1" + b"}" * 66, "nested deeper than 64"),
    "50,000 levels": (BEGIN + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, "nested too deeply"),
    "a list": (b"[]", "list"),
    "nothing": (b"", "JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_strict_json_is_400(store: Store, client: Client, name: str) -> None:
    body, said = WRONG[name]
    before = store.newest_sequence()
    answer = client("POST", "/packages", body, status=400, **JSON)
    assert answer.document["code"] == "not-json-shaped"
    assert said in answer.document["detail"]
    assert (
        re.search(r"sys\.|codec|recursion|python|utf-8-sig", answer.document["detail"], re.IGNORECASE) is None
    )
    assert store.newest_sequence() == before


@pytest.mark.parametrize("entry", [b"{}", b"[]", b"0", b'""', b"[{}]", b"[ ]"])
def test_more_values_than_metadata_may_have_are_refused_unread(
    store: Store, client: Client, entry: bytes
) -> None:
    count = min(2_796_000, Limits().document // (len(entry) + 1) - 100)
    before, began = store.newest_sequence(), time.process_time()
    answer = client(
        "POST", "/packages", BEGIN + b'{"a":[' + (entry + b",") * count + b"0]}}", status=422, **JSON
    )
    assert time.process_time() - began < CPU_MAX
    assert answer.document["code"] == "metadata-too-large"
    assert store.newest_sequence() == before


def test_all_values_that_are_allowed_are_taken(store: Store, client: Client) -> None:
    around = len(["body", "name", "producer", "subject", "metadata", "a"])
    full = BEGIN + b'{"a":[' + b"{}," * (VALUES_MAX - around - 1) + b'"[,{,,"]}}'
    began = time.process_time()
    package = client("POST", "/packages", full, status=201, **JSON).document["package_id"]
    assert time.process_time() - began < 5 * CPU_MAX
    assert len(store.get_package(package).metadata["a"]) == VALUES_MAX - around  # type: ignore[arg-type]
    answer = client("POST", "/packages", full.replace(b"[{}", b"[{},{}"), status=422, **JSON)
    assert answer.document["code"] == "metadata-too-large"


def test_text_that_looks_like_many_values_is_taken(client: Client) -> None:
    text = '[,{"\\' * 100_000
    assert client("POST", "/packages", BEGIN + json.dumps({"a": text}).encode() + b"}", status=201, **JSON)


def test_only_operators_send_large_documents(store: Store) -> None:
    with serving(store, limits=Limits(document=1000, plan=5000)) as server:
        body = BEGIN + b'{"a":"' + b"x" * 2000 + b'"}}'
        for client, path, status in (
            (Client(server), "/packages", 413),
            (Client(server, OPERATOR), "/packages", 413),
            (Client(server, OPERATOR), "/retention/sweep", 422),
        ):
            client("POST", path, body, status=status, **JSON)
            client.close()


def test_few_large_documents_are_in_memory_at_once(store: Store) -> None:
    large = BEGIN + b'{"a":"' + b"x" * 300_000 + b'"}}'
    with serving(store, limits=Limits(patience=0.05)) as server, contextlib.ExitStack() as others:
        client = Client(server)
        client("POST", "/packages", large, status=201, **JSON)
        for _ in range(4):
            others.enter_context(server.service.reading_large())
        assert client("POST", "/packages", large, status=503, **JSON).document["code"] == "overloaded"
        client("POST", "/packages", BEGIN + b"{}}", status=201, **JSON)
        others.close()
        for _ in range(5):
            client("POST", "/packages", large, status=201, **JSON)
        client.close()


def test_schemas_and_metadata_that_would_take_long_are_422(
    store: Store, client: Client, operator: Client
) -> None:
    rule = {"properties": {"a": {"uniqueItems": True}}}
    operator("POST", "/metadata-schemas", {"slug": "u", "schema": {"allOf": [rule] * 20}}, status=201)
    box: list[object] = []
    for _ in range(55):
        box = [box]
    before, began = store.newest_sequence(), time.process_time()
    said = {
        "name": "n",
        "producer": "p",
        "subject": "s",
        "metadata_schema": "u",
        "metadata": {"a": [box] * 900},
    }
    assert client("POST", "/packages", said, status=422).document["code"] == "schema-too-complex"
    for schema, code in (
        ({"anyOf": [False] * 30_000}, "schema-too-complex"),
        ({"$ref": "http://127.0.0.1/x"}, "schema-refused"),
    ):
        answer = operator("POST", "/metadata-schemas", {"slug": "v", "schema": schema}, status=422)
        assert answer.document["code"] == code
    assert time.process_time() - began < 5 * CPU_MAX
    assert store.newest_sequence() == before
