"""What only S3 has: errors with their causes, encryption, storage classes, uploads in parts."""

from __future__ import annotations

import contextlib
import io
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, Home, incompressible, refused

from artifactstore import AccessError, ArtifactStoreError, BackendError, Store
from artifactstore.digest import digest_pair, object_key
from artifactstore.objects.remote import RemoteBackend
from artifactstore.objects.s3.calls import S3Calls
from artifactstore.objects.s3.config import S3Config
from artifactstore.objects.s3.service import S3Service
from s3.conftest import open_store, place_of
from s3.places import PART, REMOTE, SERVERS, Place, s3_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from s3.places import Server

ACTOR = {"actor": "ada"}
SECRET = "hunter2-hunter2-hunter2"  # noqa: S105 - a wrong one


@pytest.fixture
def plain(start: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    """A fresh place on Ceph by http."""
    made = place_of("ceph", start, monkeypatch, tmp_path)
    yield made
    made.close()


@pytest.fixture
def encrypting(
    start: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Place]:
    """A fresh place on a server that encrypts when it is asked to."""
    made = place_of("seaweedfs", start, monkeypatch, tmp_path)
    yield made
    made.close()


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def put(service: S3Service, key: str, data: bytes) -> bool:
    return service.put(key, data, sha256=digest_pair(data).sha256, replace=False)


def _wrong_secret(server: Server) -> dict[str, Any]:
    return {"credentials": lambda: (server.keys[0], SECRET)}


def _wrong_key(server: Server) -> dict[str, Any]:
    return {"credentials": lambda: (SECRET, server.keys[1])}


# Errors: what is changed in the configuration, and the error that each call then raises.
WRONG: dict[str, tuple[Callable[[Server], dict[str, Any]], type[ArtifactStoreError], str]] = {
    "secret": (_wrong_secret, AccessError, "bad-credentials"),
    "key": (_wrong_key, AccessError, "bad-credentials"),
    "bucket": (lambda _server: {"bucket": "no-such-bucket-here"}, BackendError, "no-such-bucket"),
}
# The same where no server answers: which one it is does not matter.
NOBODY: dict[str, tuple[Callable[[Server], dict[str, Any]], type[ArtifactStoreError], str]] = {
    "none": (lambda _server: {"credentials": lambda: None}, AccessError, "no-credentials"),
    "port": (
        lambda _server: {"endpoint_url": f"http://127.0.0.1:{free_port()}"},
        BackendError,
        "connection-refused",
    ),
    "host": (
        lambda _server: {"endpoint_url": "http://no-such-host.invalid:80"},
        BackendError,
        "unknown-host",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_the_server_refuses_is_named(bucket: Place, home: Home, tree: Path, what: str) -> None:
    assert_named(bucket, home, tree, *WRONG[what])


def test_keys_that_were_replaced_are_picked_up(bucket: Place, home: Home, tree: Path) -> None:
    assert bucket.server is not None
    present = [_wrong_key(bucket.server)["credentials"]()]
    backend = bucket.backend(credentials=lambda: present[0])
    with Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE) as store:
        with refused(AccessError, "bad-credentials"):
            store.push(tree, **SAID)
        with pytest.raises(AccessError):
            backend.size_of(digest_pair(b"a").blake3)
        present[0] = bucket.server.keys
        assert backend.size_of(digest_pair(b"a").blake3) is None
        store.push(tree, **SAID)
        assert store.fsck(read=True).clean


@pytest.mark.parametrize("what", NOBODY)
def test_why_nobody_answers_is_named(
    plain: Place, home: Home, tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    # So that nobody's own keys are found.
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_named(plain, home, tree, *NOBODY[what])


def assert_named(
    bucket: Place,
    home: Home,
    tree: Path,
    change: Callable[[Server], dict[str, Any]],
    kind: type[ArtifactStoreError],
    code: str,
) -> None:
    """Every call with a changed configuration raises this error, which tells no secret."""
    assert bucket.server is not None
    service = s3_service(bucket, **change(bucket.server))
    backend = RemoteBackend(service, backend_id=REMOTE)
    data = b"a"
    blake3 = digest_pair(data).blake3
    calls: dict[str, Callable[[], object]] = {
        "open": lambda: backend.open(blake3, 1),
        "put": lambda: put(service, object_key(blake3), data),
        "stored": lambda: list(backend.stored()),
        "size": lambda: backend.size_of(blake3),
        "missing": lambda: backend.missing([(blake3, 1)]),
    }
    for name, call in calls.items():
        with pytest.raises(kind) as caught:
            call()
        # The answer to a HEAD has no body that would say why.
        vague = {"access-denied"} if name in {"size", "missing"} and code == "bad-credentials" else set()
        assert caught.value.code in {code, *vague}, name
        assert service.name in caught.value.message
        assert SECRET not in f"{caught.value.message} {caught.value.hint} {caught.value!r} {service!r}"
        assert caught.value.__cause__ is None
    with Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE) as store:
        with pytest.raises(kind) as caught:
            store.push(tree, **SAID)
        assert caught.value.code == code
        assert store.list_packages().items == ()
        assert store.health().status == "degraded"
        store.create_package(**SAID)  # what needs no object store works


def in_time(call: Callable[[], object]) -> object:
    """What a call returns that may be slower than its limit while the machine is busy."""
    for _ in range(10):
        with contextlib.suppress(BackendError):
            return call()
    return call()


def test_a_server_that_hangs_is_given_up_and_the_call_succeeds_later(bucket: Place) -> None:
    server = bucket.server
    assert server is not None
    bucket.overwrite(object_key(digest_pair(b"x").blake3), b"x")
    service = s3_service(bucket, timeout=1.0)
    stuck = s3_service(bucket, timeout=1.0)
    assert server.run("pause").returncode == 0
    try:
        begun = time.monotonic()
        with refused(BackendError, "timeout", service.name):
            put(service, object_key(digest_pair(b"y").blake3), b"y")
        with refused(BackendError, "timeout"):
            stuck.get(object_key(digest_pair(b"x").blake3), 0, 1)
        assert time.monotonic() - begun < 60  # each has a deadline of its own, far below
    finally:
        bucket.resume()
    key = object_key(digest_pair(b"z").blake3)
    in_time(lambda: put(service, key, b"z"))  # by the first try or by a later one
    assert in_time(lambda: stuck.get(key, 0, 1)) is not None


def test_a_package_goes_over_tls_and_back(
    start: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Home, tree: Path
) -> None:
    place = place_of("ceph-tls", start, monkeypatch, tmp_path)
    (tree / "large.bin").write_bytes(incompressible(PART + 1))
    with open_store(home, place) as store:
        package = store.push(tree, **SAID).package.package_id
        assert store.read_file(package, "large.bin") == incompressible(PART + 1)
        assert store.fsck(read=True).clean
        # A certificate that nobody vouches for is not accepted.
        monkeypatch.delenv("AWS_CA_BUNDLE")
        distrusting = s3_service(place)
        with refused(BackendError, "tls-failed"):
            distrusting.head("artifactstore.json")
    place.close()


def test_encryption_that_the_server_ignores_is_refused_before_anything_is_sent(
    plain: Place, home: Home, tree: Path
) -> None:
    backend = plain.backend(sse="AES256")
    with Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE) as store:
        with refused(BackendError, "encryption-ignored", "AES256"):
            store.push(tree, **SAID)
        assert plain.all_keys() == []
        assert "encrypted" in store.health(deep=True).backend.reasons[0]
    assert plain.all_keys() == []


def test_encryption_that_the_server_honours_is_proved(encrypting: Place, home: Home, tree: Path) -> None:
    (tree / "large.bin").write_bytes(incompressible(PART + 1))
    backend = encrypting.backend(sse="AES256")
    with Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE) as store:
        package = store.push(tree, **SAID).package.package_id
        assert store.read_file(package, "large.bin") == incompressible(PART + 1)
        assert store.health(deep=True).status == "ok"
    calls = S3Calls(encrypting.server.config("")) if encrypting.server else None
    assert calls is not None
    for key in encrypting.all_keys():
        seen = calls.call("head_object", Bucket="artifact-store", Key=f"{encrypting.prefix}/{key}")
        assert seen["ServerSideEncryption"] == "AES256"
    calls.close()


