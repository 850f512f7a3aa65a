"""Bytes on their way out: ranges, conditions, names and types; whole packages."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from lifecycle.harness import flip
from store.harness import LARGE, TREE, Home, incompressible

from artifactstore.digest import digest_pair, object_key
from artifactstore.httpapi.checked_files import TRUSTED, CheckedFiles, looks_of
from httpapi.harness import Client, raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artifactstore import Store
    from artifactstore.httpapi import Server

DATA = bytes(range(256)) * 40
GUARDS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture
def stored(client: Client) -> str:
    """The address of the content of a stored file."""
    package = client.package()
    file = client("PUT", f"/packages/{package}/files/data.bin", DATA, status=201).document
    return f"/files/{file['file_id']}/content"


def test_a_download_says_what_it_is(client: Client, stored: str) -> None:
    answer = client("GET", stored, status=200)
    assert answer.body == DATA
    digests = digest_pair(DATA)
    assert answer.fields["etag"] == f'"blake3:{digests.blake3.hex()}"'
    assert answer.fields["repr-digest"] == f"sha-256=:{base64.b64encode(digests.sha256).decode()}:"
    assert answer.fields["content-length"] == str(len(DATA))
    assert answer.fields["accept-ranges"] == "bytes"
    assert answer.fields["content-disposition"] == 'attachment; filename="data.bin"'
    assert GUARDS.items() <= answer.fields.items()
    head = client("HEAD", stored, status=200)
    assert head.body == b""
    drop = {"date"}
    assert {name: value for name, value in head.fields.items() if name not in drop} == {
        name: value for name, value in answer.fields.items() if name not in drop
    }


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=0-9", slice(0, 10)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=-999999", slice(None)),
        ("bytes=10-999999", slice(10, None)),
        ("BYTES=1-2", slice(1, 3)),
    ],
)
def test_one_range(client: Client, stored: str, wanted: str, part: slice) -> None:
    answer = client("GET", stored, Range=wanted, status=206)
    start, stop, _ = part.indices(len(DATA))
    assert answer.body == DATA[part]
    assert answer.fields["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"


def test_conditions(client: Client, stored: str) -> None:
    etag = client("HEAD", stored).fields["etag"]
    for condition in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = client("GET", stored, If_None_Match=condition, status=304)
        assert answer.body == b""
        assert answer.fields["etag"] == etag
    client("GET", stored, If_None_Match='"other"', status=200)
    assert client("GET", stored, If_Range=etag, Range="bytes=0-4", status=206).body == DATA[:5]
    assert client("GET", stored, If_Range='"other"', Range="bytes=0-4", status=200).body == DATA
    assert client("GET", stored, If_Range=f"W/{etag}", Range="bytes=0-4", status=200).body == DATA


@pytest.mark.parametrize(
    ("media_type", "shown"),
    [
        ("text/html", False),
        ("image/svg+xml", False),
        ("application/pdf", False),
        ("application/xml", False),
        ("application/javascript", False),
        ("text/plain", True),
        ("image/png", True),
        ("text/html; charset=utf-7", False),
    ],
)
def test_hostile_types_are_saved_and_never_shown(client: Client, media_type: str, shown: bool) -> None:
    package = client.package()
    client("PUT", f"/packages/{package}/files/x", b"<script>", Content_Type=media_type, status=201)
    answer = client("GET", f"/packages/{package}/files/x", status=200)
    assert answer.fields["content-type"] == media_type
    assert answer.fields["content-disposition"].startswith("inline;" if shown else "attachment;")
    assert GUARDS.items() <= answer.fields.items()


@pytest.mark.parametrize(
    "media_type", ["text", "text/", "a/b/c", "text/html\x80", "text/html; a", "x" * 300 + "/y", "a/b,c/d"]
)
def test_what_is_no_media_type_is_refused_on_the_way_in(client: Client, media_type: str) -> None:
    package = client.package()
    client("PUT", f"/packages/{package}/files/x", b"a", Content_Type=media_type, status=422)
    assert client("GET", f"/packages/{package}").document["file_count"] == 0


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("a b.txt", 'inline; filename="a b.txt"'),
        ('q"uote.txt', "inline; filename=\"q_uote.txt\"; filename*=UTF-8''q%22uote.txt"),
        ("back\\slash.txt", "inline; filename=\"back_slash.txt\"; filename*=UTF-8''back%5Cslash.txt"),
        ("semi;colon.txt", 'inline; filename="semi;colon.txt"'),
        ("é.txt", "inline; filename=\"_.txt\"; filename*=UTF-8''%C3%A9.txt"),
        ("100%41.txt", "inline; filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"),
    ],
)
def test_names_of_files(client: Client, name: str, field: str) -> None:
    from urllib.parse import quote

    package = client.package()
    target = f"/packages/{package}/files/folder/{quote(name)}"
    client("PUT", target, b"a", Content_Type="text/plain", status=201)
    assert client("GET", target, status=200).fields["content-disposition"] == field


@pytest.mark.parametrize("path", ["a/", "a" * 300, "a%E2%80%AEb"])
def test_a_path_that_breaks_a_rule_is_refused(store: Store, client: Client, path: str) -> None:
    package = client.package()
    before = store.newest_sequence()
    refused = client("PUT", f"/packages/{package}/files/{path}", b"a", status=422)
    assert refused.document["code"] == "invalid-relative-path"
    assert store.newest_sequence() == before


@pytest.mark.parametrize(
    "path",
    ["..%2f..%2fetc%2fpasswd", "%2e%2e/a", "a/../b", "a//b", "./a", "a%0ab", "a%0d%0aX:%201", "%2fetc"],
)
def test_a_path_that_others_could_read_otherwise_ends_the_connection(
    store: Store, client: Client, path: str
) -> None:
    package = client.package()
    before = store.newest_sequence()
    refused = client("PUT", f"/packages/{package}/files/{path}", b"a", status=400)
    assert refused.fields["connection"] == "close"
    assert store.newest_sequence() == before


def test_a_large_file_comes_whole_and_in_parts(client: Client) -> None:
    data = incompressible(2 * LARGE + 4097)
    package = client.package()
    target = f"/packages/{package}/files/large.bin"
    client("PUT", target, data, status=201)
    assert client("GET", target, status=200).body == data
    assert client("GET", target, Range="bytes=4194300-8388700", status=206).body == data[4194300:8388701]


@pytest.mark.parametrize("found_right_before", [False, True])
@pytest.mark.parametrize("size", [100, 2 * LARGE])
def test_damaged_bytes_never_arrive_as_a_whole_answer(
    server: Server, client: Client, home: Home, size: int, found_right_before: bool
) -> None:
    data = incompressible(size)
    package = client.package()
    target = f"/packages/{package}/files/large.bin"
    client("PUT", target, data, status=201)
    if found_right_before:
        assert client("GET", target, status=200).body == data
    flip(home.objects / object_key(digest_pair(data).blake3))
    key = f"Authorization: Bearer {client.token}".encode()
    # An answer that has begun can only be cut off; one that has not keeps the connection, unless asked.
    asked = b"Connection: close\r\n" if size == 100 else b""
    head = b"GET " + target.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + asked + key + b"\r\n\r\n"
    answers = raw(server, head)
    assert answers.closed
    if size == 100:
        assert answers.statuses == [500]
        assert b'"code": "integrity"' in answers.data
    else:
        assert answers.statuses == [200]
        assert len(answers.final) == size - (1 << 16)


def test_a_file_that_was_found_right_is_not_read_again_for_a_while(
    server: Server, client: Client, home: Home
) -> None:
    data = incompressible(2 * LARGE)
    package = client.package()
    target = f"/packages/{package}/files/large.bin"
    client("PUT", target, data, status=201)
    digest = digest_pair(data).blake3
    checked = server.service.checked_files
    with open(home.objects / object_key(digest), "rb") as file:
        looks = looks_of(file.fileno())
        assert not checked.knows(looks, digest)
        assert client("GET", target, Range="bytes=0-9", status=206).body == data[:10]
        assert not checked.knows(looks, digest)
        for _ in range(2):
            assert client("GET", target, status=200).body == data
            assert checked.knows(looks, digest)


def test_what_is_known_of_a_file_ends_with_a_write_and_with_time(tmp_path: Path) -> None:
    now = [0.0]
    checked = CheckedFiles(clock=lambda: now[0])
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    os.utime(path, ns=(0, 0))
    with open(path, "r+b", buffering=0) as file:
        looks = looks_of(file.fileno())
        checked.note(file.fileno(), looks, b"digest")
        assert checked.knows(looks, b"digest")
        assert not checked.knows(looks, b"another")
        now[0] = TRUSTED
        assert not checked.knows(looks, b"digest")
        checked.note(file.fileno(), looks, b"digest")
        assert checked.knows(looks, b"digest")
        while looks_of(file.fileno()) == looks:  # some file systems tell times in milliseconds only
            os.pwrite(file.fileno(), b"BYTES", 0)
            os.utime(path, ns=(0, 0))  # whoever sets it back cannot set the time of the change back
        written = looks_of(file.fileno())
        assert not checked.knows(written, b"digest")
        # One that changes while it is read is not known either, however it looked before.
        before = (*written[:3], written[3] + 1, written[4])
        checked.note(file.fileno(), before, b"digest")
        assert not checked.knows(before, b"digest")


def test_wrong_digests_are_refused_and_leave_nothing(store: Store, home: Home, client: Client) -> None:
    package = client.package()
    before = home.snapshot()
    right = base64.b64encode(hashlib.sha256(b"right").digest()).decode()
    target = f"/packages/{package}/files/a"
    for fields in (
        {"Artifactstore_Digest": f"blake3:{digest_pair(b'right').blake3.hex()}"},
        {"Artifactstore_Digest": f"sha256:{digest_pair(b'right').sha256.hex()}"},
        {"Content_Digest": f"sha-256=:{right}:"},
        {"Repr_Digest": f"md5=:AAAA:, sha-256=:{right}:"},
    ):
        refused = client("PUT", target, b"wrong", status=422, **fields)
        assert refused.document["code"] == "digest-mismatch"
    for value in ("sha-256=:AAAA:", "sha-256=abc", "sha-256=:" + "=" * 44 + ":"):
        client("PUT", target, b"wrong", Content_Digest=value, status=422)
    assert home.snapshot() == before
    for nearly in (
        f"sha-256 = :{right}:",
        f"sha-256 =:{right}:",
        f"sha-256= :{right}:",
        f"sha-256=:{right}:;a=1",
        "sha-256",
    ):
        answer = client("PUT", target, b"right", Content_Digest=nearly, status=422)
        assert answer.document["code"] == "invalid-field", nearly
    client("PUT", target, b"right", Content_Digest=f"sha-256=:{right}:", status=201)
    assert store.read_file(package, "a") == b"right"


@pytest.mark.parametrize(("accept", "suffix"), [(None, "tar"), ("application/zip", "zip")])
def test_a_whole_package(client: Client, accept: str | None, suffix: str) -> None:
    package = client.package()
    for path, data in TREE.items():
        from urllib.parse import quote

        client("PUT", f"/packages/{package}/files/{quote(path)}", data, status=201)
    client("POST", f"/packages/{package}/finalize", status=200)
    fields = {} if accept is None else {"Accept": accept}
    answer = client("GET", f"/packages/{package}/archive?bare=true", status=200, **fields)
    assert answer.fields["content-disposition"] == f'attachment; filename="{package}.{suffix}"'
    opened: dict[str, Callable[[], dict[str, bytes]]] = {
        "tar": lambda: {
            member.name: tar.extractfile(member).read()  # type: ignore[union-attr]
            for tar in [tarfile.open(fileobj=io.BytesIO(answer.body))]  # noqa: SIM115 - in memory
            for member in tar
        },
        "zip": lambda: {
            name: archive.read(name)
            for archive in [zipfile.ZipFile(io.BytesIO(answer.body))]
            for name in archive.namelist()
        },
    }
    assert opened[suffix]() == TREE
    assert client("GET", f"/packages/{package}/archive?bare=true", **fields).body == answer.body
    with_kit = client("GET", f"/packages/{package}/archive", status=200, **fields)
    assert b"verify.py" in with_kit.body
    client("GET", f"/packages/{package}/archive", Accept="application/pdf", status=406)


def test_an_open_package_has_no_archive_and_no_manifest(client: Client) -> None:
    package = client.package()
    for part in ("archive", "manifest"):
        assert client("GET", f"/packages/{package}/{part}", status=409).document["code"] == "not-finalized"
