"""What breaks between a store and its server: each fault has its error, leaves nothing half, and passes."""

from __future__ import annotations

import contextlib
import datetime
import io
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from client.conftest import certificate  # noqa: F401 - a fixture
from store.harness import SAID, TREE, Home, incompressible, refused, write_tree

from artifactstore import AccessError, ArtifactStoreError, BackendError, IntegrityError, Store
from artifactstore.digest import digest_pair, object_key
from artifactstore.objects.remote import RemoteBackend
from artifactstore.objects.s3 import short_way
from artifactstore.objects.s3.calls import S3Calls
from s3 import proxy
from s3.conftest import open_store, place_of
from s3.places import PART, REMOTE, Place, s3_service
from s3.proxy import Fault, Proxy, Request, in_front_of
from s3.test_short_way import server_tls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from s3.places import Server

ACTOR = {"actor": "ada"}
LARGE = incompressible(3 * PART + 5)
ALWAYS = 1000
BUCKET = "artifact-store"
LIMIT = 5.0  # seconds: short for a server that hangs, long for one that works on a busy machine


@pytest.fixture(params=["seaweedfs", "ceph"])
def server(
    request: pytest.FixtureRequest,
    start: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Place]:
    """A fresh place on each server that speaks plain http."""
    made = place_of(request.param, start, monkeypatch, tmp_path)
    yield made
    made.close()