def test_a_storage_class_that_the_server_does_not_have_is_refused(
    bucket: Place, home: Home, tree: Path
) -> None:
    backend = bucket.backend(storage_class="BOGUS")
    with Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE) as store:
        with pytest.raises(BackendError, match=r"BOGUS|Storage|refuses"):
            store.push(tree, **SAID)
        assert store.list_packages().items == ()
    assert bucket.all_keys() == []
    standard = bucket.backend(storage_class="STANDARD")
    with Store.open(home.database, home.objects, further={REMOTE: standard}, default_backend=REMOTE) as store:
        store.push(tree, **SAID)


def test_a_key_that_is_taken_is_not_written_again(bucket: Place) -> None:
    service = s3_service(bucket)
    assert put(service, "some/key", b"first")
    assert not put(service, "some/key", b"other")
    found = service.get("some/key", 0, 5)
    assert found is not None
    assert found.data == b"first"


def test_uploads_that_a_crash_left_are_found_and_thrown_away(bucket: Place, home: Home, tree: Path) -> None:
    with open_store(home, bucket) as store:
        store.push(tree, **SAID)
        key = object_key(digest_pair(b"never completed").blake3)
        assert bucket.server is not None
        calls = S3Calls(bucket.server.config(""))
        calls.call("create_multipart_upload", Bucket="artifact-store", Key=f"{bucket.prefix}/{key}")
        calls.call("create_multipart_upload", Bucket="artifact-store", Key=f"{bucket.prefix}/damaged/copy")
        calls.call("create_multipart_upload", Bucket="artifact-store", Key=f"other-{bucket.prefix}/{key}")
        assert store.orphans(**ACTOR).stale_count == 0
        assert store.orphans(**ACTOR, older_than=0).stale_count == 2
        assert store.orphans(**ACTOR, older_than=0, delete=True).stale_count == 2
        assert store.orphans(**ACTOR, older_than=0).stale_count == 0
        others = calls.call(
            "list_multipart_uploads", Bucket="artifact-store", Prefix=f"other-{bucket.prefix}"
        )
        assert len(others["Uploads"]) == 1
        calls.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_upload_that_is_interrupted_is_aborted(bucket: Place, error: type[BaseException]) -> None:
    data = incompressible(3 * PART)
    read = io.BytesIO(data)

    def breaking(buffer: memoryview) -> int:
        if read.tell() >= 2 * PART:
            raise error
        return read.readinto(buffer)

    backend = bucket.backend()
    with backend.batch() as batch, pytest.raises(error):
        batch.stage_stream(io.BytesIO(data).readinto, again=lambda: breaking)
    assert bucket.all_keys() == []
    assert bucket.unfinished() == []


