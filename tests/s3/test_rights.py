"""The rights that the documentation asks for are enough."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from docs.pages import PROJECT
from store.harness import SAID, Home, incompressible, refused, write_tree

from artifactstore import AccessError, Store
from artifactstore.objects.remote import RemoteBackend
from s3.places import PART, REMOTE, s3_service
from s3.test_object_lock import made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from s3.places import Server
    from s3.test_object_lock import Locked

ACTOR = {"actor": "ada"}
KEYS = ("LEASTRIGHTS000000001", "least-rights-throwaway-secret-key-00001")


@pytest.fixture
def locked(
    start: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Locked]:
    """A bucket with Object Lock that another user owns; Ceph, the one of the servers that knows policies."""
    found = made("ceph", start, monkeypatch, tmp_path, lock=True)
    server = found.place.server
    assert server is not None
    access, secret = KEYS
    server.run(
        "admin", "user", "create", "--uid=least", "--display-name=least",
        f"--access-key={access}", f"--secret-key={secret}",
    )  # fmt: skip
    yield found
    found.place.close()
    found.calls.close()


def policy(locked: Locked, *without: str) -> dict[str, Any]:
    """What the how-to says, for this bucket and prefix, and for a user of this server."""
    page = (PROJECT / "docs/how-to/operate/store-on-aws-s3.md").read_text(encoding="utf-8")
    found = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert found is not None
    text = found[1].replace("artifact-store/prod/artifact-store", f"{locked.bucket}/{locked.place.prefix}")
    written: dict[str, Any] = json.loads(text.replace(":::artifact-store", f":::{locked.bucket}"))
    statements = [each for each in written["Statement"] if each["Sid"] not in without]
    for each in statements:
        each["Principal"] = {"AWS": ["arn:aws:iam:::user/least"]}
    return {**written, "Statement": statements}


def opened(home: Home, locked: Locked) -> Store:
    service = s3_service(
        locked.place, bucket=locked.bucket, credentials=lambda: KEYS, object_lock="GOVERNANCE", pause=0.01
    )
    backend = RemoteBackend(service, backend_id=REMOTE)
    return Store.open(home.database, home.objects, further={REMOTE: backend}, default_backend=REMOTE)


def test_the_documented_rights_are_enough(locked: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"small": b"small", "large": incompressible(2 * PART + 1)})
    with opened(home, locked) as store:
        with refused(AccessError, "access-denied"):
            store.push(tmp_path / "tree", **SAID)
        locked.call("put_bucket_policy", Policy=json.dumps(policy(locked)))
        assert store.health(deep=True).status == "ok"
        package = store.push(tmp_path / "tree", **SAID).package.package_id
        assert store.read_file(package, "small") == b"small"
        assert store.verify(**ACTOR, backend=REMOTE).failures == ()
        hold = store.apply_hold(package, reason="case", **ACTOR).hold_id
        store.release_hold(package, hold, reason="over", **ACTOR)
        store.extend_retention(package, by=60, **ACTOR)
        locked.call("put_object", Key=locked.key(b"orphan"), Body=b"orphan")
        for data in (b"upload", b"small"):
            locked.call("create_multipart_upload", Key=locked.key(data))
        found = store.orphans(**ACTOR, delete=True, older_than=0)
        assert ([each.deleted for each in found.orphans], found.stale_count) == ([True], 2)
        assert locked.versions(b"orphan") == []
        store.copy(source=REMOTE, target="local", **ACTOR)
        assert store.fsck(read=True).clean


def test_a_right_that_is_missing_is_said(locked: Locked, home: Home, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", {"small": b"small"})
    with opened(home, locked) as store:
        locked.call("put_bucket_policy", Policy=json.dumps(policy(locked, "LockObjects")))
        with refused(AccessError, "access-denied", locked.bucket):
            store.push(tmp_path / "tree", **SAID)
        assert store.list_packages().items == ()
        locked.call("put_bucket_policy", Policy=json.dumps(policy(locked)))
        store.push(tmp_path / "tree", **SAID)
