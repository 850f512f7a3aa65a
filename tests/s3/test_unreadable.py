"""An object that its place cannot give, while it gives all others: one finding, and no end of the search."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, Home, incompressible, refused, write_tree

from artifactstore import AccessError, BackendError, Store
from artifactstore.digest import digest_pair, object_key
from artifactstore.objects.backend import SMALL_FILE
from artifactstore.objects.remote_reader import FIRST_BLOCK
from s3.places import REMOTE, Place
from s3.proxy import Fault, Proxy, Request, error, in_front_of
from s3.test_presence import watched_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from s3.places import Server

ACTOR = {"actor": "ada"}
FILES = {f"{number:02}": f"file {number}".encode() for number in range(30)}
BROKEN = b"file 7"
# What a server says of one object, and what a caller gets.
REFUSALS = {
    403: ("AccessDenied", AccessError, "access-denied"),
    500: ("InternalError", BackendError, "server-error"),
}


def key_of(data: bytes) -> str:
    return object_key(digest_pair(data).blake3)


@pytest.fixture
def memory() -> Iterator[Place]:
    """A place whose behaviour is that of any other: what is tested here lies above it."""
    made = Place(None, f"memory://{uuid.uuid4().hex}")
    yield made
    made.close()


class Refusing:
    """Raises instead of reading what the test says."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.keys: set[str] | None = set()  # None for all
        self.left = 0  # reads that go well before

    def __call__(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name != "get" or (self.keys is not None and arguments[0] not in self.keys):
            return
        self.left -= 1
        if self.left < 0:
            raise BackendError("as planned", code=self.code, retryable=True)


def test_an_object_that_cannot_be_read_is_named_and_the_rest_is_verified(
    memory: Place, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", FILES)
    refusing = Refusing("server-error")
    with watched_store(home, memory, refusing) as store:
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        memory.overwrite(key_of(b"file 8"), b"file X")
        refusing.keys = {key_of(BROKEN)}
        result = store.verify(**ACTOR)
        assert result.complete
        assert result.object_count == len(FILES) + 1
        found = {failure.blake3: failure.reason for failure in result.failures}
        assert found == {
            digest_pair(BROKEN).blake3: "unreadable",
            digest_pair(b"file 8").blake3: "digest differs",
        }
        assert store.verification(package).failed_count == 2
        assert len(store.fsck(read=True).findings) == 2
        # It is readable again: nothing was lost.
        refusing.keys = set()
        assert len(store.verify(failed_only=True, **ACTOR).failures) == 1


def test_an_object_that_was_not_read_at_once_is_no_finding(memory: Place, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", FILES)
    refusing = Refusing("server-error")
    with watched_store(home, memory, refusing) as store:
        store.push(tmp_path / "tree", **SAID)

        def once(name: str, arguments: tuple[Any, ...]) -> None:
            if name == "get" and arguments[0] == key_of(BROKEN) and not seen:
                seen.append(name)
                raise BackendError("as planned", code="server-error", retryable=True)

        seen: list[str] = []
        with watched_store(home, memory, once) as other:
            assert other.verify(**ACTOR).failures == ()
        assert seen


@pytest.mark.parametrize("code", ["connection-lost", "throttled"])
def test_a_place_that_goes_away_is_no_damage_and_what_was_read_counts(
    memory: Place, home: Home, tmp_path: Path, code: str
) -> None:
    write_tree(tmp_path / "tree", FILES)
    refusing = Refusing(code)
    with watched_store(home, memory, refusing) as store:
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        before = len(list(store.events()))
        refusing.keys, refusing.left = None, 25
        with refused(BackendError, code, "as planned"):
            store.verify(**ACTOR)
        assert store.verification(package).failed_count == 0
        verified = [event for event in list(store.events())[before:] if event.type.endswith("verified")]
        assert verified
        refusing.keys = set()
        assert store.verify(**ACTOR).failures == ()


@pytest.mark.parametrize("code", ["timeout", "throttled"])
def test_an_object_that_is_not_answered_for_is_no_damage_and_is_named(
    memory: Place, home: Home, tmp_path: Path, code: str
) -> None:
    write_tree(tmp_path / "tree", FILES)
    refusing = Refusing(code)
    with watched_store(home, memory, refusing) as store:
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        memory.overwrite(key_of(b"file 8"), b"file X")
        refusing.keys = {key_of(BROKEN)}
        for _ in range(2):
            with refused(BackendError, code, f"blake3:{digest_pair(BROKEN).blake3.hex()}", "as planned"):
                store.verify(**ACTOR)
            # All others were read, and the damage among them is recorded.
            assert store.verification(package).failed_count == 1
        findings = [finding.what for finding in store.fsck(read=True).findings]
        assert len(findings) == 2
        assert any("not read: as planned" in what for what in findings)
        refusing.keys = set()
        assert len(store.verify(**ACTOR).failures) == 1


@dataclass(frozen=True)
class Behind:
    """A store in a real place, and what breaks requests on the way there."""

    store: Store
    proxy: Proxy
    place: Place
    home: Home


@pytest.fixture
def behind(start: Callable[[str], Server], home: Home) -> Iterator[Behind]:
    """The same."""
    place = Place(start("seaweedfs"))
    assert place.server is not None
    with in_front_of(str(place.server.config("").endpoint_url)) as proxy:
        backend = place.backend(endpoint_url=proxy.url, pause=0.01)
        with Store.open(
            home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE
        ) as store:
            yield Behind(store, proxy, place, home)
    place.close()


def refusal_of(data: bytes, method: str, status: int) -> Fault:
    """The server gives everything but this object."""
    return Fault(
        lambda asked: asked.method == method and key_of(data) in asked.path,
        times=1000,
        instead=error(status, REFUSALS[status][0]),
    )


@pytest.mark.parametrize("status", REFUSALS)
def test_a_single_read_that_fails_names_the_file_and_its_object(
    behind: Behind, tmp_path: Path, status: int
) -> None:
    store, proxy = behind.store, behind.proxy
    large = incompressible(SMALL_FILE + FIRST_BLOCK)
    tree = write_tree(tmp_path / "tree", {"logs/broken": BROKEN, "large": large, "whole": b"whole"})
    package = store.push(tree, **SAID).package.package_id
    _, kind, code = REFUSALS[status]
    proxy.plan(refusal_of(BROKEN, "GET", status))
    named = ("logs/broken", f"blake3:{digest_pair(BROKEN).blake3.hex()}", REMOTE, str(status))
    reads: list[Callable[[], object]] = [
        lambda: store.read_file(package, "logs/broken"),
        lambda: store.export_package(package, tmp_path / "export"),
        lambda: store.export_tar(package, io.BytesIO()),
    ]
    for read in reads:
        with refused(kind, code, *named):
            read()
    assert store.read_file(package, "whole") == b"whole"
    # A stream that has begun says it too, and each time.
    with store.open_file(package, "large") as stream:
        assert stream.read(1) == large[:1]
        proxy.plan(refusal_of(large, "GET", status))
        for _ in range(2):
            with refused(kind, code, "large", f"blake3:{digest_pair(large).blake3.hex()}") as refusal:
                stream.read()
            assert str(refusal.value).count("large") == 1
    manifest = store.get_manifest_bytes(package)
    proxy.plan(refusal_of(manifest, "GET", status))
    with refused(kind, code, "manifest", f"blake3:{digest_pair(manifest).blake3.hex()}"):
        store.get_manifest(package)


def refusal_to_copy(data: bytes, status: int) -> Fault:
    """The server does not copy this object, which is how damaged bytes are set aside."""

    def concerns(asked: Request) -> bool:
        return any(
            name.lower() == "x-amz-copy-source" and key_of(data) in value for name, value in asked.headers
        )

    return Fault(concerns, times=1000, instead=error(status, REFUSALS[status][0]))


def damage(behind: Behind, *files: bytes) -> None:
    """Let other bytes lie in the place of files, and a verify find them."""
    for data in files:
        behind.place.overwrite(key_of(data), data[::-1])
    assert len(behind.store.verify(backend=REMOTE, **ACTOR).failures) == len(files)


@pytest.mark.parametrize("status", REFUSALS)
def test_a_repair_goes_on_where_one_object_cannot_be_set_aside(
    behind: Behind, tmp_path: Path, status: int
) -> None:
    store, proxy = behind.store, behind.proxy
    package = store.push(write_tree(tmp_path / "tree", FILES), **SAID).package.package_id
    store.copy(source=REMOTE, target="local", **ACTOR)
    damage(behind, BROKEN, b"file 8", b"file 9")
    proxy.plan(refusal_to_copy(BROKEN, status))
    result = store.repair(backend=REMOTE, **ACTOR)
    healed = {each.blake3 for each in result.healed}
    assert healed == {digest_pair(b"file 8").blake3, digest_pair(b"file 9").blake3}
    (unhealed,) = result.unhealed
    assert unhealed.failure.blake3 == digest_pair(BROKEN).blake3
    assert unhealed.failure.packages == (package,)
    for word in ("digest differs", "set aside", str(status)):
        assert word in unhealed.failure.reason
    left = behind.place.own.get(key_of(BROKEN), 0, len(BROKEN))
    assert left is not None
    assert left.data == BROKEN[::-1]
    assert store.verification(package).failed_count == 1
    proxy.plan()
    again = store.repair(backend=REMOTE, **ACTOR)
    assert [each.blake3 for each in again.healed] == [digest_pair(BROKEN).blake3]
    assert store.fsck(read=True).clean


@pytest.mark.parametrize("status", REFUSALS)
def test_a_repair_goes_on_where_one_object_is_refused(behind: Behind, tmp_path: Path, status: int) -> None:
    store, proxy = behind.store, behind.proxy
    store.push(write_tree(tmp_path / "tree", FILES), **SAID)
    store.copy(source=REMOTE, target="local", **ACTOR)
    damage(behind, BROKEN, b"file 8")
    # Neither to be read nor to be written.
    proxy.plan(*(refusal_of(BROKEN, method, status) for method in ("GET", "PUT")))
    result = store.repair(backend=REMOTE, **ACTOR)
    assert [each.blake3 for each in result.healed] == [digest_pair(b"file 8").blake3]
    assert [each.failure.blake3 for each in result.unhealed] == [digest_pair(BROKEN).blake3]
    assert str(status) in result.unhealed[0].failure.reason


@pytest.mark.parametrize("status", REFUSALS)
def test_a_repair_goes_on_where_the_other_place_refuses_an_object(
    behind: Behind, tmp_path: Path, status: int
) -> None:
    store, proxy = behind.store, behind.proxy
    store.push(write_tree(tmp_path / "tree", FILES), **SAID)
    store.copy(source=REMOTE, target="local", **ACTOR)
    for data in (BROKEN, b"file 8"):
        path = behind.home.objects / key_of(data)
        path.chmod(0o600)
        path.write_bytes(data[::-1])
    assert len(store.verify(backend="local", **ACTOR).failures) == 2
    proxy.plan(refusal_of(BROKEN, "GET", status))
    result = store.repair(backend="local", **ACTOR)
    assert [each.blake3 for each in result.healed] == [digest_pair(b"file 8").blake3]
    assert [each.failure.blake3 for each in result.unhealed] == [digest_pair(BROKEN).blake3]


@pytest.mark.parametrize("known", [True, False], ids=["known damage", "another size"])
@pytest.mark.parametrize("status", REFUSALS)
def test_a_copy_goes_on_where_one_object_of_the_target_cannot_be_set_aside(
    behind: Behind, tmp_path: Path, status: int, *, known: bool
) -> None:
    store, proxy = behind.store, behind.proxy
    store.push(write_tree(tmp_path / "tree", FILES), **SAID)
    new = {**FILES, "new": b"new", "last": b"last"}
    with Store.open(
        behind.home.database, behind.home.objects, further={REMOTE: behind.place.backend()}
    ) as local:
        pushed = local.push(write_tree(tmp_path / "more", new), **{**SAID, "name": "more"})
    if known:
        damage(behind, BROKEN)
    else:
        behind.place.overwrite(key_of(BROKEN), b"short")
    proxy.plan(refusal_to_copy(BROKEN, status))
    result = store.copy(source="local", target=REMOTE, **ACTOR)
    (failure,) = result.failures
    assert (failure.blake3, failure.backend_id) == (digest_pair(BROKEN).blake3, REMOTE)
    assert pushed.package.package_id in failure.packages
    for word in ("digest differs" if known else "wrong size", "set aside", str(status)):
        assert word in failure.reason
    assert result.object_count == 3  # with the manifest
    assert result.location_count == len(new)
    proxy.plan()
    assert store.copy(source="local", target=REMOTE, **ACTOR).failures == ()
    assert store.fsck(read=True).clean


@pytest.mark.parametrize("status", REFUSALS)
def test_a_copy_goes_on_where_the_source_refuses_one_object(
    behind: Behind, tmp_path: Path, status: int
) -> None:
    store, proxy = behind.store, behind.proxy
    store.push(write_tree(tmp_path / "tree", FILES), **SAID)
    proxy.plan(refusal_of(BROKEN, "GET", status))
    result = store.copy(source=REMOTE, target="local", **ACTOR)
    failed = [(each.blake3, each.backend_id) for each in result.failures]
    assert failed == [(digest_pair(BROKEN).blake3, REMOTE)]
    assert result.object_count == len(FILES)  # the manifest and all others
    proxy.plan()
    assert store.copy(source=REMOTE, target="local", **ACTOR).object_count == 1


@pytest.mark.parametrize("status", REFUSALS)
def test_a_target_that_takes_nothing_is_no_failure_of_each_object(
    behind: Behind, tmp_path: Path, status: int
) -> None:
    with Store.open(
        behind.home.database, behind.home.objects, further={REMOTE: behind.place.backend()}
    ) as local:
        local.push(write_tree(tmp_path / "tree", FILES), **SAID)
    said, kind, code = REFUSALS[status]
    behind.proxy.plan(Fault(lambda asked: asked.is_object("PUT"), times=1000, instead=error(status, said)))
    with refused(kind, code, "as planned"):
        behind.store.copy(source="local", target=REMOTE, **ACTOR)