def test_what_is_larger_than_one_copy_is_set_aside_in_parts(bucket: Place) -> None:
    data = incompressible(2 * PART + 17)
    service = s3_service(bucket, copy_size=PART)
    bucket.overwrite("blake3/large", data)
    service.copy("blake3/large", "damaged/large")
    found = service.get("damaged/large", 0, len(data))
    assert found is not None
    assert found.data == data
    assert bucket.unfinished() == []


def test_many_pages_are_listed(bucket: Place) -> None:
    service = s3_service(bucket, page_size=7)
    backend = RemoteBackend(service, backend_id=REMOTE)
    contents = [str(number).encode() for number in range(30)]
    with backend.batch() as batch, ThreadPoolExecutor(16) as pool:
        assert all(staged.new for staged in pool.map(batch.stage_bytes, contents))
    expected = sorted(digest_pair(data).blake3 for data in contents)
    assert [stored.blake3 for stored in backend.stored()] == expected
    wanted = {digest_pair(data).blake3: len(data) for data in contents}
    assert backend.missing(wanted.items()) == []
    backend.remove_all(expected[:3])
    assert sorted(backend.missing(wanted.items())) == expected[:3]
    assert [stored.blake3 for stored in backend.stored()] == expected[3:]


def test_a_configuration_shows_no_secret() -> None:
    config = S3Config("bucket", "https://me:secret@host/", credentials=lambda: ("key", "secret"))
    assert "secret" not in f"{config.name} {S3Service(config)!r} {S3Service(config).name}"


def test_every_server_is_known() -> None:
    assert set(SERVERS) == {"seaweedfs", "ceph", "ceph-tls"}