@pytest.fixture
def fast(start: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    """A fresh place on one server, where what is tested is ours and not the server's."""
    made = place_of("ceph", start, monkeypatch, tmp_path)
    yield made
    made.close()


def endpoint(place: Place) -> str:
    assert place.server is not None
    return place.server.exported["ARTIFACTSTORE_S3_ENDPOINT_URL"]


def opened(home: Home, place: Place, between: Proxy, **changed: Any) -> Store:
    """A store whose objects go through the proxy."""
    service = s3_service(place, endpoint_url=between.url, pause=0.01, **changed)
    return Store.open(
        home.database,
        home.objects,
        further={REMOTE: RemoteBackend(service, backend_id=REMOTE)},
        default_backend=REMOTE,
    )


def assert_nothing_half(place: Place) -> None:
    """Whatever is visible is whole, and no upload is left open."""
    for key in place.all_keys():
        if key.startswith("blake3/"):
            found = place.own.get(key, 0, 1 << 30) if place.own.head(key).size else None  # type: ignore[union-attr]
            data = b"" if found is None else found.data
            assert object_key(digest_pair(data).blake3) == key
    assert uploads(place) == []


def put(request: Request) -> bool:
    return request.is_object("PUT")


def get(request: Request) -> bool:
    return request.is_object("GET")


def part(request: Request) -> bool:
    return request.is_part()


def complete(request: Request) -> bool:
    return request.method == "POST" and "uploadId=" in request.path


def abort(request: Request) -> bool:
    return request.method == "DELETE" and "uploadId=" in request.path


def begin(request: Request) -> bool:
    return request.method == "POST" and "uploads" in request.path


# What happens to some requests of a push: once or twice, it goes on; always, it ends with this error.
WRITES: dict[str, tuple[Callable[[int], Fault], str]] = {
    "a body is cut off": (lambda times: Fault(put, times, receive=3), "connection-lost"),
    "a part is cut off": (lambda times: Fault(part, times, receive=PART // 2), "connection-lost"),
    "the answer to a put is lost": (lambda times: Fault(put, times, send=proxy.lose), "connection-lost"),
    "the answer to a part is lost": (lambda times: Fault(part, times, send=proxy.lose), "connection-lost"),
    "500": (lambda times: Fault(put, times, instead=proxy.error(500, "InternalError")), "server-error"),
    "503": (lambda times: Fault(part, times, instead=proxy.error(503, "SlowDown")), "throttled"),
    "429": (lambda times: Fault(begin, times, instead=proxy.error(429, "TooManyRequests")), "throttled"),
}


@pytest.mark.parametrize("fault", [*WRITES, "the answer to a completion is lost"])
def test_a_fault_that_passes_is_not_noticed(server: Place, home: Home, tmp_path: Path, fault: str) -> None:
    write_tree(tmp_path / "tree", {**TREE, "large": LARGE})
    made = WRITES[fault][0] if fault in WRITES else (lambda times: Fault(complete, times, send=proxy.lose))
    with in_front_of(endpoint(server)) as between, opened(home, server, between) as store:
        planned = made(1)
        between.plan(planned)
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        assert planned.seen == 1
        assert store.read_file(package, "large") == LARGE
        assert store.fsck(read=True).clean
    assert_nothing_half(server)


@pytest.mark.parametrize("fault", WRITES)
def test_a_fault_that_stays_is_named_and_leaves_nothing_half(
    fast: Place, home: Home, tmp_path: Path, fault: str
) -> None:
    write_tree(tmp_path / "tree", {"small": b"small", "large": LARGE})
    made, code = WRITES[fault]
    with in_front_of(endpoint(fast)) as between, opened(home, fast, between) as store:
        planned = made(ALWAYS)
        between.plan(planned)
        with refused(BackendError, code, between.url) as caught:
            store.push(tmp_path / "tree", **SAID)
        assert planned.seen > 1
        assert_tells_no_secret(fast, caught)
        assert store.list_packages().items == ()
        assert_nothing_half(fast)
        between.plan()
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        assert store.read_file(package, "large") == LARGE
        assert store.fsck(read=True).clean


# Completions of which nobody knows whether they are done. A server that aborts beside one, or after one, may
# take the bytes of the object.


def test_a_completion_whose_answers_are_all_lost_is_done(server: Place, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"large": LARGE})
    with in_front_of(endpoint(server)) as between, opened(home, server, between) as store:
        lost, aborted = Fault(complete, ALWAYS, send=proxy.lose), Fault(abort, ALWAYS)
        between.plan(lost, aborted)
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        assert (lost.seen > 1, aborted.seen) == (True, 0)
        assert store.read_file(package, "large") == LARGE
        assert store.fsck(read=True).clean
    assert uploads(server) == []


def test_a_completion_that_never_arrives_leaves_its_upload(fast: Place, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"large": LARGE})
    with in_front_of(endpoint(fast)) as between, opened(home, fast, between) as store:
        broken, aborted = Fault(complete, ALWAYS, receive=0), Fault(abort, ALWAYS)
        between.plan(broken, aborted)
        with refused(BackendError, "connection-lost", between.url):
            store.push(tmp_path / "tree", **SAID)
        assert (broken.seen > 1, aborted.seen) == (True, 0)
        assert store.list_packages().items == ()
        assert len(uploads(fast)) == 1
        between.plan()
        assert store.orphans(**ACTOR, older_than=0, delete=True).stale_count == 1
        assert_nothing_half(fast)
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        assert store.read_file(package, "large") == LARGE


def test_an_object_of_the_same_size_is_no_proof_of_a_completion(fast: Place) -> None:
    key, digests = object_key(digest_pair(LARGE).blake3), digest_pair(LARGE)
    fast.overwrite(key, LARGE[::-1])
    with in_front_of(endpoint(fast)) as between:
        service = s3_service(fast, endpoint_url=between.url, pause=0.01)

        def mend() -> bool:
            stream = io.BytesIO(LARGE).readinto
            return service.upload(key, stream, len(LARGE), sha256=digests.sha256, replace=True)

        between.plan(Fault(complete, ALWAYS, receive=0))
        with refused(BackendError, "connection-lost"):
            mend()
        between.plan(Fault(complete, ALWAYS, send=proxy.lose))
        assert mend()
    found = fast.own.get(key, 0, len(LARGE))
    assert found is not None
    assert found.data == LARGE


@pytest.mark.parametrize("lost", [0, 1])
def test_an_upload_that_is_too_late_is_aborted_if_nothing_was_lost(fast: Place, lost: int) -> None:
    key, taken = object_key(digest_pair(LARGE).blake3), proxy.error(412, "PreconditionFailed")
    with in_front_of(endpoint(fast)) as between:
        service = s3_service(fast, endpoint_url=between.url, pause=0.01)
        between.plan(Fault(complete, lost, receive=0), Fault(complete, instead=taken))
        stored = service.upload(key, io.BytesIO(LARGE).readinto, len(LARGE), sha256=b"", replace=False)
    assert not stored
    assert len(uploads(fast)) == lost


def test_a_completion_may_take_longer_than_other_calls(fast: Place) -> None:
    key, going, begun = object_key(digest_pair(LARGE).blake3), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        going.wait(60)

    with in_front_of(endpoint(fast)) as between, ThreadPoolExecutor(1) as pool:
        service = s3_service(fast, endpoint_url=between.url, timeout=LIMIT)
        between.plan(Fault(complete, before=wait), Fault(get, before=lambda: going.wait(60)))
        stored = pool.submit(
            service.upload, key, io.BytesIO(LARGE).readinto, len(LARGE), sha256=b"", replace=False
        )
        try:
            assert begun.wait(60)
            with refused(BackendError, "timeout"):
                service.get(key, 0, 1)
        finally:
            going.set()
        assert stored.result()


def test_parts_that_an_object_may_be_made_of_are_not_thrown_away(
    server: Place, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", {"large": LARGE})
    key = f"{server.prefix}/{object_key(digest_pair(LARGE).blake3)}"
    with open_store(home, server) as store, connected(server) as calls:
        store.push(tmp_path / "tree", **SAID)
        for data in (LARGE, LARGE[:PART]):
            upload = calls.call("create_multipart_upload", Bucket=BUCKET, Key=key)["UploadId"]
            which = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
            for number, start in enumerate(range(0, len(data), PART), 1):
                calls.call("upload_part", **which, PartNumber=number, Body=data[start : start + PART])
        assert len(uploads(server)) == 2
        assert store.orphans(**ACTOR, older_than=0, delete=True).stale_count == 1
        assert len(uploads(server)) == 1
        assert store.fsck(read=True).clean


@contextlib.contextmanager
def connected(place: Place) -> Iterator[S3Calls]:
    """A connection of the test's own, past all that a service knows."""
    assert place.server is not None
    with contextlib.closing(S3Calls(place.server.config(""))) as calls:
        yield calls


def uploads(place: Place) -> list[str]:
    """The keys of all uploads that the server has open."""
    with connected(place) as calls:
        page = calls.call("list_multipart_uploads", Bucket=BUCKET, Prefix=place.prefix)
    return [entry["Key"] for entry in page.get("Uploads", ()) if entry["Key"].startswith(place.prefix)]


def assert_tells_no_secret(place: Place, caught: Any) -> None:
    assert place.server is not None
    error = caught.value
    said = f"{error.message} {error.hint} {error!r} {error.__cause__!r}"
    assert place.server.keys[1] not in said
    assert "Signature=" not in said


# Refusals of a server in the middle of a push, and what they mean.
REFUSALS: dict[str, tuple[int, type[ArtifactStoreError], str]] = {
    "InvalidAccessKeyId": (403, AccessError, "bad-credentials"),
    "AccessDenied": (403, AccessError, "access-denied"),
    "ExpiredToken": (400, AccessError, "credentials-expired"),
    "QuotaExceeded": (403, BackendError, "disk-full"),
    "InsufficientStorage": (507, BackendError, "disk-full"),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_in_the_middle_is_named(fast: Place, home: Home, tmp_path: Path, code: str) -> None:
    write_tree(tmp_path / "tree", {"large": LARGE})
    status, kind, ours = REFUSALS[code]
    with in_front_of(endpoint(fast)) as between, opened(home, fast, between) as store:
        # The first part gets through, then the rights are gone.
        seen: list[str] = []

        def later(request: Request) -> bool:
            seen.append(request.path)
            return part(request) and any("partNumber=1" in path for path in seen[:-1])

        between.plan(Fault(later, ALWAYS, instead=proxy.error(status, code)))
        with refused(kind, ours, between.url) as caught:
            store.push(tmp_path / "tree", **SAID)
        assert_tells_no_secret(fast, caught)
        assert store.list_packages().items == ()
        assert_nothing_half(fast)
        between.plan()
        store.push(tmp_path / "tree", **SAID)


READS: dict[str, tuple[Callable[[int], Fault], type[ArtifactStoreError], str]] = {
    "cut": (lambda times: Fault(get, times, send=proxy.cut(1000)), BackendError, "connection-lost"),
    "reset": (lambda times: Fault(get, times, send=proxy.reset(1000)), BackendError, "connection-lost"),
    "500": (
        lambda times: Fault(get, times, instead=proxy.error(500, "InternalError")),
        BackendError,
        "server-error",
    ),
    "503": (
        lambda times: Fault(get, times, instead=proxy.error(503, "SlowDown")),
        BackendError,
        "throttled",
    ),
    "changed": (lambda times: Fault(get, times, send=proxy.change), IntegrityError, "integrity"),
}


@pytest.mark.parametrize("fault", READS)
def test_a_read_through_a_fault(fast: Place, home: Home, tmp_path: Path, fault: str) -> None:
    made, kind, code = READS[fault]
    write_tree(tmp_path / "tree", {"large": LARGE})
    with in_front_of(endpoint(fast)) as between, opened(home, fast, between) as store:
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        if kind is BackendError:
            between.plan(made(1))
            assert store.read_file(package, "large") == LARGE
        between.plan(made(ALWAYS))
        with refused(kind, code) as caught:
            store.read_file(package, "large")
        assert_tells_no_secret(fast, caught)
        with refused(kind, code):
            store.export_package(package, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        # Reading marks nothing.
        assert store.verification(package).failed_count == 0
        # With a second location the same reads succeed.
        between.plan()
        store.copy(source=REMOTE, target="local", **ACTOR)
        between.plan(made(ALWAYS))
        assert store.read_file(package, "large") == LARGE
        store.export_package(package, tmp_path / "out", bare=True)
        assert (tmp_path / "out" / "large").read_bytes() == LARGE
        between.plan()
        assert store.read_file(package, "large") == LARGE


@pytest.mark.parametrize("fault", [*list(WRITES)[:4], "cut", "reset"])
def test_a_fault_over_tls_is_the_same(
    fast: Place,
    home: Home,
    tmp_path: Path,
    certificate: Path,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    made = WRITES[fault][0] if fault in WRITES else READS[fault][0]
    write_tree(tmp_path / "tree", {"small": b"small", "large": LARGE})
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    with (
        in_front_of(endpoint(fast), tls=server_tls(certificate)) as between,
        opened(home, fast, between) as store,
    ):

        def work() -> None:
            package = store.push(tmp_path / "tree", **SAID).package.package_id
            assert store.read_file(package, "large") == LARGE

        between.plan(made(ALWAYS))
        with refused(BackendError, "connection-lost", between.url):
            work()
        planned = made(1)
        between.plan(planned)
        work()
        assert planned.seen == 1


def test_a_read_that_is_slower_than_the_limit_is_given_up(fast: Place, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"large": LARGE})
    going = threading.Event()
    with in_front_of(endpoint(fast)) as between:
        with opened(home, fast, between) as store:
            package = store.push(tmp_path / "tree", **SAID).package.package_id
        between.plan(Fault(get, ALWAYS, send=proxy.stall(going)))
        with opened(home, fast, between, timeout=0.5) as store:
            try:
                with refused(BackendError, "timeout", between.url):
                    store.read_file(package, "large")
            finally:
                going.set()
        between.plan()
        with opened(home, fast, between) as store:
            assert store.read_file(package, "large") == LARGE


# The server itself


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["kill", "pause"])
def test_a_server_that_ends_or_hangs_in_the_middle_of_an_upload(
    server: Place, home: Home, tmp_path: Path, verb: str
) -> None:
    write_tree(tmp_path / "tree", {"small": b"small", "large": LARGE})
    assert server.server is not None
    running = server.server
    with in_front_of(endpoint(server)) as between:
        with opened(home, server, between, timeout=LIMIT) as store:
            planned = Fault(
                lambda request: part(request) and "partNumber=2" in request.path,
                before=lambda: running.run(verb),
            )
            between.plan(planned)
            try:
                with pytest.raises(BackendError) as caught:
                    store.push(tmp_path / "tree", **SAID)
            finally:
                server.resume()
            assert planned.seen == 1
            assert caught.value.code in {"connection-lost", "connection-refused", "timeout"}
            assert between.url in caught.value.message
            assert store.list_packages().items == ()
        with opened(home, server, between) as store:
            package = store.push(tmp_path / "tree", **SAID).package.package_id
            assert store.read_file(package, "large") == LARGE
            # The first upload could not be aborted: it is found by its age.
            store.orphans(**ACTOR, older_than=0, delete=True)
            assert store.fsck(read=True).clean
    assert_nothing_half(server)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["kill", "pause"])
def test_a_server_that_ends_or_hangs_in_the_middle_of_a_read(
    server: Place, home: Home, tmp_path: Path, verb: str
) -> None:
    write_tree(tmp_path / "tree", {"large": LARGE})
    assert server.server is not None
    running = server.server
    with in_front_of(endpoint(server)) as between:
        with opened(home, server, between) as store:
            package = store.push(tmp_path / "tree", **SAID).package.package_id
        with (
            opened(home, server, between, timeout=LIMIT) as store,
            store.open_file(package, "large") as stream,
        ):
            assert stream.read(1000) == LARGE[:1000]
            assert running.run(verb).returncode == 0
            try:
                with pytest.raises(BackendError) as caught:
                    stream.read()
            finally:
                server.resume()
            assert caught.value.code in {"connection-lost", "connection-refused", "timeout"}
            stream.seek(0)
            assert stream.read() == LARGE
        with opened(home, server, between) as store:
            assert store.read_file(package, "large") == LARGE


@pytest.mark.slow
def test_a_bucket_that_is_removed_is_named(server: Place, home: Home, tmp_path: Path) -> None:
    assert server.server is not None
    bucket = f"gone-{uuid.uuid4().hex[:8]}"
    write_tree(tmp_path / "tree", TREE)
    backend = server.backend(bucket=bucket)
    with (
        contextlib.closing(S3Calls(server.server.config("", timeout=60.0))) as calls,
        Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE) as store,
    ):
        calls.call("create_bucket", Bucket=bucket)
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        own = s3_service(server, bucket=bucket)
        own.delete_all([found.key for found in own.entries("")])
        calls.call("delete_bucket", Bucket=bucket)
        attempts: dict[str, Callable[[], object]] = {
            "push": lambda: store.push(tmp_path / "tree", **{**SAID, "name": "again"}),
            "read": lambda: store.read_file(package, "README.md"),
            "verify": lambda: store.verify(**ACTOR, backend=REMOTE),
            "gc": lambda: store.gc(**ACTOR),
        }
        for attempt in attempts.values():
            with refused(BackendError, "no-such-bucket", bucket):
                attempt()
        assert "no such bucket" in store.health(deep=True).backend.reasons[0]
        # Nothing was said of the objects: they are not known to be lost.
        assert store.verification(package).failed_count == 0
        calls.call("create_bucket", Bucket=bucket)
        store.adopt_backend(REMOTE)
        store.push(tmp_path / "tree", **{**SAID, "name": "again"})
        assert store.read_file(package, "README.md") == TREE["README.md"]
        own.delete_all([found.key for found in own.entries("")])
        calls.call("delete_bucket", Bucket=bucket)


def test_clocks_that_differ_are_named(
    server: Place, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import botocore.auth

    write_tree(tmp_path / "tree", TREE)
    wrong = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
    backend = server.backend()
    with Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE) as store:
        with monkeypatch.context() as patched:
            patched.setattr(short_way, "_now", wrong.utctimetuple)
            patched.setattr(
                botocore.auth,
                "get_current_datetime",
                lambda remove_tzinfo=True: wrong.replace(tzinfo=None) if remove_tzinfo else wrong,
            )
            with refused(BackendError, "clock-skew", "clocks"):
                store.push(tmp_path / "tree", **SAID)
        assert store.list_packages().items == ()
        store.push(tmp_path / "tree", **SAID)
