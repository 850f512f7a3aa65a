"""What gc asks of a server: few requests, and what becomes of each key."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, FakeClock, Home, refused, write_tree

from artifactstore import BackendError, Store
from artifactstore.objects.remote import RemoteBackend
from artifactstore.objects.s3.calls import S3Calls
from artifactstore.objects.s3.service import S3Service
from s3.conftest import place_of
from s3.places import REMOTE
from s3.proxy import Fault, Request, error, in_front_of
from s3.test_object_lock import versioned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from s3.places import Place, Server
    from s3.test_object_lock import Locked

__all__ = ["versioned"]

ACTOR = {"actor": "ada"}
LIFE = {**SAID, "retention_class": "transient"}
DAY = 86_400_000_000  # microseconds
FILES = {f"{number:04}": f"file {number}".encode() for number in range(600)}


class CountedCalls(S3Calls):
    """A connection that counts its requests by name."""

    counts: Counter[str]

    def _call_once(self, method: str, deadline: float, arguments: dict[str, Any]) -> Any:
        self.counts[method] += 1
        return super()._call_once(method, deadline, arguments)


@pytest.fixture(params=["seaweedfs", "ceph"])
def plain(
    request: pytest.FixtureRequest,
    start: Callable[[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Place]:
    """A fresh place in a bucket without versions on each server."""
    made = place_of(request.param, start, monkeypatch, tmp_path)
    yield made
    made.close()


def is_together(request: Request) -> bool:
    """Whether it asks to delete many keys."""
    return request.method == "POST" and "?delete" in request.path


def expire(home: Home, backend: RemoteBackend, tree: Path, files: Mapping[str, bytes]) -> Store:
    """A store with a package that may be collected now."""
    clock = FakeClock()
    store = Store.open(
        home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE, clock=clock
    )
    store.push(write_tree(tree, files), **LIFE)
    clock.now += 2 * DAY
    store.sweep(**ACTOR)
    return store


def test_many_objects_are_removed_by_few_requests(plain: Place, home: Home, tmp_path: Path) -> None:
    assert plain.server is not None
    calls = CountedCalls(config := plain.server.config(plain.prefix))
    calls.counts = Counter()
    backend = RemoteBackend(S3Service(config, calls), backend_id=REMOTE)
    with expire(home, backend, tmp_path / "tree", FILES) as store:
        calls.counts.clear()
        result = store.gc(**ACTOR)
        assert result.removed_count == len(FILES) + 1  # the manifest
        assert calls.counts["delete_objects"] == 2  # a transaction removes up to 500
        assert calls.counts["delete_object"] == 0
        assert plain.all_keys() == ["artifactstore.json"]
        assert store.gc(**ACTOR).removed_count == 0
        assert store.fsck().clean


def test_a_thousand_keys_are_one_request(plain: Place) -> None:
    assert plain.server is not None
    calls = CountedCalls(config := plain.server.config(plain.prefix))
    calls.counts = Counter()
    service = S3Service(config, calls)
    plain.overwrite("there", b"there")
    # Keys that are free already are no failure.
    assert service.delete_all(["there", *(f"absent/{number}" for number in range(1499))]) == {}
    assert calls.counts == {"get_bucket_versioning": 1, "delete_objects": 2}
    assert service.delete_all([]) == {}
    assert service.delete_all(["there"]) == {}
    assert calls.counts == {"get_bucket_versioning": 2, "delete_objects": 2, "delete_object": 1}
    assert plain.all_keys() == []
    service.close()


def refusing(key: str) -> bytes:
    """An answer that has deleted everything but one key."""
    return f"<DeleteResult><Error><Key>{key}</Key><Code>InternalError</Code></Error></DeleteResult>".encode()


def test_a_key_that_failed_is_deleted_alone(plain: Place) -> None:
    assert plain.server is not None
    config = plain.server.config(plain.prefix)
    for key in ("one", "two"):
        plain.overwrite(key, key.encode())
    answer = error(200, "")
    instead = type(answer)(200, answer.headers, refusing(f"{plain.prefix}/one"))
    with in_front_of(str(config.endpoint_url)) as proxy:
        service = S3Service(plain.server.config(plain.prefix, endpoint_url=proxy.url, pause=0.01))
        # The one is said to have failed, of the other nothing is said.
        proxy.plan(Fault(is_together, instead=instead))
        assert service.delete_all(["one", "two"]) == {}
        assert plain.all_keys() == []
        service.close()


def test_a_key_that_cannot_be_deleted_is_named_and_nothing_is_recorded(
    plain: Place, home: Home, tmp_path: Path
) -> None:
    assert plain.server is not None
    config = plain.server.config(plain.prefix)
    with in_front_of(str(config.endpoint_url)) as proxy:
        service = S3Service(plain.server.config(plain.prefix, endpoint_url=proxy.url, pause=0.01))
        with expire(home, RemoteBackend(service, backend_id=REMOTE), tmp_path / "tree", {"a": b"a"}) as store:
            answer = error(200, "")
            instead = type(answer)(200, answer.headers, refusing("some"))
            fault = Fault(
                lambda asked: asked.method == "DELETE", times=1000, instead=error(500, "InternalError")
            )
            proxy.plan(Fault(is_together, instead=instead), fault)
            with refused(BackendError, "server-error", "as planned"):
                store.gc(**ACTOR)
            assert fault.seen
            assert not [event for event in store.events() if event.type.endswith("object_deleted")]
            proxy.plan()
            assert store.gc(**ACTOR).removed_count == 2
            assert plain.all_keys() == ["artifactstore.json"]
            assert store.fsck().clean


def test_a_server_that_knows_no_such_requests_is_asked_for_each_key(plain: Place) -> None:
    assert plain.server is not None
    config = plain.server.config(plain.prefix)
    for number in range(20):
        plain.overwrite(str(number), b"some")
    with in_front_of(str(config.endpoint_url)) as proxy:
        service = S3Service(plain.server.config(plain.prefix, endpoint_url=proxy.url))
        unknown = Fault(is_together, times=1000, instead=error(501, "NotImplemented"))
        proxy.plan(unknown)
        assert service.delete_all([str(number) for number in range(10)]) == {}
        assert service.delete_all([str(number) for number in range(10, 20)]) == {}
        assert unknown.seen == 1
        assert plain.all_keys() == []
        service.close()


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
def test_many_versions_go_too(versioned: Locked, home: Home, tmp_path: Path, *, told: bool) -> None:
    assert versioned.place.server is not None
    files = {str(number): f"file {number}".encode() for number in range(40)}
    with in_front_of(str(versioned.place.server.config("").endpoint_url)) as proxy:
        if not told:  # that the bucket keeps versions
            asks = Fault(lambda asked: "?versioning" in asked.path, 1000, instead=error(403, "AccessDenied"))
            proxy.plan(asks)
        service = versioned.place.service(bucket=versioned.bucket, endpoint_url=proxy.url)
        backend = RemoteBackend(service, backend_id=REMOTE)
        with expire(home, backend, tmp_path / "tree", files) as store:
            versioned.call("put_object", Key=versioned.key(b"file 7"), Body=b"file 7")
            assert store.gc(**ACTOR).removed_count == len(files) + 1
            assert told or asks.seen
            assert store.fsck().clean
    page = versioned.call("list_object_versions", Prefix=versioned.place.prefix)
    assert not page.get("DeleteMarkers", ())
    assert [entry["Key"].rpartition("/")[2] for entry in page["Versions"]] == ["artifactstore.json"]
