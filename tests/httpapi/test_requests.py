"""What a request says is done, or refused: nothing of it is passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from artifactstore.digest import digest_pair
from httpapi.harness import PUSHER, Client, raw

if TYPE_CHECKING:
    from artifactstore.httpapi import Server

KEY = f"Authorization: Bearer {PUSHER}\r\n".encode()


def test_a_key_is_that_of_one_schema(operator: Client) -> None:
    def register(schema: dict[str, object], status: int) -> dict[str, object]:
        body = {"slug": "run.v1", "schema": schema}
        answer = operator("POST", "/metadata-schemas", body, Idempotency_Key="k", status=status)
        return dict(answer.document)

    first = register({"type": "object"}, 201)
    assert register({"type": "object"}, 201) == first
    assert register({"required": ["run"]}, 409)["code"] == "idempotency-conflict"
    assert len(operator("GET", "/metadata-schemas").document["items"]) == 1


@pytest.mark.parametrize("wanted", ["bytes=0-1", "bytes=99-"])
def test_a_range_is_that_of_a_get_alone(client: Client, wanted: str) -> None:
    package = client.finalized({"a.txt": b"0123456789"})
    answer = client("HEAD", f"/packages/{package}/files/a.txt", Range=wanted, status=200)
    assert answer.fields["content-length"] == "10"
    assert "content-range" not in answer.fields


def test_known_is_true_or_false(client: Client) -> None:
    package = client.package()
    where = f"/packages/{package}/files"
    digest = f"blake3:{digest_pair(b'').blake3.hex()}"
    client("PUT", f"{where}/empty?known=false", b"", status=201)
    client("PUT", f"{where}/full?known=false", b"bytes", status=201)
    for text in ("banana", "", "1", "True"):
        answer = client("PUT", f"{where}/b?known={text}", b"", Artifactstore_Digest=digest, status=400)
        assert answer.document["code"] == "bad-query"
    client("PUT", f"{where}/known?known=true", b"", Artifactstore_Digest=digest, status=201)
    client("PUT", f"{where}/c?known=true", b"bytes", Artifactstore_Digest=digest, status=422)
    client("PUT", f"{where}/c?known=true", iter([b""]), Artifactstore_Digest=digest, status=422)
    assert client("GET", f"/packages/{package}").document["file_count"] == 3


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_an_upload_says_how_long_it_is(server: Server, client: Client, method: str) -> None:
    wanted = {"package": client.package(), "relative_path": "a"}
    where = client("POST", "/uploads", wanted, status=201).fields["location"]
    request = f"{method} {where} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: 0\r\n".encode()
    assert raw(server, request + KEY + b"Connection: close\r\n\r\n").statuses == [411]


def test_a_filter_of_metadata_can_be_written_in_two_ways(server: Server, client: Client) -> None:
    wanted = client.package(metadata={"run": {"id": 7}})
    client.package(metadata={"run": {"id": 8}})
    for query in ("metadata.run.id=7", "metadata%5Brun.id%5D=7", "metadata.run.id=7&metadata[run.id]=7"):
        found = client("GET", f"/packages?{query}", status=200).document["items"]
        assert [package["package_id"] for package in found] == [wanted], query
    page = client("GET", "/packages?limit=1&metadata[run.id]=8", status=200)
    assert len(page.document["items"]) == 1
    for query in ("metadata=7", "metadata[run.id=7", "metadata[]=7", "metadata.=7", "metadata[a]b=7",
                  "limit[a]=7", "metadata.run.id=7&metadata[run.id]=8"):  # fmt: skip
        assert client("GET", f"/packages?{query}", status=400).document["code"] == "bad-query", query
    answers = raw(server, b"GET /pack[ages HTTP/1.1\r\nHost: localhost\r\n" + KEY + b"\r\n")
    assert answers.statuses == [400]


def test_a_manifest_that_the_client_has_is_not_sent_again(client: Client) -> None:
    where = f"/packages/{client.finalized({'a': b'a'})}/manifest"
    first = client("GET", where, Accept="application/cbor", status=200)
    etag = first.fields["etag"]
    for condition in (etag, f'"other", W/{etag}', "*"):
        answer = client("GET", where, Accept="application/cbor", If_None_Match=condition, status=304)
        assert answer.fields["etag"] == etag
        assert answer.fields["vary"] == "Accept"
        assert answer.body == b""
    again = client("GET", where, Accept="application/cbor", If_None_Match='"other"', status=200)
    assert again.body == first.body
    # The projection in JSON is another representation, and has no tag.
    assert client("GET", where, If_None_Match=etag, status=200).document["files"]
    open_one = f"/packages/{client.package()}/manifest"
    client("GET", open_one, Accept="application/cbor", If_None_Match="*", status=409)
