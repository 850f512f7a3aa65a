"""What crashes leave in a bucket with versions, where a deletion has two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.harness import SAID, Home, write_tree

from artifactstore import Store
from artifactstore.digest import digest_pair
from artifactstore.objects.remote import RemoteBackend
from artifactstore.objects.service import PROBE
from s3.places import REMOTE, s3_service
from s3.test_object_lock import locked, versioned

if TYPE_CHECKING:
    from pathlib import Path

    from s3.test_object_lock import Locked

__all__ = ["locked", "versioned"]

ACTOR = {"actor": "ada"}


def opened(home: Home, where: Locked) -> Store:
    """A store whose lists of the bucket have many pages."""
    service = s3_service(where.place, bucket=where.bucket, page_size=2)
    backend = RemoteBackend(service, backend_id=REMOTE)
    return Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE)


def test_orphans_that_a_deletion_has_only_hidden_are_found(
    versioned: Locked, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", {str(number): f"file {number}".encode() for number in range(5)})
    hidden = [f"hidden {number}".encode() for number in range(4)]
    with opened(home, versioned) as store:
        store.push(tmp_path / "tree", **SAID)
        for data in (*hidden, hidden[0], b""):
            versioned.call("put_object", Key=versioned.key(data), Body=data)
        for data in (*hidden, b"", b"file 3"):
            versioned.call("delete_object", Key=versioned.key(data))
        young = store.orphans(**ACTOR, delete=True)
        assert (young.orphans, young.protected_count) == ((), 5)
        sizes = {digest_pair(data).blake3: len(data) for data in (*hidden, b"")}
        sizes[digest_pair(hidden[0]).blake3] *= 2  # it has two versions
        found = store.orphans(**ACTOR, older_than=0)
        assert {each.blake3: each.size for each in found.orphans} == sizes
        assert len(versioned.versions(hidden[0])) == 3
        found = store.orphans(**ACTOR, older_than=0, delete=True)
        assert [each.deleted for each in found.orphans] == [True] * 5
        assert all(versioned.versions(data) == [] for data in (*hidden, b""))
        # What the log names is missing, and its bytes are there for those who know how to bring them back.
        assert [each.blake3 for each in found.missing] == [digest_pair(b"file 3").blake3]
        assert len(versioned.versions(b"file 3")) == 2
        assert store.orphans(**ACTOR, older_than=0).orphans == ()


def test_probes_that_were_only_hidden_are_removed(versioned: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    key = f"{versioned.place.prefix}/{PROBE}left"
    with opened(home, versioned) as store:
        store.push(tmp_path / "tree", **SAID)
        versioned.call("put_object", Key=key, Body=b"left")
        versioned.call("delete_object", Key=key)
        assert store.orphans(**ACTOR, older_than=0, delete=True).stale_count == 1
        assert "Versions" not in versioned.call("list_object_versions", Prefix=key)
        assert store.orphans(**ACTOR, older_than=0).stale_count == 0


def test_probes_that_the_bucket_locks_are_found_until_they_go(
    locked: Locked, home: Home, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", {"file": b"file"})
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    locked.call(
        "put_object_lock_configuration",
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
    )
    with locked.store(home, "COMPLIANCE") as store:
        store.push(tmp_path / "tree", **SAID)
        assert store.orphans(**ACTOR, older_than=0).stale_count == 1
        assert store.orphans(**ACTOR, older_than=0, delete=True).stale_count == 0
        assert store.orphans(**ACTOR, older_than=0).stale_count == 1
